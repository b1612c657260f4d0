"""The server under test as a program: started for one case, and killed with all its child processes.

Uses processes and signals. The program is the leader of its own session, and all processes that it starts inherit a
variable in their environment, so that even daemons are found and killed.
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from random import SystemRandom
from typing import Literal

from halloo._check import processes
from halloo._check.case import Failed
from halloo._check.spec import LOOPBACK, ServerSpec

START_TIMEOUT = 15.0  # seconds until the program has to listen
PORT_TIMEOUT = 90.0  # seconds until a fixed port has to be free again: TIME-WAIT takes 60
SUSPEND_TIMEOUT = 2.0  # seconds until all processes are stopped
EXIT_TIMEOUT = 3.0  # seconds until no process listens, once the first has exited
POLL_INTERVAL = 0.02  # seconds between two polls
MAX_FILE_SIZE = 256 << 20  # bytes of a file written by the program
MIN_PORT, MAX_PORT = 10_001, 32_767  # odd ports below the ephemeral range: no self-connection can occur there
ENV_MARK = "HALLOO_CHECK"
NOT_STARTED = "unstarted"  # pattern of a failure to start listening
PIPE_SIZE = 4096  # capacity of an unread pipe in bytes: the minimum
Output = Literal["kept", "unread", "closed"]
_LIMIT_DESCRIPTORS = 'ulimit -n "$1" && shift && exec "$@"'
_CLOSE_OUTPUT = 'exec "$@" >&- 2>&-'
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # without IPv6
_random = SystemRandom()


class Program:
    """The processes of a server, from its start to the exit of the last one."""

    def __init__(self, spec: ServerSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._spec = spec
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._mark = secrets.token_hex(8)
        self._folder = tempfile.TemporaryDirectory(prefix="halloo-") if spec.scheme == "unix" else None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._final_output = ""
        self._stop_requested = False
        self.path = f"{self._folder.name}/echo" if self._folder else ""
        self.expired = ""  # why it was killed early
        self.host, self.port = LOOPBACK, 0

    @property
    def started(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        """The id of the started process."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise Failed("the server is not running", pattern="ended")
        return self._process

    def start(
        self, *, port: int = 0, descriptors: int | None = None, output: Output = "kept", wait_for_port: bool = True
    ) -> None:
        """Start the program and wait until it listens; `descriptors` limits its descriptors.

        `output` says whether its output is kept, written to a pipe that is not read, or closed. With `wait_for_port`,
        a program that fails to bind a fixed port in TIME-WAIT is started again when the port is free.
        """
        port = port or self._spec.port
        if self._spec.scheme != "unix":
            port = port or free_port(self._kind)
            if wait_for_port:
                self._await_free(port, reuse=True)
        words = self.argv(port)
        if descriptors:
            words = ["sh", "-c", _LIMIT_DESCRIPTORS, "sh", str(descriptors), *words]
        if output == "closed":
            words = ["sh", "-c", _CLOSE_OUTPUT, "sh", *words]
        self._launch(words, output)
        try:
            self._await_listening(port)
        except Failed:
            if not wait_for_port or self._spec.scheme == "unix" or is_free(self._kind, port):
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
                env=os.environ | {ENV_MARK: self._mark, "PYTHONUNBUFFERED": "1"},
                pipesize=PIPE_SIZE,
            )
        except OSError as error:
            raise Failed(f"{words[0]}: {error.strerror}", pattern=NOT_STARTED) from error
        with suppress(OSError, ValueError):
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (MAX_FILE_SIZE, MAX_FILE_SIZE))

    def argv(self, port: int) -> list[str]:
        return self._spec.argv(LOOPBACK, port, self.path)

    @property
    def _kind(self) -> str:
        return "udp" if self._spec.scheme == "udp" else "tcp"

    def _await_free(self, port: int, *, reuse: bool = False) -> None:
        deadline = self._clock() + PORT_TIMEOUT
        while not is_free(self._kind, port, reuse=reuse):
            if self._clock() >= deadline:
                raise Failed(f"port {port} is in use by another program", pattern=NOT_STARTED)
            time.sleep(POLL_INTERVAL)

    def _await_listening(self, port: int) -> None:
        """Wait for a listening socket in /proc: a test connection would be the only client that some servers accept."""
        deadline, elsewhere = self._clock() + START_TIMEOUT, set[int]()
        while self._clock() < deadline:
            code = self._running.poll()
            if self._spec.scheme == "unix":
                if processes.listens_at(self.path):
                    return
            else:
                found = processes.listening_ports(self.running_pids(), self._kind)
                if port in found or (found and not self._spec.has_placeholder and not self._spec.port):
                    self.port = port if port in found else min(found)
                    self.host = found[self.port]
                    return
                elsewhere = set(found)
            if code is not None and not self.running_pids():
                fact = f"the server exited with code {code} before it listened; {self._quote_output()}"
                raise Failed(fact, pattern=NOT_STARTED)
            time.sleep(POLL_INTERVAL)
        fact = f"the server did not listen within {START_TIMEOUT:g} s; {self._quote_output()}"
        if elsewhere:
            other = f"check it with: halloo check server --port {min(elsewhere)}"
            fact = f"the server listens on port {min(elsewhere)}, not on {port}; {other}"
        raise Failed(fact, pattern=NOT_STARTED)

    def output(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def _quote_output(self) -> str:
        output = self.output().strip()
        return f"its output: ...{output[-500:]!r}" if output else "it printed nothing"

    def close_output_reader(self) -> None:
        """Close the read end of its standard output pipe, so that the program's next write fails."""
        if self._running.stdout:
            self._running.stdout.close()

    # Waiting.

    def pause(self, seconds: float) -> None:
        """Wait; the server must not exit meanwhile, though its first process may if it leaves a background process."""
        deadline = self._clock() + seconds
        with suppress(subprocess.TimeoutExpired):
            code = self._running.wait(max(seconds, 0))
            if code or not self.running_pids():
                raise Failed(f"the server exited with code {code}; {self._quote_output()}", pattern="ended")
            time.sleep(max(deadline - self._clock(), 0))

    def wait_until(self, condition: Callable[[], bool], within: float) -> bool:
        """Wait until a condition holds; return whether it does."""
        deadline = self._clock() + within
        while not (done := condition()) and self._clock() < deadline:
            self.pause(POLL_INTERVAL)
        return done

    def wait_exit(self, within: float) -> tuple[int, float]:
        """Wait until the server has exited on request; return the exit code and the seconds that it took."""
        began = self._clock()
        try:
            code = self._running.wait(within)
        except subprocess.TimeoutExpired:
            raise Failed(f"the server did not exit within {within:g} s", pattern="open") from None
        elapsed = self._clock() - began
        while self.listening_pids():
            if self._clock() - began > elapsed + EXIT_TIMEOUT:
                raise Failed(
                    f"the server exited with code {code}, but {EXIT_TIMEOUT:g} s later others of its processes "
                    "still listen (in a script that starts the server, write exec before its command)",
                    pattern="open",
                )
            time.sleep(POLL_INTERVAL)
        self._final_output = self.output()
        self.kill()
        return code, elapsed

    @property
    def final_output(self) -> str:
        return self._final_output

    def check_alive(self, within: float) -> None:
        """Fail if the server exits with an error within so many seconds; case T35 is about exit code 0."""
        if self._process is not None and not self._stop_requested:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(within)
            if self._process.poll():
                self.pause(0)

    # Signals.

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the started process, as `kill` does; the server may exit from now on."""
        self._stop_requested = True
        self._running.send_signal(number)

    def send_signal_to_all(self, number: signal.Signals) -> None:
        """Send a signal to all its processes, as a terminal does; the server may exit from now on."""
        self._stop_requested = True
        self._signal_all(number)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Stop all its processes during the block, so that several events reach the server at once."""
        self._signal_all(signal.SIGSTOP)
        try:
            self.wait_until(lambda: all(map(processes.is_stopped, self.running_pids())), SUSPEND_TIMEOUT)
            yield
        finally:
            self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        signal_all(self.running_pids(), number)

    @staticmethod
    def kill_process(pid: int) -> None:
        """Kill one process, as the kernel does when it runs out of memory."""
        os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kill all its processes; does nothing if called again."""
        process, self._process = self._process, None
        if process is None:
            return
        kill_all(process, self._mark)
        if process.stdout:
            process.stdout.close()

    def expire(self, why: str) -> None:
        """Kill all its processes early; may be called from another thread."""
        self.expired = self.expired or why
        if process := self._process:
            signal_all(_marked(process.pid, self._mark), signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        self._output.close()
        if self._folder:
            self._folder.cleanup()

    # Resource usage.

    def running_pids(self) -> list[int]:
        return processes.running(processes.session(self.pid))

    def listening_pids(self) -> list[int]:
        """List its processes that listen on its port; with a path, all of them if one listens."""
        if self.path:
            return self.running_pids() if processes.listens_at(self.path) else []
        return [pid for pid in self.running_pids() if self.port in processes.listening_ports([pid], self._kind)]

    def zombies(self) -> int:
        """Count its child processes that have exited but have not been reaped; orphans are left to the system."""
        pids = processes.session(self.pid)
        return sum(processes.is_zombie(pid) and processes.parent(pid) in pids for pid in pids)

    def resident_memory(self) -> int:
        return sum(map(processes.resident_memory, self.running_pids()))

    def proportional_memory(self) -> int:
        """Return the memory of all its processes in bytes, shared pages counted once; this is slow."""
        return sum(map(processes.proportional_memory, self.running_pids()))

    def descriptors(self) -> int:
        return sum(map(processes.descriptors, self.running_pids()))

    def cpu_load(self, seconds: float, *, demand: bool = False) -> float:
        """Wait, and return the number of cores kept busy; with `demand`, as if the machine were otherwise idle."""
        count = processes.cpu_demand if demand else processes.cpu_time
        began, before = self._clock(), {pid: count(pid) for pid in self.running_pids()}
        self.pause(seconds)
        spent = sum(count(pid) - before.get(pid, 0) for pid in self.running_pids())  # some have been started meanwhile
        return spent / (self._clock() - began)


def kill_all(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill the processes of its session, and those with the mark in their environment, until none is left."""
    while alive := processes.running(_marked(process.pid, mark)):
        signal_all(alive, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_INTERVAL)
    process.wait()


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes, some of which may have ended."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _marked(leader: int, mark: str) -> set[int]:
    return {*processes.session(leader), *processes.with_environment(f"{ENV_MARK}={mark}")}


def with_detected_port(spec: ServerSpec) -> ServerSpec:
    """Detect the port of a program that takes none: start it twice, and see whether the port is the same."""
    if not spec.command or spec.has_placeholder or spec.port:
        return spec
    ports = set[int]()
    for _ in range(2):
        program = Program(spec)
        try:
            program.start()
            ports.add(program.port)
        except Failed:
            return spec  # the first case reports why
        finally:
            program.close()
    return spec if len(ports) > 1 else replace(spec, port=ports.pop())


def free_port(kind: str) -> int:
    """Find a port that is free for both IPv4 and IPv6."""
    while True:
        port = _random.randrange(MIN_PORT, MAX_PORT, 2)
        if is_free(kind, port):
            return port


def is_free(kind: str, port: int, *, reuse: bool = False) -> bool:
    """Whether a port can be bound, with `reuse` even if it has connections in TIME-WAIT (SO_REUSEADDR)."""
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
