"""The server under test as a program: started for one case, seen to listen, and ended with all that it has begun.

Knows processes and signals. The program is the leader of a session of its own, and everything that comes of it carries
a mark in its environment, so that nothing of it is left, whatever it does to hide.
"""

import errno
import os
import resource
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from random import SystemRandom
from typing import Literal

from halloo._check import processes
from halloo._check.case import Failed
from halloo._check.spec import LOOPBACK, ServerSpec

START = 15.0  # seconds to begin to listen
FREE = 90.0  # seconds until a fixed port is free again: TIME-WAIT takes 60
STOPPED = 2.0  # seconds until all stand still
REST = 3.0  # seconds until all have ended, once the first has
STEP = 0.02  # seconds between two looks
FILE_SIZE = 256 << 20  # bytes of a file that it may write
LOWEST, HIGHEST = 10_001, 32_767  # odd ports below the ephemeral range: a connection to oneself cannot happen there
MARK = "HALLOO_CHECK"
UNSTARTED = "unstarted"  # the pattern of a failure to listen
PIPE = 4096  # bytes that a pipe nobody reads has room for: the least that there is
Output = Literal["kept", "unread", "closed"]
_LIMITED = 'ulimit -n "$1" && shift && exec "$@"'
_CLOSED = 'exec "$@" >&- 2>&-'
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # a machine without IPv6
_chance = SystemRandom()


class Program:
    """A server's processes, from the start to the last of them."""

    def __init__(self, subject: ServerSpec, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a subject that has a command."""
        self._subject = subject
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._mark = secrets.token_hex(8)
        self._folder = tempfile.TemporaryDirectory(prefix="halloo-") if subject.scheme == "unix" else None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._said = ""
        self._told = False  # to end
        self.path = f"{self._folder.name}/echo" if self._folder else ""
        self.expired = ""  # why it was ended before its time
        self.host, self.port = LOOPBACK, 0

    @property
    def started(self) -> bool:
        """Whether it is running, as far as we know."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise Failed("the server is not running", pattern="ended")
        return self._process

    def start(
        self, *, port: int = 0, descriptors: int | None = None, output: Output = "kept", patient: bool = True
    ) -> None:
        """Start it and wait until it listens. `descriptors` is its limit, `output` what becomes of what it prints.

        A program that cannot take a fixed port while connections rest there (TIME-WAIT) is given another chance when
        they have gone, unless it is not `patient` that is wanted.
        """
        port = port or self._subject.port
        if self._subject.scheme != "unix":
            port = port or free_port(self._kind)
            if patient:
                self._await_free(port, reuse=True)
        words = self.words(port)
        if descriptors:
            words = ["sh", "-c", _LIMITED, "sh", str(descriptors), *words]
        if output == "closed":
            words = ["sh", "-c", _CLOSED, "sh", *words]
        self._launch(words, output)
        try:
            self._await_listening(port)
        except Failed:
            if not patient or self._subject.scheme == "unix" or is_free(self._kind, port):
                raise
            self.kill()
            self._await_free(port)
            self._launch(words, output)
            self._await_listening(port)

    def _launch(self, words: list[str], output: Output) -> None:
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if output == "unread" else self._output,
                stderr=self._output,
                bufsize=0,
                start_new_session=True,
                env=os.environ | {MARK: self._mark, "PYTHONUNBUFFERED": "1"},
                pipesize=PIPE,
            )
        except OSError as error:
            raise Failed(f"{words[0]}: {error.strerror}", pattern=UNSTARTED) from error
        with suppress(OSError, ValueError):
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))

    def words(self, port: int) -> list[str]:
        """Give the command for a port."""
        return self._subject.words(LOOPBACK, port, self.path)

    @property
    def _kind(self) -> str:
        return "udp" if self._subject.scheme == "udp" else "tcp"

    def _await_free(self, port: int, *, reuse: bool = False) -> None:
        """Wait until a port can be taken; what ended before may still have it."""
        deadline = self._clock() + FREE
        while not is_free(self._kind, port, reuse=reuse):
            if self._clock() >= deadline:
                raise Failed(f"port {port} is not free: something else has it", pattern=UNSTARTED)
            time.sleep(STEP)

    def _await_listening(self, port: int) -> None:
        """See in the system's tables that it listens; to connect would take away the only client of some."""
        deadline, elsewhere = self._clock() + START, set[int]()
        while self._clock() < deadline:
            code = self._running.poll()
            if self._subject.scheme == "unix":
                if processes.listens_at(self.path):
                    return
            else:
                found = processes.listening(self.tree(), self._kind)
                if port in found or (found and not self._subject.places and not self._subject.port):
                    self.port = port if port in found else min(found)
                    self.host = found[self.port]
                    return
                elsewhere = set(found)
            if code is not None and not self.tree():
                raise Failed(f"it ended with code {code} before it listened; {self._quoted()}", pattern=UNSTARTED)
            time.sleep(STEP)
        where = f"it listens on port {min(elsewhere)}, not on {port}: say --port {min(elsewhere)}" if elsewhere else ""
        raise Failed(where or f"it did not begin to listen within {START:g} s; {self._quoted()}", pattern=UNSTARTED)

    def complaints(self) -> str:
        """Give what it has printed."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def _quoted(self) -> str:
        said = self.complaints().strip()
        return f"it said: ...{said[-500:]!r}" if said else "it said nothing"

    def hush(self) -> None:
        """Close our end of its standard output, which nobody has read: writing there fails from now on."""
        if self._running.stdout:
            self._running.stdout.close()

    # Time passes.

    def pause(self, seconds: float) -> None:
        """Let time pass; the server must not end meanwhile, but what was started may leave it in the background."""
        deadline = self._clock() + seconds
        with suppress(subprocess.TimeoutExpired):
            code = self._running.wait(max(seconds, 0))
            if code or not self.tree():
                raise Failed(f"the server ended with code {code}; {self._quoted()}", pattern="ended")
            time.sleep(max(deadline - self._clock(), 0))

    def soon(self, true: Callable[[], bool], within: float) -> bool:
        """Wait until something is true, or give up."""
        deadline = self._clock() + within
        while not (done := true()) and self._clock() < deadline:
            self.pause(STEP)
        return done

    def ended(self, within: float) -> tuple[int, float]:
        """Wait for its end, after which this must have been its purpose; give the exit code and the seconds."""
        began = self._clock()
        try:
            code = self._running.wait(within)
        except subprocess.TimeoutExpired:
            raise Failed(f"the server did not end within {within:g} s", pattern="open") from None
        took = self._clock() - began
        while self.serving():
            if self._clock() - began > took + REST:
                raise Failed(
                    f"it ended with code {code}, and {REST:g} s later others of its processes still listen "
                    "(a script that starts a server: write exec before its command)",
                    pattern="open",
                )
            time.sleep(STEP)
        self._said = self.complaints()
        self.kill()
        return code, took

    @property
    def last_words(self) -> str:
        """What it had printed when it ended."""
        return self._said

    def check_alive(self, within: float) -> None:
        """Fail when it breaks down within so many seconds.

        That it ends in order after a client is a question of its own (T35).
        """
        if self._process is not None and not self._told:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(within)
            if self._process.poll():
                self.pause(0)

    # Signals.

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started, as `kill` does; if it ends then, it was told to."""
        self._told = True
        self._running.send_signal(number)

    def tell_all(self, number: signal.Signals) -> None:
        """Send a signal to every process, as a terminal does; if they end then, they were told to."""
        self._told = True
        self._send_all(number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have none of its processes run meanwhile, so that what happens to it happens at once."""
        self._send_all(signal.SIGSTOP)
        try:
            self.soon(lambda: all(map(processes.is_stopped, self.tree())), STOPPED)
            yield
        finally:
            self._send_all(signal.SIGCONT)

    def _send_all(self, number: signal.Signals) -> None:
        for pid in self.tree():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @staticmethod
    def kill_one(pid: int) -> None:
        """End one process, as the system does when it runs out of memory."""
        os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """End every process of it, at once; calling it again does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        while alive := [pid for pid in self._all(process.pid) if not processes.is_zombie(pid)]:
            for pid in alive:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STEP)
        process.wait()
        if process.stdout:
            process.stdout.close()

    def expire(self, why: str) -> None:
        """End every process before its time, whoever waits for one of them."""
        self.expired = self.expired or why
        process = self._process
        for pid in self._all(process.pid) if process else ():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and forget what it has printed."""
        self.kill()
        self._output.close()
        if self._folder:
            self._folder.cleanup()

    # What it uses.

    def _all(self, leader: int) -> list[int]:
        return sorted({*processes.session(leader), *processes.marked(f"{MARK}={self._mark}")})

    def tree(self) -> list[int]:
        """List its processes that run."""
        return [pid for pid in processes.session(self.pid) if not processes.is_zombie(pid)]

    def serving(self) -> list[int]:
        """List those of its processes that have its port, or its path, where that can be told."""
        if self.path:
            return self.tree() if processes.listens_at(self.path) else []
        return [pid for pid in self.tree() if self.port in processes.listening([pid], self._kind)]

    def zombies(self) -> int:
        """Count its processes that have ended and that it has not taken note of; those of nobody are the system's."""
        everybody = processes.session(self.pid)
        return sum(processes.is_zombie(pid) and processes.parent(pid) in everybody for pid in everybody)

    def resident(self) -> int:
        """Count the bytes of memory of all its processes."""
        return sum(map(processes.resident, self.tree()))

    def owned(self) -> int:
        """Count the bytes of memory of all its processes, what they share counted once; that takes a while."""
        return sum(map(processes.owned, self.tree()))

    def descriptors(self) -> int:
        """Count the open descriptors of all its processes."""
        return sum(map(processes.descriptors, self.tree()))

    def load(self, seconds: float, *, wanted: bool = False) -> float:
        """Watch it for so long, and say how many cores it kept busy, or `wanted` to if nobody else had been there."""
        count = processes.wanted if wanted else processes.worked
        began, before = self._clock(), {pid: count(pid) for pid in self.tree()}
        self.pause(seconds)
        spent = sum(count(pid) - before.get(pid, 0) for pid in self.tree())  # some have begun meanwhile
        return spent / (self._clock() - began)


def located(subject: ServerSpec) -> ServerSpec:
    """Find out which port a program has that is not told one: the same each time, or one of its own choice."""
    if not subject.command or subject.places or subject.port:
        return subject
    ports = set[int]()
    for _ in range(2):
        program = Program(subject)
        try:
            program.start()
            ports.add(program.port)
        except Failed:
            return subject  # the first case will say why
        finally:
            program.close()
    return subject if len(ports) > 1 else replace(subject, port=ports.pop())


def free_port(kind: str) -> int:
    """Find a port that nobody has, on either family."""
    while True:
        port = _chance.randrange(LOWEST, HIGHEST, 2)
        if is_free(kind, port):
            return port


def is_free(kind: str, port: int, *, reuse: bool = False) -> bool:
    """Whether a port can be bound; with `reuse` beside connections that rest in TIME-WAIT (SO_REUSEADDR)."""
    for family, host in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
        with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as sock:
            try:
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if reuse and kind == "tcp":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((host, port))
            except OSError as error:
                if error.errno not in _NO_FAMILY:
                    return False
    return True
