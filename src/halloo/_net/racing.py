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
    left, active = deque(places), dict[socket.socket, tuple[Place, int]]()
    next_ns = failed = 0

    def fail(place: Place, began_ns: int, error: OSError) -> None:
        failures.append(Failure(place, (clock() - began_ns) / SECOND, error))

    try:
        while left or active:
            now = clock()
            if left and (not active or now >= next_ns or len(failures) > failed):
                next_ns, failed = now + _delay(now, until_ns, len(left)), len(failures)
                place = left.popleft()
                try:
                    active[begin(place)] = place, now
                except OSError as error:
                    fail(place, now, error)
                    continue
            ends = [moment for moment in (next_ns if left else None, until_ns) if moment is not None]
            yield Awaited([*active], writing, min(ends, default=None))
            winner = _first_success(active, succeeded, fail)
            if winner or (until_ns is not None and clock() >= until_ns):
                for place, began_ns in active.values():  # those that began before the winner have had their time
                    if not winner or began_ns <= winner.began_ns:
                        fail(place, began_ns, TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
                return winner
        return None
    finally:
        for sock in active:
            sock.close()


def _first_success(
    active: dict[socket.socket, tuple[Place, int]],
    succeeded: Callable[[socket.socket], bool],
    fail: Callable[[Place, int, OSError], object],
) -> Winner | None:
    """Remove the attempts that have an outcome, up to one that has succeeded; return that one."""
    for sock, (place, began_ns) in [*active.items()]:
        try:
            if not succeeded(sock):
                continue
        except OSError as error:
            sock.close()
            fail(place, began_ns, error)
        else:
            del active[sock]
            return Winner(place, sock, began_ns)
        del active[sock]
    return None


def _delay(now: int, until_ns: int | None, left: int) -> int:
    """Return how long one of the `left` places has alone: less than usual if the last one had no time otherwise."""
    share = ATTEMPT_DELAY if until_ns is None else (until_ns - now) // left
    return max(min(share, ATTEMPT_DELAY), MIN_ATTEMPT_DELAY)
