"""Cases of datagrams: lost, late, from strangers, to nobody, too long; and the pinger that many courses set.

Knows a client's target. Datagrams get lost and nobody is told: a client has to know how long it waits, and for what.
"""

from collections.abc import Sequence

from halloo._check.case import Failed, Skipped
from halloo._check.client.case import case
from halloo._check.client.cases.answers import MESSAGE
from halloo._check.client.loop import Script
from halloo._check.client.output_match import extent, pattern_of
from halloo._check.client.target import GIVES_UP, LEAVES, SHOWN, START, ClientTarget
from halloo._check.client.udp_server import MOST, Post, UdpServer
from halloo._check.payload import payload

UDP = frozenset({"udp"})
MOMENT = 0.3  # seconds between a false answer and the true one
PINGS, DROPPED = 10, 3
PINGING = 40.0  # seconds
FALSE = b"falsehood"


def _sent(target: ClientTarget, box: UdpServer) -> None:
    """See that it sends something."""
    if not target.until(lambda: bool(box.letters), START):
        raise Failed(f"no datagram came to port {target.port}; {target.story()}", pattern="silent")


@case(
    passes="asks again, or an error within 7 s",
    severity="MUST",
    source="RFC 768: delivery is not guaranteed",
    waits=True,
    kill=30,
    schemes=UDP,
)
def c29_lost(target: ClientTarget) -> str:
    """Lose the first datagram; answer those that follow."""
    box = target.receive(_but_the_first)
    _sent(target, box)
    began = target.loop.clock()
    target.until(lambda: len(box.letters) > 1 or target.prompted, GIVES_UP)
    took = target.loop.clock() - began
    if len(box.letters) > 1:
        return f"sent another after {box.letters[1].when - box.letters[0].when:.1f} s"
    if not target.prompted:
        if not target.program.ended and not target.leave(LEAVES):
            raise Failed(f"it waits for ever: {target.story()}", pattern="hang")
        if not target.complains and not target.words:
            raise Failed(f"it ended as if all were well: {target.story()}", pattern="unnoticed")
    return f"gave up after {took:.1f} s: {target.story()}"


def _but_the_first(box: UdpServer) -> Script:
    yield from box.next()
    yield from _echo(box)


def _echo(box: UdpServer) -> Script:
    while True:
        box.answer((yield from box.next()))


@case(passes="is ignored", severity="SHOULD", source="anybody can send a datagram", schemes=UDP)
def c30_stranger(target: ClientTarget) -> None:
    """Send a false answer from another port and another address, then the true one."""
    box = target.receive(_lie_first)
    _sent(target, box)
    target.until(lambda: bool(box.given), START)
    early = target.program.ended
    if not target.until(lambda: bool(box.given) and target.shows(box.given[0]), SHOWN):
        target.leave(SHOWN)
    if target.shows(FALSE):
        raise Failed(f"it took the answer of a stranger for that of the server: {target.story()}", pattern="stranger")
    if early:
        raise Failed(f"it did not wait for the answer of the server: {target.story()}", pattern="stranger")
    if not target.shows(target.answer):
        raise _not_shown(target)


def _lie_first(box: UdpServer) -> Script:
    while True:
        letter = yield from box.next()
        box.lie(letter, FALSE)
        yield MOMENT
        box.answer(letter)


def _not_shown(target: ClientTarget) -> Failed | Skipped:
    """Say that the answer is not shown; a client that shows none, as pingers do, cannot be judged by that."""
    if target.program.code or not target.program.ended:
        return Failed(f"it does not show the answer of the server: {target.story()}", pattern="silent")
    return Skipped("it does not show what it receives")


@case(passes="is not taken for the second", severity="SHOULD", source="networks may copy a datagram", schemes=UDP)
def c31_copy(target: ClientTarget) -> None:
    """During the second exchange send a late copy of the first answer, then the true one."""
    target.need("typed", "piped", "own", why="is asked of a client that sends several lines")
    lines = [f"first{target.seed}", f"second{target.seed}"]
    box = target.receive(_copy_during_second, lines)
    _sent(target, box)
    if not target.until(lambda: len(box.letters) > 1, START):
        raise Skipped("it sends one datagram only")
    target.until(lambda: len(box.given) > 2, START)
    first, second = box.letters[0].data, box.letters[1].data
    early = target.program.ended or target.prompted or any(letter.data != second for letter in box.letters[2:])
    if not target.until(lambda: target.shows(second), SHOWN):
        target.leave(SHOWN)
    if not early and not target.shows(first):
        raise Skipped("it does not show what it receives")
    if early or not target.shows(second):
        raise Failed(f"it took a copy of the first answer for the second: {target.story()}", pattern="stranger")


def _copy_during_second(box: UdpServer) -> Script:
    first = yield from box.next()
    box.answer(first)
    second = yield from box.next()
    box.answer(second, first.data)
    yield MOMENT
    box.answer(second)
    yield from _echo(box)


@case(passes="a reason, exit code not 0", severity="SHOULD", source="ICMP; ECONNREFUSED", kill=30, schemes=UDP)
def c32_nobody(target: ClientTarget) -> str:
    """Have nobody at the port."""
    target.refuse_connections()
    return target.see_trouble_told(2 * GIVES_UP, within=1, lossy=True)


@case(passes="is shown whole, or noticed", severity="SHOULD", source="recvfrom(2): MSG_TRUNC", schemes=UDP)
def c33_long(target: ClientTarget) -> None:
    """Answer with a datagram of 65 507 bytes."""
    answer = payload(MOST).replace(b"\n", b".")
    box = target.receive(_always(answer))
    _sent(target, box)
    if not target.until(lambda: target.shows(answer), SHOWN):
        target.leave(SHOWN)
    if target.shows(answer) or target.complains:
        return
    count = extent(bytes(target.program.out), answer)
    if count < 16:
        raise Skipped("it does not show what it receives")
    raise Failed(
        f"of a datagram of {len(answer):,} bytes it shows the first {count:,}, and does not say that there were more",
        pattern=pattern_of(count),
    )


def _always(answer: bytes) -> Post:
    def post(box: UdpServer) -> Script:
        while True:
            box.answer((yield from box.next()), answer)

    return post


@case(
    passes="ten datagrams come, it ends by itself, exit code 0",
    severity="SHOULD",
    source="the UDP pinger lab of many courses: Kurose and Ross, ch. 2",
    waits=True,
    kill=PINGING + 20,
    schemes=UDP,
)
def c34_pinger(target: ClientTarget) -> str:
    """Lose 3 of 10 datagrams, chosen by the seed, and echo the others."""
    target.need("typed", "piped", "own", why=MESSAGE)
    lost = _chosen(target)
    box = target.receive(_losing(lost), [f"ping{number}" for number in range(1, PINGS + 1)])
    _sent(target, box)
    target.until(lambda: len(box.letters) >= PINGS or _silent(target, box), PINGING)
    if len(box.letters) == 1 and target.program.ended and not target.program.code:
        raise Skipped("it is no pinger: it sent one datagram, which was answered")
    target.loop.until(lambda: target.prompted or target.program.ended, GIVES_UP)
    if not target.leave():
        raise Failed(f"{len(box.letters)} datagrams came; it waits for ever: {target.story()}", pattern="hang")
    if len(box.letters) < PINGS:
        raise Failed(f"{len(box.letters)} datagrams came, not {PINGS}: {target.story()}", pattern="ended")
    if target.program.code:
        raise Failed(f"datagrams {_listed(lost)} were lost; it {target.ending()}: {target.story()}", pattern="ended")
    return f"{len(box.letters)} came, {_listed(lost)} of them were lost, {target.program.seconds:.1f} s"


def _silent(target: ClientTarget, box: UdpServer) -> bool:
    return target.loop.clock() - box.letters[-1].when > GIVES_UP


def _chosen(target: ClientTarget) -> list[int]:
    """Choose what is lost: not the first, since some send no more than one, nor two in a row, since some ask again."""
    places = sorted(target.chance().sample(range(2, PINGS + 2 - DROPPED), DROPPED))
    return [place + before for before, place in enumerate(places)]


def _losing(lost: Sequence[int]) -> Post:
    def post(box: UdpServer) -> Script:
        number = 0
        while True:
            number += 1
            letter = yield from box.next()
            if number not in lost:
                box.answer(letter)

    return post


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
