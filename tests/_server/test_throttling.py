"""Limits of what each connection receives, with a clock that the test moves."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo._core.limits import BURST, Limits
from halloo._server.exchange import Handler
from halloo._server.handlers import RespondHandler
from halloo._server.poller import Poller, Selector
from halloo._server.states import THROTTLED, WRITE_PENDING
from tests.peers import payload, reset
from tests.stepping import MAKERS, RecordingObserver, Stage, ended

SMALL_BUFFER = 16 * 1024  # bytes of the kernel's buffer, so that a write is soon pending


class MakeStage:
    """Makes a stage with limits, on either poller."""

    def __init__(self, make_poller: Callable[[], Poller], cleanup: ExitStack) -> None:
        self._make_poller = make_poller
        self._cleanup = cleanup

    def __call__(
        self, limits: Limits, *, handler: Handler | None = None, observer: RecordingObserver | None = None
    ) -> Stage:
        stage = Stage(limits, poller=self._make_poller(), handler=handler, observer=observer, buffer=SMALL_BUFFER)
        return self._cleanup.enter_context(stage)


class ShortWriter(Selector):
    """Writes half of what it is given, once: at the write of this number."""

    short_write = 0

    def write(self, fd: int, data: memoryview | bytes) -> int:
        self.short_write -= 1
        return super().write(fd, data if self.short_write else data[: len(data) // 2])


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest, cleanup: ExitStack) -> MakeStage:
    return MakeStage(request.param, cleanup)


# Idle.


def test_an_idle_client_is_disconnected_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    client = stage.connect()
    stage.elapse_in_steps(1.75)
    assert stage.snapshot.open == 1
    stage.elapse_in_steps(1)
    assert ended(client)
    assert stage.snapshot.ended == {"idle_timeout": 1}


def test_a_client_that_sends_in_time_stays_connected(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    client = stage.connect()
    for _ in range(5):
        stage.elapse_in_steps(1.5)
        assert stage.echo(client, b"hello") == b"hello"
    assert stage.snapshot.ended == {}


def test_a_client_that_takes_its_pending_write_is_not_idle(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2, stall_timeout=None))
    client = stage.connect(buffer=SMALL_BUFFER)
    sent = stage.flood(client)
    read = 0
    while stage.loop.reactor.in_state(WRITE_PENDING) and read < sent:
        stage.elapse_in_steps(1)
        read += len(stage.read(client, 64 * 1024))
    assert stage.snapshot.ended == {}


def test_an_idle_client_is_disconnected_while_others_are_active(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    silent, talking = stage.connect(), stage.connect()
    for _ in range(4):
        stage.elapse_in_steps(1)
        stage.echo(talking)
    assert ended(silent)
    assert stage.echo(talking, b"hello") == b"hello"


def test_the_idle_time_of_a_new_client_begins_when_it_connects(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    stage.connect()
    stage.elapse_in_steps(1.5)
    newcomer = stage.connect()
    stage.elapse_in_steps(1)
    assert stage.snapshot.ended == {"idle_timeout": 1}
    assert stage.echo(newcomer, b"hello") == b"hello"


def test_the_first_client_after_a_long_pause_is_not_idle(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    stage.clock.now += 1000
    client = stage.connect()
    stage.elapse_in_steps(1)
    assert stage.snapshot.ended == {}
    assert stage.echo(client, b"hello") == b"hello"


def test_the_idle_timeout_applies_to_handlers_too(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2), handler=RespondHandler(bytes.upper, "line", b""))
    client = stage.connect()
    stage.elapse_in_steps(3)
    assert ended(client)
    assert stage.snapshot.ended == {"idle_timeout": 1}


def test_without_connections_there_are_no_sweeps(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    stage.connect().close()
    stage.until(lambda: stage.snapshot.open == 0)
    stage.elapse_in_steps(1)
    assert stage.loop.reactor.timers.timeout(stage.clock.now) is None


# Lifetime.


def test_a_client_beyond_max_lifetime_is_disconnected_even_if_active(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_lifetime=3))
    client = stage.connect()
    for _ in range(2):
        stage.elapse_in_steps(1)
        assert stage.echo(client, b"hello") == b"hello"
    stage.elapse_in_steps(2)
    assert ended(client)
    assert stage.snapshot.ended == {"max_lifetime": 1}


# Bytes.


def test_exactly_max_bytes_are_echoed(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=10))
    client = stage.connect()
    client.send(b"0123456789")
    client.shutdown(socket.SHUT_WR)
    assert stage.read(client) == b"0123456789"
    assert stage.snapshot.ended == {}


def test_one_byte_beyond_max_bytes_ends_the_connection_after_max_bytes(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=10))
    client = stage.connect()
    client.send(b"0123456789x")
    assert stage.read(client) == b"0123456789"
    assert stage.snapshot.ended == {"max_bytes": 1}


def test_more_than_max_bytes_in_pieces_ends_the_connection_after_max_bytes(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=10))
    client = stage.connect()
    assert stage.echo(client, b"01234") == b"01234"
    assert stage.echo(client, b"56789") == b"56789"
    client.send(b"x")
    assert stage.read(client) == b""
    assert stage.snapshot.ended == {"max_bytes": 1}


def test_far_more_than_max_bytes_is_counted_once(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=10))
    client = stage.connect()
    client.send(b"0123456789" * 10)
    client.shutdown(socket.SHUT_WR)
    assert stage.read(client) == b"0123456789"
    assert stage.snapshot.ended == {"max_bytes": 1}


@pytest.mark.parametrize("most", [300_000, 262_144, 1_000_000])
def test_max_bytes_larger_than_one_buffer_is_exact_too(make_stage: MakeStage, most: int) -> None:
    stage = make_stage(Limits(max_bytes=most))
    client = stage.connect()
    data, got, sent = payload(most + 5), bytearray(), 0
    while len(got) < most:
        if sent < len(data):
            sent += client.send(data[sent : sent + 4000])
        got += stage.read(client, min(sent, most) - len(got))
    assert bytes(got) == data[:most]
    client.send(data[sent:] or b"x")
    assert stage.read(client) == b""
    assert stage.snapshot.ended == {"max_bytes": 1}


def test_the_byte_count_restarts_with_each_connection(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=10))
    for _ in range(3):
        client = stage.connect()
        assert stage.echo(client, b"0123456789") == b"0123456789"
        client.close()
        stage.until(lambda: stage.snapshot.open == 0)
    assert stage.snapshot.ended == {}


# The rate.


def test_a_client_over_its_rate_limit_is_paused_until_tokens_are_available(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    client = stage.connect()
    client.send(payload(5000))
    stage.settle()
    first = stage.snapshot.received_bytes
    assert first <= 2 * 1000 * BURST
    assert stage.loop.reactor.in_state(THROTTLED)
    stage.elapse_in_steps(1)
    assert stage.snapshot.received_bytes - first <= 1000 * (1 + BURST)


def test_over_time_the_rate_limit_is_kept_and_reached(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    client = stage.connect()
    client.send(payload(12_000))
    stage.elapse_in_steps(10, step=0.05)
    assert 9_000 <= stage.snapshot.received_bytes <= 10_000 + 2 * 1000 * BURST


def test_a_client_within_its_rate_limit_is_never_paused(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    client = stage.connect()
    for _ in range(20):
        assert stage.echo(client, payload(100)) == payload(100)
        assert not stage.loop.reactor.in_state(THROTTLED)
        stage.elapse_in_steps(0.1, step=0.1)


def test_everything_is_echoed_in_the_end(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    client = stage.connect()
    client.send(payload(5000))
    client.shutdown(socket.SHUT_WR)
    stage.elapse_in_steps(6)
    assert stage.read(client) == payload(5000)


def test_a_throttled_client_keeps_no_turn_busy_and_delays_no_other(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    fast, other = stage.connect(), stage.connect()
    fast.send(payload(5000))
    stage.settle()
    assert stage.loop.reactor.poller.poll(0) == []
    assert stage.echo(other, b"hello") == b"hello"


def test_a_throttled_client_that_resets_is_removed(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    if isinstance(stage.loop.reactor.poller, Selector):
        pytest.skip("selectors say nothing of who rests: its number is its own until the pause is over")
    client = stage.connect()
    client.send(payload(5000))
    stage.settle()
    reset(client)
    stage.elapse_in_steps(2)
    assert stage.snapshot.open == 0


def test_the_end_of_a_pause_does_not_resume_a_reused_descriptor(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    if isinstance(stage.loop.reactor.poller, Selector):
        pytest.skip("selectors say nothing of who rests: its number is its own until the pause is over")
    client = stage.connect()
    client.send(payload(5000))
    stage.settle()
    reset(client)
    stage.until(lambda: stage.snapshot.open == 0)
    newcomer = stage.connect()
    stage.elapse_in_steps(10)
    assert stage.echo(newcomer, b"hello") == b"hello"


def test_a_pause_is_not_cut_short_by_a_write_that_was_pending_before_it(cleanup: ExitStack) -> None:
    poller = ShortWriter()
    stage = cleanup.enter_context(Stage(Limits(rate_limit=1000), poller=poller))
    client = stage.connect()
    poller.short_write = 2
    client.send(payload(5000))
    stage.settle()
    received = stage.snapshot.received_bytes
    assert (received, stage.snapshot.sent_bytes) == (3 * 1000 * BURST, received)  # one read is after the pending write
    stage.elapse_in_steps(2 * BURST - 0.01)
    assert stage.snapshot.received_bytes == received
    stage.elapse_in_steps(0.01)
    assert stage.snapshot.received_bytes > received


@pytest.mark.parametrize("rate", [1, 3])
def test_a_very_low_rate_lets_a_byte_through_now_and_then(make_stage: MakeStage, rate: int) -> None:
    stage = make_stage(Limits(rate_limit=rate))
    client = stage.connect()
    client.send(b"hello world")
    stage.elapse_in_steps(11, step=0.1)
    assert 10 * rate - 2 <= stage.snapshot.received_bytes or stage.snapshot.received_bytes == 11


# What is reported.


def test_a_disconnected_client_is_reported_with_the_reason(make_stage: MakeStage) -> None:
    notes = RecordingObserver()
    stage = make_stage(Limits(idle_timeout=2), observer=notes)
    client = stage.connect()
    stage.elapse_in_steps(3)
    client.close()
    stage.until(lambda: stage.snapshot.open == 0)
    assert notes.events[-1] == ("closed", "idle_timeout")
