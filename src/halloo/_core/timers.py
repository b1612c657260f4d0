"""Keep timers and deadlines, earliest first. Pure: no I/O, no clock, no randomness.

Times are seconds of any clock; the caller passes the current time.
"""

import heapq
from collections.abc import Callable
from itertools import count
from math import inf
from typing import Generic, TypeVar

Key = TypeVar("Key")

MAX_WAIT = 86_400.0
"""The longest single wait, in seconds: poll(2) and epoll_wait(2) count milliseconds in an int, which is 24 days."""


class Timers:
    """Callbacks, each with the time at which to call it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.earliest = inf
        """The time of the earliest callback: an attribute, because a loop compares it in every turn."""

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (when, next(self._order), callback))
        self.earliest = self._heap[0][0]

    def timeout(self, now: float) -> float | None:
        """Return how many seconds to wait for the earliest callback, at most MAX_WAIT; None if there is none."""
        return min(max(self.earliest - now, 0), MAX_WAIT) if self._heap else None

    def pop_due(self, now: float) -> list[Callable[[], None]]:
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        self.earliest = self._heap[0][0] if self._heap else inf
        return due


class LazyDeadlines(Generic[Key]):
    """The earliest of many deadlines that move later by themselves: one is looked up again when it comes first."""

    def __init__(self, deadline: Callable[[Key], int | None]) -> None:
        """Have `deadline` return the present one of a key, None if it has none."""
        self._deadline = deadline
        self._heap: list[tuple[int, int, Key]] = []
        self._keys: set[Key] = set()
        self._order = count()

    def add(self, key: Key) -> None:
        if key not in self._keys and (when := self._deadline(key)) is not None:
            self._keys.add(key)
            heapq.heappush(self._heap, (when, next(self._order), key))

    def earliest(self) -> tuple[int, Key] | None:
        while self._heap:
            when, order, key = self._heap[0]
            present = self._deadline(key)
            if present == when:
                return when, key
            if present is None:
                heapq.heappop(self._heap)
                self._keys.remove(key)
            else:
                heapq.heapreplace(self._heap, (present, order, key))
        return None


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
        expired = [(key, reason) for key, (when, reason) in self._deadlines.items() if when <= now]
        for key, _ in expired:
            del self._deadlines[key]
        return expired

    @property
    def earliest(self) -> float:
        """The earliest deadline; there must be one."""
        return min(self._deadlines.values())[0]
