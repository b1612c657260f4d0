"""Hold what is known of each connection: a byte of state, and the bytes it is owed.

Knows numbers and bytes. Knows no system call. A connection *is* its descriptor, the index into `state`; an idle one
costs that byte alone, and an entry in `debts` exists only while its client does not read.
"""

import errno
from dataclasses import dataclass, field

FREE = 0  # nothing here, or closed a moment ago
LISTENING = 1  # a listening socket
WAKING = 2  # the end of the pipe by which other threads and signals wake the loop
FLOWING = 3  # an echo that owes nothing: the hot one
OWING = 4  # part of an answer did not fit; nothing is read until it is repaid
ANSWERING = 5  # like FLOWING, but the answers are a function's


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a server has done so far: counts since it began, and `open` connections now."""

    accepted: int = 0
    open: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    errors: dict[str, int] = field(default_factory=dict)  # by name: {"ECONNRESET": 2}


class Table:
    """The connections of one loop, by descriptor."""

    def __init__(self) -> None:
        """Start with none."""
        self.state = bytearray(64)
        self.debts: dict[int, memoryview] = {}
        self.errors: dict[str, int] = {}
        self.accepted = 0
        self.closed = 0
        self.received = 0
        self.sent = 0

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self.accepted - self.closed

    def begin(self, fd: int, state: int) -> None:
        """Give the descriptor a state, making room for it first."""
        while fd >= len(self.state):
            # In place: the loop holds on to this very object.
            self.state.extend(bytes(len(self.state)))
        self.state[fd] = state

    def within(self, *states: int) -> list[int]:
        """Which descriptors are in one of the states."""
        return [fd for fd, state in enumerate(self.state) if state in states]

    def count_error(self, error: Exception) -> None:
        """Count one more error, under its errno's name where it has one."""
        number = getattr(error, "errno", None)
        name = errno.errorcode.get(number, "EUNKNOWN") if number else type(error).__name__
        self.errors[name] = self.errors.get(name, 0) + 1

    def snapshot(self) -> Snapshot:
        """Give the counts as they stand."""
        return Snapshot(self.accepted, self.open, self.received, self.sent, dict(self.errors))
