"""Read what routers and hosts report of a socket's datagrams: its error queue (ip(7), ipv6(7)). Linux only.

Without it, an error names neither the datagram nor the sender of the report, and most reports are no error at all.
"""

import socket
import sys
from collections.abc import Iterator

from halloo._core.icmp import IcmpReport, parse_report
from halloo._net.socket_options import of_version

MAX_REPORTS = 32  # read at a time, so that a flood of them cannot delay anything else
_QUOTE, _ROOM = 2048, 256  # bytes for the quoted datagram, and for the report

# Linux's numbers, which the socket module does not name.
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_REPORTS = {(socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)}


def request_reports(sock: socket.socket) -> None:
    """Have the kernel keep the reports about a datagram socket; each also makes the next call fail, once."""
    if sys.platform.startswith("linux") and hasattr(sock, "recvmsg"):
        sock.setsockopt(*of_version(sock, _IP_RECVERR, _IPV6_RECVERR), 1)


def read_reports(sock: socket.socket) -> Iterator[tuple[IcmpReport, bytes]]:
    """Yield the reports kept, each with as much of its datagram as the router quoted, perhaps nothing."""
    if not sys.platform.startswith("linux") or not hasattr(sock, "recvmsg"):
        return
    for _ in range(MAX_REPORTS):
        try:
            quoted, ancillary, _, _ = sock.recvmsg(_QUOTE, _ROOM, socket.MSG_ERRQUEUE)
        except OSError:  # no more
            return
        for level, kind, data in ancillary:
            if (level, kind) in _REPORTS and (report := parse_report(data)):
                yield report, quoted
