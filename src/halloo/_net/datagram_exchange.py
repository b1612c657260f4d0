"""Send datagrams while the answers come back, no more at a time than an echo's buffer holds, and count what is lost.

Knows a connection, a thread that reads the source, and the clock. Which answer belongs to which datagram is not known
here, since any bytes may be sent: they are counted, without the copies that `core.copies` recognises.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from halloo._net import error_mapping
from halloo._net.connection import Connection
from halloo._net.readiness import until_readable
from halloo.errors import HallooError, TimedOut

UNDER_WAY = 32  # datagrams
UNDER_WAY_BYTES = 64 * 1024  # what the buffer of a socket holds, with what the kernel adds, unless told otherwise
SHORTEST, TIMES = 0.05, 4  # how long a late answer holds the others up: in seconds, and in times of the slowest so far


RECENT = 1024  # datagrams that are remembered each way


class DuplicateFilter:
    """What was sent lately and not answered, and what was answered."""

    def __init__(self) -> None:
        """Start with nothing sent."""
        # Hashes: the datagrams themselves might be 64 MB.
        self._owed: deque[int] = deque(maxlen=RECENT)
        self._answered: deque[int] = deque(maxlen=RECENT)
        self._echo = True

    def send(self, datagram: bytes) -> None:
        """Note what was sent."""
        self._owed.append(hash(datagram))

    def receive(self, answer: bytes) -> bool:
        """Note what came, and say whether it is a copy: an echo of what was answered already, and is not owed again."""
        mark = hash(answer)
        if mark in self._owed:
            self._owed.remove(mark)
            self._answered.append(mark)
            return False
        copied = self._echo and mark in self._answered
        self._echo = copied  # an answer that was never sent is not an echo's
        return copied


@dataclass(slots=True)
class DatagramExchange:
    """How many datagrams and bytes went and came; a copy of an answer that had come before counts as bytes only."""

    sent: int = 0
    received: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


class _Source:
    """Reads datagrams in a thread, some ahead, so that a slow source does not keep answers waiting."""

    def __init__(self, datagrams: Iterable[bytes]) -> None:
        self._datagrams = datagrams
        self._ready: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self.silent = False  # whether no more wake-ups will come
        self.waking, self._waker = socket.socketpair()
        self.waking.setblocking(False)
        threading.Thread(target=self._run, name="halloo reader", daemon=True).start()

    def _run(self) -> None:
        with self._waker:
            try:
                for datagram in self._datagrams:
                    with self._changed:
                        self._changed.wait_for(lambda: self._closed or len(self._ready) < UNDER_WAY)
                        self._ready.append(datagram)
                    if self._closed:
                        return
                    with suppress(OSError):  # nobody listens any more
                        self._waker.send(b"!")
            except Exception as error:  # noqa: BLE001 - raised again by `take`
                self._error = error
            self._ended = True

    @property
    def over(self) -> bool:
        """Whether all has been taken; not while there is an error to be raised."""
        return self._ended and not self._ready and not self._error

    def take(self) -> bytes | None:
        """Give the next datagram, None when there is none now. Raises what the source has raised."""
        with suppress(BlockingIOError):
            self.silent = not self.waking.recv(4096)
        with self._changed:
            if self._ready:
                self._changed.notify()
                return self._ready.popleft()
        if self._error:
            raise self._error
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self.waking.close()


class _Progress:
    """What is under way, and how long it may be."""

    def __init__(self, connection: Connection, sink: Callable[[bytes], object], timeout: float) -> None:
        self._connection = connection
        self._sink = sink
        self._timeout = timeout
        self.done = DatagramExchange()
        self._copies = DuplicateFilter()
        self._under_way = 0  # as far as is known: what was given up may still come, and there may be more answers
        self._slowest, self._moved = 0.0, time.monotonic()
        self._room = UNDER_WAY

    @property
    def owed(self) -> int:
        return self.done.sent - self.done.received

    @property
    def full(self) -> bool:
        return self._under_way >= self._room

    def send(self, datagram: bytes) -> None:
        try:
            self._connection.send(datagram, timeout=self._timeout)
        except HallooError:
            self.receive()  # the answers that came before it
            raise
        self.done.sent += 1
        self.done.sent_bytes += len(datagram)
        self._copies.send(datagram)
        self._under_way += 1
        self._room = max(min(UNDER_WAY, UNDER_WAY_BYTES // max(len(datagram), 1)), 1)
        self._moved = time.monotonic()

    def receive(self) -> None:
        """Take what has come."""
        with suppress(TimedOut):
            while True:
                answer = self._connection.receive(timeout=0)
                self._sink(answer)
                self.done.received_bytes += len(answer)
                if not self._copies.receive(answer):
                    self.done.received += 1
                    self._under_way = max(self._under_way - 1, 0)
                    now = time.monotonic()
                    self._slowest, self._moved = max(self._slowest, now - self._moved), now

    def patience(self, *, over: bool) -> float | None:
        """Say how many seconds more an answer may take, None for ever; `over` is whether no more will be sent."""
        passed = time.monotonic() - self._moved
        if over or (self._under_way and not self.done.received):
            return max(self._timeout - passed, 0)
        if self.full:
            return max(min(self._timeout, max(SHORTEST, TIMES * self._slowest)) - passed, 0)
        return None

    def give_up(self) -> None:
        """Wait no longer for what is under way. Raises TimedOut when nothing ever came."""
        self._under_way = 0
        if not self.done.received:
            sent, place = self.done.sent, self._connection.address.place
            what = "the datagram" if sent == 1 else f"any of {sent} datagrams"
            fact = f"{place} did not answer {what} within {self._timeout:g} seconds"
            raise TimedOut(fact, error_mapping.SILENT, address=str(self._connection.address))


def exchange_datagrams(
    connection: Connection, datagrams: Iterable[bytes], sink: Callable[[bytes], object], *, timeout: float
) -> DatagramExchange:
    """Send each of the datagrams, and give `sink` the replies, until as many came as were sent or `timeout` has passed.

    Datagrams received before an error have been given to `sink`. Raises Refused; TimedOut when nothing came back.
    """
    progress = _Progress(connection, sink, timeout)
    with _Source(datagrams) as source:
        while True:
            progress.receive()
            while not progress.full and (datagram := source.take()) is not None:
                progress.send(datagram)
            over = source.over
            if over and progress.owed <= 0:
                return progress.done
            watched = [connection.socket] if progress.full or source.silent else [connection.socket, source.waking]
            if not until_readable(watched, progress.patience(over=over)):
                progress.give_up()
                if over:
                    return progress.done
