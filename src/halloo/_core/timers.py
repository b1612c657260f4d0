"""Keep what is to happen at a later time, soonest first. Pure: no I/O, no clock, no randomness.

Knows times as numbers. Knows no clock: the caller says what time it is.
"""

import heapq
from collections.abc import Callable, Iterator
from itertools import count


class Timers:
    """Acts and the times they are due, in whatever unit the caller counts."""

    def __init__(self) -> None:
        """Start with nothing to do."""
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Have `act` called at `when` or as soon after as somebody asks."""
        heapq.heappush(self._heap, (when, next(self._order), act))

    def patience(self, now: float) -> float | None:
        """How long one may wait from `now` on: None is for ever, 0 that something is due."""
        return max(self._heap[0][0] - now, 0) if self._heap else None

    def due(self, now: float) -> Iterator[Callable[[], None]]:
        """Take out and give what is due at `now`, in the order of its times."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]


class Deadlines:
    """Until when each of some things may go on as it is, and what its end is then called."""

    def __init__(self) -> None:
        """Start with none."""
        self._deadlines: dict[int, tuple[float, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._deadlines)

    def set(self, key: int, when: float, reason: str) -> None:
        """Give one a deadline, instead of the one that it had."""
        self._deadlines[key] = (when, reason)

    def lift(self, key: int) -> None:
        """Let one go on for ever."""
        self._deadlines.pop(key, None)

    def missed(self, now: float) -> list[tuple[int, str]]:
        """Take out those that are over, with their reasons."""
        over = [(key, reason) for key, (when, reason) in self._deadlines.items() if when <= now]
        for key, _ in over:
            del self._deadlines[key]
        return over

    @property
    def next(self) -> float:
        """The soonest of them; ask only when there is one."""
        return min(self._deadlines.values())[0]
