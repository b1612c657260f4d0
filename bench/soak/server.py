"""Start the server under test, find its workers, read its metrics and its log, and change its system limits.

Uses processes, signals and /proc. Independent of clients and faults.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from bench.servers import GRACE_SECONDS, MissingError, certificate, children, entries, rss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UID = 60123
"""fork(2) ignores RLIMIT_NPROC for root, so a server that root tests runs as this user, which has no other process."""

# It keeps root's right to read, because the interpreter may be installed below /root.
AS_USER = (
    *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"),
)
DENIED = "127.0.0.66"
READY_SECONDS = 20
SETTLE_SECONDS = 10
SETTLED_SECONDS = 0.3
SAMPLE = re.compile(r"(halloo_\w+?)(?:_total)?(\{[^}]*\})? (\S+)")
STRAY_LINES = 10  # of the log that are kept for the report


class Log:
    """The server's log: a thread reads the pipe, unless it is told to stop reading."""

    def __init__(self, pipe: IO[str]) -> None:
        self.events: Counter[str] = Counter()
        self.strays: list[str] = []  # lines that are no JSON
        self.error = ""  # the last one that the server reported
        self.stray_count = 0
        self._reading = threading.Event()
        self._reading.set()
        self._pipe = pipe
        threading.Thread(target=self._read, daemon=True).start()

    def stop(self) -> None:
        """Leave further lines in the pipe."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again."""
        self._reading.set()

    def _read(self) -> None:
        for line in self._pipe:
            self._reading.wait()
            try:
                event = json.loads(line)
                self.events[event["event"]] += 1
                if event["event"] == "error":
                    self.error = event["data"]["message"]
            except (ValueError, KeyError, TypeError):
                self.stray_count += 1
                self.strays = [*self.strays, line.rstrip()][:STRAY_LINES]


class Server:
    """`halloo serve` on TCP, UDP, TLS and a Unix socket, with workers, a JSON log and metrics."""

    def __init__(self, workers: int, folder: Path) -> None:
        self.workers_wanted = workers
        self.unix = folder / "echo"
        self._metrics = folder / "metrics"
        self._prefix = AS_USER if os.geteuid() == 0 else ()
        for program in ("setpriv", "prlimit"):
            if shutil.which(program) is None:
                raise MissingError(f"{program} is not installed (Debian: util-linux)")
        if self._prefix:
            folder.chmod(0o711)
            os.chown(folder, UID, UID)
        cert, key = certificate()
        addresses = ("127.0.0.1:0", "udp://127.0.0.1:0", "tls://127.0.0.1:0", f"unix:{self.unix}")
        flags = (
            *("--log", "json", "--deny", DENIED, "--metrics", f"unix:{self._metrics}", "--drain", "2s"),
            *("--workers", str(workers), "--cert", str(cert), "--key", str(key)),
        )
        halloo = Path(sys.executable).with_name("halloo")
        self.process = subprocess.Popen(
            (*self._prefix, str(halloo), "serve", *addresses, *flags),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None  # noqa: S101  # it was started with a pipe
        assert self.process.stderr is not None  # noqa: S101  # the same
        self.log = Log(self.process.stderr)
        self.ports: dict[str, int] = {}
        for line in self.process.stdout:
            if found := re.match(r"listening on (\w+):\S*?(?::(\d+))?\s", line):
                self.ports[found[1]] = int(found[2] or 0)
            if "unix" in self.ports:
                break
        else:
            self.stop()
            raise MissingError(f"halloo exited before it listened: {'; '.join([self.log.error, *self.log.strays])}")

    @property
    def pid(self) -> int:
        """The parent process."""
        return self.process.pid

    def workers(self) -> list[int]:
        """Return the running workers, the oldest first."""
        return [pid for pid in children(self.pid) if alive(pid)]

    def wait_for_workers(self, seconds: float, *, other_than: int | None = None) -> float | None:
        """Wait until all workers run and one is gone; return how long that took, None if it did not happen."""
        began = time.monotonic()
        while (waited := time.monotonic() - began) < seconds:
            found = self.workers()
            if len(found) == self.workers_wanted and other_than not in found:
                return waited
            time.sleep(0.005)
        return None

    def limit(self, pid: int, name: str, soft: str) -> None:
        """Set a soft limit of one process: prlimit(1), as the server's own user, who needs no capability for it."""
        command = (*self._prefix, "prlimit", "--pid", str(pid), f"--{name}={soft}:")
        subprocess.run(command, check=True)

    @contextlib.contextmanager
    def limited(self, pids: list[int], name: str, soft: int) -> Iterator[None]:
        """Lower a limit of processes; restore it for those that still run."""
        before = soft_limit(pids[0], name)
        try:
            for pid in pids:
                self.limit(pid, name, str(soft))
            yield
        finally:
            for pid in filter(alive, pids):
                self.limit(pid, name, before)

    def metrics(self) -> Counter[str]:
        """Return the counters by name, such as `refused denied`; those of several schemes are added up."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(self._metrics))
            sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            page = b"".join(iter(lambda: sock.recv(65_536), b"")).decode()
        found: Counter[str] = Counter()
        for line in page.splitlines():
            if match := SAMPLE.fullmatch(line):
                label = re.search(r'(?:reason|name)="(\w+)"', match[2] or "")
                name = match[1].removeprefix("halloo_")
                found[f"{name} {label[1]}" if label else name] += int(float(match[3]))
        return found

    def settled_metrics(self) -> Counter[str]:
        """Return the metrics once the counters have not changed for a moment, or after SETTLE_SECONDS."""
        end, since, last = time.monotonic() + SETTLE_SECONDS, time.monotonic(), self.metrics()
        while time.monotonic() < min(end, since + SETTLED_SECONDS):
            time.sleep(0.05)
            now = self.metrics()
            if counters_of(now) != counters_of(last):
                since, last = time.monotonic(), now
        return last

    def memory(self) -> dict[int, int]:
        """Return the resident bytes of each process."""
        return {pid: rss(pid) for pid in (self.pid, *self.workers())}

    def descriptors(self) -> dict[int, int]:
        """Return the number of open descriptors of each process."""
        return {pid: entries(pid, "fd") for pid in (self.pid, *self.workers())}

    def stop(self) -> int:
        """Send SIGTERM, then SIGKILL if the server has not exited in time; return the exit code."""
        self.log.resume()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(GRACE_SECONDS + 2)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def counters_of(metrics: Counter[str]) -> dict[str, int]:
    """Leave out the gauges of time."""
    return {name: value for name, value in metrics.items() if "seconds" not in name}


def alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie. Source: proc(5), /proc/PID/stat."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def soft_limit(pid: int, name: str) -> str:
    """Return the present soft limit. Source: proc(5), /proc/PID/limits."""
    label = {"nofile": "Max open files", "nproc": "Max processes"}[name]
    line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith(label))
    return line.removeprefix(label).split()[0]


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; return whether it came true in time."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return found
