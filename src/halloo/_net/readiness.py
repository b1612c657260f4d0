"""Wait until sockets are readable or writable, without missing Ctrl-C on any system.

Sockets are non-blocking throughout: code that would block waits here, or yields what it waits for as `Steps`, so that a
caller with several sockets can wait for them all. `wait` is exact to microseconds: select(2) and a small timer slack
come within some 50 us, and the last AWAKE nanoseconds before a planned time are spent polling.
"""

import os
import select
import socket
import threading
import time
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf, isfinite
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from halloo._core.timers import MAX_WAIT
from halloo._core.units import SECOND

# The longest single wait. On Windows neither recv nor select notices Ctrl-C, but Python does between two calls.
STEP = 0.25 if os.name == "nt" else MAX_WAIT
LEAST = 0.001  # seconds: what `wait` may round down to 0


class Awaited(NamedTuple):
    """What a step waits for: any of the sockets to become writable or readable, until a time of the monotonic clock."""

    sockets: Sequence[socket.socket]
    writing: bool
    until_ns: int | None = None  # for ever when None

    def outcome(self, ready: Container[int]) -> bool | None:
        """Return whether one of the sockets is among the ready descriptors; None while the time is not over either."""
        if any(sock.fileno() in ready for sock in self.sockets):
            return True
        return False if seconds_until(self.until_ns) == 0 else None


class WaitSet(NamedTuple):
    """Descriptors to wait for, and for how many seconds at most: the arguments of `wait`."""

    readable: list[int]
    writable: list[int]
    timeout: float

    @classmethod
    def of(cls, waits: Iterable[Awaited]) -> Self:
        readable, writable, timeout = list[int](), list[int](), inf
        for awaited in waits:
            (writable if awaited.writing else readable).extend(sock.fileno() for sock in awaited.sockets)
            left = seconds_until(awaited.until_ns)
            timeout = timeout if left is None else min(timeout, left)
        return cls(readable, writable, timeout)


Result = TypeVar("Result")
Steps = Generator[Awaited, bool, Result]
"""Work done step by step: it is sent whether a socket became ready, False once the time is over."""


def run_steps(steps: Steps[Result], interrupt: "Interrupt | None" = None) -> Result:
    """Run all steps, waiting for each, and return their result. Once interrupted, the time of each step is over."""
    wait_for = interrupt.wait if interrupt else until_ready
    try:
        awaited = next(steps)
        while True:
            left, sockets = seconds_until(awaited.until_ns), awaited.sockets
            awaited = steps.send(bool(wait_for([], sockets, left) if awaited.writing else wait_for(sockets, [], left)))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # StopIteration has no type parameter
    finally:
        steps.close()


def deadline_ns(seconds: float | None) -> int | None:
    """Return the time of the monotonic clock in that many seconds; None for never, as for infinity."""
    return time.monotonic_ns() + int(seconds * SECOND) if seconds is not None and isfinite(seconds * SECOND) else None


def seconds_until(time_ns: int | None) -> float | None:
    """Return how many seconds are left until a time of the monotonic clock, at least 0; None where there is none."""
    return None if time_ns is None else max(time_ns - time.monotonic_ns(), 0) / SECOND


def until_readable(sockets: Sequence[socket.socket], timeout: float | None) -> list[socket.socket]:
    """Wait `timeout` seconds, for ever when None, for any of the sockets; return those that are readable."""
    return until_ready(sockets, [], timeout)


def until_ready(
    readers: Sequence[socket.socket], writers: Sequence[socket.socket], timeout: float | None
) -> list[socket.socket]:
    """Wait as `until_readable`, for some of the sockets to become writable; return those that are ready."""
    reading = {sock.fileno(): sock for sock in readers}  # now: another thread may close one meanwhile
    writing = {sock.fileno(): sock for sock in writers}
    deadline = inf if timeout is None else time.monotonic() + timeout
    while True:
        left = max(deadline - time.monotonic(), 0)
        ready = wait([*reading], [*writing], min(max(left, LEAST), STEP) if left else 0)
        if ready or not left:
            return [sock for number, sock in (reading | writing).items() if number in ready]


class Interrupt:
    """Ends the waits of other threads, those under way and those to come."""

    def __init__(self) -> None:
        """Cost nothing until the first wait, which opens a pair of sockets to be woken by."""
        self.requested = False
        self._lock = threading.Lock()
        self._pair: tuple[socket.socket, socket.socket] | None = None

    def wait(
        self, readers: Sequence[socket.socket], writers: Sequence[socket.socket], timeout: float | None
    ) -> list[socket.socket]:
        """Wait `timeout` seconds, for ever when None, for sockets; return those ready, none once interrupted."""
        with self._lock:
            if not self._pair and not self.requested:
                with suppress(OSError):  # no descriptor is left: this wait cannot be interrupted
                    self._pair = socket.socketpair()
            waker = [self._pair[0]] if self._pair else []
        try:
            ready = [] if self.requested else until_ready([*readers, *waker], writers, timeout)
        except (OSError, ValueError):  # another thread closed a socket before the wait began
            if not self.requested:
                raise
        return [] if self.requested else [sock for sock in ready if sock not in waker]

    def request(self) -> None:
        with self._lock:
            self.requested = True
            if self._pair:
                self._pair[1].close()  # the other end becomes readable, and stays so

    def close(self) -> None:
        """Interrupt, and release the descriptors; a wait under way keeps its own until it returns."""
        self.request()
        with self._lock:
            self.release()

    def release(self) -> None:
        """Interrupt waits to come, and release the descriptors: without the lock, for a forked child."""
        self.requested = True
        pair, self._pair = self._pair, None
        for sock in pair or ():
            sock.close()


AWAKE = 120_000  # nanoseconds before a planned time in which to poll instead of sleeping
SELECT_BELOW = 1024  # select(2) takes lower descriptors only
FEW = 8  # descriptors up to which one select(2) of them all is cheaper than epoll(7) behind it


def wait(
    reading: Sequence[int], writing: Sequence[int], seconds: float, *, select_below: int = SELECT_BELOW
) -> set[int]:
    """Wait for one of the descriptors; without select(2) in whole milliseconds, rounded down."""
    seconds = min(seconds, MAX_WAIT)
    if max([*reading, *writing], default=0) < select_below or not hasattr(select, "poll"):
        # Windows reports a failed connect among the exceptional ones only; elsewhere an urgent byte is one, for ever.
        readable, writable, failed = select.select(reading, writing, writing if os.name == "nt" else [], seconds)
        return {*readable, *writable, *failed}
    poller, events = select.poll(), dict.fromkeys(reading, select.POLLIN)
    for number in writing:
        events[number] = events.get(number, 0) | select.POLLOUT
    for number, event in events.items():
        poller.register(number, event)
    return {number for number, _ in poller.poll(int(seconds * 1000))}


class WatchList:
    """Descriptors that many waits have in common, behind a single one where the system can (epoll(7)).

    A wait then costs the same for any number of them, and stays exact: epoll_wait(2) itself counts milliseconds.
    """

    def __init__(self, few: int = FEW) -> None:
        self._few = few
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._numbers: set[int] = set()
        self._writers: set[int] = set()
        self._direct = True

    def add(self, number: int, *, writing: bool = False) -> None:
        """Watch a descriptor until it is readable or, with `writing`, writable."""
        self._numbers.add(number)
        if writing:
            self._writers.add(number)
        self._direct = self._are_few()
        if self._epoll:
            self._epoll.register(number, select.EPOLLIN | select.EPOLLOUT * writing)

    def remove(self, number: int) -> None:
        """Watch a descriptor no longer; it may be closed already."""
        self._numbers.remove(number)
        self._writers.discard(number)
        self._direct = self._are_few()
        if self._epoll:
            with suppress(OSError):
                self._epoll.unregister(number)

    def wait(self, reading: Sequence[int], writing: Sequence[int], seconds: float) -> set[int]:
        """Wait for one of these descriptors or of those watched, as `wait` does."""
        if not self._epoll or self._direct:
            return wait([*reading, *self._numbers], [*writing, *self._writers], seconds)
        watched = self._epoll.fileno()
        ready = wait([*reading, watched], writing, seconds)
        if watched in ready:
            ready.remove(watched)
            ready.update(number for number, _ in self._epoll.poll(0))
        return ready

    def close(self) -> None:
        if self._epoll:
            self._epoll.close()

    def _are_few(self) -> bool:
        return len(self._numbers) <= self._few and max(self._numbers, default=0) < SELECT_BELOW


@contextmanager
def sharp_timers() -> Iterator[None]:
    """Have this thread's waits end on time: by default they may take 50 us more (PR_SET_TIMERSLACK)."""
    slack = Path(f"/proc/{threading.get_native_id()}/timerslack_ns")  # of a thread, but not in its process's task/
    try:
        before = slack.read_text()
        slack.write_text("1")
    except OSError:  # not Linux, or not permitted
        yield
        return
    try:
        yield
    finally:
        slack.write_text(before)
