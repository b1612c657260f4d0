"""The faults: what is done to the server, drawn at random from a seed, each logged with its time.

The first worker is never killed, so that its memory can be followed through the whole run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.soak.floods import FLOOD_SECONDS, FLOODS
from bench.soak.server import Server, alive

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_AGE = 1.5  # seconds: the server gives up when workers exit within a second of their start, five times in a row
RESTART_SECONDS = 15.0  # for a worker to be back: the longest pause between two attempts is 6.4 s
BEHIND = 5  # nice(1): floods and random clients leave the cores to the server and the probes
NO_DESCRIPTORS = 3  # a limit that leaves only the standard streams


@dataclass(slots=True)
class Fault:
    """One fault that happened: its name, its processes, and when, in seconds of the monotonic clock."""

    name: str
    pids: tuple[int, ...]
    begin: float
    end: float = 0.0
    note: str = ""


@dataclass(slots=True)
class Faults:
    """Draws and performs faults; keeps a record of them, and of what went wrong with the server."""

    server: Server
    rng: random.Random
    began: float
    spared: int
    done: list[Fault] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)  # seconds until a worker was back
    traffic: Counter[str] = field(default_factory=Counter)  # of the floods
    _seen: dict[int, float] = field(default_factory=dict)  # worker -> when it was first seen
    _floods: list[tuple[Fault, subprocess.Popen[str]]] = field(default_factory=list)

    def perform(self) -> None:
        """Perform one fault."""
        for pid in self.server.workers():
            self._seen.setdefault(pid, time.monotonic())
        names: list[str] = [*ACTS, *FLOODS]
        name = self.rng.choice(names)
        if act := ACTS.get(name):
            act(self, name)
        elif len(self._floods) < 2:  # noqa: PLR2004  # more would only measure the machine's cores
            self._flood(name)
        self._collect()

    def finish(self) -> None:
        """Wait for the floods."""
        while self._floods:
            time.sleep(0.05)
            self._collect()

    def log(self, fault: Fault) -> None:
        """Print a fault as it begins."""
        self.done.append(fault)
        print(f"{fault.begin - self.began:8.3f} s  {fault.name} {' '.join(map(str, fault.pids))}", flush=True)

    def _new(self, name: str, *pids: int) -> Fault:
        fault = Fault(name, pids, time.monotonic())
        self.log(fault)
        return fault

    def _hold(self, fault: Fault, least: float, most: float) -> None:
        time.sleep(self.rng.uniform(least, most))
        fault.end = time.monotonic()

    def _victim(self) -> int | None:
        now = time.monotonic()
        old = [pid for pid in self.server.workers() if pid != self.spared and now - self._seen.get(pid, now) > MIN_AGE]
        return self.rng.choice(old) if old else None

    def stop_worker(self, name: str) -> None:
        """Stop a worker for a moment."""
        self._pause(name, self.rng.choice(self.server.workers()))

    def stop_parent(self, name: str) -> None:
        """Stop the parent for a moment; the workers go on."""
        self._pause(name, self.server.pid)

    def _pause(self, name: str, pid: int) -> None:
        fault = self._new(name, pid)
        os.kill(pid, signal.SIGSTOP)
        try:
            self._hold(fault, 0.15, 2.0)
        finally:
            os.kill(pid, signal.SIGCONT)
            fault.end = time.monotonic()

    def kill_worker(self, name: str) -> None:
        """Kill a worker; another must take its place."""
        if (pid := self._victim()) is None:
            return
        fault = self._new(name, pid)
        os.kill(pid, signal.SIGKILL)
        self._restarted(fault, pid)

    def fail_forks(self, name: str) -> None:
        """Kill a worker while the parent cannot fork, for a moment; another must take its place afterwards."""
        if (pid := self._victim()) is None:
            return
        fault = self._new(name, pid)
        with self.server.limited([self.server.pid], "nproc", 1):
            os.kill(pid, signal.SIGKILL)
            time.sleep(self.rng.uniform(0.3, 2.0))
            if len(self.server.workers()) == self.server.workers_wanted:
                fault.note = "the fork did not fail"
        self._restarted(fault, pid)

    def _restarted(self, fault: Fault, pid: int) -> None:
        began = time.monotonic()
        if self.server.wait_for_workers(RESTART_SECONDS, other_than=pid) is None:
            self.failures.append(f"{fault.name}: no other worker within {RESTART_SECONDS:g} s")
        fault.end = time.monotonic()
        self.restarts.append(fault.end - began)

    def no_descriptors(self, name: str) -> None:
        """Leave one worker, or all, no descriptor for a new connection (EMFILE)."""
        workers = self.server.workers()
        pids = workers if self.rng.random() < 0.3 else [self.rng.choice(workers)]  # noqa: PLR2004  # a third
        fault = self._new(name, *pids)
        with self.server.limited(pids, "nofile", NO_DESCRIPTORS):
            self._hold(fault, 0.3, 2.0)

    def stop_log(self, name: str) -> None:
        """Stop reading the log for a moment."""
        fault = self._new(name)
        self.server.log.stop()
        try:
            self._hold(fault, 0.3, 3.0)
        finally:
            self.server.log.resume()

    def reload(self, name: str) -> None:
        """Have the certificate files read again."""
        fault = self._new(name, self.server.pid)
        os.kill(self.server.pid, signal.SIGHUP)
        fault.end = time.monotonic()

    def _flood(self, name: str) -> None:
        fault = self._new(name)
        self._floods.append((fault, self.start_flood(name)))

    def start_flood(self, name: str, count: int | None = None) -> subprocess.Popen[str]:
        """Start a flood in a process of its own, behind what it floods in the order of the scheduler."""
        _, scheme, usual = FLOODS[name]
        arguments = (name, str(self.server.ports[scheme]), str(count or usual))
        command = (sys.executable, "-m", "bench.soak.floods", *arguments)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        os.setpriority(os.PRIO_PROCESS, process.pid, BEHIND)
        return process

    def _collect(self) -> None:
        for fault, process in [*self._floods]:
            if process.poll() is None and time.monotonic() - fault.begin < 2 * FLOOD_SECONDS:
                continue
            if process.poll() is None:
                process.kill()
            self._floods.remove((fault, process))
            self.collect(fault.name, process)
            fault.end = time.monotonic()

    def collect(self, name: str, process: subprocess.Popen[str]) -> None:
        """Wait for a flood, and add up what it did."""
        text, _ = process.communicate()
        if process.returncode:
            self.failures.append(f"{name}: {text.strip() or 'not done in time'}")
        else:
            self.traffic.update(json.loads(text))

    def table(self) -> list[str]:
        """Return a line for each kind: how often, and for how long in all."""
        lines = []
        for name in [*ACTS, *FLOODS]:
            found = [fault for fault in self.done if fault.name == name]
            notes = Counter(fault.note for fault in found if fault.note)
            seconds = sum(fault.end - fault.begin for fault in found)
            remarks = "".join(f"; {count} x {note}" for note, count in notes.items())
            lines.append(f"  {name:<18}{len(found):>5}  {seconds:8.1f} s{remarks}")
        return lines

    def explains(self, pids: set[int], since: float, until: float) -> Fault | None:
        """Return a fault that stopped or killed one of these workers within an interval."""
        for fault in self.done:
            stops = ACTS.get(fault.name) in {Faults.stop_worker, Faults.kill_worker, Faults.fail_forks}
            if stops and pids.intersection(fault.pids) and fault.begin <= until and since <= fault.end:
                return fault
        return None

    def all_alive(self) -> bool:
        """Return whether the parent and all workers run."""
        return alive(self.server.pid) and len(self.server.workers()) == self.server.workers_wanted


ACTS: dict[str, Callable[[Faults, str], None]] = {
    "worker stopped": Faults.stop_worker,
    "parent stopped": Faults.stop_parent,
    "worker killed": Faults.kill_worker,
    "forks fail": Faults.fail_forks,
    "no descriptors": Faults.no_descriptors,
    "log stopped": Faults.stop_log,
    "reload": Faults.reload,
}
