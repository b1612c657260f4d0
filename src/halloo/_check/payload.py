r"""Test data that encodes its position, so that a report can say "851 bytes are missing", not "mismatch".

Uses no sockets. A payload consists of lines of eight bytes of ASCII text: two characters name the stream, five number
the lines. Any sixteen bytes contain one whole line.

    0        2                    7     8
    | stream | number of the line | \n  |     digits in base 64, the most significant first
"""

from functools import cache

KIB, MIB = 1024, 1024 * 1024
DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
LINE = 8
WINDOW = 2 * LINE
_BLOCK = len(DIGITS) ** 2  # lines whose numbers differ only in the two lowest digits


def payload(size: int, stream: int = 0) -> bytes:
    """Return the first `size` bytes of a stream."""
    block = bytearray(_template())
    blocks = []
    for high in range(-(-size // len(block))):
        for column, number, shift in ((0, stream, 6), (1, stream, 0), (2, high, 12), (3, high, 6), (4, high, 0)):
            block[column::LINE] = bytes([DIGITS[number >> shift & 63]]) * _BLOCK
        blocks.append(bytes(block))
    return b"".join(blocks)[:size]


@cache
def _template() -> bytes:
    return b"".join(b"AAAAA%c%c\n" % (high, low) for high in DIGITS for low in DIGITS)


def locate(piece: bytes) -> tuple[int, int] | None:
    """Return the stream and the offset that a piece comes from, or None if it is not part of a payload."""
    for start in range(min(LINE, len(piece) - LINE + 1)):
        line = piece[start : start + LINE]
        if line[-1:] == b"\n" and all(digit in DIGITS for digit in line[:-1]):
            number = 0
            for digit in line[:-1]:
                number = number * 64 + DIGITS.index(digit)
            stream, line_number = divmod(number, 64**5)
            return stream, line_number * LINE - start
    return None


def difference(expected: bytes | memoryview, received: bytes | memoryview, base: int = 0) -> tuple[str, str, int]:
    """Describe the first difference: a sentence, its pattern, and its index in both arguments.

    Both begin at the offset `base` of the stream.
    """
    expected, received = bytes(expected), bytes(received)
    index = common_length(expected, received)
    offset, position = base + index, locate(received[index : index + WINDOW])
    text, pattern = "bytes were received that were never sent", "changed"
    if position is not None:
        stream, actual = position
        text, pattern = f"bytes of another stream, number {stream}, were received", "crossed"
        if actual != offset:
            moved, pattern = ("missing", "gap") if actual > offset else ("repeated", "again")
            text = f"the bytes sent at {actual:,} were received: {abs(actual - offset):,} bytes are {moved}"
    return f"at offset {offset:,} {text}", pattern, index


def common_length(one: bytes, other: bytes) -> int:
    """Return the length of the common start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
