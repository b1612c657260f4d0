"""The client under test as a program: its terminal or pipes, what it prints, and how it ends.

Knows processes, pseudo-terminals and signals. It is the leader of a session of its own, and everything that comes of it
carries a mark in its environment, so that nothing of it is left.
"""

import os
import resource
import secrets
import signal
import subprocess
import termios
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

from halloo._check import processes
from halloo._check.case import Failed
from halloo._check.client.loop import ScriptLoop
from halloo._check.server.program import ENV_MARK, MAX_FILE_SIZE
from halloo._check.spec import Shape

# A terminal belongs to the session whose leader, having none, opens it first: that is the shell here, then the program.
_IN_TERMINAL = ('exec "$@" <"$0" >"$0"', 'exec "$@" <"$0"')
SETTLED = 0.05  # seconds after the end of a program until what it has written last can be read
CHUNK = 1 << 20
MOST = 256 << 20  # bytes of output that are kept
END_OF_INPUT = b"\x04"  # Ctrl-D


class ClientProgram:
    """A client's processes, from the start to the last of them. Nothing here waits: the loop does."""

    def __init__(self, loop: ScriptLoop, words: Sequence[bytes], shape: Shape, *, deaf: bool = False) -> None:
        """Start it. `deaf` is a standard output that nobody reads any more, as in `| head`."""
        self.out, self.err = bytearray(), bytearray()
        self.code: int | None = None
        self.seconds = 0.0  # from its start to its end
        self.moved = self.began = loop.clock()
        self._loop = loop
        self._pending = bytearray()
        self._closing = False  # whether the pipe is to be closed when all of that has gone
        self._mark = secrets.token_hex(8)
        self._stdin = self._screen = -1
        self._readers: dict[int, bytearray] = {}
        try:
            self._process = self._launched(words, shape, deaf=deaf)
        except OSError as error:
            self._close_all()
            raise Failed(f"{words[0].decode()}: {error.strerror}", pattern="unstarted") from error
        with suppress(OSError, ValueError):
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (MAX_FILE_SIZE, MAX_FILE_SIZE))
        for fd in self._readers:
            os.set_blocking(fd, False)
            loop.watch(fd, partial(self._on_output, fd), read=True)

    # The start.

    def _launched(self, words: Sequence[bytes], shape: Shape, *, deaf: bool) -> subprocess.Popen[bytes]:
        errors, err = os.pipe()
        self._readers[errors] = self.err
        stdin, ours = subprocess.DEVNULL, [err]
        if deaf:
            unread, out = os.pipe()
            os.close(unread)
            ours.append(out)
        if shape == "typed":
            name = self._terminal()
            words = [b"sh", b"-c", _IN_TERMINAL[deaf].encode(), name, *words]
            out = out if deaf else subprocess.DEVNULL
        elif not deaf:
            output, out = os.pipe()
            self._readers[output] = self.out
            ours.append(out)
        if shape == "piped":
            stdin, self._stdin = os.pipe()
            os.set_blocking(self._stdin, False)
            ours.append(stdin)
        try:
            return subprocess.Popen(
                words,
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env=_environment() | {ENV_MARK: self._mark},
            )
        finally:
            for fd in ours:
                os.close(fd)

    def _terminal(self) -> bytes:
        """Open a terminal that neither repeats what is typed nor changes what is printed; give its name."""
        self._stdin, self._screen = os.openpty()
        mode = termios.tcgetattr(self._screen)
        mode[1] &= ~termios.OPOST
        mode[3] &= ~termios.ECHO
        termios.tcsetattr(self._screen, termios.TCSANOW, mode)
        termios.tcsetwinsize(self._screen, (24, 80))
        self._readers[self._stdin] = self.out
        return os.ttyname(self._screen).encode()

    # What it prints and reads.

    def _on_output(self, fd: int, _: int) -> None:
        self._read(fd)

    def _read(self, fd: int) -> None:
        kept = self._readers[fd]
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if not data:
            self._loop.forget(fd)
            return
        self.moved = self._loop.clock()
        if len(kept) + len(data) > MOST:
            raise Failed(f"it printed more than {MOST >> 20} MiB", pattern="flood")
        kept += data

    def read_now(self) -> None:
        """Take what it has printed up to now."""
        for fd in self._readers:
            before = -1
            while before != len(self._readers[fd]):
                before = len(self._readers[fd])
                self._read(fd)

    def type(self, data: bytes, *, last: bool = False) -> None:
        """Give it input; `last` ends it, on a terminal with Ctrl-D."""
        if self._stdin < 0 or self._closing:
            return
        terminal = self._screen >= 0
        self._pending += data + (END_OF_INPUT if last and terminal else b"")
        self._closing = last and not terminal
        self._write()

    def _write(self, _: int = 0) -> None:
        try:
            while self._pending:
                del self._pending[: os.write(self._stdin, self._pending[:CHUNK])]
                self.moved = self._loop.clock()
        except BlockingIOError:
            pass
        except OSError:  # it reads no more
            self._pending.clear()
        terminal = self._screen >= 0
        if self._closing and not self._pending:
            self._loop.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
        elif terminal:
            self._loop.watch(self._stdin, self._on_terminal, read=True, write=bool(self._pending))
        else:
            self._loop.watch(self._stdin, self._write, write=bool(self._pending))

    def _on_terminal(self, _: int) -> None:
        self._read(self._stdin)
        if self._pending:
            self._write()

    @property
    def unread(self) -> int:
        """Count the bytes of its input that it has not taken."""
        return len(self._pending)

    # Its end.

    @property
    def ended(self) -> bool:
        """Whether it has ended, and all that it printed is here."""
        if self.code is None and (code := self._process.poll()) is not None:
            self.code = code
            self.moved = self._loop.clock()
            self.seconds = self.moved - self.began
        return self.code is not None and self._loop.clock() - self.moved >= SETTLED

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to every process of it, as a terminal does."""
        for pid in self._tree():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def resident(self) -> int:
        """Count the bytes of memory of all its processes."""
        return sum(map(processes.resident_memory, self._tree()))

    def _tree(self) -> Iterator[int]:
        found = processes.session(self._process.pid)
        return (pid for pid in found if not processes.is_zombie(pid))

    def close(self) -> None:
        """End every process of it, at once."""
        everybody = {*self._tree(), *processes.with_environment(f"{ENV_MARK}={self._mark}")}
        while alive := [pid for pid in everybody if not processes.is_zombie(pid)]:
            for pid in alive:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(SETTLED)
            everybody = {*self._tree(), *processes.with_environment(f"{ENV_MARK}={self._mark}")}
        self._process.wait()
        self._close_all()

    def _close_all(self) -> None:
        for fd in {*self._readers, self._stdin, self._screen} - {-1}:
            self._loop.forget(fd)
            os.close(fd)
        self._readers, self._stdin, self._screen = {}, -1, -1


def _environment() -> dict[str, str]:
    """Give it ours, with text in UTF-8 as any terminal has it today, and prints that can be seen at once."""
    locale = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "C")
    utf8 = {} if "utf" in locale.lower() else {"LC_ALL": "C.UTF-8"}
    return {**os.environ, **utf8, "PYTHONUNBUFFERED": "1", "TERM": "dumb"}
