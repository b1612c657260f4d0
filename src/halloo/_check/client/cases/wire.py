"""Cases that look at the wire: which bytes came, from where, and how the connection ended.

Knows a client's target.
"""

import signal

from halloo._check.case import Evidence, Failed, Skipped
from halloo._check.client import behaviours
from halloo._check.client.case import case
from halloo._check.client.cases.answers import BULK, GIVEN, MESSAGE, MIB, SHOWS, TCP, bulk
from halloo._check.client.server import Family, Peer, resolved
from halloo._check.client.target import START, ClientTarget
from halloo._check.payload import difference

WORDS = "  two  words "
FREEZES = 8
STUCK = 5.0  # seconds without a byte after which no more will come


@case(passes="exactly the input, then FIN, not RST", severity="SHOULD", source="RFC 1122 4.2.2.13", schemes=TCP)
def c17_wire(target: ClientTarget) -> None:
    """Watch what is sent, blanks too, and how it ends."""
    target.need(*GIVEN, why=MESSAGE)
    text = target.subject.message or WORDS
    target.serve(behaviours.echo, text=text)
    peer = target.asked()
    target.until(lambda: peer.answered, START)
    target.until(lambda: target.prompted or target.shows(target.answer), 1)
    target.leave(START / 2)
    _exactly(target, text.encode() + (b"\n" if target.shape == "piped" else b""), line=target.shape != "piped")
    target.loop.until(lambda: bool(peer.end), START / 2)
    if peer.end == "RST":
        raise Failed("it ended the connection with a reset: it left bytes unread", pattern="reset")
    if not peer.end:
        raise Failed(f"it did not end the connection: {target.story()}", pattern="open")


def _exactly(target: ClientTarget, data: bytes, *, line: bool = False) -> None:
    """See that these bytes came, of a `line` with any line end."""
    came = b"".join(bytes(peer.received) for peer in target.peers)
    if came != data and not (line and came.rstrip(b"\r\n") == data.rstrip(b"\r\n")):
        place = next((n for n, (one, other) in enumerate(zip(data, came, strict=False)) if one != other), None)
        place = min(len(data), len(came)) if place is None else place
        raise Failed(
            f"its input was {data!r}, it sent {came!r}", pattern="changed", evidence=Evidence.at(place, data, came)
        )


@case(passes="connects", severity="SHOULD", source="RFC 8305", needs=SHOWS, schemes=TCP)
def c18_only_v4(target: ClientTarget) -> None:
    """Listen on the IPv4 address of localhost only."""
    _by_name(target, 4)


@case(passes="connects", severity="SHOULD", source="RFC 8305", needs=SHOWS, schemes=TCP)
def c19_only_v6(target: ClientTarget) -> None:
    """Listen on the IPv6 address of localhost only."""
    _by_name(target, 6)


def _by_name(target: ClientTarget, family: Family) -> None:
    if not target.subject.by_name:
        raise Skipped("the command does not say where the host belongs: write HOST there")
    if len({*resolved("localhost")}) < 2:
        raise Skipped("localhost is known in one family only on this machine")
    target.host = "localhost"
    target.serve(behaviours.echo, families=(family,))
    target.see_shown()


@case(passes="exact", severity="MUST", source="Protohackers 0", needs=SHOWS, schemes=TCP)
def c23_binary(target: ClientTarget) -> None:
    """Pipe NUL and 0xff through it; the line end is not the question."""
    target.need("piped", why=BULK)
    _through(target, b"nul-\x00-and-\xff-bytes\n", line=True)


@case(passes="exact", severity="MUST", source="a stream has no lines", needs=SHOWS, schemes=TCP)
def c24_no_newline(target: ClientTarget) -> None:
    """Pipe a line without its end through it."""
    target.need("piped", why=BULK)
    _through(target, b"no newline here")


def _through(target: ClientTarget, data: bytes, *, line: bool = False) -> None:
    target.serve_bytes(behaviours.echo, data)
    peer = target.asked()
    target.until(lambda: peer.answered or bool(peer.end), START / 2)
    target.until(lambda: bool(peer.end), 1)
    _exactly(target, data, line=line)
    target.see_shown()


@case(
    passes="nothing is lost",
    severity="MUST",
    source="signal(7): a signal cuts send() short",
    waits=True,
    kill=40,
    schemes=TCP,
)
def c25_freeze(target: ClientTarget) -> str:
    """Freeze the client and let it go on (SIGSTOP, SIGCONT) while it is blocked in sending 16 MiB."""
    target.need("piped", why=BULK)
    data = bulk(16 * MIB)
    target.serve_bytes(behaviours.deaf, data, buffer=MIB // 4)
    peer, program = target.peer(), target.program
    for _ in range(FREEZES):
        target.loop.pause(0.1)  # until it is blocked
        program.tell(signal.SIGSTOP)
        target.loop.pause(0.02)
        program.tell(signal.SIGCONT)
        before = len(peer.received)
        peer.read(on=True)
        if not _until(target, peer, before + MIB, 0.5) and not peer.end:
            peer.echo()  # it waits for an answer to each line before it sends the next
        peer.read(on=False)
    peer.read(on=True)
    target.loop.until(
        lambda: bool(peer.end) or len(peer.received) >= len(data) or target.loop.clock() - peer.moved > STUCK, 30
    )
    if peer.received[: len(data)] != data:
        text, pattern, place = difference(data.replace(b".", b"\n"), bytes(peer.received).replace(b".", b"\n"))
        raise Failed(
            f"of {len(data):,} bytes {len(peer.received):,} came; {text}",
            pattern=pattern if pattern == "gap" else "short",
            evidence=Evidence.at(place, data, bytes(peer.received)),
        )
    return f"{FREEZES} times"


def _until(target: ClientTarget, peer: Peer, size: int, seconds: float) -> bool:
    return target.until(lambda: len(peer.received) >= size, seconds)
