"""Receive what one client sends, print it, and end: the tutorial's server.

Knows a listener and the standard streams.
"""

import sys
from dataclasses import dataclass

from halloo.commands.connect import Printer
from halloo.core.addresses import Address
from halloo.net.listening import AddressLike, listen


@dataclass(frozen=True, slots=True)
class ReceiveReport:
    """Who came, and how many bytes they sent."""

    peer: Address
    received_bytes: int


def receive(address: AddressLike, *, wait: float | None = None, family: int | None = None) -> ReceiveReport:
    """Wait for one client, `wait` seconds or for ever, and print `Received: ` and all that it sends.

    The address goes to standard error, so that standard output holds what was received and nothing else.
    Raises PortTaken, NotPermitted, TimedOut, Reset; what was received is printed before.
    """
    with listen(address, family=family) as listener:
        for place in listener.addresses:
            print(f"listening on {place}", file=sys.stderr, flush=True)
        with listener.accept(timeout=wait) as connection:
            print("Received:  ", end="", flush=True)
            received = 0
            try:
                with Printer() as show:
                    for chunk in connection:
                        show(chunk)
                        received += len(chunk)
            finally:
                if not sys.stdout.isatty():
                    print(flush=True)
            return ReceiveReport(connection.address, received)
