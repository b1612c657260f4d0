"""Find the first of several addresses that works, without waiting for one that is silent (RFC 8305, Happy Eyeballs).

An attempt begins when the one before it has failed, or has had no outcome for a while; the first success ends the race,
and the sockets of the others are closed. What an attempt does is up to the caller. Uses a clock.
"""

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from halloo._core.units import SECOND
from halloo._net.readiness import Awaited, Steps
from halloo._net.resolver import Place

# Nanoseconds until the next attempt: the recommended delay and the smallest one (RFC 8305, section 8).
ATTEMPT_DELAY, MIN_ATTEMPT_DELAY = SECOND // 4, SECOND // 100


class Failure(NamedTuple):
    """An address that was tried in vain, for how many seconds, and why it failed."""

    place: Place
    seconds: float
    error: OSError


class Winner(NamedTuple):
    """The address that worked, its socket, and when its attempt began."""

    place: Place
    socket: socket.socket
    began_ns: int


def interleaved(places: Sequence[Place]) -> list[Place]:
    """Alternate the families, each in the resolver's order (RFC 8305, section 4).

    >>> interleaved([(10, ("::1",)), (10, ("::2",)), (2, ("127.0.0.1",))])
    [(10, ('::1',)), (2, ('127.0.0.1',)), (10, ('::2',))]
    """
    same = [place for place in places if place[0] == places[0][0]]
    other = [place for place in places if place[0] != places[0][0]]
    return [place for pair in zip_longest(same, other) for place in pair if place]


def race(
    places: Sequence[Place],
    begin: Callable[[Place], socket.socket],
    succeeded: Callable[[socket.socket], bool],
    *,
    writing: bool,
    until_ns: int | None,
    failures: list[Failure],
    clock: Callable[[], int] = time.monotonic_ns,
) -> Steps[Winner | None]:
    """Try places until one works; add those tried before it to `failures`. Return None if no place works in time.

    `begin` returns a socket that becomes readable, or with `writing` writable, at the outcome, and `succeeded` returns
    whether there is one. Both raise OSError for a failure.
    """
    attempts, left = _Attempts(begin, succeeded, failures, clock), deque(places)
    next_ns = failed = 0
    try:
        while left or attempts.active:
            now = clock()
            if left and (not attempts.active or now >= next_ns or len(failures) > failed):
                next_ns, failed = now + _delay(now, until_ns, len(left)), len(failures)
                attempts.start(left.popleft(), now)
                if len(failures) > failed:
                    continue
            yield Awaited([*attempts.active], writing, _earlier(next_ns if left else None, until_ns))
            if winner := attempts.finish():
                attempts.time_out(before_ns=winner.began_ns)
                return winner
            if until_ns is not None and clock() >= until_ns:
                attempts.time_out(before_ns=clock())
                break
        return None
    finally:
        for sock in attempts.active:
            sock.close()


class _Attempts:
    """The attempts under way, and those that have failed."""

    def __init__(
        self,
        begin: Callable[[Place], socket.socket],
        succeeded: Callable[[socket.socket], bool],
        failures: list[Failure],
        clock: Callable[[], int],
    ) -> None:
        self._begin = begin
        self._succeeded = succeeded
        self._failures = failures
        self._clock = clock
        self.active: dict[socket.socket, tuple[Place, int]] = {}

    def start(self, place: Place, now: int) -> None:
        try:
            self.active[self._begin(place)] = place, now
        except OSError as error:
            self._fail(place, now, error)

    def finish(self) -> Winner | None:
        """Return the attempt that has succeeded, if one has; drop those that have failed."""
        for sock, (place, began_ns) in [*self.active.items()]:
            try:
                if not self._succeeded(sock):
                    continue
            except OSError as error:
                sock.close()
                self._fail(place, began_ns, error)
            else:
                del self.active[sock]
                return Winner(place, sock, began_ns)
            del self.active[sock]
        return None

    def time_out(self, *, before_ns: int) -> None:
        """Count the attempts that have begun before that time, and have no outcome, as failed."""
        for place, began_ns in self.active.values():
            if began_ns <= before_ns:
                self._fail(place, began_ns, TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def _fail(self, place: Place, began_ns: int, error: OSError) -> None:
        self._failures.append(Failure(place, (self._clock() - began_ns) / SECOND, error))


def _delay(now: int, until_ns: int | None, left: int) -> int:
    """Return how long one of the `left` places has alone: less than usual if the last one had no time otherwise."""
    share = ATTEMPT_DELAY if until_ns is None else (until_ns - now) // left
    return max(min(share, ATTEMPT_DELAY), MIN_ATTEMPT_DELAY)


def _earlier(one: int | None, other: int | None) -> int | None:
    return min((moment for moment in (one, other) if moment is not None), default=None)
