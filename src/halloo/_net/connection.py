"""Hold one connection to a peer: send all, receive some, finish, close.

Knows one socket and the clock. The socket never blocks: what cannot be done at once is waited for, with a timeout.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Self

from halloo._core.address import Address
from halloo._net import error_mapping
from halloo._net.readiness import until_readable, until_writable
from halloo.errors import HallooError, IncompleteRead, TimedOut

CHUNK = 64 * 1024  # bytes received at a time
INTERNET = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One address that was tried before the one that answered."""

    address: Address
    seconds: float
    error: HallooError


class Connection:
    """A stream of bytes each way. `address` is the peer's; `timeout` seconds are the default of every call, None ever.

    Each timeout is the longest time without progress, not the longest time in all. Over `udp://` the methods have the
    same names, and each moves one whole datagram; `datagrams` tells.
    """

    datagrams: ClassVar[bool] = False

    def __init__(
        self,
        sock: socket.socket,
        address: Address,
        *,
        timeout: float | None = None,
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        """Take over a socket that is connected."""
        sock.setblocking(False)
        if sock.family in INTERNET and not self.datagrams:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.address = address
        self.timeout = timeout
        self.attempts = attempts

    def send(self, data: bytes | bytearray | memoryview, *, timeout: float | None = None) -> None:
        """Send all of it, however many system calls that takes (send(2)). Raises Reset, TimedOut."""
        rest = memoryview(data).cast("B")
        while rest:
            try:
                rest = rest[self.socket.send(rest) :]
            except BlockingIOError:
                self._until_writable(timeout, f"{len(rest)} of {len(data)}")
            except OSError as error:
                raise error_mapping.connecting(self.address, error) from error

    def receive(self, limit: int = CHUNK, *, timeout: float | None = None) -> bytes:
        """Receive what has come, at most `limit` bytes, waiting for the first; empty at the peer's end (recv(2)).

        Raises Reset, TimedOut.
        """
        while True:
            try:
                return self._recv(limit)
            except BlockingIOError:
                patience = self._patience(timeout)
                if not until_readable([self.socket], patience):
                    raise TimedOut(
                        f"nothing came from {self.address.place} within {patience:g} seconds",
                        "allow more time, or look at the server's own messages",
                        address=str(self.address),
                    ) from None
            except OSError as error:
                raise error_mapping.connecting(self.address, error) from error

    def receive_exactly(self, size: int, *, timeout: float | None = None) -> bytes:
        """Receive `size` bytes. Raises IncompleteRead, whose `partial` holds what came, when the peer ends before."""
        pieces = bytearray()
        try:
            while len(pieces) < size and (piece := self.receive(min(size - len(pieces), CHUNK), timeout=timeout)):
                pieces += piece
        except IncompleteRead as cut:  # TLS noticed it
            cut.partial = bytes(pieces)
            raise
        if len(pieces) < size:
            fact = f"{self.address.place} closed the connection after {len(pieces)} of {size} bytes"
            error = IncompleteRead(fact, error_mapping.LOOK, address=str(self.address))
            error.partial = bytes(pieces)
            raise error
        return bytes(pieces)

    def send_eof(self) -> None:
        """Say that nothing more will be sent; receiving goes on (the half-close, shutdown(2)).

        Over TLS that is a message of its own (close_notify), which may have to wait like any other. Raises TimedOut.
        """
        while True:
            try:
                return self.socket.shutdown(socket.SHUT_WR)
            except BlockingIOError:
                self._until_writable(None, "the end")
            except OSError as error:
                if error.errno != errno.ENOTCONN:  # the peer's reset came first; receiving will say so
                    raise error_mapping.connecting(self.address, error) from error
                return None

    def abort(self) -> None:
        """End both directions at once, also for a thread that waits in another call."""
        with suppress(OSError):  # not connected any more
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def __iter__(self) -> Iterator[bytes]:
        """Give the chunks as they come, until the peer's end."""
        while chunk := self.receive():
            yield chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _recv(self, limit: int) -> bytes:
        return self.socket.recv(limit)

    def _until_writable(self, timeout: float | None, left: str) -> None:
        if not until_writable(self.socket, self._patience(timeout)):
            fact = f"{self.address.place} takes no more bytes ({left} left)"
            raise TimedOut(fact, "it may be waiting to be read from", address=str(self.address)) from None

    def _patience(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else timeout
