"""Tell that this machine has no port left from what a peer, or the network, refuses (ip(7), ip_local_port_range)."""

import errno
import socket


def exhausted(family: int, sockaddr: tuple[str | int, ...]) -> bool:
    """Whether EADDRNOTAVAIL of connect(2) says that no port is free, and not that there is no source address.

    A datagram socket gets its source address in the same way, but its ports are counted apart.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(sockaddr)
        except OSError as error:
            return error.errno == errno.EAGAIN  # no port for datagrams either
    return True
