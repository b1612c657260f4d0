"""The client under test as a process: its terminal or pipes, its output and its exit.

Uses processes, pseudo-terminals and signals. No method blocks: the loop waits.
"""

import os
import subprocess
import termios
from collections.abc import Sequence
from functools import partial

from halloo._check.case import Failed
from halloo._check.client.loop import ScriptLoop
from halloo._check.processes import ProcessTree
from halloo._check.spec import Shape

# A session leader without a controlling terminal gets the first terminal that it opens, as the shell does here.
_IN_TERMINAL = ("<{0} >{0}", "<{0}")
OUTPUT_DRAIN_TIME = 0.05  # seconds after the exit until the last output is readable
CHUNK = 1 << 20
MAX_OUTPUT = 16 << 20  # bytes that a client may print for a short message
END_OF_INPUT = b"\x04"  # Ctrl-D


class ClientProgram:
    """The client's processes, from start to exit."""

    def __init__(self, loop: ScriptLoop, argv: Sequence[str], shape: Shape, *, stdout_closed: bool = False) -> None:
        """Start the program; with `stdout_closed` nothing reads its standard output, as in `| head`."""
        self.out, self.err = bytearray(), bytearray()
        self.max_output = MAX_OUTPUT
        self.exit_code: int | None = None
        self.duration = 0.0  # from start to exit
        self.last_progress = self.started_at = loop.clock()
        self._loop = loop
        self._unwritten = bytearray()
        self._close_when_written = False  # close the pipe once all is written
        self._stdin = self._tty = -1
        self._readers: dict[int, bytearray] = {}
        try:
            self.tree = self._launch(argv, shape, stdout_closed=stdout_closed)
        except Failed:
            self._close_descriptors()
            raise
        for fd in self._readers:
            os.set_blocking(fd, False)
            loop.watch(fd, partial(self._on_output, fd), read=True)

    def _launch(self, argv: Sequence[str], shape: Shape, *, stdout_closed: bool) -> ProcessTree:
        err = self._output_pipe(self.err)
        stdin, child_fds, redirection = subprocess.DEVNULL, [err], ""
        if stdout_closed:
            unread, out = os.pipe()
            os.close(unread)
            child_fds.append(out)
        if shape == "typed":
            redirection = _IN_TERMINAL[stdout_closed].format(self._open_terminal())
            out = out if stdout_closed else subprocess.DEVNULL
        elif not stdout_closed:
            out = self._output_pipe(self.out)
            child_fds.append(out)
        if shape == "piped":
            stdin, self._stdin = os.pipe()
            os.set_blocking(self._stdin, False)
            child_fds.append(stdin)
        try:
            return ProcessTree(argv, _environment(), redirection=redirection, stdin=stdin, stdout=out, stderr=err)
        finally:
            for fd in child_fds:
                os.close(fd)

    def _output_pipe(self, buffer: bytearray) -> int:
        reader, writer = os.pipe()
        self._readers[reader] = buffer
        return writer

    def _open_terminal(self) -> str:
        """Open a terminal without echo and output processing; return its name."""
        self._stdin, self._tty = os.openpty()
        mode = termios.tcgetattr(self._tty)
        mode[1] &= ~termios.OPOST
        mode[3] &= ~termios.ECHO
        termios.tcsetattr(self._tty, termios.TCSANOW, mode)
        termios.tcsetwinsize(self._tty, (24, 80))
        self._readers[self._stdin] = self.out
        return os.ttyname(self._tty)

    def _on_output(self, fd: int, _: int) -> None:
        self._read(fd)

    def _read(self, fd: int) -> None:
        buffer = self._readers[fd]
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: no process has the terminal open any more
            data = b""
        if not data:
            self._loop.unwatch(fd)
            return
        self.last_progress = self._loop.clock()
        if len(buffer) + len(data) > self.max_output:
            raise Failed(f"it printed more than {self.max_output >> 20} MiB", pattern="flood")
        buffer += data

    def drain_output(self) -> None:
        for fd, buffer in self._readers.items():
            before = -1
            while before != len(buffer):
                before = len(buffer)
                self._read(fd)

    def send_input(self, data: bytes, *, eof: bool = False) -> None:
        """Write to standard input; `eof` ends it afterwards, on a terminal with Ctrl-D."""
        if self._stdin < 0 or self._close_when_written:
            return
        terminal = self._tty >= 0
        self._unwritten += data + (END_OF_INPUT if eof and terminal else b"")
        self._close_when_written = eof and not terminal
        self._write()

    def _write(self, _: int = 0) -> None:
        try:
            while self._unwritten:
                del self._unwritten[: os.write(self._stdin, self._unwritten[:CHUNK])]
                self.last_progress = self._loop.clock()
        except BlockingIOError:
            pass
        except OSError:  # the program has closed its input
            self._unwritten.clear()
        if self._close_when_written and not self._unwritten:
            self._loop.unwatch(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
        else:
            terminal = self._tty >= 0
            ready = self._on_terminal if terminal else self._write
            self._loop.watch(self._stdin, ready, read=terminal, write=bool(self._unwritten))

    def _on_terminal(self, _: int) -> None:
        self._read(self._stdin)
        if self._unwritten:
            self._write()

    @property
    def ended(self) -> bool:
        if self.exit_code is None and (code := self.tree.leader.poll()) is not None:
            self.exit_code = code
            self.last_progress = self._loop.clock()
            self.duration = self.last_progress - self.started_at
        return self.exit_code is not None and self._loop.clock() - self.last_progress >= OUTPUT_DRAIN_TIME

    def close(self) -> None:
        self.tree.kill()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for fd in {*self._readers, self._stdin, self._tty} - {-1}:
            self._loop.unwatch(fd)
            os.close(fd)
        self._readers, self._stdin, self._tty = {}, -1, -1


def _environment() -> dict[str, str]:
    """Return our environment with a UTF-8 locale and unbuffered Python output."""
    locale = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "C")
    utf8 = {} if "utf" in locale.lower() else {"LC_ALL": "C.UTF-8"}
    return {**os.environ, **utf8, "PYTHONUNBUFFERED": "1", "TERM": "dumb"}
