r"""Split a stream into messages: lines, chunks or length-prefixed. Pure: no I/O, no clock, no randomness.

`feed` takes received bytes in chunks of any size and yields the frames that are complete.

A frame is a message with its delimiter, as on the wire. `body` removes the delimiter, `frame_reply` adds the same one
to a reply. Lines keep their own ending, so a client that ends lines with "\r\n" gets "\r\n" back.

    lines    h e l l o \r \n           the last line may lack an ending
    length   00 00 00 05 h e l l o     four bytes, network byte order
    raw      the result of one read
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol

from halloo.errors import IncompleteRead, MessageTooLong

MAX_MESSAGE = 1 << 20  # bytes of one message, so that one client cannot use up all memory
_PREFIX_SIZE = 4


class Framer(Protocol):
    """The interface of a framing. One object serves one direction of one connection."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each frame that the data completes. Raises MessageTooLong."""

    def feed_eof(self) -> Iterator[bytes]:
        """Yield the frame that the end of the stream completes. Raises IncompleteRead if it is amid a message."""

    def body(self, frame: bytes) -> bytes:
        """Remove the delimiter."""

    def frame_reply(self, frame: bytes, answer: bytes) -> bytes:
        """Give `answer` the delimiter of `frame`."""


class RawFramer:
    """Each read is a message, for protocols without framing."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if data:
            yield data

    def feed_eof(self) -> Iterator[bytes]:
        yield from ()

    def body(self, frame: bytes) -> bytes:
        return frame

    def frame_reply(self, frame: bytes, answer: bytes) -> bytes:  # noqa: ARG002 - the shape is Framing's
        return answer


class LineFramer:
    r"""A message ends with "\n" or "\r\n"."""

    def __init__(self, max_size: int = MAX_MESSAGE) -> None:
        self._max_size = max_size
        self._rest = bytearray()  # not a list: pieces of two bytes would cost twenty times as much

    def feed(self, data: bytes) -> Iterator[bytes]:
        start = 0
        while end := data.find(b"\n", start) + 1:
            line = data[start:end]
            yield line if not self._rest and len(line) <= self._max_size else self._complete(line)
            start = end
        if start < len(data):
            self._keep(data[start:])

    def feed_eof(self) -> Iterator[bytes]:
        if self._rest:
            yield self._complete(b"")

    def body(self, frame: bytes) -> bytes:
        return frame[: len(frame) - len(self._ending(frame))]

    def frame_reply(self, frame: bytes, answer: bytes) -> bytes:
        return answer + self._ending(frame)

    def _ending(self, frame: bytes) -> bytes:
        if frame.endswith(b"\r\n"):
            return b"\r\n"
        return b"\n" if frame.endswith(b"\n") else b""

    def _keep(self, piece: bytes) -> None:
        if len(self._rest) + len(piece) > self._max_size:
            raise MessageTooLong(f"a line is longer than {self._max_size} bytes", "end each line with a newline")
        self._rest += piece

    def _complete(self, last: bytes) -> bytes:
        self._keep(last)
        line = bytes(self._rest)
        self._rest.clear()
        return line


class LengthFramer:
    """A message follows its length, four bytes in network byte order."""

    def __init__(self, max_size: int = MAX_MESSAGE) -> None:
        self._max_size = max_size
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while len(self._rest) >= _PREFIX_SIZE:
            length = int.from_bytes(self._rest[:_PREFIX_SIZE])
            if length > self._max_size:
                remedy = f"the first four bytes say the length, at most {self._max_size}"
                raise MessageTooLong(f"a message announces {length} bytes", remedy)
            end = _PREFIX_SIZE + length
            if len(self._rest) < end:
                return
            frame = bytes(self._rest[:end])
            del self._rest[:end]
            yield frame

    def feed_eof(self) -> Iterator[bytes]:
        if self._rest:
            error = IncompleteRead(f"the stream ended {len(self._rest)} bytes into a message")
            error.partial = bytes(self._rest)
            raise error
        yield from ()

    def body(self, frame: bytes) -> bytes:
        return frame[_PREFIX_SIZE:]

    def frame_reply(self, frame: bytes, answer: bytes) -> bytes:  # noqa: ARG002 - the shape is Framing's
        return len(answer).to_bytes(_PREFIX_SIZE) + answer


FRAMERS: dict[str, Callable[[], Framer]] = {"line": LineFramer, "raw": RawFramer, "length": LengthFramer}


def split_lines(chunks: Iterable[bytes], max_size: int) -> Iterator[bytes]:
    """Yield each line with its newline, as soon as it is complete; one longer than `max_size` bytes is split."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield from _pieces(line + b"\n", max_size)
        while len(rest) >= max_size:
            yield rest[:max_size]
            rest = rest[max_size:]
    if rest:
        yield rest


def split_chunks(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield chunks of `size` bytes; the last one may be shorter."""
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


Framing = Literal["line", "raw", "length"]
