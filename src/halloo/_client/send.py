"""Send one message and, with `reply`, print the reply.

Uses a connection and the standard streams. It reads to the peer's end before it closes: closing with unread data would
reset the connection, and a reset discards what the peer has not read yet.
"""

from collections.abc import Iterable
from contextlib import suppress

from halloo._client.connect import TIMEOUT, ConnectReport, connected, pipe_stream
from halloo._client.streams import Printer, report_no_input, standard_input
from halloo._core import arguments
from halloo._core.address import AddressLike, parse
from halloo._core.arguments import Family
from halloo._core.tls_options import ClientTLS
from halloo._net.datagram_exchange import exchange_datagrams
from halloo._net.datagrams import MAX_DATAGRAM, DatagramConnection
from halloo._net.readiness import deadline_ns
from halloo.errors import TimedOut, UsageError

LINGER = 1.0  # seconds to wait for the peer's end if no reply is wanted
ICMP_WAIT = 0.1  # seconds to wait for an ICMP error after a datagram


def send(
    address: AddressLike,
    message: bytes | None = None,
    *,
    reply: bool = False,
    timeout: float = TIMEOUT,
    deadline: float | None = None,
    family: Family | None = None,
    tls: ClientTLS | None = None,
) -> ConnectReport:
    """Send `message`, or standard input if it is None, and half-close; `reply` prints the reply.

    Over `udp://` the message is one datagram, and the reply is the next one received. `tls` is as for connect.
    `timeout` is the maximum number of seconds to connect, and then without progress, where bytes beyond those sent are
    no progress; `deadline` is that of the whole call.
    Raises UnknownHost, Refused, Untrusted, Reset, TimedOut, IncompleteRead, UsageError for too long a datagram.
    Received data is printed first.
    """
    arguments.seconds("timeout", timeout, none=False)
    arguments.seconds("deadline", deadline)
    source: Iterable[bytes] = standard_input() if message is None else [message]
    until_ns = deadline_ns(deadline)
    with connected(parse(address), timeout, deadline, family, tls) as connection:
        if isinstance(connection, DatagramConnection):
            report = _send_datagram(connection, _one_datagram(source), timeout, until_ns, reply=reply)
        else:
            report = pipe_stream(connection, source, timeout, until_ns, None if reply else LINGER)
    if message is None and not report.sent_bytes:
        report_no_input()
    return report


def _one_datagram(source: Iterable[bytes]) -> bytes:
    """Join the pieces, until they are too long for a datagram: the input may have no end."""
    datagram = b""
    for piece in source:
        datagram += piece
        if len(datagram) > MAX_DATAGRAM:
            fact = f"the message is longer than the {MAX_DATAGRAM} bytes that a datagram carries"
            raise UsageError(fact, "send less, or use tcp://")
    return datagram


def _send_datagram(
    connection: DatagramConnection, datagram: bytes, timeout: float, until_ns: int | None, *, reply: bool
) -> ConnectReport:
    """Send it and wait for a reply; without `reply`, wait only for an ICMP error (Refused, Unreachable)."""
    replies: list[bytes] = []
    if reply:
        exchange_datagrams(connection, [datagram], replies.append, timeout=timeout, until_ns=until_ns)
        with Printer() as printer:
            printer(replies[0])
    else:
        connection.send(datagram)
        with suppress(TimedOut):
            connection.receive(timeout=ICMP_WAIT)
        if error := connection.undelivered:
            raise error
    return ConnectReport(connection.address, len(datagram), sum(map(len, replies[:1])), sent_datagrams=1)
