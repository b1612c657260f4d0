"""Make the connections of many lanes at once: nobody waits for somebody else's.

Knows lanes and the steady clock; who waits for the descriptors is told which.
"""

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from halloo._core.units import SECOND
from halloo._net import error_mapping
from halloo._ping.flow import ProbeConnection
from halloo.errors import HallooError

AT_ONCE = 64  # each may take two descriptors more than its connection does


class Descriptors(NamedTuple):
    """What is waited for, and for how many seconds at most."""

    reading: list[int]
    writing: list[int]
    seconds: float


class Connector:
    """The connections that are being made. It is told by a lane's place which are there, and which are not to be."""

    def __init__(
        self,
        lanes: Sequence[ProbeConnection],
        opened: Callable[[int, Mapping[str, int]], object],
        failed: Callable[[int, HallooError], object],
    ) -> None:
        """Begin with none; `opened` is given how many nanoseconds each phase took."""
        self._lanes = lanes
        self._opened = opened
        self._failed = failed
        self._places: set[int] = set()
        self._later: deque[int] = deque()  # no more than AT_ONCE at a time

    def __bool__(self) -> bool:
        return bool(self._places)

    def __contains__(self, place: int) -> bool:
        return place in self._places or place in self._later

    def begin(self, place: int) -> None:
        """Begin to connect a lane, when it is its turn; it may be connected at once."""
        self._later.append(place)
        self._begin_more()

    def advance(self, ready: set[int]) -> None:
        """Go on with those whose descriptors are ready, or whose time is over."""
        for place in [*self._places]:
            awaited = self._lanes[place].awaited
            if awaited.socket.fileno() in ready:
                self._take_step(place, ready=True)
            elif awaited.until_ns is not None and time.monotonic_ns() >= awaited.until_ns:
                self._take_step(place, ready=False)
        self._begin_more()

    def give_up(self) -> None:
        """Give all of them up: they have taken too long."""
        places = [*self._places, *self._later]
        self._places.clear()
        self._later.clear()
        for place in places:
            self._lanes[place].close()
            late = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            self._failed(place, error_mapping.connecting(self._lanes[place].dial.address, late))

    def abandon(self) -> None:
        """Close what has begun, and tell nobody."""
        for place in self._places:
            self._lanes[place].close()
        self._places.clear()
        self._later.clear()

    def awaited(self) -> Descriptors:
        """Say what is waited for."""
        found = Descriptors([], [], float("inf"))
        for awaited in (self._lanes[place].awaited for place in self._places):
            (found.writing if awaited.writing else found.reading).append(awaited.socket.fileno())
            if awaited.until_ns is not None:
                left = max(awaited.until_ns - time.monotonic_ns(), 0) / SECOND
                found = found._replace(seconds=min(found.seconds, left))
        return found

    def _begin_more(self) -> None:
        while self._later and len(self._places) < AT_ONCE:
            place = self._later.popleft()
            self._places.add(place)
            self._take_step(place, None)

    def _take_step(self, place: int, ready: bool | None) -> None:
        lane = self._lanes[place]
        try:
            phases = lane.open() if ready is None else lane.advance(ready)
        except HallooError as error:
            self._places.discard(place)
            self._failed(place, error)
            return
        if phases is not None:
            self._places.discard(place)
            self._opened(place, phases)
