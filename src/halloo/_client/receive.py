"""Receive what one client sends, print it, and end: the tutorial's server.

Knows a listener and the standard streams.
"""

import sys
from dataclasses import dataclass

from halloo._client.connect import Printer
from halloo._core.address import Address, AddressLike
from halloo._core.tls_options import ServerTLS
from halloo._net.listener import listen
from halloo._server.log import tell_certificate


@dataclass(frozen=True, slots=True)
class ReceiveReport:
    """Who came, and how many bytes they sent."""

    peer: Address
    received_bytes: int


def receive(
    address: AddressLike,
    *,
    timeout: float | None = None,
    family: int | None = None,
    tls: ServerTLS | None = None,
) -> ReceiveReport:
    """Wait for one client, `timeout` seconds or for ever, and print `Received: ` and all that it sends.

    Over `udp://` that is one datagram.
    The address goes to standard error, so that standard output holds what was received and nothing else.
    `tls` are for `tls://`; without them one is made, and its fingerprint told there too.
    Raises AddressInUse, NotPermitted, TimedOut, Untrusted, Reset, IncompleteRead; what was received is printed before.
    """
    with listen(address, family=family, tls=tls) as listener:
        tell_certificate(listener)
        for place in listener.addresses:
            print(f"listening on {place}", file=sys.stderr, flush=True)
        with listener.accept(timeout=timeout) as connection:
            print("Received:  ", end="", flush=True)
            received = 0
            try:
                with Printer() as show:
                    for chunk in [connection.receive()] if connection.datagrams else connection:
                        show(chunk)
                        received += len(chunk)
            finally:
                if not sys.stdout.isatty():
                    print(flush=True)
            return ReceiveReport(connection.address, received)
