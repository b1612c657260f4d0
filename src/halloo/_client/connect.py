"""Talk to an echo: line by line with a person, or as a filter between two pipes.

Knows a connection and the standard streams. A blank line, the end of the input or Ctrl-C ends a conversation.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from halloo._core.address import PORT, Address, parse
from halloo._core.escape import EscapingDecoder, quoted
from halloo._core.framing import split_chunks, split_lines
from halloo._core.tls_options import ClientTLS
from halloo._net.connection import CHUNK, Connection
from halloo._net.connector import connect
from halloo._net.datagram_exchange import exchange_datagrams
from halloo._net.datagrams import MOST
from halloo._net.duplex import duplex
from halloo.errors import IncompleteRead, Reset, TimedOut, UsageError

WAIT = 5.0  # seconds without progress after which an answer that is owed will not come
PAUSE = 0.5  # seconds after which an answer without a newline is taken to be whole
SLOW = 0.25  # seconds that a fruitless first family may take before it is named


@dataclass(frozen=True, slots=True)
class ConnectReport:
    """Who was talked to, and how many bytes went and came; of datagrams, how many did not come back, too."""

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
    timeout: float = WAIT,
    size: int | None = None,
    family: int | None = None,
    tls: ClientTLS | None = None,
) -> ConnectReport:
    """Ask for a line with `Send:`, send it, print `Received 'text'`, until a blank line; filter where input is piped.

    `timeout` is how many seconds may pass without progress while an answer is owed; `tls` is as for connect. Over
    `udp://` each line is a datagram, or each `size` bytes of what is piped, and what was lost is reported.
    Raises UnknownHost, Refused, Untrusted, Reset, TimedOut, IncompleteRead; what was received is printed before.
    """
    address = parse(host)
    if port != PORT:
        address = replace(address, port=parse(port).port)
    if size is not None and address.scheme != "udp":
        raise UsageError("--size is for datagrams", "write udp:// before the host, or leave it out")
    if size is not None and not 0 < size <= MOST:
        raise UsageError(f"--size is 1 to {MOST} bytes, not {size}", "a datagram carries no more; or use tcp://")
    with connect(address, family=family, tls=tls) as connection:
        tell_slow_family(connection)
        if sys.stdin.isatty():
            return _converse(connection, timeout)
        if connection.datagrams:
            return _volley(connection, timeout, size)
        with Printer() as show:
            done = duplex(connection, standard_input(), show, timeout=timeout)
        return ConnectReport(connection.address, done.sent_bytes, done.received_bytes, done.finished)


def _volley(connection: Connection, timeout: float, size: int | None) -> ConnectReport:
    datagrams = split_lines(standard_input(), MOST) if size is None else split_chunks(standard_input(), size)
    with Printer() as show:
        done = exchange_datagrams(connection, datagrams, show, timeout=timeout)
    lost = max(done.sent - done.received, 0)
    return ConnectReport(connection.address, done.sent_bytes, done.received_bytes, True, done.sent, lost)


def _converse(connection: Connection, timeout: float) -> ConnectReport:
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - importing it gives input() line editing and history, where it exists
    talk = _Datagrams(connection, timeout) if connection.datagrams else _Talk(connection, timeout)
    try:
        for line in _lines():
            talk.show_unasked()
            talk.ask(os.fsencode(line) + b"\n")
        connection.send_eof()
        talk.show_unasked()
    except KeyboardInterrupt:
        print(flush=True)
    return talk.report()


def _lines() -> Iterator[str]:
    """Give what a person types, up to a blank line or the end of the input."""
    prompt = "Send:" if sys.stdout.isatty() else ""
    try:
        while True:
            if not prompt:
                print("Send:", end="", file=sys.stderr, flush=True)  # standard output holds the answers alone
            if not (line := input(prompt)):
                return
            yield line
    except EOFError:
        print(flush=True)


class _Talk:
    """A conversation over a stream: an answer ends with its newline or, where it has none, with a pause."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._sent_bytes = self._received_bytes = 0

    def ask(self, data: bytes) -> None:
        """Send a line, and print the answer."""
        self._connection.send(data, timeout=self._timeout)
        self._sent_bytes += len(data)
        self._show_answer(data)

    def show_unasked(self) -> None:
        """Print what came before anything was asked: a greeting, or an answer that was late."""
        data = b""
        with suppress(TimedOut, Reset):
            while piece := self._connection.receive(timeout=0):
                data += piece
        self._show(data)

    def report(self) -> ConnectReport:
        return ConnectReport(self._connection.address, self._sent_bytes, self._received_bytes)

    def _show_answer(self, _data: bytes) -> None:
        """Print the answer; an error only after what did come."""
        answer = b""
        try:
            while not answer.endswith(b"\n"):
                piece = self._connection.receive(timeout=PAUSE if answer else self._timeout)
                if not piece:
                    fact = f"{self._connection.address.place} closed the connection"
                    raise IncompleteRead(
                        fact, "look at the server's own messages", address=str(self._connection.address)
                    )
                answer += piece
        except TimedOut:
            if not answer:
                raise
        finally:
            self._show(answer)

    def _show(self, data: bytes) -> None:
        self._received_bytes += len(data)
        _print_received(data)


class _Datagrams(_Talk):
    """A conversation in datagrams: one each way, any of which may be lost, late, or come twice."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        super().__init__(connection, timeout)
        self._asked: list[bytes] = []
        self._came = 0

    def show_unasked(self) -> None:
        """Print the answers that were late."""
        with suppress(TimedOut):
            while True:
                self._show(self._connection.receive(timeout=0))

    def report(self) -> ConnectReport:
        lost = max(len(self._asked) - self._came, 0)
        return replace(super().report(), sent_datagrams=len(self._asked), lost_datagrams=lost)

    def _show_answer(self, data: bytes) -> None:
        """Print the answer; after one that belongs to an earlier line, wait a little more for that of this one."""
        patience, answer = self._timeout, None
        try:
            while answer is None or (answer != data and answer in self._asked):
                answer = self._connection.receive(timeout=patience)
                self._show(answer)
                patience = min(PAUSE, patience)
        except TimedOut:
            if answer is None:
                said = f"no answer within {patience:g} seconds; a datagram may be lost"
                print(f"halloo: {said}", file=sys.stderr, flush=True)
        self._asked.append(data)

    def _show(self, data: bytes) -> None:
        self._came += 1
        self._received_bytes += len(data)
        _print_received(data or b"\n")


def _print_received(data: bytes) -> None:
    for line in data.removesuffix(b"\n").split(b"\n") if data else ():
        print("Received", quoted(line), flush=True)


def standard_input() -> Iterator[bytes]:
    """Give what comes on standard input, unbuffered: a thread that waits there must hold no lock of Python's."""
    number = sys.stdin.fileno()
    while data := os.read(number, CHUNK):
        yield data


class Printer:
    """Prints what a peer sent: exactly, except on a terminal, where it is made safe and its last line is ended."""

    def __init__(self) -> None:
        """Print to standard output."""
        self._shown = EscapingDecoder() if sys.stdout.isatty() else None
        self._open_line = False

    def __enter__(self) -> Self:
        return self

    def __call__(self, data: bytes) -> None:
        """Print what came."""
        if self._shown:
            self._show(self._shown.feed(data))
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._show(self._shown.feed(b"", last=True))
            if self._open_line:
                print(flush=True)

    def _show(self, text: str) -> None:
        print(text, end="", flush=True)
        self._open_line = not text.endswith("\n") if text else self._open_line


def tell_slow_family(connection: Connection) -> None:
    """Name an address that was tried first, in vain and for long."""
    for attempt in connection.attempts:
        if attempt.seconds >= SLOW:
            print(
                f"halloo: tried {attempt.address.place} first, in vain for {attempt.seconds:.1f} s; "
                f"{connection.address.host} is quicker",
                file=sys.stderr,
            )
