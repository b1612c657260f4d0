"""Cases about the connection itself: the bytes sent, the address families, and how the connection ended.

Uses a `ClientTarget` only.
"""

import signal

from halloo._check.case import Evidence, Failed, Skipped
from halloo._check.client import behaviours
from halloo._check.client.case import case
from halloo._check.client.cases.answers import C01, MESSAGE_ONLY, MESSAGE_SHAPES, MIB, PIPE_ONLY, TCP, bulk_payload
from halloo._check.client.server import ClientConnection, Family, resolved_families
from halloo._check.client.target import CONNECT_TIMEOUT, ClientTarget
from halloo._check.payload import difference

SPACED_TEXT = "  two  words "
FREEZES = 8
STALL_TIMEOUT = 5.0  # seconds without input after which the client counts as stalled


@case(passes="exactly the input, then FIN, not RST", severity="SHOULD", source="RFC 1122 4.2.2.13", schemes=TCP)
def c17_wire(target: ClientTarget) -> None:
    """Record the bytes sent, blanks included, and how the connection ends."""
    target.require_shape(*MESSAGE_SHAPES, why=MESSAGE_ONLY)
    text = target.subject.message or SPACED_TEXT
    target.serve(behaviours.echo, text=text)
    connection = target.wait_message()
    target.wait_until(lambda: connection.reply_sent, CONNECT_TIMEOUT)
    target.wait_until(lambda: target.prompted or target.shows(target.reply), 1)
    target.end_session(CONNECT_TIMEOUT / 2)
    _check_received(target, text.encode() + (b"\n" if target.shape == "piped" else b""), line=target.shape != "piped")
    target.loop.wait_until(lambda: bool(connection.end), CONNECT_TIMEOUT / 2)
    if connection.end == "RST":
        raise Failed("the client ended the connection with a reset: it left bytes unread", pattern="reset")
    if not connection.end:
        raise Failed(f"the client did not close the connection: {target.describe()}", pattern="open")


def _check_received(target: ClientTarget, data: bytes, *, line: bool = False) -> None:
    """Check that exactly these bytes were sent; a `line` may have any line end."""
    received = b"".join(bytes(connection.received) for connection in target.connections)
    if received != data and not (line and received.rstrip(b"\r\n") == data.rstrip(b"\r\n")):
        offset = next((n for n, (one, other) in enumerate(zip(data, received, strict=False)) if one != other), None)
        offset = min(len(data), len(received)) if offset is None else offset
        raise Failed(
            f"the client's input was {data!r}, it sent {received!r}",
            pattern="changed",
            evidence=Evidence.at(offset, data, received),
        )


@case(passes="connects", severity="SHOULD", source="RFC 8305", needs=C01, schemes=TCP)
def c18_only_v4(target: ClientTarget) -> None:
    """Listen on the IPv4 address of localhost only."""
    _check_family(target, 4)


@case(passes="connects", severity="SHOULD", source="RFC 8305", needs=C01, schemes=TCP)
def c19_only_v6(target: ClientTarget) -> None:
    """Listen on the IPv6 address of localhost only."""
    _check_family(target, 6)


def _check_family(target: ClientTarget, family: Family) -> None:
    if not target.subject.by_name:
        raise Skipped("the command has no place for the host: write HOST there")
    if len({*resolved_families("localhost")}) < 2:
        raise Skipped("localhost has one address family only on this machine")
    target.host = "localhost"
    target.serve(behaviours.echo, families=(family,))
    target.check_reply_shown()


@case(passes="sends exactly the input", severity="MUST", source="Protohackers 0", needs=C01, schemes=TCP)
def c23_binary(target: ClientTarget) -> None:
    """Send NUL and 0xff through a pipe; any line end is accepted."""
    target.require_shape("piped", why=PIPE_ONLY)
    _pipe_through(target, b"nul-\x00-and-\xff-bytes\n", line=True)


@case(passes="sends exactly the input", severity="MUST", source="a stream has no lines", needs=C01, schemes=TCP)
def c24_no_newline(target: ClientTarget) -> None:
    """Send a line without a line end through a pipe."""
    target.require_shape("piped", why=PIPE_ONLY)
    _pipe_through(target, b"no newline here")


def _pipe_through(target: ClientTarget, data: bytes, *, line: bool = False) -> None:
    target.serve_bytes(behaviours.echo, data)
    connection = target.wait_message()
    target.wait_until(lambda: connection.reply_sent or bool(connection.end), CONNECT_TIMEOUT / 2)
    target.wait_until(lambda: bool(connection.end), 1)
    _check_received(target, data, line=line)
    target.check_reply_shown()


@case(
    passes="no bytes are lost",
    severity="MUST",
    source="signal(7): a signal interrupts send()",
    waits=True,
    kill=40,
    schemes=TCP,
)
def c25_freeze(target: ClientTarget) -> str:
    """Stop and continue the client (SIGSTOP, SIGCONT) while it is blocked sending 16 MiB."""
    target.require_shape("piped", why=PIPE_ONLY)
    data = bulk_payload(16 * MIB)
    target.serve_bytes(behaviours.stop_reading, data, buffer=MIB // 4)
    connection, program = target.wait_connection(), target.program
    for _ in range(FREEZES):
        target.loop.run_for(0.1)  # until send() blocks
        program.send_signal(signal.SIGSTOP)
        target.loop.run_for(0.02)
        program.send_signal(signal.SIGCONT)
        before = len(connection.received)
        connection.set_reading(enabled=True)
        if not _wait_received(target, connection, before + MIB, 0.5) and not connection.end:
            connection.echo()  # a client that waits for the reply to each line before the next
        connection.set_reading(enabled=False)
    connection.set_reading(enabled=True)
    target.loop.wait_until(
        lambda: (
            bool(connection.end)
            or len(connection.received) >= len(data)
            or target.loop.clock() - connection.last_progress > STALL_TIMEOUT
        ),
        30,
    )
    if connection.received[: len(data)] != data:
        text, pattern, offset = difference(data.replace(b".", b"\n"), bytes(connection.received).replace(b".", b"\n"))
        raise Failed(
            f"of {len(data):,} bytes {len(connection.received):,} arrived; {text}",
            pattern=pattern if pattern == "gap" else "short",
            evidence=Evidence.at(offset, data, bytes(connection.received)),
        )
    return f"{FREEZES} times"


def _wait_received(target: ClientTarget, connection: ClientConnection, size: int, seconds: float) -> bool:
    return target.wait_until(lambda: len(connection.received) >= size, seconds)
