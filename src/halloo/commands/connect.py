"""Talk to an echo: line by line with a person, or as a filter between two pipes.

Knows a connection and the standard streams. A blank line, the end of the input or Ctrl-C ends a conversation.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from halloo.core.addresses import PORT, Address, parse
from halloo.core.escape import Shown, quoted
from halloo.core.trust import Trust
from halloo.errors import CutShort, Reset, TimedOut
from halloo.net.connection import CHUNK, Connection, connect
from halloo.net.exchange import exchange

WAIT = 5.0  # seconds without progress after which an answer that is owed will not come
PAUSE = 0.5  # seconds after which an answer without a newline is taken to be whole
SLOW = 0.25  # seconds that a fruitless first family may take before it is named


@dataclass(frozen=True, slots=True)
class ConnectReport:
    """Who was talked to, and how many bytes went and came."""

    address: Address
    sent_bytes: int
    received_bytes: int
    finished: bool = True


def client(
    host: str | Address = "localhost",
    port: int = PORT,
    *,
    wait: float = WAIT,
    family: int | None = None,
    trust: Trust | None = None,
) -> ConnectReport:
    """Ask for a line with `Send:`, send it, print `Received 'text'`, until a blank line; filter where input is piped.

    `wait` is how many seconds may pass without progress while an answer is owed; `trust` is as for connect.
    Raises UnknownHost, Refused, Untrusted, Reset, TimedOut, CutShort; what was received is printed before.
    """
    address = parse(host)
    if port != PORT:
        address = replace(address, port=parse(port).port)
    with connect(address, family=family, trust=trust) as connection:
        tell_slow_family(connection)
        if sys.stdin.isatty():
            return _converse(connection, wait)
        with Printer() as show:
            done = exchange(connection, standard_input(), show, wait=wait)
        return ConnectReport(connection.address, done.sent_bytes, done.received_bytes, done.finished)


def _converse(connection: Connection, wait: float) -> ConnectReport:
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - importing it gives input() line editing and history, where it exists
    sent = received = 0
    try:
        for line in _lines():
            received += _show_unasked(connection)
            data = os.fsencode(line) + b"\n"
            connection.send(data, timeout=wait)
            sent += len(data)
            received += _show_answer(connection, wait)
        connection.finish()
        received += _show_unasked(connection)
    except KeyboardInterrupt:
        print(flush=True)
    return ConnectReport(connection.address, sent, received)


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


def _show_unasked(connection: Connection) -> int:
    """Print what came before anything was asked: a greeting, or an answer that was late."""
    data = b""
    with suppress(TimedOut, Reset):
        while piece := connection.receive(timeout=0):
            data += piece
    _print_received(data)
    return len(data)


def _show_answer(connection: Connection, wait: float) -> int:
    """Print the answer, up to its newline or, where it has none, a pause; an error only after what did come."""
    answer = b""
    try:
        while not answer.endswith(b"\n"):
            piece = connection.receive(timeout=PAUSE if answer else wait)
            if not piece:
                fact = f"{connection.address.place} closed the connection"
                raise CutShort(fact, "look at the server's own messages", address=str(connection.address))
            answer += piece
    except TimedOut:
        if not answer:
            raise
    finally:
        _print_received(answer)
    return len(answer)


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
        self._shown = Shown() if sys.stdout.isatty() else None
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
