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
MAX_QUOTED = 32  # bytes
NOT_ASCII = 0x80
KINDS = {"nul": b"\0", "newline": b"\r\n", "high": bytes(range(NOT_ASCII, 256))}
LOST = (("cr", b"\r"), *KINDS.items())
REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()
OTHER_BYTES = "other bytes were received than expected"
BUFFER_SIZES = {2**power for power in range(4, 17)} | {100, 500, 1000, 1500, 2000, 4000, 5000, 10_000, 65_535}  # usual
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
    """Describe the first difference: a sentence, the words of its pattern, and its index in both arguments.

    Both begin at the offset `base` of the stream. Inserted bytes are recognised if enough of what follows was received.
    """
    expected, received = bytes(expected), bytes(received)
    index = common_length(expected, received)
    place, fact, words = _first_difference(expected, received, index, base)
    return f"at offset {base + place:,} {fact}", " ".join(words), index


Found = tuple[int, str, tuple[str, ...]]  # where a difference begins, what it is, and its words


def _first_difference(expected: bytes, received: bytes, index: int, base: int) -> Found:
    want, rest = expected[index:], received[index:]
    if words := _changes(expected, received, index):
        return index, OTHER_BYTES, ("changed", *words)
    own, other = locate(expected[index - index % LINE :][:WINDOW]), locate(rest[:WINDOW])
    if own and other and own[0] != other[0]:
        return index, f"bytes of another stream, number {other[0]}, were received", ("crossed",)
    if lost := _lost(want[:KIB], rest[:WINDOW]):
        return index, f"{bytes_are(len(lost[1]))} missing: {quoted(lost[1])}", ("gap", lost[0])
    piece = _inserted(want, rest) if expected.find(rest[:WINDOW], index) < 0 else b""
    if piece and not (len(piece) >= LINE and expected[:index].endswith(piece)):
        return index, f"{bytes_are(len(piece))} inserted: {quoted(piece)}", ("inserted", *kinds(piece))
    return _moved(expected, rest, index, base)


def _inserted(want: bytes, rest: bytes) -> bytes:
    """Return the bytes before those that are due: inserted once, or again and again."""
    if not want or (size := rest.find(want[:WINDOW])) > 0:
        return rest[:size] if want else rest
    piece = rest[: max(rest.find(want[:1]), 0)]
    without, due = (each[:KIB].replace(piece, b"") if piece else b"" for each in (rest, want))
    return piece if without and (due.startswith(without[:WINDOW]) or without.startswith(due)) else b""


def _moved(expected: bytes, rest: bytes, index: int, base: int) -> Found:
    """Describe received bytes that are part of what was expected, but elsewhere."""
    window = rest[:WINDOW]
    if len(window) == WINDOW and (ahead := expected.find(window, index)) >= 0:
        if expected[index : index + WINDOW] in rest:
            return index, f"the bytes sent at {base + ahead:,} were received too early", ("order",)
        place, end = _first_place(expected, index, ahead)
        missing = expected[place:end]
        fact = f"the bytes sent at {base + end:,} were received: {bytes_are(len(missing))} missing"
        return place, fact, ("gap", *kinds(missing))
    behind = expected.rfind(window, 0, index + WINDOW - 1) if len(window) == WINDOW else -1
    if behind >= 0:
        fact = f"the bytes sent at {base + behind:,} were received: {bytes_are(index - behind)} repeated"
        return index, fact, ("again",)
    return index, OTHER_BYTES, ("changed",)


def _changes(expected: bytes, received: bytes, index: int) -> tuple[str, ...]:
    """Return words for bytes that were changed one by one, as text is."""
    size = min(len(expected), len(received))
    want, rest = expected[index:size], received[index:size]
    if want:
        if rest in (want.upper(), want.lower(), want.swapcase()):
            return ("upper" if rest == want.upper() else "lower" if rest == want.lower() else "swapped",)
        if len(received) > 1 and received.strip() == expected.strip()[::-1]:
            return ("reversed",)
        if want[0] >= NOT_ASCII:
            if received[index:].startswith((b"?", REPLACEMENT)):
                return ("high", "replaced")
            if received[index:].startswith(chr(want[0]).encode()):
                return ("high", "recoded")
    return ()


def _lost(want: bytes, received: bytes) -> tuple[str, bytes] | None:
    """Return the kind of bytes that are missing throughout, and those that are missing first."""
    for word, kind in LOST:
        rest = want.lstrip(kind)
        if rest != want and len(received) > 1 and want.translate(None, kind).startswith(received):
            return word, want[: len(want) - len(rest)]
    return None


def _first_place(expected: bytes, index: int, ahead: int) -> tuple[int, int]:
    """Return the first of the places where the same bytes may be missing: the ends of a gap may be equal."""
    while index > 0 and expected[index - 1] == expected[ahead - 1]:
        index, ahead = index - 1, ahead - 1
    return index, ahead


def kinds(piece: bytes) -> tuple[str, ...]:
    """Return a word for bytes that are all of one kind."""
    return tuple(word for word, kind in KINDS.items() if piece and not piece.translate(None, kind))


def shortfall(expected: bytes | memoryview, count: int) -> tuple[str, ...]:
    """Return words for a reply that ends after `count` of the expected bytes: what it ends at, what is missing."""
    following = bytes(expected[count : count + KIB])
    words = list(kinds(following) if count + KIB >= len(expected) and count else ())
    if count and following[:1] == b"\0":
        words.append("at-nul")
    if count and following[:1] >= bytes([NOT_ASCII]):
        words.append("at-high")
    if count and bytes(expected[count - 1 : count]) == b"\n":
        words.append("at-newline")
    if count in BUFFER_SIZES:
        words += ["round", f"at-{count}"]
    return tuple(words)


def bytes_are(count: int) -> str:
    """Return a number of bytes as the subject of a sentence."""
    return "1 byte is" if count == 1 else f"{count:,} bytes are"


def quoted(data: bytes) -> str:
    """Return the start of some bytes in quotes."""
    return repr(data[:MAX_QUOTED]) + ("..." if len(data) > MAX_QUOTED else "")


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
