"""Storms of faults and calm checks in turn; what was found is kept for the report."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any, Self

from bench.servers import MissingError, cpu_ns
from bench.soak.balance import Line, added, calm_lines, decreased, storm_lines
from bench.soak.faults import Faults
from bench.soak.floods import DATAGRAM
from bench.soak.probes import SIZE
from bench.soak.server import Server, counters_of

STORM_SECONDS = 20.0
MIN_STORMS = 3  # for growth to be seen after a warm-up
CALM_CLIENTS = 40
CALM_SECONDS = 4.0  # of a calm check, about
CALM_FLOODS = {"denied flood": 30, "datagram flood": 200, "denied datagrams": 200, "half-closes": 30}
ANSWER_SECONDS = 90
IDLE_SECONDS = 0.5
IDLE_SHARE = 0.2  # of a core: a process at rest uses less, one in a busy loop more
MAX_GAP = 1.0  # seconds between faults


class Helper:
    """A process that obeys lines and answers with JSON."""

    def __init__(self, module: str, *arguments: str, nice: int = 0) -> None:
        self.process = subprocess.Popen(
            (sys.executable, "-m", f"bench.soak.{module}", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        os.setpriority(os.PRIO_PROCESS, self.process.pid, nice)
        self.pauses: list[dict[str, Any]] = []
        self._answer: dict[str, Any] = {}
        self._answered, self._ended = threading.Event(), False
        threading.Thread(target=self._read, daemon=True).start()

    def tell(self, line: str) -> None:
        """Write a line."""
        assert self.process.stdin is not None  # noqa: S101  # it was started with a pipe
        self._answered.clear()
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def ask(self, line: str) -> dict[str, Any]:
        """Write a line and wait for the answer."""
        self.tell(line)
        if not self._answered.wait(ANSWER_SECONDS) or self._ended:
            raise MissingError(f"{self.process.args!r}: no answer to {line!r} within {ANSWER_SECONDS} s")
        return self._answer

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101  # it was started with a pipe
        for line in self.process.stdout:
            data = json.loads(line)
            if "pause" in data:
                self.pauses.append(data["pause"])
            else:
                self._answer = data.get("totals", data)
                self._answered.set()
        self._ended = True
        self._answered.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class Soak:
    """One run: what is done to the server, and what was found."""

    def __init__(self, server: Server, clients: Helper, prober: Helper, *, seed: int, at_once: int) -> None:
        self.server, self.clients, self.prober = server, clients, prober
        self.seed, self.at_once = seed, at_once
        self.began = time.monotonic()
        self.spared = server.workers()[0]
        self.faults = Faults(server, random.Random(seed), self.began, self.spared)
        self.kinds: Counter[str] = Counter()  # clients by behaviour
        self.verified = self.wrong = 0
        self.client_failures: list[tuple[str, float, float, str]] = []  # as in Totals
        self.memory: list[tuple[float, dict[int, int]]] = []  # time, and bytes of each process
        self.descriptors: list[dict[int, int]] = []
        self.failures: list[str] = []
        self.storms: list[list[Line]] = []
        self.calms: list[list[Line]] = []
        self.probed: dict[str, Any] = Counter()

    def run(self, seconds: float) -> None:
        """Run storms of STORM_SECONDS for so long, with a calm check before, between and after them."""
        self._map_datagrams()
        self._rest()
        before = self._calm(0)
        turn, storm = 0, min(STORM_SECONDS, seconds / MIN_STORMS - CALM_SECONDS)
        while (left := self.began + seconds - time.monotonic()) > 0 or not self.storms:
            turn += 1
            probed, traffic, killed = self.probed, Counter(self.faults.traffic), len(self.faults.restarts)
            self.prober.tell("go")
            self._storm(turn, max(min(left, storm), 1))
            now = self._rest()
            self.failures += decreased(now, before)
            traffic = difference(self.faults.traffic, traffic)
            traffic.update(probe_traffic(difference(Counter(self.probed), Counter(probed))))
            killed = len(self.faults.restarts) - killed
            self.storms.append(storm_lines(difference(now, before), traffic, killed=killed, size=DATAGRAM))
            before = self._calm(turn)

    def _map_datagrams(self) -> None:
        """Stop all workers for a moment, so that the datagram probes find the sockets that serve them."""
        workers = self.server.workers()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            self.prober.ask("map")
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        self.prober.tell("go")
        time.sleep(0.5)  # for the first messages

    def _storm(self, turn: int, seconds: float) -> None:
        self.clients.tell(f"storm {self.seed * 1000 + turn} {self.at_once}")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.faults.perform()
            time.sleep(self.faults.rng.uniform(0.1, MAX_GAP))
        self.faults.finish()
        self._add_clients(self.clients.ask("stop"))

    def _rest(self) -> Counter[str]:
        """Have the probes pause, and look at the resources of the server at rest; return its counters."""
        self.probed = self.prober.ask("quiet")
        metrics = self.server.settled_metrics()
        self.memory.append((time.monotonic() - self.began, self.server.memory()))
        before = {pid: cpu_ns(pid) for pid in (self.server.pid, *self.server.workers())}
        time.sleep(IDLE_SECONDS)
        for pid, used in before.items():
            share = (cpu_ns(pid) - used) / 1e9 / IDLE_SECONDS
            if share > IDLE_SHARE:
                self.failures.append(f"process {pid} used {share:.0%} of a core at rest")
        self.descriptors.append(self.server.descriptors())
        return metrics

    def _calm(self, turn: int) -> Counter[str]:
        """Run clients that are predictable, and compare every counter; return the counters after them."""
        print(f"{time.monotonic() - self.began:8.3f} s  calm check", flush=True)
        before = self.server.settled_metrics()
        traffic = Counter(self.faults.traffic)
        for name, count in CALM_FLOODS.items():
            self.faults.collect(name, self.faults.start_flood(name, count))
        self._add_clients(self.clients.ask(f"calm {self.seed * 1000 + turn} {CALM_CLIENTS}"))
        after = self.server.settled_metrics()
        traffic = difference(self.faults.traffic, traffic)
        lines = calm_lines(
            difference(after, before),
            traffic,
            held=self.probed["open"],
            open_now=after["open_connections"],
            size=DATAGRAM,
        )
        self.calms.append(lines)
        return after

    def _add_clients(self, totals: dict[str, Any]) -> None:
        self.kinds.update(totals["clients"])
        self.verified += totals["verified"]
        self.client_failures.extend(totals["failures"])
        added(self.faults.traffic, totals)


def difference(now: Counter[str], before: Counter[str]) -> Counter[str]:
    """Return how much each counter has grown."""
    return Counter({name: value - before[name] for name, value in counters_of(now).items()})


def probe_traffic(totals: Counter[str]) -> dict[str, int]:
    """Return what the probes sent, in the names of the other clients."""
    streams = sum(totals[f"{scheme} messages"] for scheme in ("tcp", "tls", "unix"))
    return {
        "connections": int(totals["connections"]),
        "offered": streams * SIZE,
        "datagrams": totals["udp messages"],
    }
