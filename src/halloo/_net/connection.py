"""One connection to a peer: send everything, receive some or exactly so much, half-close, close, abort.

Uses one socket, which never blocks, and the clock: a call that has to wait does so with a timeout.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import EllipsisType
from typing import NamedTuple, NoReturn, Self

from halloo._core import arguments
from halloo._core.address import Address
from halloo._core.arguments import ReadableBuffer
from halloo._net import error_mapping
from halloo._net.readiness import Interrupt, deadline_ns, seconds_until
from halloo._net.resolver import from_sockaddr
from halloo.errors import ConnectionClosed, HallooError, IncompleteRead, MessageTooLong, TimedOut, UsageError

CHUNK = 64 * 1024  # bytes received at a time
MAX_CHUNK = 1 << 20  # bytes for which recv(2) gets memory, however many may come
INTERNET = (socket.AF_INET, socket.AF_INET6)
URGENT_INLINE = (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # otherwise a read skips urgent bytes (tcp(7))
RESET_ON_CLOSE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # struct linger: on, 0 seconds

Timeout = float | None | EllipsisType


@dataclass(frozen=True, slots=True)
class Attempt:
    """One address that was tried before the one that answered."""

    address: Address
    seconds: float
    error: HallooError


class Times(NamedTuple):
    """How long a call may take: without progress, and in all, which is also given as a time of the monotonic clock.

    `idle_until_ns` is when the time without progress is over, once the call has `waited` without any.
    """

    timeout: float | None
    deadline: float | None
    until_ns: int | None
    waited: bool = False
    idle_until_ns: int | None = None

    @property
    def over(self) -> bool:
        return seconds_until(self.until_ns) == 0

    def __str__(self) -> str:
        return f"within {self.deadline if self.over else self.timeout:g} seconds"


class ConnectedSocket:
    """What connections and connected datagram sockets have in common: a socket, a peer and a way to wait.

    `address` is the peer's. `timeout` is the default of every call, in seconds; None waits for ever.
    """

    def __init__(self, sock: socket.socket, address: Address, *, timeout: float | None = None) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.address = address
        self.timeout = timeout
        self.attempts: tuple[Attempt, ...] = ()
        self._pending = getattr(sock, "pending", bool)  # whether TLS holds bytes that the kernel has not taken
        self._interrupt = Interrupt()
        self._pid = os.getpid()

    @property
    def local_address(self) -> Address:
        """The address of this side (getsockname(2)); of a Unix socket its path, often empty."""
        self._check_open()
        name = self.socket.getsockname()
        if isinstance(name, tuple):
            return from_sockaddr(self.address.scheme, name)
        return Address("unix", None, 0, name if isinstance(name, str) else "")

    def fileno(self) -> int:
        """Return the descriptor, for select(2) and its kin; -1 once it is closed."""
        return self.socket.fileno()

    def close(self) -> None:
        """Close. A call of another thread that waits raises ConnectionClosed.

        In a child forked after the connection was made, it only releases the descriptors.
        """
        if not self._released():
            self._interrupt.close()
            self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _released(self) -> bool:
        """In a forked child, release the descriptors: the connection, and its TLS session, are the parent's."""
        if self._pid == os.getpid():
            return False
        self._interrupt.release()
        getattr(self.socket, "plain", self.socket).close()
        return True

    def _times(self, timeout: Timeout, deadline: float | None) -> Times | None:
        """Check the times of a call; None stands for the connection's own, which cost nothing until it has to wait."""
        if timeout is ... and deadline is None:
            return None
        arguments.seconds("deadline", deadline)
        if isinstance(timeout, EllipsisType):
            timeout = self.timeout
        else:
            arguments.seconds("timeout", timeout)
        return Times(timeout, deadline, deadline_ns(deadline))

    def _wait(self, times: Times | None, fact: str, *, writing: bool = False) -> Times:
        """Wait until the socket is ready. Raises TimedOut, with the fact, and ConnectionClosed.

        The result is for a further wait of the same call, if this one has brought no progress.
        """
        times = times or Times(self.timeout, None, None)
        idle_ns = times.idle_until_ns if times.waited else deadline_ns(times.timeout)
        left = min((left for left in map(seconds_until, (idle_ns, times.until_ns)) if left is not None), default=None)
        one: list[socket.socket] = [self.socket]
        ready = left != 0 and self._interrupt.wait(  # the call has just found that it is not ready now
            [] if writing else one, one if writing or self._pending() else [], left
        )
        self._check_open()
        if not ready:
            self._time_out(times, fact)
        return times._replace(waited=True, idle_until_ns=idle_ns)

    def _time_out(self, times: Times, fact: str) -> NoReturn:
        fact = f"{self.address.place} {fact} {times}"
        raise TimedOut(fact, self.silence_remedy, address=str(self.address))

    @property
    def silence_remedy(self) -> str:
        return "allow more time, or look at the peer's own messages"

    def _check_open(self) -> None:
        if self._interrupt.requested:
            fact = f"the connection to {self.address.place} is closed on this side"
            raise ConnectionClosed(fact, "connect again", address=str(self.address), errno=errno.ECONNABORTED)

    def _raise(self, error: OSError) -> NoReturn:
        self._check_open()
        raise error_mapping.connecting(self.address, error) from error


class Connection(ConnectedSocket):
    """A stream of bytes in each direction: TCP, TLS or a Unix socket.

    `address` is the peer's, `attempts` are the addresses that were tried before it. `timeout=` bounds the time without
    progress and `deadline=` the whole call, both in seconds; None is for ever, and a timeout of `...` is the
    connection's own. One thread may send while another receives; `close` and `abort` may be called from any thread.

    What a read had received when it was interrupted stands in the error's `partial`, and the next read returns it; what
    a write had handed over stands in the error's `sent`, so that `data[error.sent:]` may be sent again.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: Address,
        *,
        timeout: float | None = None,
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        super().__init__(sock, address, timeout=timeout)
        if sock.family in INTERNET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(*URGENT_INLINE)
        self.attempts = attempts
        self._unread = bytearray()  # received by a call that could not return it

    def send(self, data: ReadableBuffer, *, timeout: Timeout = ..., deadline: float | None = None) -> None:
        """Send all of `data`, however many system calls that takes (send(2)).

        Raises Reset, TimedOut, ConnectionClosed, each with `sent`.
        """
        view, sent = arguments.payload("data", data), 0
        times = self._times(timeout, deadline)
        try:
            while sent < len(view) or self._pending():
                if 0 < sent < len(view) and times and times.over:
                    self._time_out(times, f"took only {sent} of {len(view)} bytes")
                try:
                    sent += self.socket.send(view[sent:])
                except BlockingIOError:
                    left = f"{len(view) - sent} of {len(view)}" if sent < len(view) else "encrypted ones"
                    self._wait(times, f"took no more bytes ({left} left)", writing=True)
                except OSError as error:
                    self._raise(error)
        except HallooError as error:
            error.sent = sent
            raise

    def receive(self, limit: int = CHUNK, *, timeout: Timeout = ..., deadline: float | None = None) -> bytes:
        """Receive at least one byte and at most `limit`; empty at the peer's end (recv(2)).

        Raises Reset, TimedOut, ConnectionClosed.
        """
        arguments.whole("limit", limit, 1)
        times = self._times(timeout, deadline)
        return self._take(limit) if self._unread else self._receive(limit, times)

    def receive_exactly(self, size: int, *, timeout: Timeout = ..., deadline: float | None = None) -> bytes:
        """Receive `size` bytes. Raises IncompleteRead when the peer ends the stream before, else as `receive`."""
        arguments.whole("size", size, 0)
        times = self._times(timeout, deadline)
        if size and not self._unread:
            chunk = self._receive(min(size, CHUNK), times)
            if len(chunk) == size:  # without a copy, as most messages come
                return chunk
            self._add(chunk, f"of {size} bytes")
        while len(self._unread) < size:
            self._fill(min(size - len(self._unread), CHUNK), f"of {size} bytes", times)
        return self._take(size)

    def receive_until(
        self, separator: bytes, limit: int = CHUNK, *, timeout: Timeout = ..., deadline: float | None = None
    ) -> bytes:
        """Receive up to and including `separator`, at most `limit` bytes.

        Raises IncompleteRead when the peer ends the stream before, MessageTooLong when `limit` bytes hold no separator,
        else as `receive`.
        """
        wanted = bytes(arguments.payload("separator", separator))
        if not wanted:
            raise UsageError("must not be empty", argument="separator")
        arguments.whole("limit", limit, len(wanted))
        times = self._times(timeout, deadline)
        searched = 0
        while (found := self._unread.find(wanted, searched, limit)) < 0:
            if len(self._unread) >= limit:
                fact = f"{self.address.place} sent {limit} bytes without {wanted!r}"
                raise MessageTooLong(fact, "allow more with limit=", address=str(self.address))
            searched = max(len(self._unread) - len(wanted) + 1, 0)
            self._fill(CHUNK, f"bytes, without {wanted!r}", times)
        return self._take(found + len(wanted))

    def receive_line(self, limit: int = CHUNK, *, timeout: Timeout = ..., deadline: float | None = None) -> bytes:
        r"""Receive a line with its `\n`; at the peer's end the rest without one, then empty, as `readline` does.

        Raises MessageTooLong for a line of more than `limit` bytes, else as `receive`.
        """
        try:
            return self.receive_until(b"\n", limit, timeout=timeout, deadline=deadline)
        except IncompleteRead as error:
            if isinstance(error.__cause__, OSError):  # TLS without close_notify: the line may have been cut off
                raise
            return error.partial

    def send_eof(self, *, timeout: Timeout = ..., deadline: float | None = None) -> None:
        """End this direction; receiving goes on (half-close, shutdown(2)).

        Over TLS it is a message of its own, close_notify, which may have to wait. Raises TimedOut, ConnectionClosed.
        """
        times = self._times(timeout, deadline)
        while True:
            try:
                return self.socket.shutdown(socket.SHUT_WR)
            except BlockingIOError:
                self._wait(times, "took no more bytes (the end is left)", writing=True)
            except OSError as error:
                if error.errno != errno.ENOTCONN:  # the peer's reset came first; receiving will say so
                    self._raise(error)
                return None

    def abort(self) -> None:
        """Close with a reset (RST): bytes not yet sent are dropped, and the peer sees an error (RFC 9293, 3.10.5).

        In a forked child it does no more than `close`.
        """
        if self._released():
            return
        self._interrupt.close()
        with suppress(OSError):  # closed already, or not a TCP socket
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        getattr(self.socket, "plain", self.socket).close()  # without TLS's close_notify

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks as they come, until the peer's end."""
        while chunk := self.receive():
            yield chunk

    def _receive(self, limit: int, times: Times | None, fact: str = "sent nothing") -> bytes:
        while True:
            try:
                return self.socket.recv(limit if limit < MAX_CHUNK else MAX_CHUNK)  # noqa: FURB136 - quicker than min()
            except BlockingIOError:
                times = self._wait(times, fact)  # nor do bytes without data: of TLS alone
            except OSError as error:
                self._raise(error)

    def _fill(self, limit: int, wanted: str, times: Times | None) -> None:
        """Add to the unread bytes, which stay unread when that fails. Raises IncompleteRead at the peer's end."""
        fact = f"sent no more than {len(self._unread)} bytes" if self._unread else "sent nothing"
        try:
            if self._unread and times and times.over:
                self._time_out(times, fact)
            chunk = self._receive(limit, times, fact)
        except HallooError as error:
            error.partial = bytes(self._unread)
            raise
        self._add(chunk, wanted)

    def _add(self, chunk: bytes, wanted: str) -> None:
        if chunk:
            self._unread += chunk
            return
        fact = f"{self.address.place} closed the connection after {len(self._unread)} {wanted}"
        incomplete = IncompleteRead(fact, error_mapping.LOOK, address=str(self.address))
        incomplete.partial = bytes(self._unread)
        self._unread.clear()  # nothing can follow: the error has all of it
        raise incomplete

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._unread)[:size])
        del self._unread[:size]
        return taken
