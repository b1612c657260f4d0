"""Keep timers and deadlines, earliest first. Pure: no I/O, no clock, no randomness.

Times are numbers in any unit; the caller passes the current time.
"""

import heapq
from collections.abc import Callable, Iterator
from itertools import count


class Timers:
    """Callbacks, each with the time at which to call it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (when, next(self._order), callback))

    def timeout(self, now: float) -> float | None:
        """Return the time until the earliest callback: 0 if it is due, None if there is none."""
        return max(self._heap[0][0] - now, 0) if self._heap else None

    def pop_due(self, now: float) -> Iterator[Callable[[], None]]:
        """Remove and yield the callbacks due at `now`, in the order of their times."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]


class Deadlines:
    """Deadlines by key, each with the reason to report once it has passed."""

    def __init__(self) -> None:
        self._deadlines: dict[int, tuple[float, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._deadlines)

    def set(self, key: int, when: float, reason: str) -> None:
        self._deadlines[key] = (when, reason)

    def clear(self, key: int) -> None:
        self._deadlines.pop(key, None)

    def pop_expired(self, now: float) -> list[tuple[int, str]]:
        """Remove the deadlines that have passed at `now`; return their keys and reasons."""
        expired = [(key, reason) for key, (when, reason) in self._deadlines.items() if when <= now]
        for key, _ in expired:
            del self._deadlines[key]
        return expired

    @property
    def earliest(self) -> float:
        """The earliest deadline; there must be one."""
        return min(self._deadlines.values())[0]
