"""Encode and decode probes and the timestamps that a server writes. Pure: no I/O, no clock, no randomness.

Knows bytes and integers. Knows no socket and no clock: whoever sends brings the time.

A probe is a line of ASCII, so that an echo of lines answers it too, and every byte of it is known from its run, its
number and its place, so that every byte of the answer can be compared.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# All digits are hexadecimal. Times are nanoseconds of the wall clock (UTC, since 1970).
#
#  0      4         12        20               36
#  | mark | run     | number  | sent           | pattern ...                                            | \n |
#
# A probe that asks for a server's stamp leaves room for it before the pattern:
#
#  36               52               68        76        84               100
#  | came           | left           | arrived | refused | window         | pattern ...                  | \n |
#
# `arrived` counts the run's different probes up to this one, `refused` those of them that the server would not answer;
# the lowest bit of `window` is this probe itself, the next one that before it, and so on: 1 where it has arrived.
PLAIN, ASKING, STAMPED = b"hlo.", b"hlo?", b"hlo!"
HEAD, STAMP_END = 36, 100
LEAST = HEAD + 1  # bytes, with the newline
LEAST_STAMPED = STAMP_END + 1
WINDOW = 64  # probes

NUMBERS = 1 << 32  # after which they begin again
_WORDS = 1 << 64
_DIGITS = b"0123456789abcdefABCDEF"
_HEAD = struct.Struct("4s8s8s16s")
_STAMP = struct.Struct("16s16s8s8s16s")
_ASKS = re.compile(b"^" + re.escape(ASKING) + b"[0-9a-f]{32}0{%d}" % (STAMP_END - HEAD), re.MULTILINE)
_ASKING_LINE = re.compile(_ASKS.pattern + rb"[^\n]*\n", re.MULTILINE)
_RULER = b"".join(b"%07x." % offset for offset in range(0, 1 << 16, 8))  # each eight bytes tell their place


@dataclass(frozen=True, slots=True)
class ServerTimestamp:
    """What a server has written: when the probe came and left, and what of its run has arrived."""

    came_ns: int
    left_ns: int
    arrived: int
    refused: int
    window: int


@dataclass(frozen=True, slots=True)
class Header:
    """How a probe begins: whose it is, its number, when it was sent, and whether it asks for a stamp or has one."""

    run: int
    number: int
    sent_ns: int
    mark: bytes


class Probes:
    """The probes of one run, all of one size."""

    def __init__(self, run: int, size: int, *, stamp: bool = True) -> None:
        """Make them `size` bytes long, at least LEAST; they ask for a stamp where there is room for one."""
        self.size = size
        self.stampable = stamp and size >= LEAST_STAMPED
        self._run = run % NUMBERS
        self._begin = (ASKING if self.stampable else PLAIN) + b"%08x" % self._run
        room = b"0" * (STAMP_END - HEAD) if self.stampable else b""
        begun = HEAD + len(room)
        self._rest = room + _RULER[begun : size - 1] + b"\n"

    def make(self, number: int, sent_ns: int) -> bytes:
        """Write one probe."""
        return b"%b%08x%016x%b" % (self._begin, number % NUMBERS, sent_ns % _WORDS, self._rest)

    def number(self, reply: bytes, latest: int) -> int | None:
        """Say which probe a reply is of, None for none of this run; `latest` is the highest number sent so far."""
        heading = read(reply)
        if heading is None or heading.run != self._run:
            return None
        return latest - (latest - heading.number) % NUMBERS


def read(data: bytes | memoryview) -> Header | None:
    """Read how a probe begins; None when this is none."""
    if len(data) < LEAST:
        return None
    mark, run, number, sent = _HEAD.unpack_from(data)
    if mark not in (PLAIN, ASKING, STAMPED):
        return None
    try:
        return Header(_digits(run), _digits(number), _digits(sent), mark)
    except ValueError:
        return None


def asking(data: bytes) -> Header | None:
    """Read how a probe begins that asks for a stamp, and has room for it; None when this is none."""
    return read(data) if _ASKS.match(data) else None


def asking_lines(data: bytes) -> Iterator[tuple[int, int]]:
    """Say from where to where there are whole probes that ask for a stamp, each on a line of its own."""
    return (found.span() for found in _ASKING_LINE.finditer(data))


def read_stamp(reply: bytes) -> ServerTimestamp | None:
    """Read a server's stamp; None where it has written none."""
    if not reply.startswith(STAMPED) or len(reply) < LEAST_STAMPED:
        return None
    try:
        return ServerTimestamp(*map(_digits, _STAMP.unpack_from(reply, HEAD)))
    except ValueError:
        return None


def stamped(probe: bytes | memoryview, stamp: ServerTimestamp) -> bytes:
    """Write a server's stamp into a probe that asks for one."""
    text = b"%016x%016x%08x%08x%016x" % (
        stamp.came_ns % _WORDS,
        stamp.left_ns % _WORDS,
        stamp.arrived % NUMBERS,
        stamp.refused % NUMBERS,
        stamp.window % _WORDS,
    )
    return b"".join((STAMPED, probe[len(STAMPED) : HEAD], text, probe[STAMP_END:]))


def difference(sent: bytes, came: bytes) -> int | None:
    """Give the offset of the first byte that differs, None when all is as it was sent; a stamp may have been added."""
    if sent == came:
        return None
    if came.startswith(STAMPED) and sent.startswith(ASKING):
        came = b"".join((ASKING, came[len(ASKING) : HEAD], sent[HEAD : min(len(came), STAMP_END)], came[STAMP_END:]))
        if sent == came:
            return None
    pairs = enumerate(zip(sent, came, strict=False))
    return next((offset for offset, (one, other) in pairs if one != other), min(len(sent), len(came)))


def _digits(text: bytes) -> int:
    """Read hexadecimal digits and nothing else; `int` would take signs, spaces, underscores and 0x too."""
    if text.translate(None, _DIGITS):
        raise ValueError(text)
    return int(text, 16)
