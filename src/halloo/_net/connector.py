"""Make connections: resolve a name, try its addresses in order, and do the TLS handshake where there is one.

It is done in steps, so that a caller with many connections can wait for them all.
"""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from halloo._core import arguments
from halloo._core.address import LOOPBACK, Address, AddressLike, is_ip, parse
from halloo._core.arguments import Family
from halloo._core.tls_options import ClientTLS, is_given
from halloo._core.units import SECOND
from halloo._net import datagrams, error_mapping, unix
from halloo._net.connection import Attempt, Connection
from halloo._net.datagrams import DatagramConnection, Place, Prepare, no_preparation
from halloo._net.readiness import Awaited, Steps, deadline_ns, run_steps
from halloo.errors import UsageError

if TYPE_CHECKING:  # ssl takes as long to import as all the rest here, and tcp:// does not need it
    from ssl import SSLContext

    from halloo._net.tls import TlsClient


CONNECT_TIMEOUT = 10.0  # seconds
Resolved = tuple[list[Place], int]  # the places, and how many nanoseconds it took
Resolve = Callable[[Address, int | None, int | None], Steps[Resolved]]  # the address, a family, and until when


def at_once(address: Address, family: int | None, until_ns: int | None) -> Steps[Resolved]:  # noqa: ARG001 - a Resolve
    """Resolve in this thread, which blocks. Raises UnknownHost, AddressError."""
    yield from ()
    return _asked(address, family)


def in_a_thread(address: Address, family: int | None, until_ns: int | None) -> Steps[Resolved]:
    """Resolve in a thread, which ends by itself. Raises UnknownHost, AddressError, TimedOut, OSError."""
    if is_ip(address.host or ""):
        return _asked(address, family)
    found: list[Resolved | BaseException] = []
    near, far = socket.socketpair()

    def ask() -> None:
        with closing(far):  # its end wakes the caller
            try:
                found.append(_asked(address, family))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                found.append(error)

    with closing(near):
        try:
            threading.Thread(target=ask, name="halloo resolver", daemon=True).start()
        except RuntimeError:  # no thread can be started
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
    """A connection, and how many nanoseconds each phase took that there was: `resolve`, `connect` and `tls`."""

    connection: Connection | DatagramConnection
    phases: dict[str, int]


def connect(
    address: AddressLike = "localhost",
    *,
    timeout: float | None = CONNECT_TIMEOUT,
    family: Family | None = None,
    tls: "ClientTLS | SSLContext | None" = None,
) -> Connection:
    """Connect to a server: `host`, `host:port`, `tls://host` or `unix:/path`; see Address.

    The addresses of a name are tried in the resolver's order; `family` is 4 or 6 for one alone. `timeout` seconds are
    for each address, with the TLS handshake, and then the default of the connection's calls; None is for ever. A
    `tls://` server has to prove its name, unless `tls` says otherwise.
    Raises UnknownHost, Refused, Unreachable, TimedOut, Untrusted, AddressError, UsageError.

    >>> with connect("localhost") as connection:
    ...     connection.send(b"hello")
    ...     connection.receive_exactly(5)
    """
    wanted = parse(address)
    if wanted.scheme == "udp":
        raise UsageError("udp:// carries datagrams, not a stream", "use connect_udp", argument="address")
    connection = dial(wanted, timeout=timeout, family=family, tls=tls)
    assert isinstance(connection, Connection)  # noqa: S101 - only udp:// gives another
    return connection


def connect_udp(
    address: AddressLike = "localhost", *, timeout: float | None = CONNECT_TIMEOUT, family: Family | None = None
) -> DatagramConnection:
    """Connect a datagram socket to `udp://host:port`; the scheme may be left out. Nothing is sent yet.

    That nothing listens is found out by sending. `timeout` is the default of the connection's calls.
    Raises UnknownHost, Unreachable, AddressError, UsageError.

    >>> with connect_udp("localhost") as connection:
    ...     connection.send(b"hello")
    ...     connection.receive()
    """
    wanted = parse(address)
    if wanted.scheme not in ("udp", "tcp") or (wanted.scheme == "tcp" and "tcp:" in str(address).lower()):
        raise UsageError(f"{wanted.scheme}: carries a stream, not datagrams", "use connect", argument="address")
    connection = dial(replace(wanted, scheme="udp"), timeout=timeout, family=family)
    assert isinstance(connection, DatagramConnection)  # noqa: S101 - udp:// gives nothing else
    return connection


def dial(
    wanted: Address,
    *,
    timeout: float | None,
    family: Family | None = None,
    tls: "ClientTLS | SSLContext | None" = None,
) -> Connection | DatagramConnection:
    """Connect to an address of any scheme. Raises as `connect`."""
    arguments.seconds("timeout", timeout)
    arguments.family(family)
    return run_steps(connecting(wanted, timeout=timeout, family=family, tls=tls)).connection


def connecting(
    wanted: Address,
    *,
    timeout: float | None,
    family: int | None = None,
    tls: "ClientTLS | SSLContext | None" = None,
    prepare: Prepare = no_preparation,
    resolve: Resolve = at_once,
) -> Steps[Connected]:
    """Connect as `connect` does, in steps, and measure each phase; `prepare` gets each socket before it connects.

    Raises what `connect` and `resolve` raise, and OSErrors of `prepare`.
    """
    client = _client(wanted, tls)
    began = time.monotonic_ns()
    if wanted.path is not None:
        connection = Connection(_connected_to_file(wanted, prepare), wanted, timeout=timeout)
        return Connected(connection, {"connect": time.monotonic_ns() - began})
    if wanted.port == 0:
        raise UsageError("port 0 is for servers, which then take a free one", "name the port that the server printed")
    places, elapsed = yield from resolve(wanted, family, deadline_ns(timeout))
    phases = {} if is_ip(wanted.host or "") else {"resolve": elapsed}
    if wanted.scheme == "udp":
        return Connected(datagrams.open_datagrams(wanted, places, timeout=timeout, prepare=prepare), phases)
    attempts: list[Attempt] = []
    for kind, sockaddr in places:
        began, until_ns = time.monotonic_ns(), deadline_ns(timeout)
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


def _client(address: Address, tls: "ClientTLS | SSLContext | None") -> "TlsClient | None":
    if address.scheme == "tls":
        from halloo._net.tls import TlsClient  # noqa: PLC0415 - as at the top

        return TlsClient(address, ClientTLS() if tls is None else tls)
    if is_given(tls, ClientTLS):
        raise UsageError(f"is for tls://, not {address.scheme}:", "write tls:// before the host", argument="tls")
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
            # A socket can connect to itself on an unused port of the ephemeral range, and then echoes perfectly.
            number = errno.ECONNREFUSED
        if number:
            raise OSError(number, os.strerror(number))  # noqa: TRY301 - the socket is closed below, as for any other
    except BaseException:
        sock.close()
        raise
    return sock
