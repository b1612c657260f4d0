"""Make connections: resolve a name, try its addresses in the resolver's order, and shake hands where that is asked for.

Knows the resolver, connect(2) and the clock.
"""

import errno
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halloo.core.addresses import LOOPBACK, Address, AddressLike, is_ip, parse
from halloo.core.trust import Trust
from halloo.core.units import SECOND
from halloo.errors import UsageError
from halloo.net import datagrams, failures, unix
from halloo.net.connection import Attempt, Connection
from halloo.net.datagrams import Place, Prepare, no_preparation
from halloo.net.waiting import until_writable

if TYPE_CHECKING:  # ssl takes as long to import as all the rest here, and tcp:// does not need it
    from halloo.net.secure import Client


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connection, and how many nanoseconds each phase took: `name`, `connect` and `tls`, those that there were."""

    connection: Connection
    phases: dict[str, int]


def connect(
    address: AddressLike = "localhost",
    *,
    timeout: float | None = 10,
    family: int | None = None,
    trust: Trust | None = None,
) -> Connection:
    """Connect to a server, trying the addresses of its name in the resolver's order; or to a `unix:/path`.

    `timeout` seconds are for each address, with the handshake of `tls://`, and then the default of the connection's
    calls; `family` is 4 or 6 for one alone. A `tls://` server has to prove its name, unless `trust` says otherwise.
    To a `udp://` server nothing is sent yet; that nobody is there is found out by sending.
    Raises UnknownHost, Refused, Unreachable, TimedOut, Untrusted, AddressError.

    >>> with connect("localhost") as connection:
    ...     connection.send(b"hello")
    ...     connection.receive_exactly(5)
    """
    wanted = parse(address)
    return dial(wanted, timeout=timeout, family=family, trust=trust).connection


def dial(
    wanted: Address,
    *,
    timeout: float | None,
    family: int | None = None,
    trust: Trust | None = None,
    prepare: Prepare = no_preparation,
) -> Dialled:
    """Connect as `connect` does, and say how long each phase took; `prepare` is given each socket before it connects.

    Raises what `connect` raises, and OSErrors of `prepare`.
    """
    client = _client(wanted, trust)
    began = time.monotonic_ns()
    if wanted.path is not None:
        connection = Connection(_connected_to_file(wanted, prepare), wanted, timeout=timeout)
        return Dialled(connection, {"connect": time.monotonic_ns() - began})
    if wanted.port == 0:
        raise UsageError("port 0 is for servers, which then take a free one", "name the port that the server printed")
    places = _resolve(wanted, family)
    named = time.monotonic_ns()
    phases = {} if is_ip(wanted.host or "") else {"name": named - began}
    if wanted.scheme == "udp":
        return Dialled(datagrams.connected(wanted, places, timeout=timeout, prepare=prepare), phases)
    attempts: list[Attempt] = []
    for kind, sockaddr in places:
        began = time.monotonic_ns()
        here = Address(wanted.scheme, str(sockaddr[0]), int(sockaddr[1]))
        try:
            sock = _connected(kind, sockaddr, timeout, prepare)
        except OSError as error:
            seconds = (time.monotonic_ns() - began) / SECOND
            attempts.append(Attempt(here, seconds, failures.connecting(wanted, error)))
            continue
        phases["connect"] = time.monotonic_ns() - began
        if client:
            sock = client.shake(sock, None if timeout is None else max(timeout - phases["connect"] / SECOND, 0))
            phases["tls"] = time.monotonic_ns() - began - phases["connect"]
        return Dialled(Connection(sock, here, timeout=timeout, attempts=tuple(attempts)), phases)
    raise attempts[-1].error


def _client(address: Address, trust: Trust | None) -> "Client | None":
    """Make what shakes hands, where the address asks for it."""
    if address.scheme == "tls":
        from halloo.net.secure import Client  # noqa: PLC0415 - as at the top

        return Client(address, Trust() if trust is None else trust)
    if trust:
        raise UsageError(f"{address.scheme}: knows no certificates", "write tls:// before the host")
    return None


def _resolve(address: Address, family: int | None) -> list[Place]:
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


def _connected_to_file(address: Address, prepare: Prepare) -> socket.socket:
    """Connect to a Unix socket, which never takes time (unix(7))."""
    path = unix.checked(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        prepare(sock)
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise failures.connecting(address, error) from error
    return sock


def _connected(family: int, sockaddr: tuple[str | int, ...], timeout: float | None, prepare: Prepare) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        prepare(sock)
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
