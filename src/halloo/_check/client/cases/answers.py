"""Cases about the reply: whole, in pieces, late, slow, or wrong; the client has to print all of it.

Uses a `ClientTarget` only. The message is one word where possible, so that a case fails for one reason only.
"""

from itertools import pairwise

from halloo._check.case import Failed
from halloo._check.client import behaviours
from halloo._check.client.case import case
from halloo._check.client.server import Behaviour
from halloo._check.client.target import CLIENT_TIMEOUT, ClientTarget
from halloo._check.payload import payload
from halloo._check.spec import Shape

KIB, MIB = 1024, 1024 * 1024
TCP = frozenset({"tcp"})
C01 = ("C01",)  # the case that it prints a reply at all
NON_ASCII = "zażółć-日本-🙂"
RATE = 400_000  # bytes a second
PIPE_ONLY = "needs a client that reads a pipe: halloo check client --stdin pipe"
MESSAGE_ONLY = "needs a client that sends a given message"
MESSAGE_SHAPES: tuple[Shape, ...] = ("typed", "piped", "argument")


def bulk_payload(size: int) -> bytes:
    """Make position-coded bytes in lines of 64 KiB, so that line-based clients send several of them.

    The last line has no line end: handling of line ends is not what these cases test.
    """
    data = bytearray(payload(size).replace(b"\n", b"."))
    for index in range(64 * KIB - 1, size - 1, 64 * KIB):
        data[index] = ord("\n")
    return bytes(data)


@case(passes="prints the reply", severity="MUST", source="RFC 862", schemes=TCP)
def c01_plain(target: ClientTarget) -> None:
    """Reply immediately."""
    target.serve(behaviours.echo)
    target.check_reply_shown()


@case(passes="prints the whole reply", severity="MUST", source="toxiproxy slicer", needs=C01, schemes=TCP)
def c02_dribble(target: ClientTarget) -> None:
    """Reply one byte every 10 ms."""
    target.serve(behaviours.pieces_reply(_split_bytes, 0.01, target.expect_partial))
    target.check_reply_shown()


def _split_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


@case(passes="the whole reply, no decoding error", severity="MUST", source="Autobahn 6.x", needs=C01, schemes=TCP)
def c03_split_characters(target: ClientTarget) -> None:
    """Reply with non-ASCII text in pieces that end within a character."""
    target.require_shape(*MESSAGE_SHAPES, why=MESSAGE_ONLY)
    text = target.subject.message
    behaviour = behaviours.pieces_reply(_split_characters, 0.05, target.expect_partial)
    target.serve(behaviour, text=NON_ASCII if text.isascii() else text)
    target.check_reply_shown()


def _split_characters(data: bytes) -> list[bytes]:
    indexes = [index for index in range(1, len(data)) if data[index] & 0xC0 == 0x80]  # UTF-8 continuation bytes
    cuts = [0, *indexes[::2], len(data)]
    return [data[start:end] for start, end in pairwise(cuts)]


@case(passes="waits for the reply", severity="MUST", source="toxiproxy latency", needs=C01, waits=True, schemes=TCP)
def c04_late(target: ClientTarget) -> None:
    """Reply after 2 s."""
    target.serve(behaviours.late_reply(2))
    target.check_reply_shown()


@case(
    passes="prints both halves", severity="MUST", source="a stream has no messages", needs=C01, waits=True, schemes=TCP
)
def c05_two_halves(target: ClientTarget) -> None:
    """Reply in two halves, 0.4 s apart."""
    # Not 0.5: socat exits half a second after end of input and would pass at random.
    target.serve(behaviours.pieces_reply(_split_half, 0.4, target.expect_partial))
    target.check_reply_shown()


def _split_half(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


@case(passes="the client reports it", severity="INFO", source="a client that compares", needs=C01, schemes=TCP)
def c09_surplus(target: ClientTarget) -> str:
    """Reply with 6 extra bytes; MUST be reported by a client checked with --verifying."""
    return _check_noticed(target, behaviours.wrong_reply(lambda data: data + b"extra!"))


@case(passes="the client reports it", severity="INFO", source="a client that compares", needs=C01, schemes=TCP)
def c10_changed(target: ClientTarget) -> str:
    """Reply with one bit changed; MUST be reported by a client checked with --verifying."""
    return _check_noticed(target, behaviours.wrong_reply(_flip_bit))


def _flip_bit(data: bytes) -> bytes:
    index = min(5, len(data) - 1)
    return data[:index] + bytes(byte ^ 1 for byte in data[index : index + 1]) + data[index + 1 :] if data else b"?"


def _check_noticed(target: ClientTarget, behaviour: Behaviour) -> str:
    target.serve(behaviour)
    target.wait_message()
    target.wait_until(lambda: target.prompted or target.shows(target.reply), 3)
    target.end_session()
    if target.reports_error:
        return f"reported: {target.describe()}"
    if target.verifying:
        raise Failed(f"the client did not report it: {target.describe()}", pattern="unnoticed")
    return "not reported"


@case(passes="completes", severity="MUST", source="both sides send", needs=C01, kill=60, waits=True, schemes=TCP)
def c14_bulk(target: ClientTarget) -> str:
    """Echo 16 MiB with buffers of 128 KiB; a client that does not read while it sends deadlocks."""
    target.require_shape("piped", why=PIPE_ONLY)
    data, started = bulk_payload(16 * MIB), target.loop.clock()
    target.serve_bytes(behaviours.echo_bounded(64 * KIB), data, buffer=64 * KIB)
    target.check_completed(data)
    return f"{16 / (target.loop.clock() - started):,.0f} MiB/s"


@case(passes="completes", severity="SHOULD", source="toxiproxy bandwidth", needs=C01, kill=40, waits=True, schemes=TCP)
def c15_slow(target: ClientTarget) -> None:
    """Echo 1.6 MB at 400 KB/s, but read without a limit."""
    target.require_shape("piped", why=PIPE_ONLY)
    data = bulk_payload(4 * RATE)
    target.serve_bytes(behaviours.echo_slowly(RATE), data)
    target.check_completed(data)


@case(passes="still prints the echo", severity="INFO", source="servers that send a greeting", needs=C01, schemes=TCP)
def c16_greeting(target: ClientTarget) -> str:
    """Send a line first, then echo."""
    target.serve(behaviours.greet(b"220 welcome\n"))
    target.wait_connection()
    target.wait_until(lambda: bool(target.expected_output) and target.shows(target.expected_output), 1.5)
    target.end_session(CLIENT_TIMEOUT / 2)
    shown = target.expected_output and target.shows(target.expected_output)
    return "prints the echo" if shown else f"takes the greeting for the echo: {target.describe()}"
