"""Make connections: resolve a name, try its addresses in the resolver's order, and shake hands where that is asked for.

Knows connect(2) and the clock. It is done in steps, so that whoever holds many connections can wait for them all.
"""

import errno
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halloo.core.addresses import Address, AddressLike, is_ip, parse
from halloo.core.trust import Trust
from halloo.core.units import SECOND
from halloo.errors import UsageError
from halloo.net import datagrams, failures, unix
from halloo.net.connection import Attempt, Connection
from halloo.net.datagrams import Prepare, no_preparation
from halloo.net.resolving import Resolve, at_once
from halloo.net.waiting import Awaited, Steps, finished, moment

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
    steps = dialling(parse(address), timeout=timeout, family=family, trust=trust)
    return finished(steps).connection


def dialling(
    wanted: Address,
    *,
    timeout: float | None,
    family: int | None = None,
    trust: Trust | None = None,
    prepare: Prepare = no_preparation,
    resolve: Resolve = at_once,
) -> Steps[Dialled]:
    """Connect as `connect` does, and say how long each phase took; `prepare` is given each socket before it connects.

    Raises what `connect` and `resolve` raise, and OSErrors of `prepare`.
    """
    client = _client(wanted, trust)
    began = time.monotonic_ns()
    if wanted.path is not None:
        connection = Connection(_connected_to_file(wanted, prepare), wanted, timeout=timeout)
        return Dialled(connection, {"connect": time.monotonic_ns() - began})
    if wanted.port == 0:
        raise UsageError("port 0 is for servers, which then take a free one", "name the port that the server printed")
    places, took = yield from resolve(wanted, family, moment(timeout))
    phases = {} if is_ip(wanted.host or "") else {"name": took}
    if wanted.scheme == "udp":
        return Dialled(datagrams.connected(wanted, places, timeout=timeout, prepare=prepare), phases)
    attempts: list[Attempt] = []
    for kind, sockaddr in places:
        began, until_ns = time.monotonic_ns(), moment(timeout)
        here = Address(wanted.scheme, str(sockaddr[0]), int(sockaddr[1]))
        try:
            sock = yield from _connecting(kind, sockaddr, until_ns, prepare)
        except OSError as error:
            seconds = (time.monotonic_ns() - began) / SECOND
            attempts.append(Attempt(here, seconds, failures.connecting(wanted, error)))
            continue
        phases["connect"] = time.monotonic_ns() - began
        if client:
            sock = yield from client.shaking(sock, until_ns)
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


def _connecting(
    family: int, sockaddr: tuple[str | int, ...], until_ns: int | None, prepare: Prepare
) -> Steps[socket.socket]:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        prepare(sock)
        number = sock.connect_ex(sockaddr)
        if number in (errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)):
            ready = yield Awaited(sock, True, until_ns)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.ETIMEDOUT
        if number == 0 and sock.getsockname() == sock.getpeername():
            # A port of the ephemeral range that nobody listens on can connect to itself, and then echoes perfectly.
            number = errno.ECONNREFUSED
        if number:
            raise OSError(number, os.strerror(number))  # noqa: TRY301 - the socket is closed below, as for any other
    except BaseException:
        sock.close()
        raise
    return sock
