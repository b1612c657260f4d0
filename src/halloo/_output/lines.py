"""Write lines to a standard stream without ever waiting for its reader: a terminal may be stopped, a pipe full.

A thread writes them (see `background`). poll(2) would not do: a terminal counts as writable with room for one byte. Nor
would O_NONBLOCK, which would hold for every process that shares the terminal.
"""

import os
import select
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Self, TextIO

from halloo._output.background import FLUSH, Background
from halloo._output.terminal import folded, width_of
from halloo.errors import one_line

MAX_LINE = 4096  # bytes, PIPE_BUF on Linux: the lines of several processes are not mixed up (pipe(7))
MAX_WAITING = 10_000  # lines
REPLACING = "\x1b[{}A\r\x1b[J"  # up so many lines, to the start, and erase what follows


def dropped_text(count: int) -> str:
    """Format how many lines were dropped."""
    return f"halloo: {count} lines dropped, because the output was not read"


class LineWriter:
    """Writes lines, in which control characters are escaped; errors of a closed output are ignored."""

    def __init__(
        self, output: int | TextIO | None, dropped: Callable[[int], str] = dropped_text, *, folding: bool = False
    ) -> None:
        """Write to a descriptor, or to a stream, and there to its descriptor if it has one.

        `dropped` makes the line that says how many were dropped. With `folding`, what is longer than a terminal is wide
        continues on further lines.
        """
        if output is not None and not isinstance(output, int):
            with suppress(OSError, ValueError):  # it is closed
                output.flush()  # what the program has printed before comes first
        self._background = Background(writer_of(output), dropped=dropped, max_waiting=MAX_WAITING)
        self._terminal = output if folding else None
        self._replaceable = 0  # lines

    def __call__(self, line: str) -> None:
        self._replaceable = 0
        self._background.add(self._folded(line))

    def replace(self, line: str) -> None:
        """Write a line to a terminal, over the previous one if that was written by `replace` as well."""
        text = self._folded(line)
        self._background.add((REPLACING.format(self._replaceable) if self._replaceable else "") + text)
        self._replaceable = text.count("\n") + 1

    def _folded(self, line: str) -> str:
        return folded(one_line(line), width_of(self._terminal))

    def flush(self) -> None:
        self._background.flush(FLUSH)

    def close(self) -> None:
        self._background.close(FLUSH)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def writer_of(output: int | TextIO | None) -> Callable[[str], None]:
    """Return what writes a line to an output at once, and may block."""
    if output is None:  # a program without a console
        return lambda _line: None
    if isinstance(output, int):
        return partial(_write, output)
    try:
        return partial(_write, output.fileno())
    except (OSError, ValueError):  # the stream is a program's own, such as io.StringIO, or closed
        return partial(_print, output)


def _print(stream: TextIO, line: str) -> None:
    with suppress(OSError, ValueError):
        print(line, file=stream, flush=True)


def _write(fd: int, line: str) -> None:
    data = f"{line}\n".encode(errors="backslashreplace")[-MAX_LINE:]
    with suppress(OSError):
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:  # another process has set O_NONBLOCK
                select.select([], [fd], [])
