"""Split a stream into replies to probes and stray bytes. Pure: no I/O, no clock, no randomness.

`feed` accepts chunks of any size, and the result does not depend on how the stream was split. A reply is found by its
mark, so that missing, damaged or extra bytes do not hide the replies after them.
"""

import re
from collections.abc import Iterator

from halloo._core.probe import NUMBER_MODULUS

_MARK_SIZE = 12  # bytes, run number included
_MARK_START = b"h"  # occurs nowhere else in a probe


class ReplyParser:
    """The incomplete piece at the end of a stream: at most a probe and a mark."""

    def __init__(self, run: int, size: int) -> None:
        self._mark = _mark_pattern(b"%08x" % (run % NUMBER_MODULUS))
        self._size = size
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while self._buffer and (end := self._piece_end()):
            piece = bytes(self._buffer[:end])
            del self._buffer[:end]
            yield piece

    def finish(self) -> bytes:
        piece = bytes(self._buffer)
        self._buffer.clear()
        return piece

    def _piece_end(self) -> int | None:
        """Return where the first piece ends, None if more bytes are needed to tell.

        A piece is as long as a probe but stops before the next mark; without a mark it also stops after a newline.
        """
        buffer, end = self._buffer, self._size
        marked = self._mark.match(buffer)
        begin = int(marked is not None and len(marked[0]) == _MARK_SIZE)
        if not begin and (newline := buffer.find(b"\n", 0, end)) >= 0:
            end = newline + 1
        if buffer.find(_MARK_START, begin, end) >= 0:  # rare: a damaged or extra piece
            found = self._mark.search(buffer, begin, end + _MARK_SIZE - 1)
            if found and found.start() < end:
                return found.start() if len(found[0]) == _MARK_SIZE else None
        return end if len(buffer) >= end else None


def _mark_pattern(run: bytes) -> re.Pattern[bytes]:
    """Match a mark, or a prefix of one at the end of the buffer."""
    pattern = b""
    for byte in reversed([b"h", b"l", b"o", b"[.?!]", *(b"%c" % digit for digit in run)]):
        pattern = byte + (rb"(?:\Z|%b)" % pattern if pattern else b"")
    return re.compile(pattern)
