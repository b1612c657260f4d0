"""Write lines without blocking: a line that does not fit is dropped and counted.

A pipe that poll(2) reports as writable takes PIPE_BUF bytes (pipe(7)), and no line is longer.
"""

import os
import select
from contextlib import suppress

MAX_LINE = 4096  # bytes, PIPE_BUF on Linux


class LineWriter:
    """Writes lines to a descriptor; errors of a closed or full one are ignored."""

    def __init__(self, fd: int) -> None:
        """Write to `fd`, which the caller closes."""
        self._fd = fd
        self._replaceable = False
        self.dropped = 0

    def __call__(self, line: str) -> None:
        """Write a line, or drop it."""
        self._replaceable = False
        with suppress(OSError):
            if self._writable():
                os.write(self._fd, f"{line}\n".encode(errors="backslashreplace")[-MAX_LINE:])
                return
        self.dropped += 1

    def replace(self, line: str) -> None:
        """Write a line to a terminal, over the previous one if that was written by `replace` as well."""
        self(f"\x1b[A\r\x1b[K{line}" if self._replaceable else line)
        self._replaceable = True

    def _writable(self) -> bool:
        if not hasattr(select, "poll"):
            return True  # Windows polls sockets only
        poller = select.poll()
        poller.register(self._fd, select.POLLOUT)
        return bool(poller.poll(0))
