"""Send a stream and take the answer at the same time, so that two full buffers cannot wait for each other.

Knows one connection, one thread and the clock. Sending has a thread of its own; the caller's thread receives, and is
woken by the other whenever it has to think again about how long to wait.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass

from halloo._net.connection import CHUNK, Connection
from halloo._net.readiness import until_readable
from halloo.errors import HallooError, IncompleteRead, Reset, TimedOut

ABOUT_TO = 0.1  # seconds for the sender to note what it has just done, when the peer's end comes that soon


@dataclass(frozen=True, slots=True)
class DuplexResult:
    """What went and what came; `finished` is whether the peer closed its side too."""

    sent_bytes: int
    received_bytes: int
    finished: bool


class _Sender:
    """The sending half, in its thread. The other half reads its attributes, and never writes them."""

    def __init__(self, connection: Connection, source: Iterable[bytes]) -> None:
        self._connection = connection
        self._source = source
        self.waking, self._waker = socket.socketpair()
        self.waking.setblocking(False)
        self.sent = 0
        self.moved = time.monotonic()  # when there was something to send, or it went
        self.blocked = False  # whether bytes are waiting to go
        self.finished = False  # whether all of the source went, and the half-close after it
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, name="halloo sender", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with closing(self._waker):  # which wakes the other half for the last time
            try:
                for data in self._source:
                    for start in range(0, len(data), CHUNK):
                        self._send(data[start : start + CHUNK])
                self._connection.send_eof()
                self.finished = True
            except Exception as error:  # noqa: BLE001 - the receiving half decides what it means
                self.error = error

    def _send(self, piece: bytes) -> None:
        self.blocked, self.moved = True, time.monotonic()
        with suppress(OSError):  # the other half has gone
            self._waker.send(b"!")
        self._connection.send(piece)
        self.sent += len(piece)
        self.blocked, self.moved = False, time.monotonic()

    def woken(self) -> list[socket.socket]:
        """Forget the wake-ups so far; give what to watch for more."""
        if self.thread.is_alive():
            with suppress(BlockingIOError):
                self.waking.recv(4096)
            return [self.waking]
        return []


def duplex(
    connection: Connection,
    source: Iterable[bytes],
    sink: Callable[[bytes], object],
    *,
    timeout: float,
    linger: float | None = None,
) -> DuplexResult:
    """Send `source`, half-close, and give `sink` what comes until the peer's end.

    `timeout` is how many seconds may pass without progress while fewer bytes came back than were sent. With `linger` no
    answer is expected: the peer's end is awaited for that many seconds after the half-close.
    Bytes received before an error have been given to `sink`.
    Raises Reset, TimedOut, IncompleteRead, and what `source` raises.
    """
    connection.timeout = None  # how long is too long depends on both halves, and is decided here
    sender = _Sender(connection, source)
    received, moved = 0, time.monotonic()
    try:
        while chunk := _next(connection, sender, received, owing=linger is None):
            if chunk is not _NOTHING:
                received, moved = received + len(chunk), time.monotonic()
                sink(chunk)
                continue
            if sender.error and not isinstance(sender.error, HallooError):
                raise sender.error
            owed = 0 if linger is not None else sender.sent - received
            patience = _patience(sender, owed, moved, timeout, linger)
            if patience is not None and patience <= 0:
                if sender.blocked or owed > 0:
                    raise _silence(connection, sender.sent, received, timeout)
                return DuplexResult(sender.sent, received, finished=False)
            until_readable([connection.socket, *sender.woken()], patience)
        sender.thread.join(ABOUT_TO)
        _check(connection, sender, received, owing=linger is None)
        return DuplexResult(sender.sent, received, finished=True)
    finally:
        if sender.thread.is_alive() and not sender.finished:
            connection.abort()  # so that a sender still at work ends too
        sender.thread.join(ABOUT_TO)
        sender.waking.close()


_NOTHING = b"nothing yet"


def _next(connection: Connection, sender: _Sender, received: int, *, owing: bool) -> bytes:
    """Give what has come, empty at the peer's end, or _NOTHING. A reset after the whole answer is an end as well."""
    try:
        return connection.receive(timeout=0)
    except TimedOut:
        return _NOTHING
    except Reset:
        if owing and sender.finished and 0 < sender.sent <= received:
            return b""
        raise


def _patience(sender: _Sender, owed: int, moved: float, timeout: float, linger: float | None) -> float | None:
    """Say how many seconds more may pass without a byte; None when nothing is owed and more may be sent."""
    now = time.monotonic()
    if sender.finished and linger is not None:
        return linger - (now - sender.moved)
    if owed > 0 or sender.blocked or sender.finished or sender.error:
        return timeout - (now - max(moved, sender.moved))
    return None


def _silence(connection: Connection, sent: int, received: int, timeout: float) -> HallooError:
    fact = f"{connection.address.place} sent back {received} of {sent} bytes, then nothing for {timeout:g} seconds"
    return TimedOut(fact, "allow more time with -W, or look at the server", address=str(connection.address))


def _check(connection: Connection, sender: _Sender, received: int, *, owing: bool) -> None:
    """Raise what the peer's end means when it came too early."""
    place, sent, remedy = connection.address.place, sender.sent, "look at the server's own messages"
    if sender.error and not isinstance(sender.error, HallooError):
        raise sender.error
    if not sender.finished:
        fact = f"{place} closed the connection before all was sent ({sent} bytes went, {received} came back)"
        raise IncompleteRead(fact, remedy, address=str(connection.address))
    if owing and received < sent:
        fact = f"{place} closed the connection after sending back {received} of {sent} bytes"
        raise IncompleteRead(fact, remedy, address=str(connection.address))
