r"""Split a stream into messages: lines, chunks or length-prefixed. Pure: no I/O, no clock, no randomness.

Knows bytes. Knows no connection: `feed` takes what came, in pieces of any size, and gives the frames that are whole.

A frame is a message with what marks its end, as it stood on the wire; `body` takes the mark off, `like` puts the same
mark on an answer. Lines keep their own ending, so a client that ends lines with "\r\n" gets "\r\n" back.

    lines    h e l l o \r \n           the last line may lack an ending
    length   00 00 00 05 h e l l o     four bytes, network byte order
    raw      whatever one read brought
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from halloo.errors import IncompleteRead, MessageTooLong

LONGEST = 1 << 20  # bytes of one message; without a limit one client could ask for all the memory there is
_PREFIX = 4


class Framer(Protocol):
    """What the three ways have in common. One object serves one direction of one connection."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what came and give each frame that it completes. Raises MessageTooLong."""

    def finish(self) -> Iterator[bytes]:
        """Give what the end of the stream completes. Raises IncompleteRead when it cuts a message in two."""

    def body(self, frame: bytes) -> bytes:
        """Take the mark off."""

    def like(self, frame: bytes, answer: bytes) -> bytes:
        """Put the mark of `frame` on an answer."""


class RawFramer:
    """Every read is a message: for protocols that need none."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give the data as it came."""
        if data:
            yield data

    def finish(self) -> Iterator[bytes]:
        """Give nothing: nothing is ever kept."""
        yield from ()

    def body(self, frame: bytes) -> bytes:
        """Give all of it."""
        return frame

    def like(self, frame: bytes, answer: bytes) -> bytes:  # noqa: ARG002 - the shape is Framing's
        """Give the answer as it is."""
        return answer


class LineFramer:
    r"""A message ends with "\n" or "\r\n"."""

    def __init__(self, longest: int = LONGEST) -> None:
        """Start empty; a line longer than `longest` bytes is an error."""
        self._longest = longest
        self._rest: list[bytes] = []
        self._kept = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give each line that is whole, with its ending."""
        start = 0
        while end := data.find(b"\n", start) + 1:
            yield self._whole(data[start:end])
            start = end
        if start < len(data):
            self._keep(data[start:])

    def finish(self) -> Iterator[bytes]:
        """Give the last line, when it lacks an ending."""
        if self._kept:
            yield self._whole(b"")

    def body(self, frame: bytes) -> bytes:
        """Take the ending off."""
        return frame[: len(frame) - len(self._ending(frame))]

    def like(self, frame: bytes, answer: bytes) -> bytes:
        """End the answer as the line was ended."""
        return answer + self._ending(frame)

    def _ending(self, frame: bytes) -> bytes:
        if frame.endswith(b"\r\n"):
            return b"\r\n"
        return b"\n" if frame.endswith(b"\n") else b""

    def _keep(self, piece: bytes) -> None:
        self._kept += len(piece)
        if self._kept > self._longest:
            raise MessageTooLong(f"a line is longer than {self._longest} bytes", "end each line with a newline")
        self._rest.append(piece)

    def _whole(self, last: bytes) -> bytes:
        self._keep(last)
        line = b"".join(self._rest)
        self._rest.clear()
        self._kept = 0
        return line


class LengthFramer:
    """Four bytes in network byte order say how long the message is that follows."""

    def __init__(self, longest: int = LONGEST) -> None:
        """Start empty; a message that announces more than `longest` bytes is an error."""
        self._longest = longest
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give each message that is whole, with its length before it."""
        self._rest += data
        while len(self._rest) >= _PREFIX:
            length = int.from_bytes(self._rest[:_PREFIX])
            if length > self._longest:
                remedy = f"the first four bytes say the length, at most {self._longest}"
                raise MessageTooLong(f"a message announces {length} bytes", remedy)
            end = _PREFIX + length
            if len(self._rest) < end:
                return
            frame = bytes(self._rest[:end])
            del self._rest[:end]
            yield frame

    def finish(self) -> Iterator[bytes]:
        """Give nothing; a message begun and not ended is an error."""
        if self._rest:
            error = IncompleteRead(f"the stream ended {len(self._rest)} bytes into a message")
            error.partial = bytes(self._rest)
            raise error
        yield from ()

    def body(self, frame: bytes) -> bytes:
        """Take the length off."""
        return frame[_PREFIX:]

    def like(self, frame: bytes, answer: bytes) -> bytes:  # noqa: ARG002 - the shape is Framing's
        """Put the answer's own length before it."""
        return len(answer).to_bytes(_PREFIX) + answer


FRAMERS: dict[str, Callable[[], Framer]] = {"lines": LineFramer, "raw": RawFramer, "length": LengthFramer}


def split_lines(chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """Give each line with its newline, as soon as it is whole; one that is longer than `longest` bytes in pieces."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield from _pieces(line + b"\n", longest)
        while len(rest) >= longest:
            yield rest[:longest]
            rest = rest[longest:]
    if rest:
        yield rest


def split_chunks(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Give so many bytes each time; the last piece may be shorter."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        whole = len(rest) - len(rest) % size
        yield from _pieces(rest[:whole], size)
        rest = rest[whole:]
    if rest:
        yield rest


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
