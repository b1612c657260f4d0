"""Show where bytes differ: what was expected and what came, sixteen a line, in hex and as text.

Knows bytes and their offsets. Whatever a terminal might obey is a dot.
"""

from collections.abc import Iterator
from itertools import takewhile

from halloo.check.case import Evidence

ROW = 16


def dump(evidence: Evidence) -> str:
    """Write both sides, with a mark at the first byte that differs, or where one of them ends."""
    pairs = zip(evidence.expected, evidence.came, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    start = evidence.offset - same
    width = len(str(evidence.offset + ROW))
    sides = (
        ("expected", evidence.expected, "(nothing more should come)"),
        ("came", evidence.came, "(nothing more came)"),
    )
    lines = [f"at offset {evidence.offset:,}"]
    for name, data, end in sides:
        lines += [f"{name}:", *_rows(data, start, width, same, end)]
    return "\n".join(lines)


def _rows(data: bytes, start: int, width: int, same: int, end: str) -> Iterator[str]:
    for place in range(0, len(data), ROW):
        row = data[place : place + ROW]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)  # noqa: PLR2004 - printable ASCII
        yield f"{start + place:>{width}}  {row.hex(' '):<{3 * ROW - 1}} |{text}|"
        if place <= same < place + len(row):
            yield " " * (width + 2 + 3 * (same - place)) + "^^"
    if same == len(data):
        yield f"{start + same:>{width}}  {end}"
