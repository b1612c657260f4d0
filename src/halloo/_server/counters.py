"""Count what a server does, in rows of fixed positions, and read a row as a Snapshot.

Pure: no I/O, no clock, no randomness.
"""

import errno
from array import array
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass, field

# Counters have fixed positions, so that those of a worker can lie in memory that the parent reads.
REFUSALS = (
    *("denied", "max_connections", "max_per_host"),
    *("rate_limit", "too_long", "service_port", "own_port", "loop", "sender", "broadcast", "multicast"),  # of datagrams
)
CLOSE_REASONS = (
    *("idle_timeout", "max_lifetime", "stall_timeout", "handshake_timeout", "max_bytes", "max_memory"),
    *("drained", "cut_off"),
)
ERRORS = (
    *("ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ECONNABORTED", "EMFILE", "ENFILE"),
    *("ENOBUFS", "ENOMEM", "EAGAIN", "ECONNREFUSED", "EMSGSIZE", "EPERM", "EACCES", "EINVAL"),
    *("SSLError", "SSLEOFError", "SSLCertVerificationError", "TooManyRecords"),
    *("IncompleteRead", "MessageTooLong", "respond", "other"),
)
SCHEMES = ("tcp", "tls", "unix")  # of connections, by their numbers
COUNTERS = (
    "accepted",
    "closed",
    "received",
    "sent",
    "messages",
    "lost",
    "pending_bytes",
    "oldest_pending_ms",
    "datagrams",
    *REFUSALS,
    *CLOSE_REASONS,
    *ERRORS,
    *(f"{count}_{scheme}" for count in ("accepted", "closed") for scheme in SCHEMES),
)
ACCEPTED, CLOSED, RECEIVED, SENT, MESSAGES, LOST = range(6)
# Gauges: bytes in pending writes now, and the time in ms of the oldest one's last progress, 0 for none.
PENDING_BYTES, OLDEST_PENDING = 6, 7
DATAGRAMS = 8
COUNTER_INDEX = {name: slot for slot, name in enumerate(COUNTERS)}
ACCEPTED_BY_SCHEME, CLOSED_BY_SCHEME = (COUNTER_INDEX[f"{count}_{SCHEMES[0]}"] for count in ("accepted", "closed"))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a server has done since its start, and its present state."""

    accepted: int = 0
    open: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    messages: int = 0  # echoes: one for each pair of a read and a write
    lost_bytes: int = 0  # pending or unread when the server cut a connection off
    datagrams: int = 0  # received
    dropped: int = 0  # datagrams, by the kernel: its buffer was full, or they looped between echo servers
    refused: dict[str, int] = field(default_factory=dict)  # by reason: {"max_per_host": 2}
    ended: dict[str, int] = field(default_factory=dict)  # by us, by reason: {"idle_timeout": 1}
    errors: dict[str, int] = field(default_factory=dict)  # by name: {"ECONNRESET": 2}
    pending_write_bytes: int = 0  # for clients that do not read
    oldest_pending_write_seconds: float = 0.0  # without progress, as of the last sweep, within a second
    uptime_seconds: float = 0.0
    worker_exits: int = 0  # workers that ended by themselves, each of which is started again
    workers: tuple["Snapshot", ...] = ()
    accepted_by_scheme: dict[str, int] = field(default_factory=dict, compare=False)  # {"tcp": 3, "tls": 0, "unix": 0}
    open_by_scheme: dict[str, int] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, counters: Sequence[int], *, started: float, now: float, workers: tuple["Snapshot", ...] = ()
    ) -> "Snapshot":
        """Read a row of counters, in the order of COUNTERS; the times are of the loop's clock."""

        def named(names: tuple[str, ...]) -> dict[str, int]:
            return {name: counters[COUNTER_INDEX[name]] for name in names if counters[COUNTER_INDEX[name]]}

        accepted = [counters[ACCEPTED_BY_SCHEME + number] for number in range(len(SCHEMES))]
        still_open = [count - counters[CLOSED_BY_SCHEME + number] for number, count in enumerate(accepted)]
        return cls(
            accepted=counters[ACCEPTED],
            open=counters[ACCEPTED] - counters[CLOSED],
            datagrams=counters[DATAGRAMS],
            received_bytes=counters[RECEIVED],
            sent_bytes=counters[SENT],
            messages=counters[MESSAGES],
            lost_bytes=counters[LOST],
            refused=named(REFUSALS),
            ended=named(CLOSE_REASONS),
            errors=named(ERRORS),
            pending_write_bytes=counters[PENDING_BYTES],
            oldest_pending_write_seconds=max(now - counters[OLDEST_PENDING] / 1000, 0)
            if counters[OLDEST_PENDING]
            else 0.0,
            uptime_seconds=now - started,
            workers=workers,
            accepted_by_scheme=dict(zip(SCHEMES, accepted, strict=True)),
            open_by_scheme=dict(zip(SCHEMES, still_open, strict=True)),
        )


def new_counters() -> "array[int]":
    """Make a row of counters, all 0."""
    return array("Q", bytes(8 * len(COUNTERS)))


def count_all_closed(counters: MutableSequence[int]) -> None:
    """Count every connection as closed, and no pending write: those of a worker that has exited."""
    counters[CLOSED] = counters[ACCEPTED]
    for number in range(len(SCHEMES)):
        counters[CLOSED_BY_SCHEME + number] = counters[ACCEPTED_BY_SCHEME + number]
    counters[PENDING_BYTES] = counters[OLDEST_PENDING] = 0


def error_name(error: OSError) -> str:
    """Return the name to count an error by. An ssl.SSLError has a number of OpenSSL's as its errno."""
    name = type(error).__name__
    return name if name in COUNTER_INDEX else errno.errorcode.get(error.errno or 0, "other")


def count_event(row: MutableSequence[int], name: str, times: int = 1) -> None:
    """Add to the counter of a name; an unknown name counts as `other`."""
    row[COUNTER_INDEX.get(name, COUNTER_INDEX["other"])] += times
