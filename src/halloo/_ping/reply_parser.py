"""Split a stream into replies to probes and stray bytes. Pure: no I/O, no clock, no randomness.

Knows bytes. Knows no connection: `feed` takes what came, in pieces of any size, and cuts it the same however it was
split. An answer is found by its mark; what is missing, damaged or too much does not hide the answers after it.
"""

import re
from collections.abc import Iterator

from halloo._core.probe import NUMBERS

_MARK = 12  # bytes, with the run
_FIRST = b"h"  # of a mark, and nowhere else in a probe


class ReplyParser:
    """What came on one connection and is not a whole piece yet: never more than a probe and a mark."""

    def __init__(self, run: int, size: int) -> None:
        """Expect answers to the probes of a run, which are of `size` bytes."""
        self._mark = _beginning(b"%08x" % (run % NUMBERS))
        self._size = size
        self._came = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what came and give each piece that it completes."""
        self._came += data
        while self._came and (end := self._end()):
            piece = bytes(self._came[:end])
            del self._came[:end]
            yield piece

    def finish(self) -> bytes:
        """Give what has come of a piece that will not be whole any more."""
        piece = bytes(self._came)
        self._came.clear()
        return piece

    def _end(self) -> int | None:
        """Say where the first piece ends, None when that cannot be told yet.

        It is as long as a probe, but never goes on into the next mark; and one that begins with no mark is a line.
        """
        came, end = self._came, self._size
        marked = self._mark.match(came)
        begin = int(marked is not None and len(marked[0]) == _MARK)
        if not begin and (newline := came.find(b"\n", 0, end)) >= 0:
            end = newline + 1
        if came.find(_FIRST, begin, end) >= 0:  # nearly never
            found = self._mark.search(came, begin, end + _MARK - 1)
            if found and found.start() < end:
                return found.start() if len(found[0]) == _MARK else None
        return end if len(came) >= end else None


def _beginning(run: bytes) -> re.Pattern[bytes]:
    """Match a mark, or at the end of what has come the beginning of one."""
    pattern = b""
    for byte in reversed([b"h", b"l", b"o", b"[.?!]", *(b"%c" % digit for digit in run)]):
        pattern = byte + (rb"(?:\Z|%b)" % pattern if pattern else b"")
    return re.compile(pattern)
