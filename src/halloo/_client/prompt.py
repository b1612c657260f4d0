"""Read lines at a prompt, as bytes: from a terminal, or from `input()` in a notebook or an IDE.

Uses standard input, and the stream on which the prompt is shown.
"""

import os
import sys
from contextlib import suppress

from halloo._client.streams import report_cut
from halloo._net.connection import CHUNK
from halloo._net.readiness import wait

PROMPT = "Send:"
PASTE_PAUSE, PASTE_PAUSES = 0.05, 20  # seconds without input that end a paste, and how often to wait for them


class TerminalLines:
    """The lines of a terminal, which echoes them and lets its user correct them (termios(3), canonical mode)."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._unread = b""
        self._ended = False
        self._screen = sys.stdout if sys.stdout.isatty() else sys.stderr  # piped output contains only the replies
        self._prompted = False  # whether the cursor is behind a prompt

    def show_prompt(self) -> None:
        if not self._prompted:
            print(PROMPT, end="", file=self._screen, flush=True)
            self._prompted = True

    def leave_prompt(self) -> None:
        if self._prompted:
            self.new_line()

    def new_line(self) -> None:
        print(file=self._screen, flush=True)
        self._prompted = False

    def ready(self, fd: int, timeout: float | None) -> bool:
        """Wait for a line or the end of input, or else for another descriptor; return whether a `read` has its result.

        Ctrl-D amid a line passes on its beginning, which is not a line yet.
        """
        seconds = float("inf") if timeout is None else timeout
        if not self._complete and self._fd in wait([self._fd, fd], [], seconds):
            chunk = os.read(self._fd, CHUNK)
            self._unread += chunk
            self._ended = not chunk
        return self._complete

    @property
    def _complete(self) -> bool:
        return self._ended or b"\n" in self._unread

    def read(self) -> bytes:
        """Return the next line without its newline; nothing for a blank one and at the end of input."""
        line, newline, self._unread = self._unread.partition(b"\n")
        self._prompted = not newline  # which the terminal has echoed
        report_cut(line)
        return line

    def close(self) -> None:
        """Discard the rest of a paste, which a shell would run as commands. After the end of input there is none."""
        self.leave_prompt()
        if self._ended:
            return
        import termios  # noqa: PLC0415 - not on Windows

        with suppress(OSError, termios.error):  # the terminal has gone
            if os.tcgetpgrp(self._fd) != os.getpgrp():
                return  # in the background, where it would stop this process
            for _ in range(PASTE_PAUSES):
                termios.tcflush(self._fd, termios.TCIFLUSH)
                if not wait([self._fd], [], PASTE_PAUSE):
                    break
            termios.tcflush(self._fd, termios.TCIFLUSH)  # a line without its newline wakes no wait


class InputLines:
    """The lines that `input()` returns, where no terminal can be waited for; what arrives meanwhile has to wait."""

    def __init__(self) -> None:
        self._encoding = getattr(sys.stdin, "encoding", None) or "utf-8"
        if hasattr(sys.stdin, "reconfigure"):
            with suppress(OSError):  # something was read before
                sys.stdin.reconfigure(errors="surrogateescape")  # any byte can be read, and is encoded again unchanged
        piped = sys.stdin.isatty() and not sys.stdout.isatty()  # piped output contains only the replies
        self._screen = sys.stderr if piped else sys.stdout

    def show_prompt(self) -> None:
        """Leave it to `input()`."""

    def leave_prompt(self) -> None:
        """Do nothing: there is no prompt while anything else is printed."""

    def new_line(self) -> None:
        print(file=self._screen, flush=True)

    def ready(self, _fd: int, _timeout: float | None) -> bool:
        return True

    def read(self) -> bytes:
        """As for TerminalLines, but wait for the line."""
        if self._screen is sys.stderr:
            print(PROMPT, end="", file=sys.stderr, flush=True)
        try:
            line = input(PROMPT if self._screen is sys.stdout else "")
        except EOFError:
            self.new_line()
            return b""
        return line.encode(self._encoding, "surrogateescape")

    def close(self) -> None:
        """Do nothing: there is nothing to discard."""


Lines = TerminalLines | InputLines


def typed_lines() -> Lines:
    """Read from the terminal where standard input is one, on a system that can wait for it; else from `input()`."""
    with suppress(AttributeError, OSError, ValueError):  # not a file: a notebook or an IDE
        if os.name == "posix" and os.isatty(fd := sys.stdin.fileno()):
            return TerminalLines(fd)
    return InputLines()
