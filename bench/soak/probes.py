"""Steady clients that measure the pauses of the echo, beside a plain echo server that measures the machine's own.

A process of its own, told by lines on standard input. Each probe sends 64 bytes every 20 ms. A pause is the time from a
message without an answer yet to the next answer. With each long one, and with each broken connection, goes the evidence
of its cause: which worker had the connection, how long that worker ran and waited for a core meanwhile
(/proc/PID/schedstat), how late this process was, and how long the plain echo server paused.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import selectors
import socket
import ssl
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

from bench.servers import children
from bench.soak.owners import owner_of, peer_inode, udp_inode

TICK = 0.020  # seconds
LIMIT = 0.100  # seconds: a longer pause is reported
SIZE = 64  # bytes of a message
HISTORY = 6000  # samples of schedstat: two minutes
COMPLETE_SECONDS = 2.0  # after which the plain server's pause at the same time is over as well
QUIET_SECONDS = 5.0
PROBES = ("tcp", "tcp", "tcp", "tcp", "tls", "tls", "unix", "unix", "udp", "udp", "udp", "udp", "plain")


class Probe:
    """One client of one server, and its present message."""

    def __init__(self, name: str, target: str | int, selector: selectors.BaseSelector) -> None:
        self.name, self.target, self.selector = name, target, selector
        self.scheme = name.partition(" ")[0]
        self.sock: socket.socket | ssl.SSLSocket | None = None
        self.worker = self.inode = 0
        self.number = 0
        self.connections = self.sent = self.received = self.wrong = 0
        self.waiting_since: float | None = None
        self.broken = ""
        self.moved = False  # to another connection, whose worker is not known yet
        self.ready = True  # false during a TLS handshake
        self.longest = 0.0
        self._unread = b""

    def connect(self) -> None:
        """Connect without waiting."""
        family = socket.AF_UNIX if self.scheme == "unix" else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM if self.scheme == "udp" else socket.SOCK_STREAM)
        sock.settimeout(TICK)  # on loopback the kernel answers at once, unless the queue is full
        try:
            sock.connect(self.target if isinstance(self.target, str) else ("127.0.0.1", self.target))
        except OSError:
            sock.close()
            return
        sock.setblocking(False)
        self.connections += self.scheme not in {"udp", "plain"}
        self.moved = True
        self._unread = b""
        if self.scheme == "tls":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock, do_handshake_on_connect=False)
            self.ready = False
        self.sock = sock
        self.selector.register(sock, selectors.EVENT_READ, self)

    def message(self) -> bytes:
        """Return the present message."""
        return self.number.to_bytes(8, "big") * (SIZE // 8)

    def send(self, now: float) -> None:
        """Send the next message, unless the last one is not answered; a datagram may be lost, and is replaced."""
        if self.sock is None or (self.waiting_since is not None and self.scheme != "udp" and self.sent > self.received):
            return
        try:
            if isinstance(self.sock, ssl.SSLSocket) and not self.ready:
                self.sock.do_handshake()
                self.ready = True
            self.number += 1
            self.sock.send(self.message())
            self.sent += 1
            if self.waiting_since is None:
                self.waiting_since = now
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if self.waiting_since is None:
                self.waiting_since = now
        except OSError as error:
            self.fail(now, type(error).__name__)

    def receive(self, now: float) -> float | None:
        """Read; return since when an answer was awaited, if one has come."""
        assert self.sock is not None  # noqa: S101  # it is readable
        try:
            if isinstance(self.sock, ssl.SSLSocket) and not self.ready:
                self.sock.do_handshake()
                self.ready = True
            data = self.sock.recv(4096)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError as error:
            self.fail(now, type(error).__name__)
            return None
        if not data and self.scheme != "udp":
            self.fail(now, "closed by the server")
            return None
        if self.scheme == "udp":
            self.wrong += data != data[:8] * (SIZE // 8) or int.from_bytes(data[:8], "big") > self.number
        else:
            self._unread += data
            if len(self._unread) < SIZE:
                return None
            self.wrong += self._unread != self.message()
            self._unread = b""
        self.received += 1
        since, self.waiting_since = self.waiting_since, None
        return since

    def fail(self, now: float, reason: str) -> None:
        """Close a broken connection; the pause goes on until a new one is answered."""
        if self.waiting_since is None:
            self.waiting_since = now
        self.broken = reason
        self.close()

    def close(self) -> None:
        """Close the connection; what was sent on it is no longer awaited."""
        if self.sock is not None:
            self.selector.unregister(self.sock)
            self.sock.close()
            self.sock = None
        self.ready = True
        self.sent = self.received = 0

    def find_worker(self, parent: int) -> None:
        """Find the process that has the other end of this connection."""
        self.moved = False
        if self.scheme == "plain" or self.sock is None:
            return
        if self.scheme != "udp":
            self.inode = peer_inode(self.sock)
        elif not self.inode:
            return  # see `map_datagrams`
        self.worker = owner_of(self.inode, parent)


class Prober:
    """All probes, and the history of what the scheduler did with each process."""

    def __init__(self, parent: int, targets: dict[str, str | int]) -> None:
        self.parent = parent
        self.selector = selectors.DefaultSelector()
        self.probes = [Probe(f"{name} {i}", targets[name], self.selector) for i, name in enumerate(PROBES)]
        self.times: deque[float] = deque(maxlen=HISTORY)
        self.ran: deque[dict[int, tuple[int, int]]] = deque(maxlen=HISTORY)
        self.slow: deque[tuple[float, float]] = deque(maxlen=HISTORY)  # answers of the plain server, from and to
        self.late: deque[tuple[float, float]] = deque(maxlen=HISTORY)  # turns of this process
        self.sent: Counter[str] = Counter()
        self.pauses: deque[dict[str, Any]] = deque()  # reported a little later, when the evidence is complete
        self.quiet = False

    def run(self) -> None:
        """Probe until standard input ends."""
        os.set_blocking(0, False)
        self.selector.register(0, selectors.EVENT_READ)
        due = done = time.monotonic()
        while True:
            ready = self.selector.select(max(due - done, 0))
            woken = time.monotonic()
            if woken - due > TICK / 4:
                self.late.append((max(due, done), woken))
            for key, _ in ready:
                if key.data is None:
                    if not self.obey():
                        return
                else:
                    self.answered(key.data)
            if (now := time.monotonic()) >= due:
                due = max(due + TICK, now)
                self.turn(now)
            done = time.monotonic()
            if done - woken > TICK / 4:
                self.late.append((woken, done))

    def turn(self, now: float) -> None:
        """Sample the scheduler, and send what is due."""
        self.print_pauses(now - COMPLETE_SECONDS)
        pids = children(self.parent)
        self.times.append(now)
        self.ran.append({pid: schedstat(pid) for pid in pids})
        for probe in self.probes:
            if probe.sock is None and not self.quiet:
                probe.connect()
            if not self.quiet:
                before = probe.sent
                probe.send(now)
                self.sent[f"{probe.scheme} messages"] += probe.sent > before

    def answered(self, probe: Probe) -> None:
        """Read an answer, and report a long pause."""
        now = time.monotonic()
        since = probe.receive(now)
        if since is None:
            return
        pause = now - since
        probe.longest = max(probe.longest, pause)
        if probe.scheme == "plain" and pause > TICK / 4:
            self.slow.append((since, now))
        before = probe.worker
        if probe.moved or before not in self.ran[-1]:
            probe.find_worker(self.parent)
        if pause > LIMIT or probe.broken:
            self.report(probe, before, since, now)
        probe.broken = ""

    def report(self, probe: Probe, worker: int, since: float, now: float) -> None:
        """Keep a pause with the evidence of its cause; times are in seconds of the monotonic clock."""
        before = self.ran[max(bisect.bisect_right(self.times, since) - 1, 0)]
        ran, waited = schedstat(probe.worker)
        ran_before, waited_before = before.get(probe.worker, (ran, waited))
        data = {
            "probe": probe.name,
            "workers": [worker, probe.worker],  # before the pause, and after it
            "since": since,
            "until": now,
            "broken": probe.broken,
            "ran": (ran - ran_before) / 1e9,
            "waited": (waited - waited_before) / 1e9,
        }
        self.pauses.append(data)

    def print_pauses(self, before: float) -> None:
        """Print the pauses that ended before a time, with what happened beside them."""
        while self.pauses and self.pauses[0]["until"] < before:
            data = self.pauses.popleft()
            span = data["since"], data["until"]
            data |= {"late": overlap(self.late, *span), "plain": overlap(self.slow, *span)}
            print(json.dumps({"pause": data}), flush=True)

    def obey(self) -> bool:
        """Do what a line says: stop sending and print the totals, or go on."""
        line = os.read(0, 4096).decode().strip()
        if line == "quiet":
            self.quiet = True
            self.finish()
            self.print_pauses(time.monotonic())
            print(json.dumps({"totals": self.totals()}), flush=True)
        elif line == "map":
            self.map_datagrams()
            print(json.dumps({"totals": self.totals()}), flush=True)
        elif line == "go":
            self.quiet = False
        return bool(line)

    def finish(self) -> None:
        """Wait for the answers that are due."""
        end = time.monotonic() + QUIET_SECONDS
        while any(probe.waiting_since for probe in self.probes if probe.sock) and time.monotonic() < end:
            for key, _ in self.selector.select(0.05):
                if key.data is not None:
                    self.answered(key.data)
        for probe in self.probes:
            if probe.scheme == "udp":
                probe.waiting_since = None  # lost: the server's counters say where

    def totals(self) -> dict[str, int | float]:
        """Return what was sent, and the longest pauses of the plain server and of this process's sleep."""
        halloo = [probe for probe in self.probes if probe.scheme != "plain"]
        return {
            **self.sent,
            "connections": sum(probe.connections for probe in halloo),
            "open": sum(probe.sock is not None and probe.scheme != "udp" for probe in halloo),
            "wrong": sum(probe.wrong for probe in self.probes),
            "longest": max(probe.longest for probe in halloo),
            "plain longest": max(probe.longest for probe in self.probes if probe.scheme == "plain"),
            "late longest": max((end - start for start, end in self.late), default=0.0),
        }

    def map_datagrams(self) -> None:
        """Find the socket that each datagram probe is served by, while all workers are stopped: it has a queue."""
        for probe in self.probes:
            if probe.scheme == "udp":
                probe.connect()
                sock: socket.socket | None = probe.sock
                assert sock is not None  # noqa: S101  # UDP
                probe.inode = udp_inode(sock)
                probe.worker = owner_of(probe.inode, self.parent)
                probe.waiting_since = None


def overlap(spans: deque[tuple[float, float]], since: float, until: float) -> float:
    """Return the seconds of an interval that the spans cover."""
    return sum(max(min(end, until) - max(start, since), 0) for start, end in spans)


def schedstat(pid: int) -> tuple[int, int]:
    """Return the time in ns that a process ran and waited for a core. Source: proc(5), /proc/PID/schedstat."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/schedstat").read_text().split()
        return int(words[0]), int(words[1])
    return 0, 0


def plain_echo() -> int:
    """Start the plain server, a process beside this one; return its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        sock, _ = listener.accept()
        with contextlib.suppress(OSError):
            while data := sock.recv(4096):
                sock.send(data)
        os._exit(0)
    port: int = listener.getsockname()[1]
    listener.close()
    return port


def main(parent: str, tcp: str, tls: str, udp: str, unix: str) -> None:
    """Probe the server of process `parent`."""
    assert threading.active_count() == 1  # noqa: S101  # it forks
    plain = plain_echo()
    targets: dict[str, str | int] = {"tcp": int(tcp), "tls": int(tls), "udp": int(udp), "unix": unix, "plain": plain}
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # this process is to be late less often than what it measures
    Prober(int(parent), targets).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
