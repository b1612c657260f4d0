"""Take a port of loopback for the instrumented server, on both families, so that nobody else can have it.

Knows sockets. To look whether a port is free and to take it later would let another check in between: it is taken at
once, and listened on when the case wants it.
"""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

from halloo.check.program import FREE, STEP, free_port
from halloo.errors import PortTaken

Family = Literal[4, 6]
Sockets = dict[Family, socket.socket]
HOSTS: dict[Family, str] = {4: "127.0.0.1", 6: "::1"}
_NUMBERS: dict[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def take(scheme: str, fixed: int = 0, *, patience: float = FREE) -> Sockets:
    """Take a free port, or the fixed one as soon as it can be had. Raises PortTaken."""
    deadline = time.monotonic() + patience
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    while True:
        try:
            return _taken(kind, fixed or free_port(scheme), reuse=bool(fixed))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        if fixed and time.monotonic() >= deadline:
            raise PortTaken(f"port {fixed} is taken by another program", "stop it, or name another: --port")
        time.sleep(STEP)


def _taken(kind: socket.SocketKind, port: int, *, reuse: bool) -> Sockets:
    """Bind both families, or none; one that this machine lacks is left out."""
    sockets: Sockets = {}
    try:
        for family, host in HOSTS.items():
            try:
                sockets[family] = _bound(family, (host, port), kind, reuse=reuse)
            except OSError as error:
                if error.errno not in _NO_FAMILY:
                    raise
    except BaseException:
        for sock in sockets.values():
            sock.close()
        raise
    return sockets


def _bound(family: Family, place: tuple[str, int], kind: socket.SocketKind, *, reuse: bool) -> socket.socket:
    """Bind one; with `reuse` beside connections of an earlier case that rest in TIME-WAIT."""
    sock = socket.socket(_NUMBERS[family], kind)
    try:
        if reuse and kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
    except BaseException:
        sock.close()
        raise
    return sock


def resolved(name: str) -> Iterator[Family]:
    """Give the families in which a name is known here."""
    with suppress(OSError):
        known = {found[0] for found in socket.getaddrinfo(name, None)}
        yield from (family for family, number in _NUMBERS.items() if number in known)
