"""The server under test as a program: started for one case, and killed with all its child processes.

Uses processes and signals.
"""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Literal

from halloo._check import processes
from halloo._check.case import Failed
from halloo._check.output import OutputPipe
from halloo._check.processes import NOT_STARTED, ProcessTree, describe_exit, signal_name
from halloo._check.program_errors import ProgramError, last_error, own_words
from halloo._check.sockets import POLL_INTERVAL, PORT_TIMEOUT, free_port, is_free
from halloo._check.spec import LOOPBACK, ServerSpec
from halloo._net.binding import port_owner

SUSPEND_TIMEOUT = 2.0  # seconds until all processes are stopped
SERVED_TIMEOUT = 5.0  # seconds until a port has to be free that another program serves
QUICK_START = 1.0  # seconds after which it is looked at less often, and whether another process serves its port
SLOW_POLL_INTERVAL = 0.1
EXIT_TIMEOUT = 3.0  # seconds until no process listens, once the first has exited
PIPE_SIZE = 4096  # capacity of an unread pipe in bytes: the minimum
Output = Literal["kept", "unread", "closed"]
_IN_USE = re.compile("EADDRINUSE|address already in use", re.IGNORECASE)  # as most systems and languages say it


class Program:
    """The processes of a server, from its start to the exit of the last one."""

    def __init__(self, spec: ServerSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._spec, self._clock = spec, clock
        self._kind = "udp" if spec.scheme == "udp" else "tcp"
        self.progress = 0  # how often its clients have sent or received anything
        self._tree: ProcessTree | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="halloo-") if spec.scheme == "unix" else None
        self._output = OutputPipe()
        self._copy: Program | None = None
        self._starting = False
        self._stop_requested = False
        self._unwritten = -1  # our end of its standard input
        self.final_output = ""  # until its exit
        self.path = f"{self._folder.name}/echo" if self._folder else ""
        self.expired = ""  # why it was killed early
        self.host, self.port = LOOPBACK, 0

    def note_progress(self) -> None:
        """Count that a client has sent or received something; may be called from any thread."""
        self.progress += 1

    @property
    def started(self) -> bool:
        return self._tree is not None

    @property
    def pid(self) -> int:
        return self._leader.pid

    @property
    def _leader(self) -> subprocess.Popen[bytes]:
        return self.tree.leader

    @property
    def in_background(self) -> bool:
        """Whether the started process has exited and left the server to others, as a daemon does."""
        return self._leader.poll() is not None

    @property
    def tree(self) -> ProcessTree:
        """All its processes. Raises Failed if it has been killed."""
        if self._tree is None:
            raise Failed("the server is not running", pattern="ended")
        return self._tree

    def start(
        self, *, port: int = 0, descriptors: int | None = None, output: Output = "kept", wait_for_port: bool = True
    ) -> None:
        """Start the program and wait until it listens; `descriptors` limits its descriptors.

        `output` says whether its output is kept, written to a pipe that is not read, or closed. With `wait_for_port`,
        a program that fails to bind a fixed port in TIME-WAIT is started again when the port is free.
        """
        port = port or self._spec.port or (0 if self.path else free_port(self._kind))
        launch = partial(self._launch, self.argv(port), output, f"ulimit -n {descriptors}" if descriptors else "")
        self._starting = True
        try:
            if wait_for_port and not self.path:
                self._await_free(port, reuse=True)
            launch()
            try:
                self._await_listening(port)
            except Failed:
                if not wait_for_port or self.path or self.tree.running() or not self._in_time_wait(port):
                    raise
                self.kill()
                self._await_free(port)
                launch()
                self._await_listening(port)
        finally:
            self._starting = False

    @property
    def starting(self) -> bool:
        """Whether it, or its copy, waits for its port, or is expected to listen: that is no part of a case's time."""
        return self._starting or (self._copy is not None and self._copy.starting)

    def run(self, argv: list[str], within: float) -> int | None:
        """Run the command of another program, whose port is taken, until it exits or listens; return its exit code."""
        self._launch(argv, "kept")
        deadline = self._clock() + within
        while self._clock() < deadline and not processes.listening_ports(self.tree.running(), self._kind):
            with suppress(subprocess.TimeoutExpired):
                return self._leader.wait(POLL_INTERVAL)
        return None

    def _launch(self, argv: list[str], output: Output, setup: str = "") -> None:
        self._output.clear()
        with self._standard_input() as stdin:
            self._tree = ProcessTree(
                argv,
                os.environ | {"PYTHONUNBUFFERED": "1"},
                setup=setup,
                redirection=">&- 2>&-" if output == "closed" else "",
                stdin=stdin,
                stdout=subprocess.PIPE if output == "unread" else self._output.writer,
                stderr=self._output.writer,
                bufsize=0,
                pipesize=PIPE_SIZE,
            )

    @contextmanager
    def _standard_input(self) -> Iterator[int]:
        """Open its standard input. Nothing is ever written to it, and it stays open at our end until it is killed.

        Many servers end on a line that is typed, or at the end of the input. A pipe serves them all; a terminal is for
        those that ask for one.
        """
        if self._spec.stdin == "none":
            yield subprocess.DEVNULL
            return
        stdin, self._unwritten = os.pipe() if self._spec.stdin == "pipe" else reversed(os.openpty())
        try:
            yield stdin
        finally:
            os.close(stdin)

    def argv(self, port: int) -> list[str]:
        return self._spec.argv(host=LOOPBACK, port=str(port), path=self.path)

    def _in_time_wait(self, port: int) -> bool:
        return not is_free(self._kind, port) and not processes.is_served(port, self._kind)

    def _await_free(self, port: int, *, reuse: bool = False) -> None:
        began = self._clock()
        while not is_free(self._kind, port, reuse=reuse):
            # A program that is just being ended releases a port that it serves at once; TIME-WAIT takes a minute.
            limit = SERVED_TIMEOUT if processes.is_served(port, self._kind) else PORT_TIMEOUT
            if self._clock() - began >= limit:
                owner = port_owner(port, datagrams=self._kind == "udp")
                by = f"{owner[0]} (pid {owner[1]})" if owner else "another program"
                raise Failed(f"port {port} is in use by {by}; stop it, or choose another port", pattern=NOT_STARTED)
            time.sleep(POLL_INTERVAL)

    def _await_listening(self, port: int) -> None:
        """Wait for a listening socket in /proc: a test connection would be the only client that some servers accept."""
        began, elsewhere = self._clock(), set[int]()
        while self._clock() < began + self._spec.start:
            if self.expired:
                raise Failed(self.expired, pattern=NOT_STARTED)
            code = self._leader.poll()
            if self.path:
                if processes.listens_at(self.path):
                    return
            else:
                found = processes.listening_ports(self.tree.running(), self._kind)
                if port in found or (found and not self._spec.has_placeholder and not self._spec.port):
                    self.port = port if port in found else min(found)
                    self.host = found[self.port]
                    return
                elsewhere = set(found)
                if not found and self._clock() - began >= QUICK_START and self._served_by_another(port):
                    raise self._start_by_hand(port)
            if code is not None and not self.tree.running():
                raise self._failure(f"the server {describe_exit(code)} before it listened", NOT_STARTED)
            time.sleep(POLL_INTERVAL if self._clock() - began < QUICK_START else SLOW_POLL_INTERVAL)
        if elsewhere:
            other = f"check it with: halloo check server --port {min(elsewhere)}"
            fact = f"the server listens on port {min(elsewhere)}, not on {port}; {other}"
            raise Failed(fact, pattern=NOT_STARTED)
        raise self._failure(f"the server did not listen within {self._spec.start:g} s", NOT_STARTED)

    def _served_by_another(self, port: int) -> bool:
        """Whether the port is served, and not by this program. It was free: only the program can have caused that."""
        served = processes.is_served(port, self._kind)
        return served and port not in processes.listening_ports(self.tree.running(), self._kind)

    def _start_by_hand(self, port: int) -> Failed:
        """Ask the program to end what it has started, as `docker run` does at SIGTERM, and say what to do instead."""
        self.tree.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._leader.wait(EXIT_TIMEOUT)
        scheme = "udp://" if self._kind == "udp" else ""
        return Failed(
            f"what listens on port {port} is no process of the command, as with docker run; start it yourself, and "
            f"check its address: halloo check server {scheme}localhost:PORT",
            pattern=NOT_STARTED,
        )

    def output(self) -> str:
        return self._output.text

    def error(self) -> ProgramError | None:
        """Find the error that it has printed last, also of a thread."""
        return last_error(self.output())

    def words(self) -> str:
        return own_words(self.output())

    def _failure(self, fact: str, pattern: str) -> Failed:
        """Return a failure with its own words, unless it was halloo that ended it."""
        if self.expired:
            return Failed(self.expired, pattern=pattern)
        words, error = self.words(), self.error()
        pattern = f"{pattern} {error.name}" if error else pattern
        pattern = f"{pattern} in-use" if _IN_USE.search(words) else pattern
        return Failed(fact if words else f"{fact}; it printed nothing", pattern=pattern, words=words)

    def _exited(self, code: int) -> Failed:
        way = signal_name(-code) if code < 0 else f"exit-{code}"
        return self._failure(f"the server {describe_exit(code)}", f"ended {way}")

    def close_output_reader(self) -> None:
        """Close the read end of its standard output pipe, so that the program's next write fails."""
        if self._leader.stdout:
            self._leader.stdout.close()

    # Waiting.

    def pause(self, seconds: float) -> None:
        """Wait; the server must not exit meanwhile, though its first process may if it leaves a background process."""
        deadline = self._clock() + seconds
        with suppress(subprocess.TimeoutExpired):
            code = self._leader.wait(max(seconds, 0))
            if code or not self.tree.running():
                raise self._exited(code)
            time.sleep(max(deadline - self._clock(), 0))

    def wait_until(self, condition: Callable[[], bool], within: float) -> bool:
        deadline = self._clock() + within
        while not (done := condition()) and self._clock() < deadline:
            self.pause(POLL_INTERVAL)
        return done

    def wait_exit(self, within: float) -> tuple[int, float]:
        """Wait until the server has exited on request; return the exit code and the seconds that it took."""
        began = self._clock()
        try:
            code = self._leader.wait(within)
        except subprocess.TimeoutExpired:
            raise Failed(f"the server did not exit within {within:g} s", pattern="open") from None
        if self.expired:
            raise Failed(self.expired, pattern="overdue")
        elapsed = self._clock() - began
        while self.listening_pids():
            if self._clock() - began > elapsed + EXIT_TIMEOUT:
                raise Failed(
                    f"the server {describe_exit(code)}, but {EXIT_TIMEOUT:g} s later others of its processes "
                    "still listen (in a script that starts the server, write exec before its command)",
                    pattern="open",
                )
            time.sleep(POLL_INTERVAL)
        self.final_output = self.output()
        self.kill()
        return code, elapsed

    def check_alive(self, within: float, *, orderly_too: bool = True) -> None:
        """Fail if the server exits with an error within so many seconds, or `orderly_too`, at all."""
        if self._tree is not None and not self._stop_requested:
            with suppress(subprocess.TimeoutExpired):
                self._leader.wait(within)
            code = self._leader.poll()
            if code or (code == 0 and orderly_too):
                self.pause(0)

    @contextmanager
    def copy(self) -> Iterator["Program"]:
        """Make a second program of the same command, for the block; it is started by the caller."""
        with closing(Program(self._spec, self._clock)) as other:
            self._copy = other
            try:
                yield other
            finally:
                self._copy = None

    @property
    def trees(self) -> list[ProcessTree]:
        """Its processes, and those of its copy, that have been started."""
        found = [self._tree, self._copy._tree if self._copy else None]  # noqa: SLF001 - of the same class
        return [tree for tree in found if tree]

    # Signals.

    def send_signal(self, number: signal.Signals, *, to_all: bool = False) -> None:
        """Send a signal to the started process, as `kill` does, or to all, as a terminal does; it may exit now.

        If the started process has left others in the background, they get the signal.
        """
        self._stop_requested = True
        if to_all or self.in_background:
            self.tree.signal(number)
        else:
            self._leader.send_signal(number)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Stop all its processes during the block, so that several events reach the server at once."""
        self.tree.signal(signal.SIGSTOP)
        try:
            self.wait_until(lambda: all(map(processes.is_stopped, self.tree.running())), SUSPEND_TIMEOUT)
            yield
        finally:
            self.tree.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill all its processes; does nothing if called again."""
        tree, self._tree = self._tree, None
        if tree:
            tree.kill()
            if tree.leader.stdout:
                tree.leader.stdout.close()
        if self._unwritten >= 0:
            os.close(self._unwritten)
            self._unwritten = -1

    def expire(self, why: str) -> None:
        """Kill all its processes early; may be called from another thread."""
        self.expired = self.expired or why
        for tree in self.trees:
            tree.kill_once()

    def close(self) -> None:
        self.kill()
        self._output.close()
        if self._folder:
            self._folder.cleanup()

    def listening_pids(self) -> list[int]:
        """List its processes that listen on its port; with a path, all of them if one listens."""
        if self.path:
            return self.tree.running() if processes.listens_at(self.path) else []
        return [pid for pid in self.tree.running() if self.port in processes.listening_ports([pid], self._kind)]

    def cpu_load(self, seconds: float, *, demand: bool = False) -> float:
        """Wait, and return the number of cores kept busy; with `demand`, as if the machine were otherwise idle."""
        count = processes.cpu_demand if demand else processes.cpu_time
        began, before = self._clock(), {pid: count(pid) for pid in self.tree.running()}
        self.pause(seconds)
        spent = sum(count(pid) - before.get(pid, 0) for pid in self.tree.running())  # some have been started meanwhile
        return spent / (self._clock() - began)


def with_detected_port(
    spec: ServerSpec, supervised: Callable[[Program], AbstractContextManager[None]] = lambda _: nullcontext()
) -> ServerSpec:
    """Detect the port of a program that takes none: start it twice, and see whether the port is the same.

    Raises Failed if it does not start.
    """
    if not spec.command or spec.has_placeholder or spec.port:
        return spec
    ports = set[int]()
    for _ in range(2):
        with closing(Program(spec)) as program, supervised(program):
            program.start()
            ports.add(program.port)
    return spec if len(ports) > 1 else replace(spec, port=ports.pop())
