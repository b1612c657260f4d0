"""Print what one client sends: the tutorial's server.

Uses a listener and the standard streams.
"""

import sys
from dataclasses import dataclass

from halloo._client.streams import Printer
from halloo._core.address import Address, AddressLike
from halloo._core.arguments import Family
from halloo._core.tls_options import ServerTLS
from halloo._net.datagrams import DatagramConnection
from halloo._net.listener import listen
from halloo._server.log import print_fingerprint


@dataclass(frozen=True, slots=True)
class ReceiveReport:
    """The client's address, and the bytes received from it."""

    peer: Address
    received_bytes: int


def receive(
    address: AddressLike,
    *,
    timeout: float | None = None,
    family: Family | None = None,
    tls: ServerTLS | None = None,
) -> ReceiveReport:
    """Accept one client, within `timeout` seconds or without limit, and print `Received: ` and everything it sends.

    Over `udp://` that is one datagram.
    The listening address is printed to standard error, so that standard output contains only received data.
    `tls` is for `tls://`; without a certificate one is made, and its fingerprint printed to standard error.
    Raises AddressInUse, NotPermitted, TimedOut, Untrusted, Reset, IncompleteRead; received data is printed first.
    """
    with listen(address, family=family, tls=tls) as listener:
        print_fingerprint(listener)
        for bound in listener.addresses:
            print(f"listening on {bound}", file=sys.stderr, flush=True)
        with listener.accept_any(timeout=timeout) as connection:
            print("Received:  ", end="", flush=True)
            received = 0
            try:
                with Printer() as printer:
                    for chunk in [connection.receive()] if isinstance(connection, DatagramConnection) else connection:
                        printer(chunk)
                        received += len(chunk)
            finally:
                if not sys.stdout.isatty():
                    print(flush=True)
            return ReceiveReport(connection.address, received)
