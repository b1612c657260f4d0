"""The sockets of a check, of its clients as of its servers: binding, connecting, closing, and what this machine lacks.

Uses sockets. They are of its own, so that a check shares no bug with what it checks.
"""

import array
import errno
import fcntl
import os
import socket
import termios
import time
from random import SystemRandom
from typing import Any

from halloo._check.case import Failed
from halloo._core.address import Address
from halloo._net import error_mapping, local_ports
from halloo._net.connection import RESET_ON_CLOSE
from halloo.errors import AddressInUse

MSS = 1460  # bytes
MIN_PORT, MAX_PORT = 10_001, 32_767  # odd ports below the ephemeral range: no self-connection can occur there
NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # without IPv6
PORT_TIMEOUT = 90.0  # seconds until a fixed port has to be free again: TIME-WAIT takes 60
POLL_INTERVAL = 0.02  # seconds between two polls
HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_LACKING = {errno.EADDRINUSE, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Sockets = dict[socket.AddressFamily, socket.socket]
SocketAddress = tuple[Any, ...] | str  # as connect() takes it: host, port and perhaps more, or a path


def is_free(
    kind: str,
    port: int,
    *,
    reuse: bool = False,
    families: tuple[socket.AddressFamily, ...] = (socket.AF_INET, socket.AF_INET6),
) -> bool:
    """Whether a port can be bound, with `reuse` even if it has connections in TIME-WAIT (SO_REUSEADDR)."""
    for family in families:
        try:
            bind(family, ("", port), kind, reuse=reuse).close()
        except OSError as error:
            if error.errno not in NO_FAMILY:
                return False
    return True


def free_port(kind: str) -> int:
    """Find a port that is free for both IPv4 and IPv6."""
    while not is_free(kind, port := SystemRandom().randrange(MIN_PORT, MAX_PORT, 2)):
        pass
    return port


def bind(family: socket.AddressFamily, address: tuple[str, int], kind: str, *, reuse: bool = False) -> socket.socket:
    """Bind a socket; `reuse` permits connections in TIME-WAIT. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    try:
        if reuse and kind != "udp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_port(scheme: str, fixed: int = 0, *, timeout: float = PORT_TIMEOUT) -> Sockets:
    """Bind a free port, or wait for the fixed one, of all address families of this machine. Raises AddressInUse."""
    deadline = time.monotonic() + timeout
    while True:
        sockets: Sockets = {}
        port = fixed or free_port(scheme)
        for family, host in HOSTS.items():
            try:
                sockets[family] = bind(family, (host, port), scheme, reuse=bool(fixed))
            except OSError as error:
                if error.errno in NO_FAMILY:
                    continue
                for sock in sockets.values():
                    sock.close()
                if error.errno != errno.EADDRINUSE:
                    raise
                break
        else:
            return sockets
        if fixed and time.monotonic() >= deadline:
            raise AddressInUse(f"port {fixed} is taken by another program", "stop it, or choose another with port=")
        time.sleep(POLL_INTERVAL)


def raise_if_local(error: OSError, family: int, address: tuple[str, int] | str) -> None:
    """Raise LocalError if this machine has no port, no descriptor or no memory left, so that no server is to blame."""
    number = error.errno
    if number == errno.EADDRNOTAVAIL and not isinstance(address, str) and local_ports.exhausted(family, address):
        number = errno.EADDRINUSE
    if number in _LACKING:
        target = Address("unix", None, 0, address) if isinstance(address, str) else Address("tcp", *address)
        raise error_mapping.connecting(target, OSError(number, os.strerror(number))) from error


def unacknowledged(sock: socket.socket) -> int:
    """Return the number of bytes sent that the peer's kernel has not acknowledged (tcp(7))."""
    answer = array.array("i", [0])
    fcntl.ioctl(sock, termios.TIOCOUTQ, answer)
    return answer[0]


def place_of(address: tuple[str, int] | str) -> tuple[int, SocketAddress]:
    """Return the family and the socket address of a host and port, with the interface of `fe80::1%lo`, or of a path."""
    if isinstance(address, str):
        return socket.AF_UNIX, address
    family, *_, sockaddr = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
    return family, sockaddr


def unconnected_socket(address: tuple[str, int] | str, receive_buffer: int | None = None) -> socket.socket:
    """Make a socket for an address; with a small `receive_buffer`, its segments are limited to an Ethernet's size.

    With loopback's segments of 64 KiB, the kernel buffers megabytes before a server's send blocks.
    """
    family, _ = place_of(address)
    try:
        sock = socket.socket(family)
    except OSError as error:
        raise_if_local(error, family, address)
        raise Failed(f"no socket for {address[0]}: {error.strerror}", pattern="refused") from error
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, MSS)
    return sock


def begin_connecting(sock: socket.socket, address: tuple[str, int] | str) -> None:
    """Connect a non-blocking socket; its outcome follows. Raises LocalError if this machine cannot connect it."""
    if (number := sock.connect_ex(place_of(address)[1])) not in (0, errno.EINPROGRESS):
        raise_if_local(OSError(number, os.strerror(number)), sock.family, address)


def check_not_self_connected(sock: socket.socket) -> None:
    """Reject a self-connection, which echoes: Linux makes one if nothing listens on an ephemeral port."""
    if sock.family != socket.AF_UNIX and sock.getsockname() == sock.getpeername():
        raise Failed("the socket is connected to itself: nothing listens on the port", pattern="refused")


def reset(sock: socket.socket) -> None:
    """Close a connection with a reset."""
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
