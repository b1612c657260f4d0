"""Talk to an echo server: line by line at a prompt, or as a filter between two pipes.

Uses a connection and the standard streams.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from halloo._client.prompt import typed_lines
from halloo._client.session import DatagramSession, StreamSession
from halloo._client.streams import Printer, report_no_input, standard_input
from halloo._core import arguments
from halloo._core.address import PORT, Address, parse
from halloo._core.arguments import Family
from halloo._core.framing import split_chunks, split_lines
from halloo._core.tls_options import ClientTLS
from halloo._core.units import FOR_EVER
from halloo._net.connection import Connection
from halloo._net.connector import dial
from halloo._net.datagram_exchange import exchange_datagrams
from halloo._net.datagrams import MAX_DATAGRAM, DatagramConnection
from halloo._net.duplex import duplex
from halloo._net.error_mapping import LOOK
from halloo._net.readiness import deadline_ns
from halloo._output.terminal import say
from halloo.errors import IncompleteRead, UsageError

TIMEOUT = 5.0  # seconds without progress while a reply is pending
SLOW_ATTEMPT = 0.25  # seconds of an attempt to connect without success from which it is reported


@dataclass(frozen=True, slots=True)
class ConnectReport:
    """The address connected to, and the bytes sent and received; over UDP also the datagrams sent and lost."""

    address: Address
    sent_bytes: int
    received_bytes: int
    finished: bool = True  # whether the peer closed the connection
    sent_datagrams: int = 0
    lost_datagrams: int = 0


def client(
    host: str | Address = "localhost",
    port: int = PORT,
    *,
    timeout: float | None = TIMEOUT,
    deadline: float | None = None,
    size: int | None = None,
    family: Family | None = None,
    tls: ClientTLS | None = None,
    interactive: bool | None = None,
) -> ConnectReport:
    """Prompt with `Send:`, send each line and print `Received 'text'`, until a blank line.

    Unless standard input is a terminal, send all of it and write what comes back to standard output, unchanged.
    `interactive` chooses instead: True prompts in a notebook or an IDE too, with `input()`; False never prompts.
    `timeout` is the maximum number of seconds to connect, and then without progress while a reply is pending, where
    bytes beyond those sent are no progress; `deadline` is that of the whole call; None is for ever. `tls` is as for
    connect. Over `udp://` each line is a datagram, or each `size` bytes of piped input, and the report counts lost
    datagrams. Fewer bytes than were sent are an error where the input is piped; other bytes, or more, are not.
    Raises UsageError, UnknownHost, Refused, Untrusted, Reset, TimedOut, IncompleteRead; received data is printed first.
    """
    arguments.whole("port", port, 0, 65535)
    arguments.seconds("timeout", timeout)
    timeout = FOR_EVER if timeout is None else timeout
    arguments.seconds("deadline", deadline)
    arguments.family(family)
    if interactive is not None:
        arguments.switches(interactive=interactive)
    address = parse(host)
    if port != PORT:
        if address.path is not None or address.port not in (PORT, port):
            fact = f"{port} contradicts {arguments.shown(str(address))}"
            raise UsageError(fact, "leave it out, or name a host without a port", argument="port")
        address = replace(address, port=port)
    if size is not None and address.scheme != "udp":
        raise UsageError("is for datagrams", "write udp:// before the host, or leave it out", argument="size")
    remedy = "a datagram carries no more; or use tcp://"
    arguments.whole("size", size, 1, MAX_DATAGRAM, none=True, unit=" bytes", remedy=remedy)
    until_ns = deadline_ns(deadline)
    prompted = sys.stdin.isatty() if interactive is None else interactive
    if size is not None and prompted:
        raise UsageError("is for piped input", "leave it out: at a prompt, a line is a datagram", argument="size")
    with connected(address, timeout, deadline, family, tls) as connection:
        if prompted:
            report = _interact(connection, timeout, until_ns)
        elif isinstance(connection, DatagramConnection):
            report = _pipe_datagrams(connection, timeout, until_ns, size)
        else:
            report = pipe_stream(connection, standard_input(), timeout, until_ns)
    if not prompted and not report.sent_bytes:
        report_no_input()
    return report


@contextmanager
def connected(
    address: Address, timeout: float, deadline: float | None, family: Family | None, tls: ClientTLS | None
) -> Iterator[Connection | DatagramConnection]:
    """Connect, and name each address that was tried before: in vain and for long or, over UDP, until it refused."""
    within = timeout if deadline is None else min(timeout, deadline)
    with dial(address, timeout=within, family=family, tls=tls) as connection:
        for attempt in connection.attempts:
            if attempt.seconds >= SLOW_ATTEMPT:
                fact = f"{attempt.address.place} was tried first, without success for {attempt.seconds:.1f} s"
                say(f"{fact}; {connection.address.host} is used")
        yield connection
        if isinstance(connection, DatagramConnection):
            for attempt in connection.attempts:
                say(f"{attempt.error.fact}; {connection.address.host} is used")


def pipe_stream(
    connection: Connection, source: Iterable[bytes], timeout: float, until_ns: int | None, linger: float | None = None
) -> ConnectReport:
    """Send all of `source` and print the reply, as `duplex` does; with `linger` no reply is printed."""
    with Printer() as printer:
        sink = printer if linger is None else len
        result = duplex(connection, source, sink, timeout=timeout, linger=linger, until_ns=until_ns)
    return ConnectReport(connection.address, result.sent_bytes, result.received_bytes, result.finished)


def _pipe_datagrams(
    connection: DatagramConnection, timeout: float, until_ns: int | None, size: int | None
) -> ConnectReport:
    datagrams = split_lines(standard_input(), MAX_DATAGRAM) if size is None else split_chunks(standard_input(), size)
    with Printer() as printer:
        result = exchange_datagrams(connection, datagrams, printer, timeout=timeout, until_ns=until_ns)
    lost = result.sent - result.received
    if not lost and result.received_bytes < result.sent_bytes:
        fact = f"{connection.address.place} sent back {result.received_bytes} of {result.sent_bytes} bytes"
        raise IncompleteRead(fact, LOOK, address=str(connection.address))
    return ConnectReport(connection.address, result.sent_bytes, result.received_bytes, True, result.sent, lost)


def _interact(connection: Connection | DatagramConnection, timeout: float, until_ns: int | None) -> ConnectReport:
    datagrams = isinstance(connection, DatagramConnection)
    session = (DatagramSession if datagrams else StreamSession)(connection, typed_lines(), timeout, until_ns)
    session.run()
    return ConnectReport(
        connection.address,
        session.sent_bytes,
        session.received_bytes,
        sent_datagrams=session.sent_datagrams,
        lost_datagrams=session.lost_datagrams,
    )
