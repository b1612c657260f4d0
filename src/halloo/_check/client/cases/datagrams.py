"""UDP cases: lost, late, spoofed, refused and long datagrams, and the UDP pinger of many courses.

Uses a `ClientTarget` only. Datagrams are lost without an error: a client needs a timeout and has to match replies.
"""

from collections.abc import Sequence

from halloo._check.case import Failed, Skipped
from halloo._check.client.case import case
from halloo._check.client.cases.answers import MESSAGE_ONLY
from halloo._check.client.loop import Script
from halloo._check.client.output_match import pattern_of, shown_length
from halloo._check.client.target import CLIENT_TIMEOUT, CONNECT_TIMEOUT, EXIT_TIMEOUT, OUTPUT_TIMEOUT, ClientTarget
from halloo._check.client.udp_server import MAX_DATAGRAM, UdpBehaviour, UdpServer
from halloo._check.payload import payload

UDP = frozenset({"udp"})
SPOOF_DELAY = 0.3  # seconds between the false reply and the real one
PINGS, LOST = 10, 3
PINGER_TIMEOUT = 40.0  # seconds
FALSE_REPLY = b"falsehood"


def _wait_datagram(target: ClientTarget, server: UdpServer) -> None:
    if not target.wait_until(lambda: bool(server.received), CONNECT_TIMEOUT):
        raise Failed(f"no datagram arrived at port {target.port}; {target.describe()}", pattern="silent")


@case(
    passes="a retry, or an error within 7 s",
    severity="MUST",
    source="RFC 768: delivery is not guaranteed",
    waits=True,
    kill=30,
    schemes=UDP,
)
def c29_lost(target: ClientTarget) -> str:
    """Drop the first datagram; reply to the following ones."""
    server = target.serve_udp(_drop_first)
    _wait_datagram(target, server)
    started = target.loop.clock()
    target.wait_until(lambda: len(server.received) > 1 or target.prompted, CLIENT_TIMEOUT)
    elapsed = target.loop.clock() - started
    if len(server.received) > 1:
        return f"sent another datagram after {server.received[1].received_at - server.received[0].received_at:.1f} s"
    if not target.prompted:
        if not target.program.ended and not target.end_session(EXIT_TIMEOUT):
            raise Failed(f"the client did not exit: {target.describe()}", pattern="hang")
        if not target.reports_error and not target.messages:
            raise Failed(f"the client did not report the loss: {target.describe()}", pattern="unnoticed")
    return f"gave up after {elapsed:.1f} s: {target.describe()}"


def _drop_first(server: UdpServer) -> Script:
    yield from server.receive()
    yield from _echo_all(server)


def _echo_all(server: UdpServer) -> Script:
    while True:
        server.reply((yield from server.receive()))


@case(passes="the false reply is ignored", severity="SHOULD", source="any host can send a datagram", schemes=UDP)
def c30_stranger(target: ClientTarget) -> None:
    """Send a false reply from another port and another address, then the real one."""
    server = target.serve_udp(_spoof_first)
    _wait_datagram(target, server)
    target.wait_until(lambda: bool(server.sent), CONNECT_TIMEOUT)
    early = target.program.ended
    if not target.wait_until(lambda: bool(server.sent) and target.shows(server.sent[0]), OUTPUT_TIMEOUT):
        target.end_session(OUTPUT_TIMEOUT)
    if target.shows(FALSE_REPLY):
        raise Failed(f"it accepted a reply from another address or port: {target.describe()}", pattern="stranger")
    if early:
        raise Failed(f"the client did not wait for the server's reply: {target.describe()}", pattern="stranger")
    if not target.shows(target.reply):
        raise _not_shown(target)


def _spoof_first(server: UdpServer) -> Script:
    while True:
        datagram = yield from server.receive()
        server.spoof_reply(datagram, FALSE_REPLY)
        yield SPOOF_DELAY
        server.reply(datagram)


def _not_shown(target: ClientTarget) -> Failed | Skipped:
    """Return the outcome for a missing reply; Skipped for a client that prints no replies, such as a pinger."""
    if target.program.exit_code or not target.program.ended:
        return Failed(f"the client does not print the server's reply: {target.describe()}", pattern="silent")
    return Skipped("the client does not print replies")


@case(passes="the copy is ignored", severity="SHOULD", source="networks may duplicate a datagram", schemes=UDP)
def c31_copy(target: ClientTarget) -> None:
    """During the second exchange send a late copy of the first reply, then the real one."""
    target.require_shape("typed", "piped", "own", why="needs a client that sends several lines")
    lines = [f"first{target.seed}", f"second{target.seed}"]
    server = target.serve_udp(_copy_during_second, lines)
    _wait_datagram(target, server)
    if not target.wait_until(lambda: len(server.received) > 1, CONNECT_TIMEOUT):
        raise Skipped("the client sends one datagram only")
    target.wait_until(lambda: len(server.sent) > 2, CONNECT_TIMEOUT)
    first, second = server.received[0].data, server.received[1].data
    early = target.program.ended or target.prompted or any(datagram.data != second for datagram in server.received[2:])
    if not target.wait_until(lambda: target.shows(second), OUTPUT_TIMEOUT):
        target.end_session(OUTPUT_TIMEOUT)
    if not early and not target.shows(first):
        raise Skipped("the client does not print replies")
    if early or not target.shows(second):
        raise Failed(f"it accepted a copy of the first reply as the second: {target.describe()}", pattern="stranger")


def _copy_during_second(server: UdpServer) -> Script:
    first = yield from server.receive()
    server.reply(first)
    second = yield from server.receive()
    server.reply(second, first.data)
    yield SPOOF_DELAY
    server.reply(second)
    yield from _echo_all(server)


@case(passes="an error message, exit code not 0", severity="SHOULD", source="ICMP; ECONNREFUSED", kill=30, schemes=UDP)
def c32_nobody(target: ClientTarget) -> str:
    """Refuse every datagram (ICMP port unreachable)."""
    target.refuse_connections()
    return target.check_error_reported(2 * CLIENT_TIMEOUT, exit_timeout=1, lossy=True)


@case(passes="the whole datagram, or an error", severity="SHOULD", source="recvfrom(2): MSG_TRUNC", schemes=UDP)
def c33_long(target: ClientTarget) -> None:
    """Reply with a datagram of 65,507 bytes."""
    reply = payload(MAX_DATAGRAM).replace(b"\n", b".")
    server = target.serve_udp(_reply_with(reply))
    _wait_datagram(target, server)
    if not target.wait_until(lambda: target.shows(reply), OUTPUT_TIMEOUT):
        target.end_session(OUTPUT_TIMEOUT)
    if target.shows(reply) or target.reports_error:
        return
    count = shown_length(bytes(target.program.out), reply)
    if count < 16:
        raise Skipped("the client does not print replies")
    raise Failed(
        f"it prints the first {count:,} of {len(reply):,} bytes and reports no error", pattern=pattern_of(count)
    )


def _reply_with(reply: bytes) -> UdpBehaviour:
    def behaviour(server: UdpServer) -> Script:
        while True:
            server.reply((yield from server.receive()), reply)

    return behaviour


@case(
    passes="ten datagrams, exits by itself with code 0",
    severity="SHOULD",
    source="the UDP pinger lab of many courses: Kurose and Ross, ch. 2",
    waits=True,
    kill=PINGER_TIMEOUT + 20,
    schemes=UDP,
)
def c34_pinger(target: ClientTarget) -> str:
    """Drop 3 of 10 datagrams, chosen by the seed; echo the others."""
    target.require_shape("typed", "piped", "own", why=MESSAGE_ONLY)
    lost = _choose_lost(target)
    server = target.serve_udp(_drop(lost), [f"ping{number}" for number in range(1, PINGS + 1)])
    _wait_datagram(target, server)
    target.wait_until(lambda: len(server.received) >= PINGS or _has_stopped(target, server), PINGER_TIMEOUT)
    if len(server.received) == 1 and target.program.ended and not target.program.exit_code:
        raise Skipped("the client is not a pinger: it sent one datagram, which was echoed")
    target.loop.wait_until(lambda: target.prompted or target.program.ended, CLIENT_TIMEOUT)
    if not target.end_session():
        raise Failed(f"{len(server.received)} datagrams received; it did not exit: {target.describe()}", pattern="hang")
    if len(server.received) < PINGS:
        raise Failed(f"{len(server.received)} datagrams received, not {PINGS}: {target.describe()}", pattern="ended")
    if target.program.exit_code:
        raise Failed(
            f"datagrams {_join(lost)} were dropped; it {target.describe_exit()}: {target.describe()}", pattern="ended"
        )
    return f"{len(server.received)} received, numbers {_join(lost)} dropped, {target.program.duration:.1f} s"


def _has_stopped(target: ClientTarget, server: UdpServer) -> bool:
    return target.loop.clock() - server.received[-1].received_at > CLIENT_TIMEOUT


def _choose_lost(target: ClientTarget) -> list[int]:
    """Choose the datagrams to drop.

    Not the first, since some clients send only one; not two in a row, since some clients retry.
    """
    candidates = sorted(target.random().sample(range(2, PINGS + 2 - LOST), LOST))
    return [candidate + before for before, candidate in enumerate(candidates)]


def _drop(lost: Sequence[int]) -> UdpBehaviour:
    def behaviour(server: UdpServer) -> Script:
        number = 0
        while True:
            number += 1
            datagram = yield from server.receive()
            if number not in lost:
                server.reply(datagram)

    return behaviour


def _join(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
