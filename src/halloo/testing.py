"""Helpers for tests of code that reads a stream."""

from collections.abc import Iterator

from halloo._core import arguments


def every_split(data: bytes) -> Iterator[list[bytes]]:
    """Yield the ways a stream may arrive: whole, byte by byte, and in every pair of pieces.

    >>> list(every_split(b"ab"))
    [[b'ab'], [b'a', b'b'], [b'a', b'b']]

    Raises UsageError for what is not bytes.
    """
    data = bytes(arguments.payload("data", data))
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]
