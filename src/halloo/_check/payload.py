r"""Bytes that tell where they belong, so that a report can say "851 bytes are missing", not "mismatch".

Knows no socket. A payload is lines of eight bytes, the gentlest thing that a byte stream can carry: two characters name
the stream, five count the lines, and any sixteen bytes hold one line entirely.

    0        2                    7     8
    | stream | number of the line | \n  |     digits in base 64, the highest first
"""

from functools import cache

DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
LINE = 8
WINDOW = 2 * LINE
_BLOCK = len(DIGITS) ** 2  # lines whose numbers differ in the two lowest digits only


def payload(size: int, stream: int = 0) -> bytes:
    """Make so many bytes of a stream, from its beginning."""
    block = bytearray(_template())
    block[0::LINE] = bytes([DIGITS[stream >> 6 & 63]]) * _BLOCK
    block[1::LINE] = bytes([DIGITS[stream & 63]]) * _BLOCK
    blocks = []
    for high in range(-(-size // len(block))):
        for place, shift in ((2, 12), (3, 6), (4, 0)):
            block[place::LINE] = bytes([DIGITS[high >> shift & 63]]) * _BLOCK
        blocks.append(bytes(block))
    return b"".join(blocks)[:size]


@cache
def _template() -> bytes:
    return b"".join(b"AAAAA%c%c\n" % (high, low) for high in DIGITS for low in DIGITS)


def locate(piece: bytes) -> tuple[int, int] | None:
    """Say which stream a piece belongs to and at which offset, or None when it is of no payload."""
    for start in range(min(LINE, len(piece) - LINE + 1)):
        line = piece[start : start + LINE]
        if line[-1:] == b"\n" and all(digit in DIGITS for digit in line[:-1]):
            number = 0
            for digit in line[:-1]:
                number = number * 64 + DIGITS.index(digit)
            stream, line_number = divmod(number, 64**5)
            return stream, line_number * LINE - start
    return None


def difference(sent: bytes | memoryview, came: bytes | memoryview, base: int = 0) -> tuple[str, str, int]:
    """Say how what came differs from what was sent, as a sentence and by its pattern, and where in both.

    Both begin at the offset `base` of the stream.
    """
    sent, came = bytes(sent), bytes(came)
    same = _common(sent, came)
    found, pattern = _explained(came[same : same + WINDOW], base + same)
    return f"at offset {base + same:,} {found}", pattern, same


def _common(one: bytes, other: bytes) -> int:
    """Count the bytes at the beginning that are the same."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _explained(piece: bytes, offset: int) -> tuple[str, str]:
    place = locate(piece)
    if place is None:
        return "came something that was never sent there", "changed"
    stream, real = place
    if real > offset:
        return f"came what was sent at {real:,}: a gap of {real - offset:,} bytes", "gap"
    if real < offset:
        return f"came what was sent at {real:,}: {offset - real:,} bytes came again", "again"
    return f"came bytes of another stream, number {stream}", "crossed"
