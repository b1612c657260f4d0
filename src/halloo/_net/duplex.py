"""Send a stream and receive the answer at the same time, so that two full buffers cannot block each other.

Uses one connection, one thread and the clock. A thread sends; the caller's thread receives, and is woken by the sender
whenever its time to wait changes.
"""

import math
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass

from halloo._core.units import SECOND
from halloo._net import error_mapping
from halloo._net.connection import CHUNK, Connection
from halloo._net.readiness import until_readable
from halloo.errors import HallooError, IncompleteRead, Reset, TimedOut

SENDER_GRACE = 0.1  # seconds for the sender to note its last send, when the peer's end follows at once


@dataclass(frozen=True, slots=True)
class DuplexResult:
    """How many bytes were sent and received; `finished` is whether the peer closed its side too."""

    sent_bytes: int
    received_bytes: int
    finished: bool


class _Sender:
    """The sending side, in a thread. The receiving side reads its attributes, and never writes them."""

    def __init__(self, connection: Connection, source: Iterable[bytes]) -> None:
        self._connection = connection
        self._source = source
        self.waking, self._waker = socket.socketpair()
        self.waking.setblocking(False)
        self.offered = self.sent = 0  # bytes whose send began, and those whose send has ended
        self.moved = time.monotonic()  # when a send began or ended last
        self.blocked = False  # whether a send is under way
        self.finished = False  # whether all of the source and the half-close were sent
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, name="halloo sender", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with closing(self._waker):  # wakes the receiving side for the last time
            try:
                for data in self._source:
                    for start in range(0, len(data), CHUNK):
                        self._send(data[start : start + CHUNK])
                self._connection.send_eof()
                self.finished = True
            except Exception as error:  # noqa: BLE001 - the receiving side decides what it means
                self.error = error

    def _send(self, piece: bytes) -> None:
        self.blocked, self.moved = True, time.monotonic()
        self.offered += len(piece)
        with suppress(OSError):  # the receiving side has ended
            self._waker.send(b"!")
        self._connection.send(piece)
        self.sent += len(piece)
        self.blocked, self.moved = False, time.monotonic()

    def woken(self) -> list[socket.socket]:
        """Discard the wake-ups so far; return the sockets to watch for further ones."""
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
    until_ns: int | None = None,
) -> DuplexResult:
    """Send `source`, half-close, and pass to `sink` all that arrives until the peer's end.

    `timeout` is how many seconds may pass without progress: while bytes are sent, fewer were received than sent, or
    only the peer's end is missing. Bytes beyond those sent are no progress. With `linger` no answer is expected: the
    peer's end is awaited for that many seconds after the half-close. `until_ns`, on the monotonic clock, ends all.
    Bytes received before an error have been passed to `sink`.
    Raises Reset, TimedOut, IncompleteRead, and what `source` raises.
    """
    connection.timeout = None  # the time to wait depends on both sides, and is decided here
    until = math.inf if until_ns is None else until_ns / SECOND
    sender = _Sender(connection, source)
    received, moved = 0, time.monotonic()
    try:
        while chunk := _receive_now(connection, sender, received, owing=linger is None):
            if chunk is not _NOTHING:
                progress = linger is None and received < sender.offered
                received += len(chunk)
                sink(chunk)
                if progress and (moved := time.monotonic()) < until:
                    continue
            if sender.error and not isinstance(sender.error, HallooError):
                raise sender.error
            owed = 0 if linger is not None else sender.sent - received
            left = _time_left(sender, owed, moved, timeout, linger=linger, until=until)
            if left <= 0:
                if owed > 0 or not sender.finished:
                    raise sender.error or _no_progress(connection, sender, received, timeout, until=until)
                return DuplexResult(sender.sent, received, finished=False)
            if chunk is _NOTHING:
                until_readable([connection.socket, *sender.woken()], left)
        sender.thread.join(SENDER_GRACE)
        _check(connection, sender, received, owing=linger is None)
        return DuplexResult(sender.sent, received, finished=True)
    finally:
        if sender.thread.is_alive() and not sender.finished:
            connection.close()  # ends a send that waits
        sender.thread.join(SENDER_GRACE)
        sender.waking.close()


_NOTHING = b"nothing yet"


def _receive_now(connection: Connection, sender: _Sender, received: int, *, owing: bool) -> bytes:
    """Return received bytes, empty at the peer's end, or _NOTHING. A reset after the whole answer is an end as well."""
    try:
        return connection.receive(timeout=0)
    except TimedOut:
        return _NOTHING
    except Reset:
        if owing and sender.finished and 0 < sender.sent <= received:
            return b""
        raise


def _time_left(
    sender: _Sender, owed: int, moved: float, timeout: float, *, linger: float | None, until: float
) -> float:
    """Return for how many more seconds to wait for a byte; while none is owed, until the end of all."""
    now = time.monotonic()
    if sender.finished and linger is not None:
        return min(linger - (now - sender.moved), until - now)
    if owed > 0 or sender.blocked or sender.finished or sender.error:
        return min(timeout - (now - max(moved, sender.moved)), until - now)
    return until - now


def _no_progress(
    connection: Connection, sender: _Sender, received: int, timeout: float, *, until: float
) -> HallooError:
    place, sent = connection.address.place, sender.sent
    if time.monotonic() >= until:
        return error_mapping.overdue(connection.address, f"sent back {received} of {sent} bytes")
    if received >= sent:
        fact = f"{place} took {sent} bytes, then no more for {timeout:g} seconds"
    else:
        fact = f"{place} sent back {received} of {sent} bytes, then nothing for {timeout:g} seconds"
    return TimedOut(fact, "allow more time with timeout=, or look at the server", address=str(connection.address))


def _check(connection: Connection, sender: _Sender, received: int, *, owing: bool) -> None:
    """Raise an error if the peer's end came too early."""
    place, sent = connection.address.place, sender.sent
    if sender.error and not isinstance(sender.error, HallooError):
        raise sender.error
    if not sender.finished:
        fact = f"{place} closed the connection before all was sent ({sent} bytes sent, {received} received)"
    elif owing and received < sent:
        fact = f"{place} closed the connection after sending back {received} of {sent} bytes"
    else:
        return
    raise IncompleteRead(fact, error_mapping.LOOK, address=str(connection.address))
