"""Send one message and, if asked to, print the answer.

Knows a connection and the standard streams. Reads to the peer's end before it closes: closing with an answer unread
would reset the connection, and a reset destroys what the peer had not read yet.
"""

from collections.abc import Iterable
from contextlib import suppress

from halloo._client.connect import WAIT, ConnectReport, Printer, standard_input, tell_slow_family
from halloo._core.address import AddressLike
from halloo._core.tls_options import ClientTLS
from halloo._net.connection import Connection
from halloo._net.connector import connect
from halloo._net.duplex import duplex
from halloo.errors import TimedOut

LINGER = 1.0  # seconds to wait for the peer's end when no answer is wanted
MOMENT = 0.1  # seconds, as datagrams have no end


def send(
    address: AddressLike,
    message: bytes | None = None,
    *,
    reply: bool = False,
    timeout: float = WAIT,
    family: int | None = None,
    tls: ClientTLS | None = None,
) -> ConnectReport:
    """Send `message`, or standard input when it is None, and half-close; `reply` prints the answer.

    Over `udp://` it is one datagram, and the answer the next one that comes. `tls` is as for connect.
    Raises UnknownHost, Refused, Untrusted, Reset, TimedOut, IncompleteRead, UsageError for too long a datagram.
    What was received is printed before.
    """
    source: Iterable[bytes] = standard_input() if message is None else [message]
    with connect(address, family=family, tls=tls) as connection:
        tell_slow_family(connection)
        if connection.datagrams:
            return _send_datagram(connection, b"".join(source), timeout if reply else None)
        if not reply:
            done = duplex(connection, source, len, timeout=timeout, linger=LINGER)
        else:
            with Printer() as show:
                done = duplex(connection, source, show, timeout=timeout)
        return ConnectReport(connection.address, done.sent_bytes, done.received_bytes, done.finished)


def _send_datagram(connection: Connection, datagram: bytes, timeout: float | None) -> ConnectReport:
    """Send it, and wait for an answer, or no longer than to hear that nobody is there (ICMP) when `timeout` is None."""
    connection.send(datagram)
    answer = b""
    if timeout is None:
        with suppress(TimedOut):
            connection.receive(timeout=MOMENT)
    else:
        answer = connection.receive(timeout=timeout)
        with Printer() as show:
            show(answer)
    return ConnectReport(connection.address, len(datagram), len(answer), sent_datagrams=1)
