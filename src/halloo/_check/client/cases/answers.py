"""Cases of an answer that comes: at once, bit by bit, late, slowly, wrongly; the client has to show all of it.

Knows a client's target. The message is one word where that is enough, so that a case fails for its own reason alone.
"""

from itertools import pairwise

from halloo._check.case import Failed
from halloo._check.client import behaviours
from halloo._check.client.case import case
from halloo._check.client.server import Act
from halloo._check.client.target import GIVES_UP, ClientTarget
from halloo._check.payload import payload
from halloo._check.spec import Shape

KIB, MIB = 1024, 1024 * 1024
TCP = frozenset({"tcp"})
SHOWS = ("C01",)  # that it shows an answer at all
LETTERS = "zażółć-日本-🙂"
RATE = 400_000  # bytes a second
BULK = "is asked of a client that reads a pipe: --stdin pipe"
MESSAGE = "is asked of a client that sends what it is given"
GIVEN: tuple[Shape, ...] = ("typed", "piped", "told")


def bulk(size: int) -> bytes:
    """Make position-coded bytes in lines of 64 KiB, so that a client of lines has a fair number of them.

    The last one has no end: what a client makes of line ends is not what it is sent for.
    """
    data = bytearray(payload(size).replace(b"\n", b"."))
    for place in range(64 * KIB - 1, size - 1, 64 * KIB):
        data[place] = ord("\n")
    return bytes(data)


@case(passes="shows it", severity="MUST", source="RFC 862", schemes=TCP)
def c01_plain(target: ClientTarget) -> None:
    """Answer at once."""
    target.serve(behaviours.echo)
    target.see_shown()


@case(passes="shows all of it", severity="MUST", source="toxiproxy slicer", needs=SHOWS, schemes=TCP)
def c02_dribble(target: ClientTarget) -> None:
    """Answer one byte every 10 ms."""
    target.serve(behaviours.pieces(_in_bytes, 0.01, target.partly))
    target.see_shown()


def _in_bytes(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


@case(passes="shows all of it, no decoding error", severity="MUST", source="Autobahn 6.x", needs=SHOWS, schemes=TCP)
def c03_split_characters(target: ClientTarget) -> None:
    """Answer letters beyond ASCII in pieces that end within a letter."""
    target.need(*GIVEN, why=MESSAGE)
    text = target.subject.message
    act = behaviours.pieces(_within_letters, 0.05, target.partly)
    target.serve(act, text=LETTERS if text.isascii() else text)
    target.see_shown()


def _within_letters(data: bytes) -> list[bytes]:
    places = [place for place in range(1, len(data)) if data[place] & 0xC0 == 0x80]  # not the first byte of a letter
    cuts = [0, *places[::2], len(data)]
    return [data[start:end] for start, end in pairwise(cuts)]


@case(passes="waits for it", severity="MUST", source="toxiproxy latency", needs=SHOWS, waits=True, schemes=TCP)
def c04_late(target: ClientTarget) -> None:
    """Answer after 2 s."""
    target.serve(behaviours.late(2))
    target.see_shown()


@case(passes="shows both", severity="MUST", source="a stream has no messages", needs=SHOWS, waits=True, schemes=TCP)
def c05_two_halves(target: ClientTarget) -> None:
    """Answer in two halves, 0.4 s apart."""
    # Not 0.5: socat ends half a second after its input, and would pass now and then.
    target.serve(behaviours.pieces(_in_halves, 0.4, target.partly))
    target.see_shown()


def _in_halves(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


@case(passes="noticed", severity="INFO", source="a client that compares", needs=SHOWS, schemes=TCP)
def c09_surplus(target: ClientTarget) -> str:
    """Answer with 6 bytes more than were sent; MUST be noticed by a client that claims to compare."""
    return _noticed(target, behaviours.wrong(lambda data: data + b"extra!"))


@case(passes="noticed", severity="INFO", source="a client that compares", needs=SHOWS, schemes=TCP)
def c10_changed(target: ClientTarget) -> str:
    """Answer with one bit changed; MUST be noticed by a client that claims to compare."""
    return _noticed(target, behaviours.wrong(_changed))


def _changed(data: bytes) -> bytes:
    place = min(5, len(data) - 1)
    return data[:place] + bytes(byte ^ 1 for byte in data[place : place + 1]) + data[place + 1 :] if data else b"?"


def _noticed(target: ClientTarget, act: Act) -> str:
    target.serve(act)
    target.asked()
    target.until(lambda: target.prompted or target.shows(target.answer), 3)
    target.leave()
    if target.complains:
        return f"noticed: {target.story()}"
    if target.verifying:
        raise Failed(f"it did not notice: {target.story()}", pattern="unnoticed")
    return "not noticed"


@case(passes="finishes", severity="MUST", source="both sides send", needs=SHOWS, kill=60, waits=True, schemes=TCP)
def c14_bulk(target: ClientTarget) -> str:
    """Echo 16 MiB with buffers of 128 KiB: who does not read while sending blocks both sides."""
    target.need("piped", why=BULK)
    data, began = bulk(16 * MIB), target.loop.clock()
    target.serve_bytes(behaviours.narrow(64 * KIB), data, buffer=64 * KIB)
    target.see_finished(data)
    return f"{16 / (target.loop.clock() - began):,.0f} MiB/s"


@case(passes="finishes", severity="SHOULD", source="toxiproxy bandwidth", needs=SHOWS, kill=40, waits=True, schemes=TCP)
def c15_slow(target: ClientTarget) -> None:
    """Echo 1.6 MB at 400 KB/s, reading as fast as they come."""
    target.need("piped", why=BULK)
    data = bulk(4 * RATE)
    target.serve_bytes(behaviours.slow(RATE), data)
    target.see_finished(data)


@case(passes="still shows the echo", severity="INFO", source="servers that greet", needs=SHOWS, schemes=TCP)
def c16_greeting(target: ClientTarget) -> str:
    """Say a line first, then echo."""
    target.serve(behaviours.greet(b"220 welcome\n"))
    target.peer()
    target.until(lambda: bool(target.echo) and target.shows(target.echo), 1.5)
    target.leave(GIVES_UP / 2)
    shown = target.echo and target.shows(target.echo)
    return "shows the echo" if shown else f"takes the greeting for the echo: {target.story()}"
