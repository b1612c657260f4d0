"""Compare what the clients counted with what the server counted. Pure: no I/O, no clock, no randomness.

With no fault at work, every counter is known exactly. In a storm a client cannot know how much of its last bytes the
server read before a reset, and a killed worker has not counted its last turn; so there are bounds, and what lies
between them is printed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

TURN = 64  # reads of a worker in a turn: of as many connections at most, or of single datagrams
READ_BYTES = 1 << 18  # of one


@dataclass(frozen=True, slots=True)
class Line:
    """A counter: what the server has, and the least and most that the clients allow."""

    name: str
    server: int
    least: int
    most: int

    @property
    def balanced(self) -> bool:
        """Whether it lies between them."""
        return self.least <= self.server <= self.most

    def __str__(self) -> str:
        """Return one row."""
        clients = f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"
        return f"  {self.name:<22}{self.server:>16,}  {clients}{'' if self.balanced else '  WRONG'}"


def exact(name: str, server: int, clients: int) -> Line:
    """Return a line whose value is known."""
    return Line(name, server, clients, clients)


def calm_lines(server: Counter[str], traffic: Counter[str], *, held: int, open_now: int, size: int) -> list[Line]:
    """Compare counters without a fault; `held` connections were open all the time, datagrams have `size` bytes."""
    answered, refused = traffic["datagrams"], traffic["denied_datagrams"]
    lost = server["dropped_datagrams"]
    return [
        exact("accepted", server["accepted_connections"], traffic["connections"]),
        exact("open now", open_now, held),
        exact("refused: denied", server["refused denied"], traffic["denied"] + refused),
        exact("datagrams", server["datagrams"] + lost, answered + refused),
        exact("bytes in", server["received_bytes"] + lost * size, traffic["verified"] + (answered + refused) * size),
        exact("bytes out", server["sent_bytes"], traffic["verified"] + traffic["replies"] * size),
        exact("bytes lost", server["lost_bytes"], 0),
    ]


def storm_lines(server: Counter[str], traffic: Counter[str], *, killed: int, size: int) -> list[Line]:
    """Compare counters of a storm in which `killed` workers lost the counts of their last turn."""
    uncounted = killed * TURN
    datagrams = traffic["datagrams"] + traffic["denied_datagrams"]
    sent_by_clients = traffic["offered"] + datagrams * size
    replies = traffic["replies"]
    # A connection that ended before its echo may have left the queue of the kernel unaccepted.
    accepted = Line(
        "accepted", server["accepted_connections"], traffic["echoed"] - uncounted, traffic["connections"] + uncounted
    )
    denied = Line(
        "refused: denied",
        server["refused denied"],
        traffic["denied"] - uncounted,
        traffic["denied"] + traffic["cut"] + traffic["denied_datagrams"],
    )
    arrived = Line("datagrams", server["datagrams"] + server["dropped_datagrams"], datagrams - uncounted, datagrams)
    bytes_out = Line(
        "bytes out",
        server["sent_bytes"],
        traffic["verified"] + replies * size - uncounted * READ_BYTES,
        server["received_bytes"],
    )
    bytes_in = Line("bytes in", server["received_bytes"], bytes_out.least, sent_by_clients)
    return [accepted, denied, arrived, bytes_in, bytes_out]


def decreased(now: Counter[str], before: Counter[str]) -> list[str]:
    """Return the counters that have become smaller, which none may."""
    gauges = ("open_connections", "pending_write_bytes")
    return [
        f"{name} went from {before[name]:,} to {now[name]:,}"
        for name in before
        if now[name] < before[name] and "seconds" not in name and name not in gauges
    ]


def added(counters: Counter[str], traffic: dict[str, object]) -> None:
    """Add the numbers of a report to a sum."""
    counters.update({name: value for name, value in traffic.items() if isinstance(value, int)})
