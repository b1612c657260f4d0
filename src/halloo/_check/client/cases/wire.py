"""Cases about the connection itself: the bytes sent, the address families, and how the connection ended.

Uses a `ClientTarget` only.
"""

import signal
import socket

from halloo._check.case import Evidence, Failed, Skipped
from halloo._check.client.cases.answers import C01, MESSAGE_ONLY, MESSAGE_SHAPES, PIPE_ONLY, bulk_payload
from halloo._check.client.checks import REPLACEMENT, awaits, check_reply_shown
from halloo._check.client.loop import Script
from halloo._check.client.server import ClientConnection, echo
from halloo._check.client.target import CONNECT_TIMEOUT, QUIET_TIME, ClientTarget, case
from halloo._check.payload import MIB, common_length, difference

SPACED_TEXT = "  two  words "
FREEZES = 8
STALL_TIMEOUT = 5.0  # seconds without input after which the client counts as stalled


@case("SHOULD", "exactly the input, then FIN, not RST", "RFC 1122 4.2.2.13")
def c17_wire(target: ClientTarget) -> None:
    """Record the bytes sent, blanks included, and how the connection ends."""
    target.require_shape(*MESSAGE_SHAPES, why=MESSAGE_ONLY)
    messages, text = target.subject.messages, target.subject.message or SPACED_TEXT
    target.serve(echo, text=None if messages else text)
    connection = target.wait_message()
    target.wait_until(lambda: connection.reply_sent or target.prompted, CONNECT_TIMEOUT)
    target.wait_until(lambda: target.prompted or target.shows(target.reply), 1)
    if messages:
        _check_received(target, messages.message(0).request)
    else:
        line_end = b"\n" if target.shape == "piped" else b""
        _check_received(target, text.encode() + line_end, line=target.shape != "piped")
    all_read = target.wait_until(lambda: not connection.closed and connection.read_by_client, QUIET_TIME)
    target.end_session(CONNECT_TIMEOUT / 2)
    target.loop.wait_until(lambda: bool(connection.end), CONNECT_TIMEOUT / 2)
    if connection.end == "RST":
        all_read = all_read or target.shows(target.reply)
        why = "although it had read all of the reply" if all_read else "it left bytes of the reply unread"
        text = f"the client ended the connection with a reset: {why}"
        raise Failed(text, pattern="rst-all-read" if all_read else "rst-unread")
    if not connection.end:
        awaited = awaits(target, lambda: target.program.ended)
        why = ", before the server had" if awaited == "waits-for-end" else ""
        text = f"the client did not close the connection{why}: {target.describe()}"
        raise Failed(text, pattern=f"kept-open {awaited} {target.words}")


def _check_received(target: ClientTarget, data: bytes, *, line: bool = False) -> None:
    """Check that exactly these bytes were sent; a `line` may have any line end."""
    received = b"".join(bytes(connection.received) for connection in target.connections)
    if received != data and not (line and received.rstrip(b"\r\n") == data.rstrip(b"\r\n")):
        evidence = Evidence.at(common_length(data, received), data, received)
        text = f"the client's input was {data!r}, it sent {received!r}"
        raise Failed(text, pattern=_change(data, received), evidence=evidence)


def _change(data: bytes, received: bytes) -> str:
    """Name what a client has done to its input, as a word of a pattern."""
    line, sent = data.rstrip(b"\r\n"), received.rstrip(b"\r\n")
    if sent == line:
        return "newline-dropped" if len(received) < len(data) else "newline-added"
    if b" ".join(received.split()) == b" ".join(data.split()):
        return "stripped"
    if received in (2 * data, 2 * line, 2 * data.strip()):
        return "twice"
    if b"\0" in line and sent == line.partition(b"\0")[0]:
        return "cut-at-nul"
    ascii_only = bytes(byte for byte in line if byte < 0x80)
    if bytes(byte for byte in sent.replace(REPLACEMENT, b"") if byte < 0x80 and byte != ord("?")) == ascii_only:
        return "non-ascii-changed"
    return "changed"


@case("SHOULD", "connects", "RFC 8305", C01)
def c18_only_v4(target: ClientTarget) -> None:
    """Listen on the IPv4 address of localhost only."""
    _check_family(target, socket.AF_INET)


@case("SHOULD", "connects", "RFC 8305", C01)
def c19_only_v6(target: ClientTarget) -> None:
    """Listen on the IPv6 address of localhost only."""
    _check_family(target, socket.AF_INET6)


def _check_family(target: ClientTarget, family: socket.AddressFamily) -> None:
    if not target.subject.by_name:
        raise Skipped("the command has no place for the host: write HOST there")
    try:
        families = {found[0] for found in socket.getaddrinfo("localhost", None)}
    except OSError:
        families = set()
    if not families >= {socket.AF_INET, socket.AF_INET6}:
        raise Skipped("localhost has one address family only on this machine")
    target.host = "localhost"
    target.serve(echo, families=(family,))
    check_reply_shown(target)


@case("MUST", "sends exactly the input", "Protohackers, problem 0", C01)
def c23_binary(target: ClientTarget) -> None:
    """Send NUL and 0xff through a pipe; any line end is accepted."""
    _pipe_through(target, b"nul-\x00-and-\xff-bytes\n", line=True)


@case("MUST", "sends exactly the input", "a stream has no lines", C01)
def c24_no_newline(target: ClientTarget) -> None:
    """Send a line without a line end through a pipe."""
    _pipe_through(target, b"no newline here")


def _pipe_through(target: ClientTarget, data: bytes, *, line: bool = False) -> None:
    target.require_shape("piped", why=PIPE_ONLY)
    target.serve_bytes(echo, data)
    connection = target.wait_message()
    target.wait_until(lambda: connection.reply_sent or bool(connection.end), CONNECT_TIMEOUT / 2)
    target.wait_until(lambda: bool(connection.end), 1)
    _check_received(target, data, line=line)
    check_reply_shown(target)


def _stop_reading(connection: ClientConnection) -> Script:
    connection.set_reading(enabled=False)
    yield 0


@case("MUST", "no bytes are lost", "signal(7): a signal interrupts send()", kill=40)
def c25_freeze(target: ClientTarget) -> str:
    """Stop and continue the client (SIGSTOP, SIGCONT) while it is blocked sending 16 MiB."""
    target.require_shape("piped", why=PIPE_ONLY)
    data, loop = bulk_payload(16 * MIB), target.loop
    target.serve_bytes(_stop_reading, data, buffer=MIB // 4)
    connection = target.wait_connection()
    for _ in range(FREEZES):
        loop.run_for(0.1)  # until send() blocks
        target.program.tree.signal(signal.SIGSTOP)
        loop.run_for(0.02)
        target.program.tree.signal(signal.SIGCONT)
        enough = len(connection.received) + MIB
        connection.set_reading(enabled=True)
        if not target.wait_until(lambda: len(connection.received) >= enough, 0.5) and not connection.end:  # noqa: B023 - it is called in this round
            connection.echo()  # a client that waits for the reply to each line before the next
        connection.set_reading(enabled=False)
    connection.set_reading(enabled=True)

    def finished() -> bool:
        stalled = loop.clock() - connection.last_progress > STALL_TIMEOUT
        return stalled or bool(connection.end) or len(connection.received) >= len(data)

    loop.wait_until(finished, 30)
    received = bytes(connection.received)
    if received[: len(data)] != data and received.replace(b"\n", b"") != data.replace(b"\n", b""):
        text, pattern, offset = difference(data.replace(b".", b"\n"), received.replace(b".", b"\n"))
        raise Failed(
            f"of {len(data):,} bytes {len(received):,} arrived; {text}",
            pattern=pattern if pattern == "gap" else "short",
            evidence=Evidence.at(offset, data, received),
        )
    return f"{FREEZES} times"
