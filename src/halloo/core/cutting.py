"""Cut a stream into messages: a line each, or so many bytes each.

Knows bytes. Loses none of them: the messages, one after another, are the stream.
"""

from collections.abc import Iterable, Iterator


def lines(chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
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


def pieces(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
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
