"""Make connections: resolve a name, try its addresses in order, and do the TLS handshake where there is one.

It is done in steps, so that a caller with many connections can wait for them all.
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from halloo._core import applicable, arguments
from halloo._core.address import LOOPBACK, Address, AddressLike, is_ip, parse
from halloo._core.arguments import Family
from halloo._core.tls_options import ClientTLS, given_name
from halloo._net import datagrams, error_mapping, local_ports, resolver, unix
from halloo._net.connection import Attempt, Connection
from halloo._net.datagrams import DatagramConnection, Prepare, no_preparation
from halloo._net.racing import Failure, Winner, interleaved, race
from halloo._net.readiness import Steps, deadline_ns, run_steps
from halloo._net.resolver import Place, Resolved, address_of
from halloo.errors import Refused, TimedOut, UsageError

if TYPE_CHECKING:  # ssl takes as long to import as all the rest here, and tcp:// does not need it
    from ssl import SSLContext

    from halloo._net.tls import TlsClient


CONNECT_TIMEOUT = 10.0  # seconds
Resolve = Callable[[Address, int | None, int | None], Steps[Resolved]]  # the address, a family, and until when


def resolve(address: Address, family: int | None, until_ns: int | None) -> Steps[Resolved]:
    """Return the places of an address. Raises UnknownHost, AddressError, TimedOut, LocalError."""
    host = address.host or "localhost"
    if host == "localhost" and family:
        host = LOOPBACK[family == 6]  # noqa: PLR2004 - many machines know the name in one family only
    kind = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}[family]
    try:
        return (yield from resolver.resolving(host, address.port, family=kind, until_ns=until_ns))
    except (socket.gaierror, UnicodeError) as error:
        if family and is_ip(host):
            raise error_mapping.wrong_family(address, family) from error
        raise error_mapping.unknown(address, error) from error
    except TimeoutError as error:
        fact = f"the resolver has not found {host!r} in time (timed out)"
        remedy = "try again later, or give an IP address"
        raise TimedOut(fact, remedy, address=str(address), errno=errno.ETIMEDOUT) from error
    except OSError as error:
        raise error_mapping.connecting(address, error) from error


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

    The addresses of a name are tried in the resolver's order, the families in turn, the next one 250 ms after the one
    before; the first that answers is used (RFC 8305). `family` is 4 or 6 for one alone. `timeout` seconds are for the
    name, all its addresses and the TLS handshake together, and then the default of the connection's calls; None is for
    ever. A `tls://` server has to prove its name, unless `tls` says otherwise.
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
    resolve: Resolve = resolve,
    in_order: bool = False,
    question: bytes = b"",
) -> Steps[Connected]:
    """Connect as `connect` does, in steps, and measure each phase; `prepare` gets each socket before it connects.

    With `in_order` one address is tried at a time, each with an equal share of the time left: what is measured does not
    depend on a race. `question` is a datagram to find out which of several addresses answers over `udp://`.
    Raises what `connect` and `resolve` raise, and OSErrors of `prepare`.
    """
    client = _tls_client(wanted, ClientTLS() if tls is None else tls) if wanted.scheme == "tls" else None
    if client is None and (name := given_name(tls)):
        raise UsageError(f"is for tls://, not {wanted.scheme}:", "write tls:// before the host", argument=name)
    applicable.check({wanted.scheme}, ["family"] if family else [])
    began, until_ns = time.monotonic_ns(), deadline_ns(timeout)
    if wanted.path is not None:
        connection = Connection(_connected_to_file(wanted, prepare), wanted, timeout=timeout)
        return Connected(connection, {"connect": time.monotonic_ns() - began})
    if wanted.port == 0:
        raise UsageError("port 0 is for servers, which then take a free one", "name the port that the server printed")
    places, elapsed = yield from resolve(wanted, family, until_ns)
    phases = {} if is_ip(wanted.host or "") else {"resolve": elapsed}
    if wanted.scheme == "udp":
        if question and len(places) > 1:
            places = yield from datagrams.answering_first(places, question, until_ns=until_ns, prepare=prepare)
        return Connected(datagrams.open_datagrams(wanted, places, timeout=timeout, prepare=prepare), phases)
    groups = [[place] for place in places] if in_order else [interleaved(places)]
    winner, attempts = yield from _connecting(wanted, groups, until_ns, prepare)
    sock, connected_ns = winner.socket, time.monotonic_ns()
    phases["connect"] = connected_ns - winner.began_ns
    if client:
        sock = yield from client.shaking(sock, until_ns)
        phases["tls"] = time.monotonic_ns() - connected_ns
    address = address_of(winner.place, wanted.scheme)
    return Connected(Connection(sock, address, timeout=timeout, attempts=attempts), phases)


def _tls_client(address: Address, tls: "ClientTLS | SSLContext") -> "TlsClient":
    from halloo._net.tls import TlsClient  # noqa: PLC0415 - as at the top

    return TlsClient(address, tls)


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
        if error.errno == errno.ECONNREFUSED and not unix.is_socket(path):
            fact = f"{path} is not a socket"
            raise Refused(fact, "check the path", address=str(address), errno=error.errno) from error
        raise error_mapping.connecting(address, error) from error
    return sock


def _connecting(
    wanted: Address, groups: Sequence[Sequence[Place]], until_ns: int | None, prepare: Prepare
) -> Steps[tuple[Winner, tuple[Attempt, ...]]]:
    """Connect to one of several places, a group after the other. Raises the error that says most of them."""
    failures: list[Failure] = []
    for number, group in enumerate(groups):
        share_ns = until_ns
        if until_ns is not None:
            now = time.monotonic_ns()
            share_ns = now + (until_ns - now) // (len(groups) - number)
        steps = race(group, partial(_begin, prepare), _established, writing=True, until_ns=share_ns, failures=failures)
        if winner := (yield from steps):
            tried = [(address_of(place, wanted.scheme), seconds, error) for place, seconds, error in failures]
            return winner, tuple(Attempt(at, took, error_mapping.connecting(at, error)) for at, took, error in tried)
    raise error_mapping.all_failed(wanted, [(address_of(place, wanted.scheme), error) for place, _, error in failures])


def _begin(prepare: Prepare, place: Place) -> socket.socket:
    family, sockaddr = place
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        prepare(sock)
        number = sock.connect_ex(sockaddr)
        if number == errno.EADDRNOTAVAIL and local_ports.exhausted(family, sockaddr):
            number = errno.EADDRINUSE  # as bind(2) says it
        if number not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)):
            raise OSError(number, os.strerror(number))  # noqa: TRY301 - the socket is closed below, as for any other
    except BaseException:
        sock.close()
        raise
    return sock


def _established(sock: socket.socket) -> bool:
    """Whether the socket is connected; False while it still connects. Raises OSError."""
    if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(number, os.strerror(number))
    try:
        peer = sock.getpeername()
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        return False
    if sock.getsockname() == peer:
        # A socket can connect to itself on an unused port of the ephemeral range, and then echoes perfectly.
        raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return True
