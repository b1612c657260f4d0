"""Hold what is known of each connection: a byte of state, and the bytes it is owed. And count.

Knows numbers and bytes. Knows no system call. A connection *is* its descriptor, the index into `state`; an idle one
costs that byte alone, and an entry in `debts` exists only while its client does not read.
"""

from array import array
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass, field

FREE = 0  # nothing here, or closed a moment ago
LISTENING = 1  # a listening socket
WAKEUP = 2  # the end of the pipe by which other threads and signals wake the loop
ECHOING = 3  # an echo that owes nothing: the hot one
WRITE_PENDING = 4  # part of an answer did not fit; nothing is read until it is repaid
LIMITED = 5  # like FLOWING, with limits to be kept
THROTTLED = 6  # has used up its rate; nothing is read for a moment
HANDLING = 7  # like FLOWING, but the answers are a function's
HANDSHAKING = 8  # TLS is being agreed
TLS_CLOSING = 9  # all is answered; TLS's own goodbye did not fit
LINGERING = 10  # our end is sent; what still comes is read and thrown away, until the client's end
PARENT_EXIT = 11  # the end of the pipe that tells a worker of its parent's end
DATAGRAM = 12  # a datagram socket

GROWTH = 4  # a table grows by so many parts of itself: the arrays beside it have its length

CONNECTED = (ECHOING, WRITE_PENDING, LIMITED, THROTTLED, HANDLING, HANDSHAKING, TLS_CLOSING, LINGERING)

# What is counted, each in a slot of its own, so that the counts of a worker can lie in memory that others read.
REFUSALS = (
    *("denied", "max_connections", "max_per_host"),
    *("rate_limit", "too_long", "service_port", "own_port", "sender", "broadcast", "multicast"),  # of datagrams
)
CLOSE_REASONS = (
    *("idle_timeout", "max_lifetime", "stall_timeout", "handshake_timeout", "max_bytes", "max_memory"),
    *("drained", "cut_off"),
)
ERRORS = (
    *("ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ECONNABORTED", "EMFILE", "ENFILE"),
    *("ENOBUFS", "ENOMEM", "EAGAIN", "ECONNREFUSED", "EMSGSIZE", "EPERM", "EACCES", "EINVAL"),
    *("SSLError", "SSLEOFError", "SSLCertVerificationError", "IncompleteRead", "MessageTooLong", "respond", "other"),
)
COUNTERS = (
    "accepted",
    "closed",
    "received",
    "sent",
    "messages",
    "lost",
    "owed",
    "oldest",
    "datagrams",
    *REFUSALS,
    *CLOSE_REASONS,
    *ERRORS,
)
ACCEPTED, CLOSED, RECEIVED, SENT, MESSAGES, LOST = range(6)
# Not counts but how things stand: bytes owed now, and the time in ms at which the oldest debt was made, 0 for none.
PENDING, OLDEST = 6, 7
DATAGRAMS = 8
SLOT = {name: slot for slot, name in enumerate(COUNTERS)}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a server has done so far: counts since it began, and how things stand now."""

    accepted: int = 0
    open: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    messages: int = 0  # echoes: one for each time that something was read and written
    lost_bytes: int = 0  # owed or unread when a connection was cut off by the end of the server
    datagrams: int = 0  # received
    dropped: int = 0  # datagrams, by the kernel: its buffer was full, or they came round in a loop between echoes
    refused: dict[str, int] = field(default_factory=dict)  # by reason: {"max_per_host": 2}
    ended: dict[str, int] = field(default_factory=dict)  # by us, by reason: {"idle_timeout": 1}
    errors: dict[str, int] = field(default_factory=dict)  # by name: {"ECONNRESET": 2}
    pending_write_bytes: int = 0  # to clients that do not read
    oldest_pending_write_seconds: float = (
        0.0  # how long the oldest debt had not shrunk at the last look, within a second
    )
    uptime_seconds: float = 0.0
    workers: tuple["Snapshot", ...] = ()  # one for each worker process, where there are some

    @classmethod
    def of(cls, row: Sequence[int], *, began: float, now: float, workers: tuple["Snapshot", ...] = ()) -> "Snapshot":
        """Read a row of counters, in the order of COUNTERS; the times are those of the clock of its loop."""

        def named(names: tuple[str, ...]) -> dict[str, int]:
            return {name: row[SLOT[name]] for name in names if row[SLOT[name]]}

        return cls(
            accepted=row[ACCEPTED],
            open=row[ACCEPTED] - row[CLOSED],
            datagrams=row[DATAGRAMS],
            received_bytes=row[RECEIVED],
            sent_bytes=row[SENT],
            messages=row[MESSAGES],
            lost_bytes=row[LOST],
            refused=named(REFUSALS),
            ended=named(CLOSE_REASONS),
            errors=named(ERRORS),
            pending_write_bytes=row[PENDING],
            oldest_pending_write_seconds=max(now - row[OLDEST] / 1000, 0) if row[OLDEST] else 0.0,
            uptime_seconds=now - began,
            workers=workers,
        )


def new_counters() -> "array[int]":
    """Make a row of counters, all 0."""
    return array("Q", bytes(8 * len(COUNTERS)))


class ConnectionTable:
    """The connections of one loop, by descriptor."""

    def __init__(self, counters: MutableSequence[int] | None = None) -> None:
        """Start with none; `row` is where to count, in the order of COUNTERS."""
        self.state = bytearray(64)
        self.pending_writes: dict[int, memoryview] = {}
        self.since: dict[int, float] = {}  # when a debt was made or last shrank
        self.row: MutableSequence[int] = new_counters() if counters is None else counters

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self.row[ACCEPTED] - self.row[CLOSED]

    def begin(self, fd: int, state: int) -> None:
        """Give the descriptor a state, making room for it first."""
        while fd >= len(self.state):
            # In place: the loop holds on to this very object.
            self.state.extend(bytes(len(self.state) // GROWTH))
        self.state[fd] = state

    def in_state(self, *states: int) -> list[int]:
        """Which descriptors are in one of the states."""
        return [fd for fd, state in enumerate(self.state) if state in states]

    def queue_write(self, fd: int, rest: memoryview, now: float) -> None:
        """Note what a connection is owed, instead of what it was owed so far."""
        self.row[PENDING] += len(rest) - len(self.pending_writes.get(fd, b""))
        self.pending_writes[fd] = rest
        self.since[fd] = now

    def discard_pending(self, fd: int) -> None:
        """Note that a connection is owed nothing any more."""
        if debt := self.pending_writes.pop(fd, None):
            self.row[PENDING] -= len(debt)
            del self.since[fd]

    def count(self, name: str, times: int = 1) -> None:
        """Count more of a name; an unknown one is `other`."""
        self.row[SLOT.get(name, SLOT["other"])] += times
