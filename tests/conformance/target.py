"""The server under test: a program started for one case, where it listens, and the conditions of the trial.

Knows processes and signals. The program is the leader of its own session, and all of that session is ended with it.
"""

import os
import re
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Self

from tests.conformance import processes
from tests.conformance.cases import Failed, Skipped
from tests.conformance.client import END, Client

LOOPBACK = "127.0.0.1"
START = 15.0  # seconds to begin to listen
STEP = 0.02  # seconds between two looks
_READY = re.compile(rb"listening on tcp://127\.0\.0\.1:(\d+)\n")
_LIMITED = 'ulimit -n "$1" && shift && exec "$@"'
_CLOSED = 'exec "$@" >&- 2>&-'


class Program:
    """A server's processes, from the start to the last of them."""

    def __init__(self, command: Sequence[str], clock: Callable[[], float]) -> None:
        """`command` has {port} where the port belongs; 0 is a free one."""
        self._command = command
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self.overdue = False
        self.port = 0

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise Failed("the server is not running")
        return self._process

    def start(self, *, port: int = 0, descriptors: int | None = None, silenced: bool = False) -> None:
        """Start it and wait until it listens. `descriptors` is its limit; `silenced` closes its outputs."""
        words = self.words(port)
        if descriptors:
            words = ["sh", "-c", _LIMITED, "sh", str(descriptors), *words]
        if silenced:
            words = ["sh", "-c", _CLOSED, "sh", *words]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `kill`
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            start_new_session=True,
        )
        self.port = self._seen() if silenced else self._announced()

    def words(self, port: int) -> list[str]:
        """Give the command for a port."""
        return [word.replace("{port}", str(port)) for word in self._command]

    def _announced(self) -> int:
        """Read on standard output where it listens."""
        said, deadline, output = b"", self._clock() + START, self._running.stdout
        while output and self._clock() < deadline:
            if not select.select([output], [], [], STEP)[0]:
                continue
            piece = os.read(output.fileno(), 4096)
            said += piece
            if ready := _READY.search(said):
                return int(ready[1])
            if not piece:
                break
        raise Failed(f"did not begin to listen; it said {said!r} and {self.complaints()[-500:]!r}")

    def _seen(self) -> int:
        """See in the system's tables where it listens."""
        if not self.soon(lambda: bool(processes.listening(self.pid)), START):
            raise Failed("did not begin to listen")
        return processes.listening(self.pid)[0]

    def complaints(self) -> str:
        """Give what it has written on standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode(errors="replace")

    def hush(self) -> None:
        """Close our end of its standard output: writing there fails from now on."""
        if self._running.stdout:
            self._running.stdout.close()

    # Time passes.

    def pause(self, seconds: float) -> None:
        """Let time pass; the server must not end meanwhile."""
        with suppress(subprocess.TimeoutExpired):
            code = self._running.wait(max(seconds, 0))
            raise Failed(f"the server ended with code {code}: {self.complaints()[-500:]!r}")

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
            raise Failed(f"the server did not end within {within:g} s") from None
        took = self._clock() - began
        self._said = self.complaints()
        self.kill()
        return code, took

    @property
    def last_words(self) -> str:
        """What it had written on standard error when it ended."""
        return self._said

    # Signals.

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started, as `kill` does."""
        self._running.send_signal(number)

    def tell_all(self, number: signal.Signals) -> None:
        """Send a signal to every process, as a terminal does."""
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
        while alive := [pid for pid in processes.session(process.pid) if not processes.is_zombie(pid)]:
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STEP)
        process.wait()
        if process.stdout:
            process.stdout.close()
        self._errors.close()

    def expire(self) -> None:
        """End every process because the case takes too long, whoever waits for one of them."""
        self.overdue = True
        process = self._process
        for pid in processes.session(process.pid) if process else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def check_alive(self) -> None:
        """Fail when it has ended though nobody asked it to."""
        if self._process is not None and self._process.poll() is not None:
            self.pause(0)

    # What it uses.

    def tree(self) -> list[int]:
        """List its processes that run."""
        return [pid for pid in processes.session(self.pid) if not processes.is_zombie(pid)]

    def zombies(self) -> int:
        """Count its processes that have ended and that it has not taken note of."""
        return sum(map(processes.is_zombie, processes.session(self.pid)))

    def resident(self) -> int:
        """Count the bytes of memory of all its processes."""
        return sum(map(processes.resident, self.tree()))

    def descriptors(self) -> int:
        """Count the open descriptors of all its processes."""
        return sum(map(processes.descriptors, self.tree()))

    def load(self, seconds: float) -> float:
        """Watch it for so long, and say how many cores it kept busy."""
        tree, began = self.tree(), self._clock()
        before = sum(map(processes.worked, tree))
        self.pause(seconds)
        return (sum(map(processes.worked, tree)) - before) / (self._clock() - began)


@dataclass(slots=True)
class Target:
    """What a case is given: an address, the clock, chance, and the program behind the address where it may be seen."""

    port: int
    clock: Callable[[], float]
    seed: int
    host: str = LOOPBACK
    longer: bool = False
    started: Program | None = None

    @classmethod
    def of(cls, program: Program, *, clock: Callable[[], float], seed: int, longer: bool = False) -> Self:
        """Make a target of a program that listens."""
        return cls(program.port, clock, seed, longer=longer, started=program)

    @property
    def program(self) -> Program:
        """The server's processes."""
        if self.started is None:
            raise Skipped("needs the server's process: give its command instead of an address")
        return self.started

    def chance(self) -> Random:
        """Make the random source of this trial; the same seed makes the same one."""
        return Random(self.seed)  # noqa: S311 - it chooses what to do, and keeps no secret

    def restart(self, *, descriptors: int | None = None, silenced: bool = False) -> None:
        """End the server and start it again, on a port of its own choice."""
        self.program.kill()
        self.program.start(descriptors=descriptors, silenced=silenced)
        self.port = self.program.port

    def dial(
        self, *, host: str = "", timeout: float = 5.0, receive_buffer: int | None = None, source_port: int | None = None
    ) -> Client:
        """Connect a client."""
        return Client(
            host or self.host,
            self.port,
            clock=self.clock,
            timeout=timeout,
            receive_buffer=receive_buffer,
            source_port=source_port,
        )

    def served(self, within: float = END) -> float:
        """See that a new client is served, and say how many seconds that took."""
        began = self.clock()
        with self.dial(timeout=within) as client:
            client.ask(b"and now?\n", within, surplus=0)
            return self.clock() - began
