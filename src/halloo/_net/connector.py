"""Make connections: resolve a name, try its addresses in the resolver's order, and shake hands where that is asked for.

Knows connect(2) and the clock. It is done in steps, so that whoever holds many connections can wait for them all.
"""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halloo._core.address import LOOPBACK, Address, AddressLike, is_ip, parse
from halloo._core.tls_options import ClientTLS
from halloo._core.units import SECOND
from halloo._net import datagrams, error_mapping, unix
from halloo._net.connection import Attempt, Connection
from halloo._net.datagrams import Place, Prepare, no_preparation
from halloo._net.readiness import Awaited, Steps, finished, moment
from halloo.errors import UsageError

if TYPE_CHECKING:  # ssl takes as long to import as all the rest here, and tcp:// does not need it
    from halloo._net.tls import TlsClient


Resolved = tuple[list[Place], int]  # the places, and how many nanoseconds it took
Resolve = Callable[[Address, int | None, int | None], Steps[Resolved]]  # the address, a family, and until when


def at_once(address: Address, family: int | None, until_ns: int | None) -> Steps[Resolved]:  # noqa: ARG001 - a Resolve
    """Ask, and have everybody wait. Raises UnknownHost, AddressError."""
    yield from ()
    return _asked(address, family)


def in_a_thread(address: Address, family: int | None, until_ns: int | None) -> Steps[Resolved]:
    """Ask in a thread, which ends by itself. Raises UnknownHost, AddressError, TimedOut, OSError."""
    if is_ip(address.host or ""):
        return _asked(address, family)
    found: list[Resolved | BaseException] = []
    near, far = socket.socketpair()

    def ask() -> None:
        with closing(far):  # its end is the sign
            try:
                found.append(_asked(address, family))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                found.append(error)

    with closing(near):
        try:
            threading.Thread(target=ask, name="halloo resolver", daemon=True).start()
        except RuntimeError:  # no thread is to be had
            ask()
        if not (yield Awaited(near, False, until_ns)):
            raise error_mapping.unresolved(address)
    (result,) = found
    if isinstance(result, BaseException):
        raise result
    return result


def _asked(address: Address, family: int | None) -> Resolved:
    began = time.monotonic_ns()
    return _resolve(address, family), time.monotonic_ns() - began


def _resolve(address: Address, family: int | None) -> list[Place]:
    host = address.host or "localhost"
    if host == "localhost" and family:
        host = LOOPBACK[family == 6]  # noqa: PLR2004 - many machines know the name in one family only
    kind = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}[family]
    try:
        found = socket.getaddrinfo(host, address.port, kind, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        if family and is_ip(host):
            raise error_mapping.wrong_family(address, family) from error
        raise error_mapping.unknown(address, error) from error
    return [(int(family), (str(host), *rest)) for family, *_, (host, *rest) in found]


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection, and how many nanoseconds each phase took: `name`, `connect` and `tls`, those that there were."""

    connection: Connection
    phases: dict[str, int]


def connect(
    address: AddressLike = "localhost",
    *,
    timeout: float | None = 10,
    family: int | None = None,
    tls: ClientTLS | None = None,
) -> Connection:
    """Connect to a server, trying the addresses of its name in the resolver's order; or to a `unix:/path`.

    `timeout` seconds are for each address, with the handshake of `tls://`, and then the default of the connection's
    calls; `family` is 4 or 6 for one alone. A `tls://` server has to prove its name, unless `tls` says otherwise.
    To a `udp://` server nothing is sent yet; that nobody is there is found out by sending.
    Raises UnknownHost, Refused, Unreachable, TimedOut, Untrusted, AddressError.

    >>> with connect("localhost") as connection:
    ...     connection.send(b"hello")
    ...     connection.receive_exactly(5)
    """
    steps = connecting(parse(address), timeout=timeout, family=family, tls=tls)
    return finished(steps).connection


def connecting(
    wanted: Address,
    *,
    timeout: float | None,
    family: int | None = None,
    tls: ClientTLS | None = None,
    prepare: Prepare = no_preparation,
    resolve: Resolve = at_once,
) -> Steps[Connected]:
    """Connect as `connect` does, and say how long each phase took; `prepare` is given each socket before it connects.

    Raises what `connect` and `resolve` raise, and OSErrors of `prepare`.
    """
    client = _client(wanted, tls)
    began = time.monotonic_ns()
    if wanted.path is not None:
        connection = Connection(_connected_to_file(wanted, prepare), wanted, timeout=timeout)
        return Connected(connection, {"connect": time.monotonic_ns() - began})
    if wanted.port == 0:
        raise UsageError("port 0 is for servers, which then take a free one", "name the port that the server printed")
    places, took = yield from resolve(wanted, family, moment(timeout))
    phases = {} if is_ip(wanted.host or "") else {"resolve": took}
    if wanted.scheme == "udp":
        return Connected(datagrams.connected(wanted, places, timeout=timeout, prepare=prepare), phases)
    attempts: list[Attempt] = []
    for kind, sockaddr in places:
        began, until_ns = time.monotonic_ns(), moment(timeout)
        here = Address(wanted.scheme, str(sockaddr[0]), int(sockaddr[1]))
        try:
            sock = yield from _connecting(kind, sockaddr, until_ns, prepare)
        except OSError as error:
            seconds = (time.monotonic_ns() - began) / SECOND
            attempts.append(Attempt(here, seconds, error_mapping.connecting(wanted, error)))
            continue
        phases["connect"] = time.monotonic_ns() - began
        if client:
            sock = yield from client.shaking(sock, until_ns)
            phases["tls"] = time.monotonic_ns() - began - phases["connect"]
        return Connected(Connection(sock, here, timeout=timeout, attempts=tuple(attempts)), phases)
    raise attempts[-1].error


def _client(address: Address, tls: ClientTLS | None) -> "TlsClient | None":
    """Make what shakes hands, where the address asks for it."""
    if address.scheme == "tls":
        from halloo._net.tls import TlsClient  # noqa: PLC0415 - as at the top

        return TlsClient(address, ClientTLS() if tls is None else tls)
    if tls:
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
        raise error_mapping.connecting(address, error) from error
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
