"""Open listening sockets: on loopback unless told otherwise, on both families with one port, and say why it failed.

Knows bind(2), listen(2) and HALLOO_BIND. A Listener tells its address only when it is already listening.
"""

import errno
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from typing import Self

from halloo.core.addresses import LOOPBACK, Address, parse
from halloo.errors import PortTaken, TimedOut, Unsupported
from halloo.net import failures
from halloo.net.connection import Connection
from halloo.net.holders import holder
from halloo.net.waiting import until_readable

BACKLOG = 4096  # connections not yet accepted; the kernel takes it down to net.core.somaxconn
EVERYWHERE = ("0.0.0.0", "::")
_MISSING = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_TRIES = 16  # ports tried until both families have the same one free

AddressLike = str | int | tuple[str, int] | Address


class Listener:
    """Sockets that listen, one for each family; `accept` gives the connections, in order of their coming."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        """Take over sockets that listen already."""
        self.sockets = tuple(sockets)
        for sock in self.sockets:
            sock.setblocking(False)
        self.addresses = tuple(Address("tcp", *sock.getsockname()[:2]) for sock in self.sockets)

    @property
    def address(self) -> Address:
        """The first of the addresses, with its real port."""
        return self.addresses[0]

    def accept(self, *, timeout: float | None = None) -> Connection:
        """Wait for the next client, `timeout` seconds or for ever. Raises TimedOut."""
        while True:
            ready = until_readable(self.sockets, timeout)
            if not ready:
                raise TimedOut(f"nobody connected to {self.address.place} within {timeout:g} seconds")
            for listener in ready:
                try:
                    sock, peer = listener.accept()
                except (BlockingIOError, ConnectionError):
                    continue  # the client gave up before it was accepted
                return Connection(sock, Address("tcp", *peer[:2]))

    def close(self) -> None:
        """Stop listening."""
        for sock in self.sockets:
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listen(*addresses: AddressLike, family: int | None = None) -> Listener:
    """Listen on the addresses, on loopback port 8888 when there is none; port 0 takes a free one.

    `family` is 4 or 6 for one alone. Raises PortTaken, NotPermitted, NotLocal, AddressError.

    >>> with listen(0) as listener, connect(listener.address) as client, listener.accept() as served:
    ...     client.send(b"hello")
    """
    sockets: list[socket.socket] = []
    try:
        for address in addresses or (Address(),):
            sockets += _open(parse(address), family)
    except BaseException:
        _close(sockets)
        raise
    return Listener(sockets)


def tune(sock: socket.socket) -> None:
    """Set on a listening socket what its connections are to inherit (tcp(7), socket(7))."""
    # An answer is written as soon as it is there: Nagle and the peer's delayed ACK would hold it for 40 ms.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer that vanished without a word would otherwise be held open for ever.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _open(address: Address, family: int | None) -> list[socket.socket]:
    if address.scheme != "tcp":
        raise Unsupported(f"{address.scheme}: is not served yet", "use tcp://", address=str(address))
    places = [place for place in _places(address) if family in (None, place[0])]
    if not places:
        raise failures.wrong_family(address, family or 0)
    for _ in range(_TRIES if address.port == 0 else 1):
        try:
            return _open_all(address, places)
        except PortTaken as error:
            taken = error
    raise taken


def _open_all(address: Address, places: Iterable[tuple[int, str]]) -> list[socket.socket]:
    """Open a socket for each family, all on one port; a family that this machine lacks is left out."""
    sockets: list[socket.socket] = []
    port, lacking = address.port, None
    for family, host in places:
        try:
            sockets.append(_bound(family, host, port))
        except OSError as error:
            if error.errno in _MISSING:
                lacking = error
                continue
            _close(sockets)
            raise _failure(Address("tcp", host, port), error) from error
        port = sockets[0].getsockname()[1]
    if lacking and not sockets:
        raise failures.listening(address, lacking) from lacking
    return sockets


def _places(address: Address) -> list[tuple[int, str]]:
    """Give the families (4, 6) and IP addresses that an address stands for."""
    host = os.environ.get("HALLOO_BIND", "localhost") if address.host is None else address.host
    if host == "localhost":
        return list(zip((4, 6), LOOPBACK, strict=True))
    if host in ("", "::"):
        return list(zip((4, 6), EVERYWHERE, strict=True))
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise failures.not_local(Address("tcp", host, address.port)) from error
    return [(6 if family == socket.AF_INET6 else 4, str(sockaddr[0])) for family, *_, sockaddr in found]


def _bound(family: int, host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_STREAM)  # noqa: PLR2004
    try:
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # On POSIX it lets a port be taken again at once after a restart; on Windows it would share the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == 6:  # noqa: PLR2004 - the IP version
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tune(sock)
        sock.bind(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4])
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _failure(address: Address, error: OSError) -> Exception:
    if error.errno != errno.EADDRINUSE:
        return failures.listening(address, error)
    found = holder(address.port)
    by = f" by {found[0]} (pid {found[1]})" if found else ""
    another = "9999" if address.port != 9999 else "0"  # noqa: PLR2004 - any other port
    return PortTaken(
        f"port {address.port} on {address.host} is taken{by}",
        f"stop it, or choose another: halloo serve {another}",
        address=str(address),
        errno=error.errno,
    )


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
