"""Encode and decode probes and the timestamps that a server writes. Pure: no I/O, no clock, no randomness.

A probe is a line of ASCII, so that a line-based echo answers it too. Every byte of it follows from its run, its number
and the byte's offset, so that every byte of the reply can be compared.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

# All digits are hexadecimal. Times are nanoseconds of the wall clock (UTC, since 1970).
#
#  0      4         12        20               36
#  | mark | run     | number  | sent           | pattern ...                                            | \n |
#
# A probe that requests a server timestamp leaves room for it before the pattern:
#
#  36               52               68        76        84               100        108
#  | received       | sent           | arrived | refused | window         | checksum | pattern ...       | \n |
#
# `arrived` counts the run's different probes up to this one, `refused` those of them that the server did not answer.
# The lowest bit of `window` is this probe, the next bit the probe before it, and so on: 1 if that probe has arrived.
# `checksum` is the CRC-32 (zlib's) of all between it and the mark, since the client cannot know these bytes.
#
# A server that limits the rate of the sender answers a few of the probes over the limit with a shorter notice:
#
#  0      4         12        20               36        44
#  | mark | run     | number  | sent           | refused | \n |
#
# `refused` counts the run's probes that it has not answered so far.
PLAIN, REQUEST, TIMESTAMPED, NOTICE = b"hlo.", b"hlo?", b"hlo!", b"hlo-"
HEADER_SIZE, TIMESTAMP_END = 36, 108
MIN_SIZE = HEADER_SIZE + 1  # bytes, with the newline
MIN_TIMESTAMPED_SIZE = TIMESTAMP_END + 1
NOTICE_SIZE = HEADER_SIZE + 9
WINDOW = 64  # probes

NUMBER_MODULUS = 1 << 32  # probe numbers wrap around
_UINT64_MODULUS = 1 << 64
_HEX_DIGITS = b"0123456789abcdefABCDEF"
_HEADER = struct.Struct("4s8s8s16s")
_TIMESTAMP = struct.Struct("16s16s8s8s16s")
_CHECKSUM_BEGIN = HEADER_SIZE + _TIMESTAMP.size
_REQUEST_START = re.compile(rb"^hlo\?[0-9a-f]{32}0{%d}" % (TIMESTAMP_END - HEADER_SIZE), re.MULTILINE)
_REQUEST_LINE = re.compile(_REQUEST_START.pattern + rb"[^\n]*\n", re.MULTILINE)
_PATTERN = b"".join(b"%07x." % offset for offset in range(0, 1 << 16, 8))  # every eight bytes hold their own offset


@dataclass(frozen=True, slots=True)
class ServerTimestamp:
    """What a server wrote into a probe: when it received and sent it, and which probes of its run have arrived."""

    received_ns: int
    sent_ns: int
    arrived: int
    refused: int
    window: int


@dataclass(frozen=True, slots=True)
class Header:
    """The first HEADER_SIZE bytes of a probe; `mark` says whether it requests a server timestamp or has one."""

    run: int
    number: int
    sent_ns: int
    mark: bytes


class Probes:
    """The probes of one run, all of one size."""

    def __init__(self, run: int, size: int, *, timestamps: bool = True) -> None:
        """Set the size in bytes, at least MIN_SIZE; probes request a server timestamp if there is room for one."""
        self.size = size
        self.timestamps = timestamps and size >= MIN_TIMESTAMPED_SIZE
        self._run = run % NUMBER_MODULUS
        self._prefix = (REQUEST if self.timestamps else PLAIN) + b"%08x" % self._run
        room = b"0" * (TIMESTAMP_END - HEADER_SIZE) if self.timestamps else b""
        begun = HEADER_SIZE + len(room)
        self._rest = room + _PATTERN[begun : size - 1] + b"\n"

    def encode(self, number: int, sent_ns: int) -> bytes:
        return b"%b%08x%016x%b" % (self._prefix, number % NUMBER_MODULUS, sent_ns % _UINT64_MODULUS, self._rest)

    def number(self, reply: bytes, latest: int) -> int | None:
        """Return the number of the probe that a reply answers, None if it is not of this run.

        Numbers are 32 bits on the wire; `latest`, the highest number sent so far, extends them.
        """
        header = read_header(reply)
        if header is None or header.run != self._run:
            return None
        return latest - (latest - header.number) % NUMBER_MODULUS


def read_header(data: bytes | memoryview) -> Header | None:
    """Decode the header of a probe; None if the data is not a probe."""
    if len(data) < MIN_SIZE:
        return None
    mark, run, number, sent = _HEADER.unpack_from(data)
    if mark not in (PLAIN, REQUEST, TIMESTAMPED):
        return None
    try:
        return Header(_parse_hex(run), _parse_hex(number), _parse_hex(sent), mark)
    except ValueError:
        return None


def read_request(data: bytes) -> Header | None:
    """Decode the header of a probe that requests a timestamp and has room for it; None if it is not one."""
    return read_header(data) if _REQUEST_START.match(data) else None


def request_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """Find the whole probes that request a timestamp, each on a line of its own, as (start, end) offsets."""
    return (found.span() for found in _REQUEST_LINE.finditer(data))


def read_timestamp(reply: bytes) -> ServerTimestamp | None:
    """Decode the server timestamp of a reply; None if it has none or a damaged one."""
    if not reply.startswith(TIMESTAMPED) or len(reply) < MIN_TIMESTAMPED_SIZE or not _is_intact(reply):
        return None
    try:
        return ServerTimestamp(*map(_parse_hex, _TIMESTAMP.unpack_from(reply, HEADER_SIZE)))
    except ValueError:
        return None


def write_timestamp(probe: bytes | memoryview, timestamp: ServerTimestamp) -> bytes:
    """Return a probe that requests a timestamp with the server's written into it."""
    text = b"%016x%016x%08x%08x%016x" % (
        timestamp.received_ns % _UINT64_MODULUS,
        timestamp.sent_ns % _UINT64_MODULUS,
        timestamp.arrived % NUMBER_MODULUS,
        timestamp.refused % NUMBER_MODULUS,
        timestamp.window % _UINT64_MODULUS,
    )
    begin = b"".join((TIMESTAMPED, probe[len(TIMESTAMPED) : HEADER_SIZE], text))
    return b"".join((begin, _checksum(begin), probe[TIMESTAMP_END:]))


def write_notice(probe: bytes | memoryview, refused: int) -> bytes:
    """Return the notice that a probe is over the server's rate limit."""
    return b"%b%b%08x\n" % (NOTICE, bytes(probe[len(NOTICE) : HEADER_SIZE]), refused % NUMBER_MODULUS)


def read_notice(reply: bytes) -> tuple[bytes, int] | None:
    """Return the beginning of the probe that a notice answers, and the number of refused probes; None if it is none."""
    if len(reply) != NOTICE_SIZE or not reply.startswith(NOTICE):
        return None
    try:
        return PLAIN + reply[len(PLAIN) :], _parse_hex(reply[HEADER_SIZE : NOTICE_SIZE - 1])
    except ValueError:
        return None


def first_difference(sent: bytes, received: bytes) -> int | None:
    """Return the offset of the first byte that differs from what was sent, None if none does.

    A timestamp that was requested and added is no difference; a damaged one differs where it begins.
    """
    if sent == received:
        return None
    if received.startswith(TIMESTAMPED) and sent.startswith(REQUEST):
        size = min(len(received), TIMESTAMP_END)
        timestamp = sent if size < TIMESTAMP_END or _is_intact(received) else bytes(size)
        untimed = timestamp[HEADER_SIZE:size]
        received = b"".join((REQUEST, received[len(REQUEST) : HEADER_SIZE], untimed, received[TIMESTAMP_END:]))
        if sent == received:
            return None
    pairs = enumerate(zip(sent, received, strict=False))
    return next((offset for offset, (one, other) in pairs if one != other), min(len(sent), len(received)))


def is_reply(data: bytes) -> bool:
    """Whether data is a right reply to some probe of any run."""
    if not (header := read_header(data)):
        return False
    probes = Probes(header.run, len(data), timestamps=header.mark != PLAIN)
    return first_difference(probes.encode(header.number, header.sent_ns), data) is None


def _is_intact(reply: bytes) -> bool:
    return reply[_CHECKSUM_BEGIN:TIMESTAMP_END] == _checksum(reply[:_CHECKSUM_BEGIN])


def _checksum(begin: bytes) -> bytes:
    return b"%08x" % crc32(begin[len(TIMESTAMPED) :])


def _parse_hex(text: bytes) -> int:
    """Parse hexadecimal digits only; `int` would also accept signs, spaces, underscores and 0x."""
    if text.translate(None, _HEX_DIGITS):
        raise ValueError(text)
    return int(text, 16)
