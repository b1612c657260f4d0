"""An echo that writes timestamps into probes, turn by turn: times and counts, and no other byte changed."""

import select
import socket
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
from halloo._core.probe import (
    HEADER_SIZE,
    TIMESTAMP_END,
    TIMESTAMPED,
    Probes,
    ServerTimestamp,
    first_difference,
    read_timestamp,
)
from halloo._core.tls_options import ClientTLS
from halloo._net import socket_options
from halloo._net.connector import dial
from halloo._server.poller import Poller, Selector
from halloo._server.states import THROTTLED, WRITE_PENDING
from halloo._server.timestamps import ProbeTimestamper, TimestampingHandler, TimestampPoller
from halloo._server.udp import UDP_GRO
from halloo.testing import every_split
from tests.conditions import linux
from tests.kernel_timestamps import kernel_timestamps
from tests.peers import payload
from tests.stepping import FLOOD, MAKERS, DatagramStage, Stage, ended, readable

SIZE = 200
PROBES = Probes(run=7, size=SIZE)
NOW = 1_700_000_000_000_000_000
SMALL_BUFFER = 16 * 1024  # bytes of the kernel's buffer, so that a write is soon pending
TIMEOUT = 20  # seconds
LOOPBACK = ["127.0.0.1", "::1"]
OTHER_HOST = "127.0.0.2"  # Linux: all of 127/8 is local


class TickingClock:
    """Advances by one nanosecond at each reading."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        self.now += 1
        return self.now


def probe(number: int, probes: Probes = PROBES) -> bytes:
    return probes.encode(number, NOW)


def checked_timestamp(sent: bytes, reply: bytes) -> ServerTimestamp:
    """Return the timestamp of a reply that is otherwise correct."""
    timestamp = read_timestamp(reply)
    assert timestamp, reply
    assert first_difference(sent, reply) is None
    return timestamp


def counts(sent: bytes, reply: bytes) -> tuple[int, int, int]:
    timestamp = checked_timestamp(sent, reply)
    return timestamp.arrived, timestamp.refused, timestamp.window


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def timestamper() -> ProbeTimestamper:
    return ProbeTimestamper(TickingClock())


POLLERS: list[Callable[[ProbeTimestamper], Poller]] = [lambda _: Selector()]
if hasattr(select, "epoll"):
    POLLERS.append(TimestampPoller)

MakeStage = Callable[..., Stage]
MakeDatagramStage = Callable[..., DatagramStage]


@pytest.fixture(params=POLLERS, ids=["selectors", "epoll"])
def make_stage(request: pytest.FixtureRequest, cleanup: ExitStack, timestamper: ProbeTimestamper) -> MakeStage:
    def make_stage(limits: Limits | None = None, **options: object) -> Stage:
        made = {"poller": request.param(timestamper), "handler": TimestampingHandler(timestamper)} | options
        return cleanup.enter_context(Stage(limits, **made))

    return make_stage


@pytest.fixture(params=MAKERS)
def make_datagram_stage(
    request: pytest.FixtureRequest, cleanup: ExitStack, timestamper: ProbeTimestamper
) -> MakeDatagramStage:
    def make_datagram_stage(limits: Limits | None = None, **options: object) -> DatagramStage:
        made = {"poller": request.param(), "timestamper": timestamper} | options
        return cleanup.enter_context(DatagramStage(limits, **made))

    return make_datagram_stage


# Streams.


def test_a_probe_is_echoed_with_a_timestamp(make_stage: MakeStage) -> None:
    stage = make_stage()
    reply = stage.echo(stage.connect(), probe(0))
    assert checked_timestamp(probe(0), reply) == ServerTimestamp(NOW + 1, NOW + 2, arrived=1, refused=0, window=1)
    assert (stage.snapshot.received_bytes, stage.snapshot.sent_bytes, stage.snapshot.messages) == (SIZE, SIZE, 1)


def test_the_probes_of_a_run_are_counted_over_all_connections(make_stage: MakeStage) -> None:
    stage = make_stage()
    clients = [stage.connect(), stage.connect()]
    seen = [counts(probe(number), stage.echo(clients[number % 2], probe(number))) for number in (0, 1, 4)]
    assert seen == [(1, 0, 0b1), (2, 0, 0b11), (3, 0, 0b11001)]


def test_several_probes_in_one_read_all_get_timestamps(make_stage: MakeStage) -> None:
    stage = make_stage()
    data = probe(0) + b"hello\n" + probe(1) + probe(2)
    reply = stage.echo(stage.connect(), data)
    assert reply[SIZE : SIZE + 6] == b"hello\n"
    replies = [reply[start : start + SIZE] for start in (0, SIZE + 6, 2 * SIZE + 6)]
    seen = [counts(probe(number), each) for number, each in enumerate(replies)]
    assert seen == [(1, 0, 0b1), (2, 0, 0b11), (3, 0, 0b111)]


def test_a_probe_received_in_two_pieces_is_echoed_unchanged(make_stage: MakeStage) -> None:
    stage = make_stage()
    client = stage.connect()
    for pieces in every_split(probe(0)):
        reply = b"".join(stage.echo(client, piece) for piece in pieces if piece)
        assert first_difference(probe(0), reply) is None
        assert (read_timestamp(reply) is None) == (len([piece for piece in pieces if piece]) > 1)


@pytest.mark.parametrize(
    "data",
    [
        b"x" + probe(0),
        probe(0)[:-1] + b"x",
        Probes(7, SIZE, timestamps=False).encode(0, NOW),
        Probes(7, 100).encode(0, NOW),
        probe(0).replace(b"hlo?", b"hlo!"),
        b"hlo?" + b"z" * 300 + b"\n",
        b"\n" * 300,
        payload(5000),
    ],
)
def test_other_data_is_echoed_unchanged(make_stage: MakeStage, data: bytes) -> None:
    stage = make_stage()
    assert stage.echo(stage.connect(), data) == data


def test_the_client_s_fin_is_answered_with_ours(make_stage: MakeStage) -> None:
    stage = make_stage()
    client = stage.connect()
    client.sendall(probe(0))
    client.shutdown(socket.SHUT_WR)
    reply = stage.read(client)
    assert counts(probe(0), reply) == (1, 0, 1)
    assert stage.snapshot.open == 0


def test_a_client_that_does_not_read_gets_every_byte_later(make_stage: MakeStage) -> None:
    stage = make_stage(buffer=SMALL_BUFFER)
    client = stage.connect(buffer=SMALL_BUFFER)
    line = Probes(7, 1000).encode(3, NOW)
    data = line * (FLOOD // len(line))
    sent = 0
    while not stage.loop.reactor.in_state(WRITE_PENDING):
        sent += client.send(data[sent : sent + 50_000])
        stage.loop.turn(0)
    reply = stage.read(client, sent)
    for start in range(0, sent, len(line)):
        piece = reply[start : start + len(line)]
        assert first_difference(line[: len(piece)], piece) is None
    assert reply.count(TIMESTAMPED) > 10


def test_a_rate_is_kept(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=4 * SIZE))
    client = stage.connect()
    for number in range(2):
        assert counts(probe(number), stage.echo(client, probe(number)))[0] == number + 1
    assert stage.loop.reactor.in_state(THROTTLED)
    client.sendall(probe(2))
    stage.settle()
    assert not readable(client)
    stage.elapse(1)
    assert counts(probe(2), stage.read(client, SIZE))[0] == 3


def test_max_bytes_is_kept(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=SIZE + 50))
    client = stage.connect()
    assert counts(probe(0), stage.echo(client, probe(0))) == (1, 0, 1)
    client.sendall(probe(1))
    assert stage.read(client, 50) == probe(1)[:50]
    stage.settle()
    assert ended(client)
    assert stage.snapshot.ended == {"max_bytes": 1}


# Datagrams.


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_probe_datagram_is_echoed_with_a_timestamp(make_datagram_stage: MakeDatagramStage, host: str) -> None:
    stage = make_datagram_stage(hosts=[host])
    sender = stage.sender(host)
    seen = [counts(probe(number), stage.ask(sender, probe(number))) for number in (0, 1, 3, 3, 2)]
    assert seen == [(1, 0, 0b1), (2, 0, 0b11), (3, 0, 0b1101), (3, 0, 0b1101), (4, 0, 0b111)]


@linux
@pytest.mark.parametrize(("everywhere", "asked"), [("0.0.0.0", OTHER_HOST), ("::", "::1")])
def test_on_a_wildcard_socket_the_timestamp_comes_from_the_destination_address(
    make_datagram_stage: MakeDatagramStage, everywhere: str, asked: str
) -> None:
    stage = make_datagram_stage(hosts=[everywhere])
    sender = stage.sender(asked)
    for number in range(3):
        stage.send(sender, probe(number), asked)
        stage.until(lambda: readable(sender))
        reply, place = sender.recvfrom(1000)
        assert counts(probe(number), reply)[0] == number + 1
        assert place[:2] == (asked, stage.port)


@pytest.mark.parametrize(
    "data", [b"", b"hlo?", b"hello", payload(1000), b"\n" + probe(0), probe(0)[: TIMESTAMP_END - 1]]
)
def test_another_datagram_is_echoed_unchanged(make_datagram_stage: MakeDatagramStage, data: bytes) -> None:
    stage = make_datagram_stage()
    assert stage.ask(stage.sender(), data) == data


@linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_each_probe_of_a_batch_gets_a_timestamp(make_datagram_stage: MakeDatagramStage, host: str) -> None:
    stage = make_datagram_stage(hosts=[host])
    sender = stage.sender(host)
    sent = [probe(number) for number in range(5)]
    stage.send(sender, b"".join(sent), segment=SIZE)
    timestamps = [
        checked_timestamp(one, reply) for one, reply in zip(sent, stage.receive_replies(sender, 5), strict=True)
    ]
    assert [(timestamp.arrived, timestamp.window) for timestamp in timestamps] == [
        (n, (1 << n) - 1) for n in range(1, 6)
    ]
    assert [timestamp.sent_ns for timestamp in timestamps] == sorted({timestamp.sent_ns for timestamp in timestamps})
    assert (stage.snapshot.datagrams, stage.snapshot.messages) == (5, 5)


@linux
def test_a_batch_without_a_probe_is_sent_in_one_call(make_datagram_stage: MakeDatagramStage) -> None:
    stage = make_datagram_stage()
    sender = stage.sender()
    sender.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    stage.send(sender, payload(3001), segment=1000)
    assert stage.receive_replies(sender, 1) == [payload(3001)]


@pytest.mark.parametrize("host", LOOPBACK)
def test_the_next_timestamp_counts_probes_refused_by_the_rate_limit(
    make_datagram_stage: MakeDatagramStage, host: str
) -> None:
    stage = make_datagram_stage(Limits(rate_limit=4 * SIZE), hosts=[host])
    sender = stage.sender(host)
    for number in range(10):
        stage.send(sender, probe(number))
    stage.wait_received(10)
    refused = stage.snapshot.refused["rate_limit"]
    assert 0 < refused < 10
    answered = stage.receive_replies(sender, 10 - refused)
    assert [counts(probe(number), reply)[1] for number, reply in enumerate(answered)] == [0] * len(answered)
    stage.elapse(20)
    assert counts(probe(11), stage.ask(sender, probe(11))) == (11, refused, 0b111111111101)


@linux
def test_each_probe_of_a_refused_batch_counts(make_datagram_stage: MakeDatagramStage) -> None:
    stage = make_datagram_stage(Limits(max_bytes=SIZE - 1))
    sender, short = stage.sender(), Probes(7, SIZE - 1)
    stage.send(sender, b"".join([probe(0), probe(1), short.encode(2, NOW)]), segment=SIZE)
    (reply,) = stage.receive_replies(sender, 1)
    assert counts(short.encode(2, NOW), reply) == (3, 2, 0b111)


def test_refused_data_that_is_not_a_probe_does_not_count(make_datagram_stage: MakeDatagramStage) -> None:
    stage = make_datagram_stage(Limits(max_bytes=SIZE))
    sender = stage.sender()
    for data in (payload(SIZE + 1), b"hlo?" * SIZE):
        stage.send(sender, data)
    stage.wait_received(2)
    assert counts(probe(0), stage.ask(sender, probe(0))) == (1, 0, 1)


# Receive times.


@linux
def test_the_receive_time_is_the_kernel_s_not_that_of_the_read(cleanup: ExitStack) -> None:
    cleanup.enter_context(kernel_timestamps())
    timestamper = ProbeTimestamper()
    stage = cleanup.enter_context(Stage(poller=TimestampPoller(timestamper), handler=TimestampingHandler(timestamper)))
    assert socket_options.stamps(stage.listener)
    client = stage.connect()
    began = time.time_ns()
    client.sendall(probe(0))
    sent = time.time_ns()  # on loopback it has arrived by then
    timestamp = checked_timestamp(probe(0), stage.read(client, SIZE))
    assert began <= timestamp.received_ns <= sent <= timestamp.sent_ns <= time.time_ns()


@linux
@pytest.mark.parametrize("host", [*LOOPBACK, "0.0.0.0"])
@pytest.mark.parametrize("make_poller", MAKERS)
def test_the_receive_time_of_a_datagram_is_the_kernel_s_too(
    cleanup: ExitStack, host: str, make_poller: Callable[[], Poller]
) -> None:
    cleanup.enter_context(kernel_timestamps())
    stage = cleanup.enter_context(DatagramStage(hosts=[host], timestamper=ProbeTimestamper(), poller=make_poller()))
    sender = stage.sender(OTHER_HOST if host == "0.0.0.0" else host)
    for number in range(3):
        began = time.time_ns()
        stage.send(sender, probe(number))
        sent = time.time_ns()
        timestamp = checked_timestamp(probe(number), stage.receive_replies(sender, 1)[0])
        assert began <= timestamp.received_ns <= sent <= timestamp.sent_ns <= time.time_ns()


def test_without_a_kernel_time_the_receive_time_is_that_of_the_read(
    make_stage: MakeStage, timestamper: ProbeTimestamper
) -> None:
    stage = make_stage()
    timestamper.received_ns = 12345  # of an earlier read
    assert checked_timestamp(probe(0), stage.echo(stage.connect(), probe(0))).received_ns == NOW + 1


# No other byte is changed.

pieces = st.lists(
    st.one_of(
        st.binary(max_size=50),
        st.integers(0, 9).map(probe),
        st.integers(1, SIZE - 1).map(lambda size: probe(1)[:size]),
        st.sampled_from(
            [b"\n", b"hlo?", b"hlo?" + b"0" * 96, probe(1).replace(b"hlo?", b"hlo!"), Probes(7, 101).encode(2, 3)]
        ),
    ),
    max_size=12,
).map(b"".join)


def unchanged_elsewhere(data: bytes, reply: bytes) -> bool:
    """Whether a reply is what was sent, except for marks and timestamps where there was room for them."""
    for start in range(len(data)):
        if reply[start : start + 4] == TIMESTAMPED and data[start : start + 4] == b"hlo?":
            assert data[start + HEADER_SIZE : start + TIMESTAMP_END] == b"0" * (TIMESTAMP_END - HEADER_SIZE)
            assert start == 0 or data[start - 1 : start] == b"\n"
            reply = reply[:start] + data[start : start + 4] + reply[start + 4 :]
            reply = (
                reply[: start + HEADER_SIZE]
                + data[start + HEADER_SIZE : start + TIMESTAMP_END]
                + reply[start + TIMESTAMP_END :]
            )
    return reply == data


@given(pieces)
def test_nothing_else_of_a_stream_is_changed(data: bytes) -> None:
    buffer = bytearray(data)
    ProbeTimestamper(TickingClock()).timestamp_lines(memoryview(buffer))
    assert unchanged_elsewhere(data, bytes(buffer))


@given(pieces, st.integers(1, 300))
def test_nothing_else_of_a_read_of_datagrams_is_changed(data: bytes, segment: int) -> None:
    timestamper = ProbeTimestamper(TickingClock())
    for start in range(0, len(data), segment):
        buffer = bytearray(data[start : start + segment])
        timestamper.timestamp(memoryview(buffer))
        assert unchanged_elsewhere(data[start : start + segment], bytes(buffer))
    timestamper.record_refused(memoryview(data), segment)
    timestamper.record_refused(memoryview(data), 0)


@given(pieces, st.lists(st.integers(0, 3000), max_size=5))
def test_nothing_else_is_changed_over_a_connection(data: bytes, cuts: list[int]) -> None:
    timestamper = ProbeTimestamper(TickingClock())
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    with Stage(poller=POLLERS[-1](timestamper), handler=TimestampingHandler(timestamper)) as stage:
        client = stage.connect()
        for start, end in pairwise(edges):
            piece = data[start:end]
            assert not piece or unchanged_elsewhere(piece, stage.echo(client, piece))


# The public interface.


def addresses(folder: Path) -> list[str]:
    return ["127.0.0.1:0", "[::1]:0", "udp://127.0.0.1:0", "udp://[::1]:0", "tls://localhost:0", f"unix:{folder}/echo"]


@pytest.mark.parametrize("which", range(6), ids=["tcp", "tcp v6", "udp", "udp v6", "tls", "unix"])
def test_a_probe_gets_a_timestamp_in_every_scheme(which: int, tmp_path: Path) -> None:
    place = addresses(tmp_path)[which]
    if place.startswith("unix:") and not hasattr(socket, "AF_UNIX"):
        pytest.skip("needs Unix sockets")
    tls = ClientTLS(insecure=True) if place.startswith("tls:") else None
    with halloo.Server(place, timestamps=True) as server, dial(server.address, timeout=TIMEOUT, tls=tls) as connection:
        for number in range(3):
            began = time.time_ns()
            connection.send(PROBES.encode(number, began))
            reply = connection.receive(timeout=TIMEOUT)
            timestamp = checked_timestamp(PROBES.encode(number, began), reply)
            assert began <= timestamp.received_ns <= timestamp.sent_ns <= time.time_ns()
            assert (timestamp.arrived, timestamp.refused, timestamp.window) == (number + 1, 0, (2 << number) - 1)


def test_a_server_without_timestamps_changes_nothing() -> None:
    for place in ("127.0.0.1:0", "udp://127.0.0.1:0"):
        with halloo.Server(place) as server, dial(server.address, timeout=TIMEOUT) as connection:
            connection.send(probe(0))
            assert connection.receive(timeout=TIMEOUT) == probe(0)


def test_the_schemes_of_one_server_count_together() -> None:
    with halloo.Server("127.0.0.1:0", "udp://127.0.0.1:0", timestamps=True) as server:
        for number, address in enumerate(server.addresses):
            with dial(address, timeout=TIMEOUT) as connection:
                connection.send(probe(number))
                assert counts(probe(number), connection.receive(timeout=TIMEOUT))[0] == number + 1
