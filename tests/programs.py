"""Run programs as a person would: to the end, in the background, or in a terminal.

Uses processes, pipes and pseudo-terminals, and does not depend on halloo: every program is a list of arguments.
"""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Self

import psutil
import pytest

PYTHON = sys.executable
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

# Makes the terminal on standard input the controlling one, so that ^C typed there is a signal, and becomes the program.
# A program does it, not `preexec_fn`: that must not run while the test has threads.
_IN_TERMINAL = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"

# Gives the program a socket as descriptor 3, as systemd does (sd_listen_fds(3)); then becomes the program.
_ACTIVATED = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3)\n"
    "os.environ |= {'LISTEN_FDS': sys.argv[2], 'LISTEN_PID': str(os.getpid())}\n"
    "os.execvp(sys.argv[3], sys.argv[3:])\n"
)


def run(
    *argv: str | Path,
    input: bytes = b"",  # noqa: A002 - the name that `subprocess.run` gives it
    timeout: float = 50,  # less than pytest-timeout allows a test, however busy the machine is
) -> subprocess.CompletedProcess[bytes]:
    """Run the program to its end."""
    return subprocess.run(argv, input=input, capture_output=True, timeout=timeout, check=False)


def activated_argv(sock: socket.socket, *argv: str, count: str = "1") -> tuple[str, ...]:
    """Return the arguments that start a program with an inherited socket; `count` is the value of LISTEN_FDS."""
    return (PYTHON, "-c", _ACTIVATED, str(sock.fileno()), count, *argv)


@contextmanager
def started(*argv: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the program with unbuffered pipes, and end it with the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
        try:
            yield process
        finally:
            _end(process)


def listening_port(process: subprocess.Popen[bytes], kind: Literal["tcp", "udp"] = "tcp", timeout: float = 10) -> int:
    """Wait until the process or a child of it listens on a port, without connecting to it."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for port in _listening_ports(process.pid, kind):
            return port
        try:
            code = process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        said = process.stderr.read().decode(errors="replace") if process.stderr else ""
        raise ChildProcessError(f"{process.args!r} ended with {code} before it listened: {said}")
    raise TimeoutError(f"{process.args!r} did not listen on a {kind} port within {timeout} seconds")


def _listening_ports(pid: int, kind: Literal["tcp", "udp"]) -> Iterator[int]:
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            for connection in process.net_connections(kind):
                if (kind == "udp" or connection.status == psutil.CONN_LISTEN) and connection.laddr:
                    yield connection.laddr.port


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Terminal:
    """A program in its own pseudo-terminal. Skips the test where there are none."""

    def __init__(self, *argv: str | Path) -> None:
        if not hasattr(os, "openpty"):
            pytest.skip("needs a pseudo-terminal")
        self._keyboard, screen = os.openpty()
        self._unread = b""
        try:
            self.process = subprocess.Popen(
                [PYTHON, "-IS", "-c", _IN_TERMINAL, *argv], stdin=screen, stdout=screen, stderr=screen
            )
        except OSError:
            os.close(self._keyboard)
            raise
        finally:
            os.close(screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self.process)
        os.close(self._keyboard)

    def type(self, text: str | bytes) -> None:
        """Type the text; a line is read by the program after its newline."""
        os.write(self._keyboard, text.encode() if isinstance(text, str) else text)

    def interrupt(self) -> None:
        """Type Ctrl-C once the program waits; the terminal discards output that was not read yet."""
        self.wait_until_idle()
        self.type("\x03")

    def wait_until_idle(self) -> None:
        """Wait until the program waits: right before it does, a Python program may see no signal until the next key."""
        deadline = time.monotonic() + 5
        with suppress(psutil.NoSuchProcess):
            program = psutil.Process(self.process.pid)
            while program.status() == psutil.STATUS_RUNNING and time.monotonic() < deadline:
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(timeout=0.001)

    def read_until(self, expected: bytes, timeout: float = 10) -> bytes:
        """Read the screen up to and including the expected text; what follows is left for the next call."""
        deadline = time.monotonic() + timeout
        while expected not in self._unread:
            if not self._read(deadline):
                raise AssertionError(f"{expected!r} did not appear, but {self._unread!r}")
        before, found, self._unread = self._unread.partition(expected)
        return before + found

    def read_to_end(self, timeout: float = 10) -> bytes:
        """Read the remaining output, until the program ends."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        rest, self._unread = self._unread, b""
        return rest

    def wait(self, timeout: float = 10) -> int:
        """Wait for the end of the program; return its exit code."""
        return self.process.wait(timeout=timeout)

    def _read(self, deadline: float) -> bool:
        """Read the available output; False after the end of the program."""
        readable, _, _ = select.select([self._keyboard], [], [], max(0, deadline - time.monotonic()))
        if not readable:
            raise TimeoutError(f"no more output after {self._unread!r}")
        try:
            chunk = os.read(self._keyboard, 65536)
        except OSError:  # EIO: how Linux says that no program has the terminal open any more
            chunk = b""
        self._unread += chunk
        return bool(chunk)
