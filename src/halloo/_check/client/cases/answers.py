"""Cases about the reply: whole, in pieces, late, slow, or wrong; the client has to print all of it.

Uses a `ClientTarget` only. The message is one word where possible, so that a case fails for one reason only.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from halloo._check.case import Failed
from halloo._check.client.checks import check_completed, check_reply_read, check_reply_shown
from halloo._check.client.loop import Script
from halloo._check.client.server import Behaviour, ClientConnection, echo
from halloo._check.client.target import CLIENT_TIMEOUT, ClientTarget, case
from halloo._check.payload import KIB, MIB, payload
from halloo._check.spec import Shape

C01 = "C01"  # the case that it prints a reply at all
NON_ASCII = "zażółć-日本-🙂"
RATE = 400_000  # bytes a second
PIPE_ONLY = "needs a client that reads a pipe: halloo check client --stdin pipe"
MESSAGE_ONLY = "needs a client that sends a given message"
MESSAGE_SHAPES: tuple[Shape, ...] = ("typed", "piped", "argument")
COMPARING = case("INFO", "the client reports it", "a client that compares", C01)


def bulk_payload(size: int) -> bytes:
    """Make position-coded bytes in lines of 64 KiB, so that line-based clients send several of them.

    The last line has no line end: handling of line ends is not what these cases test.
    """
    data = bytearray(payload(size).replace(b"\n", b"."))
    for index in range(64 * KIB - 1, size - 1, 64 * KIB):
        data[index] = ord("\n")
    return bytes(data)


@case("MUST", "prints the reply", "RFC 862")
def c01_plain(target: ClientTarget) -> None:
    """Reply immediately."""
    target.serve(echo)
    target.wait_request()
    if target.subject.prints:
        check_reply_shown(target)
    else:
        check_reply_read(target, sender=target.subject.messages is None)


def _check_pieces(
    target: ClientTarget, cut: Callable[[bytes], list[bytes]], pause: float, text: str | None = None
) -> None:
    """Check that a reply is shown whose pieces are sent `pause` seconds apart."""

    def behaviour(connection: ClientConnection) -> Script:
        parts = cut((yield from connection.receive_message()))
        target.first_piece = len(b"".join(parts[:1]))
        target.expect_partial(True)
        for piece in parts[:-1]:
            connection.send(piece)
            yield pause
        target.expect_partial(False)
        connection.send(b"".join(parts[-1:]))
        connection.echo()

    target.serve(behaviour, text=text)
    check_reply_shown(target)


@case("MUST", "prints the whole reply", "TCP may cut a stream into pieces of any size", C01)
def c02_dribble(target: ClientTarget) -> None:
    """Reply one byte every 10 ms."""
    _check_pieces(target, lambda data: [bytes([byte]) for byte in data], 0.01)


@case("MUST", "the whole reply, no decoding error", "Autobahn test suite 6.x", C01)
def c03_split_characters(target: ClientTarget) -> None:
    """Reply with non-ASCII text in pieces that end within a character."""
    target.require_shape(*MESSAGE_SHAPES, why=MESSAGE_ONLY)
    text = target.subject.message
    _check_pieces(target, _split_characters, 0.05, NON_ASCII if text.isascii() else text)


def _split_characters(data: bytes) -> list[bytes]:
    indexes = [index for index in range(1, len(data)) if data[index] & 0xC0 == 0x80]  # UTF-8 continuation bytes
    return [data[start:end] for start, end in pairwise([0, *indexes[::2], len(data)])]


def _reply(change: Callable[[bytes], bytes] = bytes, *, delay: float = 0) -> Behaviour:
    def behaviour(connection: ClientConnection) -> Script:
        message = yield from connection.receive_message()
        if delay:
            yield delay
        connection.send(change(message))
        connection.echo()

    return behaviour


@case("MUST", "waits for the reply", "a reply may be late", C01)
def c04_late(target: ClientTarget) -> None:
    """Reply after 2 s."""
    target.serve(_reply(delay=2))
    check_reply_shown(target)


@case("MUST", "prints both halves", "a stream has no messages", C01)
def c05_two_halves(target: ClientTarget) -> None:
    """Reply in two halves, 0.4 s apart."""
    # Not 0.5: socat exits half a second after end of input and would pass at random.
    _check_pieces(target, lambda data: [data[: len(data) // 2], data[len(data) // 2 :]], 0.4)


@COMPARING
def c09_surplus(target: ClientTarget) -> str:
    """Reply with 6 extra bytes; MUST be reported by a client checked with --verifying."""
    return _check_noticed(target, _reply(lambda data: data + b"extra!"))


@COMPARING
def c10_changed(target: ClientTarget) -> str:
    """Reply with one bit changed; MUST be reported by a client checked with --verifying."""
    return _check_noticed(target, _reply(_flip_bit))


def _flip_bit(data: bytes) -> bytes:
    index = min(5, len(data) - 1)
    return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :] if data else b"?"


def _check_noticed(target: ClientTarget, behaviour: Behaviour) -> str:
    target.serve(behaviour)
    target.wait_message()
    target.wait_until(lambda: target.prompted or target.shows(target.reply), 3)
    target.end_session()
    if target.reports_error:
        return f"reported: {target.describe()}"
    if target.subject.verifying:
        raise Failed(f"the client did not report it: {target.describe()}", pattern=f"unnoticed {target.words}")
    return "not reported"


@case("MUST", "completes", "both sides send", C01, kill=60)
def c14_bulk(target: ClientTarget) -> str:
    """Echo 16 MiB with buffers of 128 KiB; a client that does not read while it sends deadlocks."""
    target.require_shape("piped", why=PIPE_ONLY)
    data, started = bulk_payload(16 * MIB), target.loop.clock()
    target.serve_bytes(partial(echo, max_pending=64 * KIB), data, buffer=64 * KIB)
    check_completed(target, data)
    return f"{16 / (target.loop.clock() - started):,.0f} MiB/s"


def _echo_slowly(rate: int, step: float = 0.02) -> Behaviour:
    def behaviour(connection: ClientConnection) -> Script:
        quota = int(rate * step)
        while True:
            pending = connection.received[len(connection.queued) : len(connection.queued) + quota]
            if connection.end and not pending:
                connection.shutdown_write()
                return
            if pending:
                connection.send(pending)
                yield step
            else:
                yield lambda: len(connection.received) > len(connection.queued) or bool(connection.end)

    return behaviour


@case("SHOULD", "completes", "a path may be slow", C01, kill=40)
def c15_slow(target: ClientTarget) -> None:
    """Echo 1.6 MB at 400 KB/s, but read without a limit."""
    target.require_shape("piped", why=PIPE_ONLY)
    data = bulk_payload(4 * RATE)
    target.serve_bytes(_echo_slowly(RATE), data)
    check_completed(target, data)


def _greet(connection: ClientConnection) -> Script:
    connection.send(b"220 welcome\n")
    yield 0.1  # so that it arrives as a segment of its own
    connection.echo()


@case("INFO", "still prints the echo", "servers that send a greeting", C01)
def c16_greeting(target: ClientTarget) -> str:
    """Send a line first, then echo."""
    target.require_output()
    target.serve(_greet)
    target.wait_connection()
    target.wait_until(lambda: bool(target.expected_output) and target.shows(target.expected_output), 1.5)
    target.end_session(CLIENT_TIMEOUT / 2)
    shown = target.expected_output and target.shows(target.expected_output)
    return "prints the echo" if shown else f"takes the greeting for the echo: {target.describe()}"
