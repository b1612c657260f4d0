"""Decide, before the first case, which address of a name is checked: the first where something listens.

Uses sockets and /proc. A server on this machine is found without connecting: some servers accept one client only.
"""

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import suppress

from halloo._check import processes
from halloo._check.case import Failed
from halloo._check.processes import LISTEN, NOT_STARTED, UNCONNECTED
from halloo._check.sockets import is_free
from halloo._core.address import EVERYWHERE, Address
from halloo._net import error_mapping
from halloo._net.connector import CONNECT_TIMEOUT, resolve
from halloo._net.readiness import deadline_ns, run_steps
from halloo._net.resolver import Place, address_of

PROBE_TIMEOUT = 5.0  # seconds to connect to one of several addresses
REPLY_TIMEOUT = 0.25  # seconds for a reply, or a refusal, to a datagram
PROBE = b"hello\n"


def reached(address: Address) -> Address:
    """Return the address to check, with a number for its host.

    The addresses of a name are tried in the resolver's order. Raises UnknownHost, TimedOut; Failed if it is certain
    that nothing listens.
    """
    if address.path is not None:
        return address
    places, _ = run_steps(resolve(address, None, deadline_ns(CONNECT_TIMEOUT)))
    kind = "udp" if address.scheme == "udp" else "tcp"
    chosen = next((place for place in places if _is_own(place) and _listens_here(place, kind)), None)
    if chosen is None and (len(places) > 1 or _is_own(places[0])):
        chosen = (_answering if kind == "udp" else _accepting)(address, places)
    return address_of(chosen or places[0], address.scheme)


def _is_own(place: Place) -> bool:
    """Whether it is an address of this machine."""
    family, sockaddr = place
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((sockaddr[0], 0, *sockaddr[2:]))
    except OSError:
        return False
    return True


def _listens_here(place: Place, kind: str) -> bool:
    """Whether a socket of this machine serves one of its addresses, or all, perhaps IPv4 by a dual-stack socket."""
    family, (host, port, *_) = place
    rows = processes.sockets(kind, LISTEN if kind == "tcp" else UNCONNECTED, f":{port:04X} ")
    bound = {each.host for each in rows if each.port == port}
    if {str(host).partition("%")[0], EVERYWHERE[family == socket.AF_INET6]} & bound:
        return True
    return "::" in bound and not is_free(kind, int(port), reuse=True, families=(socket.AF_INET,))


def _accepting(address: Address, places: Sequence[Place]) -> Place:
    """Return the first address that a client can connect to."""
    failures: list[tuple[Address, OSError]] = []
    for family, sockaddr in places:
        try:
            with socket.socket(family) as sock:
                sock.settimeout(PROBE_TIMEOUT)
                sock.connect(sockaddr)
                if sock.getsockname() == sock.getpeername():  # nothing listens: see `check_not_self_connected`
                    raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        except OSError as error:
            failures.append((address_of((family, sockaddr), address.scheme), error))
        else:
            return family, sockaddr
    raise _nothing_listens(address, failures)


def _answering(address: Address, places: Sequence[Place]) -> Place:
    """Return the first address that answers a datagram, else the first that does not refuse it."""
    silent: list[Place] = []
    failures: list[tuple[Address, OSError]] = []
    for family, sockaddr in places:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.settimeout(REPLY_TIMEOUT)
                sock.connect(sockaddr)
                sock.send(PROBE)
                with suppress(TimeoutError):
                    sock.recv(len(PROBE))
                    return family, sockaddr
                silent.append((family, sockaddr))
        except OSError as error:
            failures.append((address_of((family, sockaddr), address.scheme), error))
    if not silent:
        raise _nothing_listens(address, failures)
    return silent[0]


def _nothing_listens(address: Address, failures: Sequence[tuple[Address, OSError]]) -> Failed:
    error = error_mapping.all_failed(address, failures)
    return Failed(f"{error.fact}; start the server, then check it", pattern=NOT_STARTED)
