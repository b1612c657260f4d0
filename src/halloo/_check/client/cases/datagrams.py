"""UDP cases: lost, late, spoofed, refused and long datagrams, and the UDP pinger of many courses.

Uses a `ClientTarget` only. Datagrams are lost without an error: a client needs a timeout and has to match replies.
"""

import itertools
from collections.abc import Callable, Collection
from random import Random

from halloo._check.case import Failed, Skipped
from halloo._check.client.cases.answers import MESSAGE_ONLY
from halloo._check.client.checks import check_error_reported, check_exits
from halloo._check.client.loop import Script
from halloo._check.client.output_match import is_traceback, pattern_of, shown_length
from halloo._check.client.server import MAX_DATAGRAM, UdpBehaviour, UdpServer
from halloo._check.client.target import (
    CLIENT_TIMEOUT,
    CONNECT_TIMEOUT,
    END_OF_INPUT,
    EXIT_TIMEOUT,
    GIVE_UP_TIMEOUT,
    OUTPUT_TIMEOUT,
    ClientTarget,
    case,
)
from halloo._check.payload import payload

SPOOF_DELAY = 0.3  # seconds between the false reply and the real one
PINGS, LOST = 10, 3
PINGER_TIMEOUT = 40.0  # seconds
FALSE_REPLY = b"falsehood"
NO_REPLIES = "the client does not print replies"


def _answer(data: bytes | None = None, *, dropped: Collection[int] = ()) -> UdpBehaviour:
    """Reply to each datagram with `data`, by default its own, but not to those with the numbers in `dropped`."""

    def behaviour(server: UdpServer) -> Script:
        for number in itertools.count(1):
            datagram = yield from server.receive()
            if number not in dropped:
                server.reply(datagram, data)

    return behaviour


def _shown(target: ClientTarget, condition: Callable[[], bool]) -> bool:
    """Wait until output is shown, if need be to the end of the session."""
    if not target.wait_until(condition, OUTPUT_TIMEOUT):
        target.end_session(OUTPUT_TIMEOUT)
    return condition()


@case("MUST", "a retry, or an error within 12 s", "RFC 768: delivery is not guaranteed", kill=30, schemes="udp")
def c29_lost(target: ClientTarget) -> str:
    """Drop the first datagram; reply to the following ones."""
    server = target.serve_udp(_answer(dropped=[1]))
    started = target.loop.clock()
    target.wait_until(lambda: len(server.received) > 1 or target.prompted, GIVE_UP_TIMEOUT)
    elapsed = target.loop.clock() - started
    if len(server.received) > 1:
        return f"sent another datagram after {server.received[1].received_at - server.received[0].received_at:.1f} s"
    if not target.prompted:
        if not target.program.ended:
            check_exits(target, EXIT_TIMEOUT)
        if not target.reports_error and not target.messages:
            raise Failed(
                f"the client did not report the loss: {target.describe()}", pattern=f"unnoticed {target.words}"
            )
    return f"gave up after {elapsed:.1f} s: {target.describe()}"


@case("SHOULD", "the false reply is ignored", "any host can send a datagram", schemes="udp")
def c30_stranger(target: ClientTarget) -> None:
    """Send a false reply from another port and another address, then the real one."""
    target.require_output()
    server = target.serve_udp(_spoof_first)
    target.wait_until(lambda: bool(server.sent), CONNECT_TIMEOUT)
    early = target.program.ended
    _shown(target, lambda: bool(server.sent) and target.shows(server.sent[0]))
    if target.shows(FALSE_REPLY):
        raise Failed(f"it printed a reply from another address or port: {target.describe()}", pattern="accepted")
    if early:
        text = f"the client did not wait for the server's reply, {SPOOF_DELAY:g} s after a false one"
        raise Failed(f"{text}: {target.describe()}", pattern=f"ended-early {target.words}")
    if not target.shows(target.reply):
        if target.program.exit_code or not target.program.ended:
            text = f"the client does not print the server's reply: {target.describe()}"
            raise Failed(text, pattern=f"nothing-shown {target.words}")
        raise Skipped(NO_REPLIES)


def _spoof_first(server: UdpServer) -> Script:
    while True:
        datagram = yield from server.receive()
        server.spoof_reply(datagram, FALSE_REPLY)
        yield SPOOF_DELAY
        server.reply(datagram)


@case("SHOULD", "the copy is ignored", "networks may duplicate a datagram", schemes="udp")
def c31_copy(target: ClientTarget) -> None:
    """During the second exchange send a late copy of the first reply, then the real one."""
    target.require_output()
    target.require_shape("typed", "piped", "own", why="needs a client that sends several lines")
    server = target.serve_udp(_copy_during_second, [f"first{target.seed}", f"second{target.seed}"])
    if not target.wait_until(lambda: len(server.received) > 1, CONNECT_TIMEOUT):
        raise Skipped("the client sends one datagram only")
    target.wait_until(lambda: len(server.sent) > 2, CONNECT_TIMEOUT)
    first, second = server.received[0].data, server.received[1].data
    early = target.program.ended or target.prompted or any(datagram.data != second for datagram in server.received[2:])
    shown = _shown(target, lambda: target.shows(second))
    if not early and not target.shows(first):
        raise Skipped(NO_REPLIES)
    if early:
        text = f"it took a copy of the first reply for the second: {target.describe()}"
        raise Failed(text, pattern=f"ended-early {target.words}" if target.reports_error else "accepted")
    if not shown:
        text = f"the client does not print the second reply: {target.describe()}"
        raise Failed(text, pattern=f"nothing-shown {target.words}")


def _copy_during_second(server: UdpServer) -> Script:
    first = yield from server.receive()
    server.reply(first)
    second = yield from server.receive()
    server.reply(second, first.data)
    yield SPOOF_DELAY
    server.reply(second)
    yield from _answer()(server)


@case("SHOULD", "an error message, exit code not 0", "ICMP; ECONNREFUSED", kill=30, schemes="udp")
def c32_nobody(target: ClientTarget) -> str:
    """Refuse every datagram (ICMP port unreachable)."""
    target.refuse_connections()
    return check_error_reported(target, GIVE_UP_TIMEOUT, lossy=True)


@case("SHOULD", "the whole datagram, or an error", "recvfrom(2): MSG_TRUNC", schemes="udp")
def c33_long(target: ClientTarget) -> None:
    """Reply with a datagram of 65,507 bytes."""
    target.require_output()
    reply = payload(MAX_DATAGRAM).replace(b"\n", b".")
    target.serve_udp(_answer(reply))
    if _shown(target, lambda: target.shows(reply)) or target.reports_error:
        return
    if (count := shown_length(bytes(target.program.out), reply)) < 16:
        raise Skipped(NO_REPLIES)
    text = f"it prints the first {count:,} of {len(reply):,} bytes and reports no error"
    raise Failed(text, pattern=pattern_of(count))


@case(
    "SHOULD",
    "ten datagrams, exits by itself, with code 0 or a message",
    "the UDP pinger lab of many courses: Kurose and Ross, ch. 2",
    kill=PINGER_TIMEOUT + 20,
    schemes="udp",
)
def c34_pinger(target: ClientTarget) -> str:
    """Drop 3 of 10 datagrams, chosen by the seed; echo the others."""
    target.require_shape("typed", "piped", "own", why=MESSAGE_ONLY)
    # Not the first, since some clients send only one; not two in a row, since some clients retry.
    candidates = sorted(Random(target.seed).sample(range(2, PINGS + 2 - LOST), LOST))  # noqa: S311 - not for secrets
    lost = [candidate + before for before, candidate in enumerate(candidates)]
    numbers = ", ".join(map(str, lost))
    server = target.serve_udp(_answer(dropped=lost), [f"ping{number}" for number in range(1, PINGS + 1)])
    program, received = target.program, server.received
    target.wait_until(lambda: len(received) >= PINGS or _has_stopped(target, server), PINGER_TIMEOUT)
    if len(received) == 1 and program.ended and not program.exit_code:
        raise Skipped("the client is not a pinger: it sent one datagram, which was echoed")
    target.wait_until(lambda: target.prompted, CLIENT_TIMEOUT)
    if not target.end_session():
        text = f"{len(received)} datagrams received; it did not exit: {target.describe()}"
        raise Failed(text, pattern=target.words)
    if len(received) < PINGS:
        text = f"{len(received)} datagrams received, not {PINGS}: {target.describe()}"
        raise Failed(text, pattern=f"{'ended-after-loss' if len(received) in lost else 'ended-early'} {target.words}")
    reports_loss = (program.exit_code or 0) > 0 and target.error_output and not is_traceback(target.error_output)
    if program.exit_code and not reports_loss and target.ended_by != END_OF_INPUT:
        pattern = f"traceback {target.words}" if target.error_output else f"no-message {target.words}"
        raise Failed(
            f"datagrams {numbers} were dropped; it {target.describe_exit()}: {target.describe()}", pattern=pattern
        )
    return f"{len(received)} received, numbers {numbers} dropped, {program.duration:.1f} s"


def _has_stopped(target: ClientTarget, server: UdpServer) -> bool:
    return target.loop.clock() - server.received[-1].received_at > GIVE_UP_TIMEOUT
