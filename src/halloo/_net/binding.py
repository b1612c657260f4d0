"""Open the listening sockets of an address: one for each family, on one port; loopback by default.

Uses bind(2), listen(2), socket options and HALLOO_BIND; where a port is in use, Linux's /proc says by whom (proc(5)).
"""

import errno
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from halloo._core.address import EVERYWHERE, LOOPBACK, Address, collides, is_group
from halloo._net import error_mapping, unix
from halloo._net.connection import URGENT_INLINE
from halloo._net.datagrams import enlarge_buffers, request_destination
from halloo._net.readiness import run_steps
from halloo._net.resolver import from_sockaddr, resolving
from halloo.errors import AddressError, AddressInUse, AddressNotAvailable, Unsupported, UsageError

BACKLOG = 4096  # connections not yet accepted; the kernel reduces it to net.core.somaxconn
Options = list[tuple[int, int, int]]  # level, name and value, as for setsockopt(2)
_MISSING = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_MAX_PORTS = 16  # free ports to try until one is free in both families


def options(scheme: str, buffer: int | None, *, reuse_port: bool) -> Options:
    """Return the socket options for a scheme; accepted connections inherit them (socket(7), tcp(7), udp(7)).

    `buffer` is how many bytes the kernel may hold in each direction; `reuse_port` lets other processes of this user
    share the port.
    Raises Unsupported.
    """
    chosen: Options = []
    if scheme != "udp":
        # The connection of a peer that vanished would otherwise stay open for ever.
        chosen.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
    if scheme in ("tcp", "tls"):
        # Nagle's algorithm and the peer's delayed ACK would hold a small answer back for 40 ms.
        chosen.append((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))
        chosen.append(URGENT_INLINE)
    if sys.platform == "win32":
        chosen.append((socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1))
    elif scheme != "udp":
        # A restarted server can bind its port again at once; for datagrams, or on Windows, it would share the port.
        chosen.append((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))
    if buffer:
        size = buffer // 2  # Linux doubles the value for its own use, and no longer enlarges the buffer by itself
        chosen += [(socket.SOL_SOCKET, option, size) for option in (socket.SO_RCVBUF, socket.SO_SNDBUF)]
    if reuse_port:
        if not hasattr(socket, "SO_REUSEPORT"):
            raise Unsupported("this system has no SO_REUSEPORT", "leave reuse_port= out")
        chosen.append((socket.SOL_SOCKET, socket.SO_REUSEPORT, 1))
    return chosen


def bound(
    address: Address, family: int | None, chosen: Options, mode: int = unix.MODE, *, earlier: Sequence[Address] = ()
) -> list[socket.socket]:
    """Open the sockets of an address: one for each family, all on one port; `mode` is for the file of a Unix socket.

    `earlier` are the addresses that were opened for the same caller.
    Raises AddressInUse, NotPermitted, AddressNotAvailable, AddressError, LocalError, UsageError.
    """
    if address.scheme == "unix":
        _check_apart([address], earlier)
        return [unix.bound(address, BACKLOG, chosen, mode)]
    places = [place for place in _places(address) if family in (None, place[0])]
    if not places:
        raise error_mapping.wrong_family(address, family or 0)
    for _, host in places:
        if is_group(host) or _is_broadcast(host):  # a server that listens there would never answer
            at = replace(address, host=host)
            fact = f"cannot listen on {at.place}: it is a multicast or broadcast address"
            raise AddressNotAvailable(fact, error_mapping.OWN, address=str(at), errno=errno.EADDRNOTAVAIL)
    _check_apart([replace(address, host=host) for _, host in places], earlier)
    for _ in range(_MAX_PORTS if address.port == 0 else 1):
        try:
            return _open_all(address, places, chosen)
        except AddressInUse as error:
            taken = error
    if address.port:
        raise taken
    fact = f"no port is free on {' and '.join(host for _, host in places)} (all that the system may choose are in use)"
    raise AddressInUse(fact, f"name a port, {error_mapping.PORTS}", address=str(address), errno=errno.EADDRINUSE)


def _is_broadcast(host: str) -> bool:
    """Whether a network of this machine has the address for all its hosts (EACCES, ip(7)). Nothing is sent."""
    if ":" in host or host in EVERYWHERE:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex((host, 9)) == errno.EACCES  # any port


def _check_apart(wanted: Sequence[Address], earlier: Sequence[Address]) -> None:
    """Refuse a port or file that is open already for another spelling of its address. Raises UsageError."""
    if twice := [place for place in wanted if any(collides(place, other) for other in earlier)]:
        raise UsageError(f"{twice[0]} is named twice", "name each address once")


def _open_all(address: Address, places: Iterable[tuple[int, str]], chosen: Options) -> list[socket.socket]:
    """Open a socket for each family, all on one port; a family that this machine lacks is left out."""
    sockets: list[socket.socket] = []
    port, lacking = address.port, None
    for family, host in places:
        try:
            sockets.append(_open(family, replace(address, host=host, port=port), chosen))
        except OSError as error:
            if error.errno in _MISSING:
                lacking = error
                continue
            for sock in sockets:
                sock.close()
            raise _failure(replace(address, host=host, port=port), error) from error
        port = sockets[0].getsockname()[1]
    if lacking and not sockets:
        raise error_mapping.listening(address, lacking) from lacking
    return sockets


def _places(address: Address) -> list[tuple[int, str]]:
    host = _default_host() if address.host is None else address.host
    if host == "localhost":
        return list(zip((4, 6), LOOPBACK, strict=True))
    if host in ("", "::"):
        return list(zip((4, 6), EVERYWHERE, strict=True))
    try:
        found, _ = run_steps(resolving(host, address.port, flags=socket.AI_PASSIVE, until_ns=None))
    except (socket.gaierror, UnicodeError) as error:
        raise error_mapping.not_local(replace(address, host=host), error) from error
    return [
        (6 if family == socket.AF_INET6 else 4, str(from_sockaddr(address.scheme, sockaddr).host))
        for family, sockaddr in found
    ]


def _default_host() -> str:
    host = os.environ.get("HALLOO_BIND", "localhost")
    try:
        return Address(host=host).host or ""
    except AddressError as error:
        raise AddressError(f"HALLOO_BIND {error.fact}", "unset it, or name a host or an IP address") from error


def _open(family: int, address: Address, chosen: Options) -> socket.socket:
    kind = socket.SOCK_DGRAM if address.scheme == "udp" else socket.SOCK_STREAM
    sock = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, kind)  # noqa: PLR2004 - IPv6
    try:
        if kind == socket.SOCK_DGRAM:
            enlarge_buffers(sock)
        for option in chosen:
            sock.setsockopt(*option)
        if family == 6:  # noqa: PLR2004 - the IP version
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_DGRAM and address.host in EVERYWHERE and sys.platform.startswith("linux"):
            request_destination(sock)
        sock.bind(socket.getaddrinfo(address.host, address.port, type=kind, flags=socket.AI_NUMERICHOST)[0][4])
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _failure(address: Address, error: OSError) -> Exception:
    if error.errno != errno.EADDRINUSE:
        return error_mapping.listening(address, error)
    found = port_owner(address.port, datagrams=address.scheme == "udp")
    by = f" by {found[0]} (pid {found[1]})" if found else ""
    step = "stop it"
    if found and found[1] == os.getpid():
        by, step = f"{by}, this program itself", "name each port once"
    scheme = "" if address.scheme == "tcp" else f"{address.scheme}://"
    another = 9999 if address.port != 9999 else 0  # noqa: PLR2004 - any other port
    return AddressInUse(
        f"port {address.port} on {address.host} is taken{by}",
        f"{step}, or choose another: halloo serve {scheme}{another}",
        address=str(address),
        errno=error.errno,
    )


# st, the fourth column of /proc/net/tcp (include/net/tcp_states.h): LISTEN; and CLOSE, for a datagram socket.
_LISTEN, _OPEN = "0A", "07"
_PROC = Path("/proc")


def port_owner(port: int, *, datagrams: bool = False) -> tuple[str, int] | None:
    """Return the name and id of the process that listens on a TCP port, or is bound to a UDP port, of this machine."""
    tables, state = (("udp", "udp6"), _OPEN) if datagrams else (("tcp", "tcp6"), _LISTEN)
    wanted = {f"socket:[{inode}]" for table in tables for inode in _inodes(_PROC / "net" / table, state, port)}
    if not wanted:
        return None
    for process in sorted(_PROC.glob("[0-9]*")):
        with suppress(OSError):  # it has ended, or is another user's
            if any(_link_target(fd) in wanted for fd in (process / "fd").iterdir()):
                return (process / "comm").read_text().strip(), int(process.name)
    return None


def _link_target(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:
        return ""  # closed since the directory was read


def _inodes(table: Path, state: str, port: int) -> Iterator[str]:
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        columns = row.split()
        if columns[3] == state and int(columns[1].rpartition(":")[2], 16) == port:
            yield columns[9]
