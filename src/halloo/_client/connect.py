"""Talk to an echo server: line by line on a terminal, or as a filter between two pipes.

Uses a connection and the standard streams. A blank line, the end of input or Ctrl-C ends an interactive session.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from halloo._core import arguments
from halloo._core.address import PORT, Address, parse
from halloo._core.arguments import Family
from halloo._core.escape import EscapingDecoder, quoted
from halloo._core.framing import split_chunks, split_lines
from halloo._core.tls_options import ClientTLS
from halloo._net.connection import CHUNK, Connection
from halloo._net.connector import CONNECT_TIMEOUT, dial
from halloo._net.datagram_exchange import exchange_datagrams
from halloo._net.datagrams import MAX_DATAGRAM, DatagramConnection
from halloo._net.duplex import duplex
from halloo.errors import IncompleteRead, Reset, TimedOut, UsageError

TIMEOUT = 5.0  # seconds without progress while a reply is pending
REPLY_PAUSE = 0.5  # seconds of silence that complete a reply without a newline
SLOW_ATTEMPT = 0.25  # seconds of a failed attempt to connect from which it is reported


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
    timeout: float = TIMEOUT,
    size: int | None = None,
    family: Family | None = None,
    tls: ClientTLS | None = None,
) -> ConnectReport:
    """Prompt with `Send:`, send each line and print `Received 'text'`, until a blank line.

    Unless standard input is a terminal, send all of it and write what comes back to standard output, unchanged.
    `timeout` is the maximum number of seconds without progress while a reply is pending; `tls` is as for connect. Over
    `udp://` each line is a datagram, or each `size` bytes of piped input, and the report counts lost datagrams.
    Raises UsageError, UnknownHost, Refused, Untrusted, Reset, TimedOut, IncompleteRead; received data is printed first.
    """
    arguments.whole("port", port, 0, 65535)
    arguments.seconds("timeout", timeout, none=False)
    arguments.family(family)
    address = parse(host)
    if port != PORT:
        address = replace(address, port=port)
    if size is not None and address.scheme != "udp":
        raise UsageError("is for datagrams", "write udp:// before the host, or leave it out", argument="size")
    if isinstance(size, int) and not 0 < size <= MAX_DATAGRAM:
        fact = f"must be 1 to {MAX_DATAGRAM} bytes, not {size}"
        raise UsageError(fact, "a datagram carries no more; or use tcp://", argument="size")
    arguments.whole("size", size, 1, MAX_DATAGRAM, none=True)
    with dial(address, timeout=CONNECT_TIMEOUT, family=family, tls=tls) as connection:
        report_slow_attempts(connection)
        if sys.stdin.isatty():
            return _interact(connection, timeout)
        if isinstance(connection, DatagramConnection):
            return _pipe_datagrams(connection, timeout, size)
        with Printer() as printer:
            result = duplex(connection, standard_input(), printer, timeout=timeout)
        return ConnectReport(connection.address, result.sent_bytes, result.received_bytes, result.finished)


def _pipe_datagrams(connection: DatagramConnection, timeout: float, size: int | None) -> ConnectReport:
    datagrams = split_lines(standard_input(), MAX_DATAGRAM) if size is None else split_chunks(standard_input(), size)
    with Printer() as printer:
        result = exchange_datagrams(connection, datagrams, printer, timeout=timeout)
    lost = max(result.sent - result.received, 0)
    return ConnectReport(connection.address, result.sent_bytes, result.received_bytes, True, result.sent, lost)


def _interact(connection: Connection | DatagramConnection, timeout: float) -> ConnectReport:
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - importing it gives input() line editing and history, where it exists
    datagrams = isinstance(connection, DatagramConnection)
    session = _DatagramSession(connection, timeout) if datagrams else _StreamSession(connection, timeout)
    try:
        for line in _typed_lines():
            session.print_pending()
            session.send_line(os.fsencode(line) + b"\n")
        if isinstance(connection, DatagramConnection):
            connection.check_refused()
        else:
            connection.send_eof()
        session.print_pending()
    except KeyboardInterrupt:
        print(flush=True)
    return session.report()


def _typed_lines() -> Iterator[str]:
    prompt = "Send:" if sys.stdout.isatty() else ""
    try:
        while True:
            if not prompt:
                print("Send:", end="", file=sys.stderr, flush=True)  # standard output contains only the replies
            if not (line := input(prompt)):
                return
            yield line
    except EOFError:
        print(flush=True)


class _StreamSession:
    """Lines and replies over a stream: a reply ends with its newline or, without one, with a pause."""

    def __init__(self, connection: Connection | DatagramConnection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._sent_bytes = self._received_bytes = 0

    def send_line(self, data: bytes) -> None:
        self._connection.send(data, timeout=self._timeout)
        self._sent_bytes += len(data)
        self._print_reply(data)

    def print_pending(self) -> None:
        """Print what has arrived since the last reply: a greeting or a late reply."""
        data = b""
        with suppress(TimedOut, Reset):
            while chunk := self._connection.receive(timeout=0):
                data += chunk
        self._print(data)

    def report(self) -> ConnectReport:
        return ConnectReport(self._connection.address, self._sent_bytes, self._received_bytes)

    def _print_reply(self, _data: bytes) -> None:
        """Print the reply; on an error, print the part received before raising it."""
        reply = b""
        try:
            while not reply.endswith(b"\n"):
                chunk = self._connection.receive(timeout=REPLY_PAUSE if reply else self._timeout)
                if not chunk:
                    fact = f"{self._connection.address.place} closed the connection"
                    raise IncompleteRead(
                        fact, "look at the server's own messages", address=str(self._connection.address)
                    )
                reply += chunk
        except TimedOut:
            if not reply:
                raise
        finally:
            self._print(reply)

    def _print(self, data: bytes) -> None:
        self._received_bytes += len(data)
        _print_received(data)


class _DatagramSession(_StreamSession):
    """Lines and replies as datagrams, any of which may be lost, late or duplicated."""

    def __init__(self, connection: Connection | DatagramConnection, timeout: float) -> None:
        super().__init__(connection, timeout)
        self._sent: list[bytes] = []
        self._received = 0

    def print_pending(self) -> None:
        with suppress(TimedOut):
            while True:
                self._print(self._connection.receive(timeout=0))

    def report(self) -> ConnectReport:
        lost = max(len(self._sent) - self._received, 0)
        return replace(super().report(), sent_datagrams=len(self._sent), lost_datagrams=lost)

    def _print_reply(self, data: bytes) -> None:
        """Print the reply; after one that belongs to an earlier line, wait a little longer for the right one."""
        timeout, reply = self._timeout, None
        try:
            while reply is None or (reply != data and reply in self._sent):
                reply = self._connection.receive(timeout=timeout)
                self._print(reply)
                timeout = min(REPLY_PAUSE, timeout)
        except TimedOut:
            if reply is None:
                text = f"no reply within {timeout:g} seconds; a datagram may be lost"
                print(f"halloo: {text}", file=sys.stderr, flush=True)
        self._sent.append(data)

    def _print(self, data: bytes) -> None:
        self._received += 1
        self._received_bytes += len(data)
        _print_received(data or b"\n")


def _print_received(data: bytes) -> None:
    for line in data.removesuffix(b"\n").split(b"\n") if data else ():
        print("Received", quoted(line), flush=True)


def standard_input() -> Iterator[bytes]:
    """Yield chunks of standard input, unbuffered: a thread blocked in a buffered read would hold the buffer's lock."""
    fd = sys.stdin.fileno()
    while data := os.read(fd, CHUNK):
        yield data


class Printer:
    """Print received data: unchanged, except that a terminal gets it escaped, with its last line terminated."""

    def __init__(self) -> None:
        self._decoder = EscapingDecoder() if sys.stdout.isatty() else None
        self._open_line = False

    def __enter__(self) -> Self:
        return self

    def __call__(self, data: bytes) -> None:
        if self._decoder:
            self._print(self._decoder.feed(data))
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def __exit__(self, *_: object) -> None:
        if self._decoder:
            self._print(self._decoder.feed(b"", last=True))
            if self._open_line:
                print(flush=True)

    def _print(self, text: str) -> None:
        print(text, end="", flush=True)
        self._open_line = not text.endswith("\n") if text else self._open_line


def report_slow_attempts(connection: Connection | DatagramConnection) -> None:
    """Name each address that was tried first and failed slowly."""
    for attempt in connection.attempts:
        if attempt.seconds >= SLOW_ATTEMPT:
            print(
                f"halloo: {attempt.address.place} was tried first and failed after {attempt.seconds:.1f} s; "
                f"{connection.address.host} is faster",
                file=sys.stderr,
            )
