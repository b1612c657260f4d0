"""Print what one client sends: the tutorial's server.

Uses a listener and the standard streams.
"""

import sys
from dataclasses import dataclass

from halloo._client.streams import Printer
from halloo._core import arguments
from halloo._core.address import Address, AddressLike
from halloo._core.arguments import Family
from halloo._core.tls_options import ServerTLS
from halloo._net import error_mapping
from halloo._net.connection import Connection
from halloo._net.first_client import FirstClient, first_client
from halloo._net.listener import Listener, listen
from halloo._net.readiness import deadline_ns, seconds_until
from halloo._output.terminal import folded, say, width_of
from halloo._server.log import certificate_made
from halloo.errors import TimedOut, one_line


@dataclass(frozen=True, slots=True)
class ReceiveReport:
    """The client's address, and the bytes received from it."""

    peer: Address
    received_bytes: int


def receive(
    address: AddressLike,
    *,
    timeout: float | None = None,
    deadline: float | None = None,
    family: Family | None = None,
    tls: ServerTLS | None = None,
) -> ReceiveReport:
    """Accept one client, and print `Received: ` and everything it sends; over `udp://` that is one datagram.

    A client that sends nothing does not count, nor does one whose TLS handshake fails: it is reported to standard
    error, and the next one is accepted. `timeout` is the maximum number of seconds for a first byte, and then without
    one; `deadline` is that of the whole call.
    The listening address is printed to standard error, so that standard output contains only received data.
    `tls` is for `tls://`; without a certificate one is made, and its fingerprint printed to standard error.
    Raises AddressInUse, NotPermitted, TimedOut, Reset, IncompleteRead; received data is printed first.
    """
    arguments.seconds("timeout", timeout)
    arguments.seconds("deadline", deadline)
    until_ns = deadline_ns(deadline)
    with listen(address, family=family, tls=tls) as listener:
        if listener.made_fingerprint:
            line = certificate_made(listener.made_fingerprint).text or ""
            print(folded(line, width_of(sys.stderr)), file=sys.stderr, flush=True)
        for bound in listener.addresses:
            print(one_line(f"listening on {bound}"), file=sys.stderr, flush=True)
        connection, data = _first_client(listener, timeout, deadline)
        with connection:
            connection.timeout = timeout
            print("Received:  ", end="", flush=True)
            received = 0
            try:
                with Printer() as printer:
                    while data:
                        printer(data)
                        received += len(data)
                        data = b""
                        if isinstance(connection, Connection):
                            data = _next_chunk(connection, until_ns)
            finally:
                if not sys.stdout.isatty():
                    print(flush=True)
            return ReceiveReport(connection.address, received)


def _first_client(listener: Listener, timeout: float | None, deadline: float | None) -> FirstClient:
    shortest = min((seconds for seconds in (timeout, deadline) if seconds is not None), default=None)
    if found := first_client(
        listener, until_ns=deadline_ns(shortest), on_drop=lambda fact: say(f"{fact}; waiting for another client")
    ):
        return found
    none = "datagram arrived at" if listener.address.scheme == "udp" else "client sent anything to"
    argument = "timeout=" if shortest == timeout else "deadline="
    fact = f"no {none} {listener.address.place} within {shortest:g} seconds"
    raise TimedOut(fact, f"allow more with {argument}", address=str(listener.address))


def _next_chunk(connection: Connection, until_ns: int | None) -> bytes:
    left = seconds_until(until_ns)
    if left != 0:  # else data that arrives without a pause would have no end
        try:
            return connection.receive(deadline=left)
        except TimedOut:
            if seconds_until(until_ns) != 0:
                raise
    raise error_mapping.overdue(connection.address, "did not end")
