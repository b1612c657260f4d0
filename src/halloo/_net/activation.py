"""Take over the sockets that a service manager has opened for this process (sd_listen_fds(3)).

The variables are removed, so that no child process takes the sockets for its own.
"""

import os
import socket

from halloo._core.arguments import shown
from halloo._net import binding
from halloo._net.connection import INTERNET
from halloo._net.listener import Listener
from halloo.errors import LocalError, UsageError

FIRST = 3  # SD_LISTEN_FDS_START
MAX_DIGITS = 5  # more descriptors than a process can have by default
REMEDY = "look at the service's .socket unit, or unset LISTEN_PID"


def inherited(*, buffer: int | None) -> Listener | None:
    """Return a listener for the sockets passed, None without any; `buffer` is as for `listen`.

    Raises UsageError for a value of LISTEN_FDS that is no number, LocalError for a descriptor that does not listen.
    """
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return None
    count = os.environ.pop("LISTEN_FDS", "0")
    if not (count.isascii() and count.isdecimal() and len(count) <= MAX_DIGITS):
        raise UsageError(f"LISTEN_FDS must be a number of sockets, not {shown(count)}", REMEDY)
    sockets: list[tuple[socket.socket, str]] = []
    try:
        for number in range(FIRST, FIRST + int(count)):
            sock, scheme = _socket(number)
            sockets.append((sock, scheme))
            for option in binding.options(scheme, buffer, reuse_port=False):
                sock.setsockopt(*option)
        return Listener(sockets, files=False, inherited=True) if sockets else None
    except BaseException:
        for sock, _ in sockets:
            sock.close()
        raise


def _socket(number: int) -> tuple[socket.socket, str]:
    try:
        sock = socket.socket(fileno=number)
    except OSError as error:
        fact = f"descriptor {number}, which LISTEN_FDS counts, is no socket"
        raise LocalError(fact, REMEDY, errno=error.errno) from error
    scheme = _scheme(sock)
    if scheme == "udp" or (scheme and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
        return sock, scheme
    sock.close()
    fact = f"descriptor {number}, which LISTEN_FDS counts, neither listens for tcp:// or unix: nor is for udp://"
    raise LocalError(fact, REMEDY)


def _scheme(sock: socket.socket) -> str | None:
    """Return the scheme, None for other kinds, such as AF_VSOCK, SOCK_SEQPACKET and MPTCP (systemd.socket(5))."""
    if sock.family == socket.AF_UNIX:
        return "unix" if sock.type == socket.SOCK_STREAM else None
    for scheme, kind, protocol in (
        ("tcp", socket.SOCK_STREAM, socket.IPPROTO_TCP),
        ("udp", socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    ):
        if sock.family in INTERNET and sock.type == kind and sock.proto in (0, protocol):  # 0 where it is not known
            return scheme
    return None
