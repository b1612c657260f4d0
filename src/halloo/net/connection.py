"""Hold one connection to a peer: send all, receive some, finish, close; and make one by connecting.

Knows one socket and the clock. The socket never blocks: what cannot be done at once is waited for, with a timeout.
"""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from halloo.core.addresses import LOOPBACK, Address, is_ip, parse
from halloo.core.trust import Trust
from halloo.errors import CutShort, HallooError, TimedOut, Unsupported, UsageError
from halloo.net import failures, unix
from halloo.net.waiting import until_readable, until_writable

if TYPE_CHECKING:  # ssl takes as long to import as all the rest here, and tcp:// does not need it
    from halloo.net.secure import Client

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

    Each timeout is the longest time without progress, not the longest time in all.
    """

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
        if sock.family in INTERNET:
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
                raise failures.connecting(self.address, error) from error

    def receive(self, limit: int = CHUNK, *, timeout: float | None = None) -> bytes:
        """Receive what has come, at most `limit` bytes, waiting for the first; empty at the peer's end (recv(2)).

        Raises Reset, TimedOut.
        """
        while True:
            try:
                return self.socket.recv(limit)
            except BlockingIOError:
                patience = self._patience(timeout)
                if not until_readable([self.socket], patience):
                    raise TimedOut(
                        f"nothing came from {self.address.place} within {patience:g} seconds",
                        "allow more time, or look at the server's own messages",
                        address=str(self.address),
                    ) from None
            except OSError as error:
                raise failures.connecting(self.address, error) from error

    def receive_exactly(self, size: int, *, timeout: float | None = None) -> bytes:
        """Receive `size` bytes. Raises CutShort, whose `partial` holds what came, when the peer ends before."""
        pieces = bytearray()
        try:
            while len(pieces) < size and (piece := self.receive(min(size - len(pieces), CHUNK), timeout=timeout)):
                pieces += piece
        except CutShort as cut:  # TLS noticed it
            cut.partial = bytes(pieces)
            raise
        if len(pieces) < size:
            fact = f"{self.address.place} closed the connection after {len(pieces)} of {size} bytes"
            error = CutShort(fact, failures.LOOK, address=str(self.address))
            error.partial = bytes(pieces)
            raise error
        return bytes(pieces)

    def finish(self) -> None:
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
                    raise failures.connecting(self.address, error) from error
                return None

    def abandon(self) -> None:
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

    def _until_writable(self, timeout: float | None, left: str) -> None:
        if not until_writable(self.socket, self._patience(timeout)):
            fact = f"{self.address.place} takes no more bytes ({left} left)"
            raise TimedOut(fact, "it may be waiting to be read from", address=str(self.address)) from None

    def _patience(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else timeout


def connect(
    address: str | int | tuple[str, int] | Address = "localhost",
    *,
    timeout: float | None = 10,
    family: int | None = None,
    trust: Trust | None = None,
) -> Connection:
    """Connect to a server, trying the addresses of its name in the resolver's order; or to a `unix:/path`.

    `timeout` seconds are for each address, with the handshake of `tls://`, and then the default of the connection's
    calls; `family` is 4 or 6 for one alone. A `tls://` server has to prove its name, unless `trust` says otherwise.
    Raises UnknownHost, Refused, Unreachable, TimedOut, Untrusted, AddressError.

    >>> with connect("localhost") as connection:
    ...     connection.send(b"hello")
    ...     connection.receive_exactly(5)
    """
    wanted = parse(address)
    client = _client(wanted, trust)
    if wanted.path is not None:
        return Connection(_connected_to_file(wanted), wanted, timeout=timeout)
    if wanted.port == 0:
        raise UsageError("port 0 is for servers, which then take a free one", "name the port that the server printed")
    attempts: list[Attempt] = []
    for kind, sockaddr in _resolve(wanted, family):
        began = time.monotonic()
        here = Address(wanted.scheme, str(sockaddr[0]), int(sockaddr[1]))
        try:
            sock = _connected(kind, sockaddr, timeout)
        except OSError as error:
            attempts.append(Attempt(here, time.monotonic() - began, failures.connecting(wanted, error)))
            continue
        if client:
            sock = client.shake(sock, None if timeout is None else max(timeout - (time.monotonic() - began), 0))
        return Connection(sock, here, timeout=timeout, attempts=tuple(attempts))
    raise attempts[-1].error


def _client(address: Address, trust: Trust | None) -> "Client | None":
    """Make what shakes hands, where the address asks for it."""
    if address.scheme == "udp":
        raise Unsupported("udp: cannot be connected to yet", "use tcp://", address=str(address))
    if address.scheme == "tls":
        from halloo.net.secure import Client  # noqa: PLC0415 - as at the top

        return Client(address, Trust() if trust is None else trust)
    if trust:
        raise UsageError(f"{address.scheme}: knows no certificates", "write tls:// before the host")
    return None


def _resolve(address: Address, family: int | None) -> list[tuple[int, tuple[str | int, ...]]]:
    host = address.host or "localhost"
    if host == "localhost" and family:
        host = LOOPBACK[family == 6]  # noqa: PLR2004 - many machines know the name in one family only
    kind = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}[family]
    try:
        found = socket.getaddrinfo(host, address.port, kind, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        if family and is_ip(host):
            raise failures.wrong_family(address, family) from error
        raise failures.unknown(address, error) from error
    return [(int(family), (str(host), *rest)) for family, *_, (host, *rest) in found]


def _connected_to_file(address: Address) -> socket.socket:
    """Connect to a Unix socket, which never takes time (unix(7))."""
    path = unix.checked(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise failures.connecting(address, error) from error
    return sock


def _connected(family: int, sockaddr: tuple[str | int, ...], timeout: float | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if number := _failed(sock, sockaddr, timeout):
            raise OSError(number, os.strerror(number))  # noqa: TRY301 - the socket is closed below, as for any other
    except BaseException:
        sock.close()
        raise
    return sock


def _failed(sock: socket.socket, sockaddr: tuple[str | int, ...], timeout: float | None) -> int:
    """Connect, and give the errno, 0 for success."""
    number = sock.connect_ex(sockaddr)
    if number in (errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)):
        if not until_writable(sock, timeout):
            return errno.ETIMEDOUT
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number == 0 and sock.getsockname() == sock.getpeername():
        # A port of the ephemeral range that nobody listens on can connect to itself, and then echoes perfectly.
        return errno.ECONNREFUSED
    return number
