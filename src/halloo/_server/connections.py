"""Hold the state and the pending writes of each connection, and the counters.

No system calls here. A connection is its descriptor, the index into `state`. An idle connection costs that byte and one
for its scheme; an entry in `pending_writes` exists only while its client does not read.
"""

import errno
from array import array
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass, field

FREE = 0  # no connection, or one just closed
LISTENING = 1  # a listening socket
WAKEUP = 2  # the socket by which other threads and signals wake the loop
ECHOING = 3  # an echo without pending writes: the hot state
WRITE_PENDING = 4  # part of an answer did not fit; nothing is read until it is flushed
LIMITED = 5  # an echo with limits
THROTTLED = 6  # over its rate limit; nothing is read for a moment
HANDLING = 7  # a Handler answers instead of the echo
HANDSHAKING = 8  # the TLS handshake is in progress
TLS_CLOSING = 9  # everything is answered; close_notify did not fit
LINGERING = 10  # our FIN is sent; input is read and discarded until the client's FIN
PARENT_EXIT = 11  # the parent pipe, which reaches its end when the parent exits
DATAGRAM = 12  # a datagram socket

GROWTH = 4  # a table grows by a quarter; the limiter's arrays have its length

CONNECTED = (ECHOING, WRITE_PENDING, LIMITED, THROTTLED, HANDLING, HANDSHAKING, TLS_CLOSING, LINGERING)

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
_ACCEPTED_BY_SCHEME, _CLOSED_BY_SCHEME = (COUNTER_INDEX[f"{count}_{SCHEMES[0]}"] for count in ("accepted", "closed"))


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

        accepted = [counters[_ACCEPTED_BY_SCHEME + number] for number in range(len(SCHEMES))]
        still_open = [count - counters[_CLOSED_BY_SCHEME + number] for number, count in enumerate(accepted)]
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
        counters[_CLOSED_BY_SCHEME + number] = counters[_ACCEPTED_BY_SCHEME + number]
    counters[PENDING_BYTES] = counters[OLDEST_PENDING] = 0


def error_name(error: OSError) -> str:
    """Return the name to count an error by. An ssl.SSLError has a number of OpenSSL's as its errno."""
    name = type(error).__name__
    return name if name in COUNTER_INDEX else errno.errorcode.get(error.errno or 0, "other")


class ConnectionTable:
    """The connections of one loop, by descriptor."""

    def __init__(self, counters: MutableSequence[int] | None = None) -> None:
        self.state = bytearray(64)
        self._scheme = bytearray(64)  # by number in SCHEMES
        self.pending_writes: dict[int, memoryview] = {}
        self.pending_since: dict[int, float] = {}  # when a pending write was queued or last shrank
        self.counters: MutableSequence[int] = new_counters() if counters is None else counters

    @property
    def open(self) -> int:
        return self.counters[ACCEPTED] - self.counters[CLOSED]

    def add(self, fd: int, state: int) -> None:
        while fd >= len(self.state):
            # In place: the loop keeps a reference to this object.
            self.state.extend(bytes(len(self.state) // GROWTH))
            self._scheme.extend(bytes(len(self.state) - len(self._scheme)))
        self.state[fd] = state

    def opened(self, fd: int, scheme: int) -> None:
        """Count a connection, of a scheme by number."""
        self._scheme[fd] = scheme
        self.counters[ACCEPTED] += 1
        self.counters[_ACCEPTED_BY_SCHEME + scheme] += 1

    def closed(self, fd: int) -> None:
        """Count a connection as closed."""
        self.counters[CLOSED] += 1
        self.counters[_CLOSED_BY_SCHEME + self._scheme[fd]] += 1

    def in_state(self, *states: int) -> list[int]:
        return [fd for fd, state in enumerate(self.state) if state in states]

    def queue_write(self, fd: int, rest: memoryview, now: float) -> None:
        self.counters[PENDING_BYTES] += len(rest) - len(self.pending_writes.get(fd, b""))
        self.pending_writes[fd] = rest
        self.pending_since[fd] = now

    def discard_pending(self, fd: int) -> None:
        if (pending := self.pending_writes.pop(fd, None)) is not None:
            self.counters[PENDING_BYTES] -= len(pending)
            del self.pending_since[fd]

    def count(self, name: str, times: int = 1) -> None:
        """Add to the counter of a name; an unknown name counts as `other`."""
        self.counters[COUNTER_INDEX.get(name, COUNTER_INDEX["other"])] += times
