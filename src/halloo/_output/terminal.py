"""Write lines without ever waiting for who reads them: a line that does not fit is dropped and counted.

Knows descriptors. A pipe that says it is writable takes PIPE_BUF bytes (poll(2), pipe(7)), and no line is longer.
"""

import os
import select
from contextlib import suppress

LONGEST = 4096  # bytes, PIPE_BUF on Linux


class LineWriter:
    """A descriptor to write lines to; closed or full, it never harms the writer."""

    def __init__(self, fd: int) -> None:
        """Write to a descriptor that stays the caller's."""
        self._fd = fd
        self._replaceable = False
        self.dropped = 0

    def __call__(self, line: str) -> None:
        """Write a line, or drop it."""
        self._replaceable = False
        with suppress(OSError):
            if self._writable():
                os.write(self._fd, f"{line}\n".encode(errors="backslashreplace")[-LONGEST:])
                return
        self.dropped += 1

    def replace(self, line: str) -> None:
        """Write a line in the place of the one before, if that was written so too; for a terminal."""
        self(f"\x1b[A\r\x1b[K{line}" if self._replaceable else line)
        self._replaceable = True

    def _writable(self) -> bool:
        if not hasattr(select, "poll"):
            return True  # Windows tells this of sockets only
        poller = select.poll()
        poller.register(self._fd, select.POLLOUT)
        return bool(poller.poll(0))
