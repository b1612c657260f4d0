"""Send one message and, if asked to, print the answer.

Knows a connection and the standard streams. Reads to the peer's end before it closes: closing with an answer unread
would reset the connection, and a reset destroys what the peer had not read yet.
"""

from collections.abc import Iterable

from halloo.commands.connect import WAIT, ConnectReport, Printer, standard_input, tell_slow_family
from halloo.core.addresses import AddressLike
from halloo.core.trust import Trust
from halloo.net.connection import connect
from halloo.net.exchange import exchange

LINGER = 1.0  # seconds to wait for the peer's end when no answer is wanted


def send(
    address: AddressLike,
    message: bytes | None = None,
    *,
    reply: bool = False,
    wait: float = WAIT,
    family: int | None = None,
    trust: Trust | None = None,
) -> ConnectReport:
    """Send `message`, or standard input when it is None, and half-close; `reply` prints the answer.

    `trust` is as for connect.
    Raises UnknownHost, Refused, Untrusted, Reset, TimedOut, CutShort; what was received is printed before.
    """
    source: Iterable[bytes] = standard_input() if message is None else [message]
    with connect(address, family=family, trust=trust) as connection:
        tell_slow_family(connection)
        if not reply:
            done = exchange(connection, source, len, wait=wait, linger=LINGER)
        else:
            with Printer() as show:
                done = exchange(connection, source, show, wait=wait)
        return ConnectReport(connection.address, done.sent_bytes, done.received_bytes, done.finished)
