"""An echo that stamps probes, a turn at a time: when, how many, which; and not a byte elsewhere."""

import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import halloo
from halloo._core.limits import Limits
from halloo._core.probe import HEAD, STAMP_END, STAMPED, Probes, ServerTimestamp, difference, read_stamp
from halloo._core.tls_options import ClientTLS
from halloo._net import socket_options
from halloo._server.connections import THROTTLED, WRITE_PENDING
from halloo._server.poller import Poller, Selector
from halloo._server.timestamps import ProbeTimestamper, TimestampingHandler, TimestampPoller
from halloo._server.udp import UDP_GRO
from halloo.testing import every_split
from tests.stepping import FLOOD, MAKERS, Hearing, Stage, ended, pattern, readable

SIZE = 200
PROBES = Probes(run=7, size=SIZE)
NOW = 1_700_000_000_000_000_000
SMALL = 16 * 1024  # bytes of a kernel's buffer, so that a debt is soon there
PATIENCE = 20  # seconds
LOOPBACK = ["127.0.0.1", "::1"]
OTHER = "127.0.0.2"  # all of 127/8 is this machine on Linux

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


class Ticking:
    """Goes on by one nanosecond each time that it is looked at."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        self.now += 1
        return self.now


def probe(number: int, probes: Probes = PROBES) -> bytes:
    return probes.make(number, NOW)


def stamp_of(sent: bytes, reply: bytes) -> ServerTimestamp:
    """Read the stamp of an answer that is right in all else."""
    stamp = read_stamp(reply)
    assert stamp, reply
    assert difference(sent, reply) is None
    return stamp


def counts(sent: bytes, reply: bytes) -> tuple[int, int, int]:
    stamp = stamp_of(sent, reply)
    return stamp.arrived, stamp.refused, stamp.window


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def stamper() -> ProbeTimestamper:
    return ProbeTimestamper(Ticking())


POLLERS: list[Callable[[ProbeTimestamper], Poller]] = [lambda _: Selector()]
if hasattr(select, "epoll"):
    POLLERS.append(TimestampPoller)

MakeStage = Callable[..., Stage]
MakeHearing = Callable[..., Hearing]


@pytest.fixture(params=POLLERS, ids=["selectors", "epoll"])
def make_stage(request: pytest.FixtureRequest, cleanup: ExitStack, stamper: ProbeTimestamper) -> MakeStage:
    def make_stage(limits: Limits | None = None, **options: object) -> Stage:
        made = {"poller": request.param(stamper), "handler": TimestampingHandler(stamper)} | options
        return cleanup.enter_context(Stage(limits, **made))

    return make_stage


@pytest.fixture(params=MAKERS)
def make_hearing(request: pytest.FixtureRequest, cleanup: ExitStack, stamper: ProbeTimestamper) -> MakeHearing:
    def make_hearing(limits: Limits | None = None, **options: object) -> Hearing:
        made = {"poller": request.param(), "stamper": stamper} | options
        return cleanup.enter_context(Hearing(limits, **made))

    return make_hearing


# In a stream.


def test_a_probe_comes_back_with_a_stamp(make_stage: MakeStage) -> None:
    stage = make_stage()
    reply = stage.echo(stage.arrive(), probe(0))
    assert stamp_of(probe(0), reply) == ServerTimestamp(NOW + 1, NOW + 2, arrived=1, refused=0, window=1)
    assert (stage.seen.received_bytes, stage.seen.sent_bytes, stage.seen.messages) == (SIZE, SIZE, 1)


def test_it_counts_the_probes_of_a_run_over_all_connections(make_stage: MakeStage) -> None:
    stage = make_stage()
    clients = [stage.arrive(), stage.arrive()]
    seen = [counts(probe(number), stage.echo(clients[number % 2], probe(number))) for number in (0, 1, 4)]
    assert seen == [(1, 0, 0b1), (2, 0, 0b11), (3, 0, 0b11001)]


def test_several_probes_in_one_read_are_all_stamped(make_stage: MakeStage) -> None:
    stage = make_stage()
    data = probe(0) + b"hello\n" + probe(1) + probe(2)
    reply = stage.echo(stage.arrive(), data)
    assert reply[SIZE : SIZE + 6] == b"hello\n"
    replies = [reply[start : start + SIZE] for start in (0, SIZE + 6, 2 * SIZE + 6)]
    seen = [counts(probe(number), each) for number, each in enumerate(replies)]
    assert seen == [(1, 0, 0b1), (2, 0, 0b11), (3, 0, 0b111)]


def test_a_probe_that_comes_in_two_pieces_comes_back_as_it_was(make_stage: MakeStage) -> None:
    stage = make_stage()
    client = stage.arrive()
    for pieces in every_split(probe(0)):
        reply = b"".join(stage.echo(client, piece) for piece in pieces if piece)
        assert difference(probe(0), reply) is None
        assert (read_stamp(reply) is None) == (len([piece for piece in pieces if piece]) > 1)


@pytest.mark.parametrize(
    "data",
    [
        b"x" + probe(0),
        probe(0)[:-1] + b"x",
        Probes(7, SIZE, stamp=False).make(0, NOW),
        Probes(7, 100).make(0, NOW),
        probe(0).replace(b"hlo?", b"hlo!"),
        b"hlo?" + b"z" * 300 + b"\n",
        b"\n" * 300,
        pattern(5000),
    ],
)
def test_what_is_no_probe_comes_back_as_it_was(make_stage: MakeStage, data: bytes) -> None:
    stage = make_stage()
    assert stage.echo(stage.arrive(), data) == data


def test_the_end_of_a_client_is_answered_by_ours(make_stage: MakeStage) -> None:
    stage = make_stage()
    client = stage.arrive()
    client.sendall(probe(0))
    client.shutdown(socket.SHUT_WR)
    reply = stage.read(client)
    assert counts(probe(0), reply) == (1, 0, 1)
    assert stage.seen.open == 0


def test_a_client_that_does_not_read_is_owed_and_later_repaid_with_every_byte(make_stage: MakeStage) -> None:
    stage = make_stage(buffer=SMALL)
    client = stage.arrive(buffer=SMALL)
    line = Probes(7, 1000).make(3, NOW)
    data = line * (FLOOD // len(line))
    sent = 0
    while not stage.loop.table.in_state(WRITE_PENDING):
        sent += client.send(data[sent : sent + 50_000])
        stage.loop.turn(0)
    reply = stage.read(client, sent)
    for start in range(0, sent, len(line)):
        piece = reply[start : start + len(line)]
        assert difference(line[: len(piece)], piece) is None
    assert reply.count(STAMPED) > 10


def test_a_rate_is_kept(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=4 * SIZE))
    client = stage.arrive()
    for number in range(2):
        assert counts(probe(number), stage.echo(client, probe(number)))[0] == number + 1
    assert stage.loop.table.in_state(THROTTLED)
    client.sendall(probe(2))
    stage.settle()
    assert not readable(client)
    stage.elapse(1)
    assert counts(probe(2), stage.read(client, SIZE))[0] == 3


def test_no_more_than_is_allowed_is_answered(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=SIZE + 50))
    client = stage.arrive()
    assert counts(probe(0), stage.echo(client, probe(0))) == (1, 0, 1)
    client.sendall(probe(1))
    assert stage.read(client, 50) == probe(1)[:50]
    stage.settle()
    assert ended(client)
    assert stage.seen.ended == {"max_bytes": 1}


# As datagrams.


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_datagram_that_is_a_probe_comes_back_with_a_stamp(make_hearing: MakeHearing, host: str) -> None:
    stage = make_hearing(hosts=[host])
    sender = stage.sender(host)
    seen = [counts(probe(number), stage.ask(sender, probe(number))) for number in (0, 1, 3, 3, 2)]
    assert seen == [(1, 0, 0b1), (2, 0, 0b11), (3, 0, 0b1101), (3, 0, 0b1101), (4, 0, 0b111)]


@needs_linux
@pytest.mark.parametrize(("everywhere", "asked"), [("0.0.0.0", OTHER), ("::", "::1")])
def test_at_every_address_the_stamp_comes_from_the_one_that_was_asked(
    make_hearing: MakeHearing, everywhere: str, asked: str
) -> None:
    stage = make_hearing(hosts=[everywhere])
    sender = stage.sender(asked)
    for number in range(3):
        stage.send(sender, probe(number), asked)
        stage.until(lambda: readable(sender))
        reply, place = sender.recvfrom(1000)
        assert counts(probe(number), reply)[0] == number + 1
        assert place[:2] == (asked, stage.port)


@pytest.mark.parametrize("data", [b"", b"hlo?", b"hello", pattern(1000), b"\n" + probe(0), probe(0)[: STAMP_END - 1]])
def test_a_datagram_that_is_none_comes_back_as_it_was(make_hearing: MakeHearing, data: bytes) -> None:
    stage = make_hearing()
    assert stage.ask(stage.sender(), data) == data


@needs_linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_the_probes_of_a_train_are_stamped_one_by_one(make_hearing: MakeHearing, host: str) -> None:
    stage = make_hearing(hosts=[host])
    sender = stage.sender(host)
    sent = [probe(number) for number in range(5)]
    stage.send(sender, b"".join(sent), segment=SIZE)
    stamps = [stamp_of(one, reply) for one, reply in zip(sent, stage.answers(sender, 5), strict=True)]
    assert [(stamp.arrived, stamp.window) for stamp in stamps] == [(n, (1 << n) - 1) for n in range(1, 6)]
    assert [stamp.left_ns for stamp in stamps] == sorted({stamp.left_ns for stamp in stamps})
    assert (stage.seen.datagrams, stage.seen.messages) == (5, 5)


@needs_linux
def test_a_train_without_a_probe_is_still_sent_at_once(make_hearing: MakeHearing) -> None:
    stage = make_hearing()
    sender = stage.sender()
    sender.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    stage.send(sender, pattern(3001), segment=1000)
    assert stage.answers(sender, 1) == [pattern(3001)]


@pytest.mark.parametrize("host", LOOPBACK)
def test_what_a_rate_refuses_is_told_by_the_next_stamp(make_hearing: MakeHearing, host: str) -> None:
    stage = make_hearing(Limits(rate_limit=4 * SIZE), hosts=[host])
    sender = stage.sender(host)
    for number in range(10):
        stage.send(sender, probe(number))
    stage.hear(10)
    refused = stage.seen.refused["rate_limit"]
    assert 0 < refused < 10
    answered = stage.answers(sender, 10 - refused)
    assert [counts(probe(number), reply)[1] for number, reply in enumerate(answered)] == [0] * len(answered)
    stage.elapse(20)
    assert counts(probe(11), stage.ask(sender, probe(11))) == (11, refused, 0b111111111101)


@needs_linux
def test_each_probe_of_a_train_that_is_refused_counts(make_hearing: MakeHearing) -> None:
    stage = make_hearing(Limits(max_bytes=SIZE - 1))
    sender, short = stage.sender(), Probes(7, SIZE - 1)
    stage.send(sender, b"".join([probe(0), probe(1), short.make(2, NOW)]), segment=SIZE)
    (reply,) = stage.answers(sender, 1)
    assert counts(short.make(2, NOW), reply) == (3, 2, 0b111)


def test_what_is_refused_and_no_probe_counts_nowhere(make_hearing: MakeHearing) -> None:
    stage = make_hearing(Limits(max_bytes=SIZE))
    sender = stage.sender()
    for data in (pattern(SIZE + 1), b"hlo?" * SIZE):
        stage.send(sender, data)
    stage.hear(2)
    assert counts(probe(0), stage.ask(sender, probe(0))) == (1, 0, 1)


# When it came.


@needs_linux
def test_a_probe_came_when_the_kernel_had_it_and_not_when_it_was_read(cleanup: ExitStack) -> None:
    stamper = ProbeTimestamper()
    stage = cleanup.enter_context(Stage(poller=TimestampPoller(stamper), handler=TimestampingHandler(stamper)))
    assert socket_options.stamps(stage.listener)
    client = stage.arrive()
    began = time.time_ns()
    client.sendall(probe(0))
    sent = time.time_ns()  # on loopback it has arrived by then
    stamp = stamp_of(probe(0), stage.read(client, SIZE))
    assert began <= stamp.came_ns <= sent <= stamp.left_ns <= time.time_ns()


@needs_linux
@pytest.mark.parametrize("host", [*LOOPBACK, "0.0.0.0"])
@pytest.mark.parametrize("make_poller", MAKERS)
def test_a_datagram_too(cleanup: ExitStack, host: str, make_poller: Callable[[], Poller]) -> None:
    stage = cleanup.enter_context(Hearing(hosts=[host], stamper=ProbeTimestamper(), poller=make_poller()))
    sender = stage.sender(OTHER if host == "0.0.0.0" else host)
    for number in range(3):
        began = time.time_ns()
        stage.send(sender, probe(number))
        sent = time.time_ns()
        stamp = stamp_of(probe(number), stage.answers(sender, 1)[0])
        assert began <= stamp.came_ns <= sent <= stamp.left_ns <= time.time_ns()


def test_where_the_kernel_does_not_tell_it_came_when_it_was_read(
    make_stage: MakeStage, stamper: ProbeTimestamper
) -> None:
    stage = make_stage()
    stamper.came_ns = 12345  # of an earlier read
    assert stamp_of(probe(0), stage.echo(stage.arrive(), probe(0))).came_ns == NOW + 1


# Not a byte elsewhere.

pieces = st.lists(
    st.one_of(
        st.binary(max_size=50),
        st.integers(0, 9).map(probe),
        st.integers(1, SIZE - 1).map(lambda size: probe(1)[:size]),
        st.sampled_from(
            [b"\n", b"hlo?", b"hlo?" + b"0" * 96, probe(1).replace(b"hlo?", b"hlo!"), Probes(7, 101).make(2, 3)]
        ),
    ),
    max_size=12,
).map(b"".join)


def outside(data: bytes, reply: bytes) -> bool:
    """Whether an answer is what was sent, marks and stamps apart, where there was room for them."""
    for start in range(len(data)):
        if reply[start : start + 4] == STAMPED and data[start : start + 4] == b"hlo?":
            assert data[start + HEAD : start + STAMP_END] == b"0" * (STAMP_END - HEAD)
            assert start == 0 or data[start - 1 : start] == b"\n"
            reply = reply[:start] + data[start : start + 4] + reply[start + 4 :]
            reply = reply[: start + HEAD] + data[start + HEAD : start + STAMP_END] + reply[start + STAMP_END :]
    return reply == data


@given(pieces)
def test_of_any_stream_nothing_else_is_changed(data: bytes) -> None:
    buffer = bytearray(data)
    ProbeTimestamper(Ticking()).stamp_lines(memoryview(buffer))
    assert outside(data, bytes(buffer))


@given(pieces, st.integers(1, 300))
def test_of_any_read_of_datagrams_nothing_else_is_changed(data: bytes, segment: int) -> None:
    stamper = ProbeTimestamper(Ticking())
    for start in range(0, len(data), segment):
        buffer = bytearray(data[start : start + segment])
        stamper.stamp(memoryview(buffer))
        assert outside(data[start : start + segment], bytes(buffer))
    stamper.refuse(memoryview(data), segment)
    stamper.refuse(memoryview(data), 0)


@given(pieces, st.lists(st.integers(0, 3000), max_size=5))
def test_over_a_connection_nothing_else_is_changed(data: bytes, cuts: list[int]) -> None:
    stamper = ProbeTimestamper(Ticking())
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    with Stage(poller=POLLERS[-1](stamper), handler=TimestampingHandler(stamper)) as stage:
        client = stage.arrive()
        for start, end in pairwise(edges):
            piece = data[start:end]
            assert not piece or outside(piece, stage.echo(client, piece))


# As anybody meets it.


def places(folder: Path) -> list[str]:
    return ["127.0.0.1:0", "[::1]:0", "udp://127.0.0.1:0", "udp://[::1]:0", "tls://localhost:0", f"unix:{folder}/echo"]


@pytest.mark.parametrize("which", range(6), ids=["tcp", "tcp v6", "udp", "udp v6", "tls", "unix"])
def test_whatever_the_scheme_a_probe_is_stamped(which: int, tmp_path: Path) -> None:
    place = places(tmp_path)[which]
    if place.startswith("unix:") and not hasattr(socket, "AF_UNIX"):
        pytest.skip("needs Unix sockets")
    tls = ClientTLS(insecure=True) if place.startswith("tls:") else None
    with halloo.serving(place, timestamps=True) as server, halloo.connect(server.address, tls=tls) as connection:
        for number in range(3):
            began = time.time_ns()
            connection.send(PROBES.make(number, began))
            reply = connection.receive(timeout=PATIENCE)
            stamp = stamp_of(PROBES.make(number, began), reply)
            assert began <= stamp.came_ns <= stamp.left_ns <= time.time_ns()
            assert (stamp.arrived, stamp.refused, stamp.window) == (number + 1, 0, (2 << number) - 1)


def test_a_server_without_it_changes_nothing() -> None:
    for place in ("127.0.0.1:0", "udp://127.0.0.1:0"):
        with halloo.serving(place) as server, halloo.connect(server.address) as connection:
            connection.send(probe(0))
            assert connection.receive(timeout=PATIENCE) == probe(0)


def test_several_schemes_of_one_server_count_together() -> None:
    with halloo.serving("127.0.0.1:0", "udp://127.0.0.1:0", timestamps=True) as server:
        for number, address in enumerate(server.addresses):
            with halloo.connect(address) as connection:
                connection.send(probe(number))
                assert counts(probe(number), connection.receive(timeout=PATIENCE))[0] == number + 1
