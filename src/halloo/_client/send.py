"""Send one message and, with `reply`, print the reply.

Uses a connection and the standard streams. It reads to the peer's end before it closes: closing with unread data would
reset the connection, and a reset discards what the peer has not read yet.
"""

from collections.abc import Iterable
from contextlib import suppress

from halloo._client.connect import TIMEOUT, ConnectReport, report_slow_attempts
from halloo._client.streams import Printer, report_no_input, standard_input
from halloo._core.address import AddressLike, parse
from halloo._core.arguments import Family
from halloo._core.tls_options import ClientTLS
from halloo._net.connection import Connection
from halloo._net.connector import CONNECT_TIMEOUT, dial
from halloo._net.datagrams import DatagramConnection
from halloo._net.duplex import duplex
from halloo.errors import TimedOut

LINGER = 1.0  # seconds to wait for the peer's end if no reply is wanted
ICMP_WAIT = 0.1  # seconds to wait for an ICMP error after a datagram


def send(
    address: AddressLike,
    message: bytes | None = None,
    *,
    reply: bool = False,
    timeout: float = TIMEOUT,
    family: Family | None = None,
    tls: ClientTLS | None = None,
) -> ConnectReport:
    """Send `message`, or standard input if it is None, and half-close; `reply` prints the reply.

    Over `udp://` the message is one datagram, and the reply is the next one received. `tls` is as for connect.
    Raises UnknownHost, Refused, Untrusted, Reset, TimedOut, IncompleteRead, UsageError for too long a datagram.
    Received data is printed first.
    """
    source: Iterable[bytes] = standard_input() if message is None else [message]
    with dial(parse(address), timeout=CONNECT_TIMEOUT, family=family, tls=tls) as connection:
        report_slow_attempts(connection)
        if isinstance(connection, DatagramConnection):
            report = _send_datagram(connection, b"".join(source), timeout if reply else None)
        else:
            report = _send_stream(connection, source, timeout, reply=reply)
    if message is None and not report.sent_bytes:
        report_no_input()
    return report


def _send_stream(connection: Connection, source: Iterable[bytes], timeout: float, *, reply: bool) -> ConnectReport:
    if not reply:
        result = duplex(connection, source, len, timeout=timeout, linger=LINGER)
    else:
        with Printer() as printer:
            result = duplex(connection, source, printer, timeout=timeout)
    return ConnectReport(connection.address, result.sent_bytes, result.received_bytes, result.finished)


def _send_datagram(connection: DatagramConnection, datagram: bytes, timeout: float | None) -> ConnectReport:
    """Send it and wait for a reply; with `timeout` None, wait only for an ICMP error (Refused)."""
    connection.send(datagram)
    reply = b""
    if timeout is None:
        with suppress(TimedOut):
            connection.receive(timeout=ICMP_WAIT)
    else:
        reply = connection.receive(timeout=timeout)
        with Printer() as printer:
            printer(reply)
    return ConnectReport(connection.address, len(datagram), len(reply), sent_datagrams=1)
