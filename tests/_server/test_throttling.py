"""Limits on each connection, on a clock that the test moves."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo._core.limits import BURST, Limits
from halloo._server.connections import THROTTLED, WRITE_PENDING
from halloo._server.handlers import Handler, RespondHandler
from halloo._server.poller import Poller, Selector
from tests.stepping import MAKERS, Notes, Stage, ended, pattern, reset

SMALL = 16 * 1024  # bytes of a kernel's buffer, so that a debt is soon there


class MakeStage:
    """Makes a stage with limits, on either poller."""

    def __init__(self, make_poller: Callable[[], Poller], cleanup: ExitStack) -> None:
        self._make_poller = make_poller
        self._cleanup = cleanup

    def __call__(self, limits: Limits, *, handler: Handler | None = None, observer: Notes | None = None) -> Stage:
        stage = Stage(limits, poller=self._make_poller(), handler=handler, observer=observer, buffer=SMALL)
        return self._cleanup.enter_context(stage)


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest) -> Iterator[MakeStage]:
    with ExitStack() as cleanup:
        yield MakeStage(request.param, cleanup)


# Idle.


def test_who_is_silent_for_too_long_is_ended_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    client = stage.arrive()
    stage.pass_slowly(1.75)
    assert stage.seen.open == 1
    stage.pass_slowly(1)
    assert ended(client)
    assert stage.seen.ended == {"idle_timeout": 1}


def test_who_talks_in_time_stays(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    client = stage.arrive()
    for _ in range(5):
        stage.pass_slowly(1.5)
        assert stage.echo(client, b"hello") == b"hello"
    assert stage.seen.ended == {}


def test_who_still_takes_what_it_is_owed_is_not_idle(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2, stall_timeout=None))
    client = stage.arrive(buffer=SMALL)
    sent = stage.flood(client)
    read = 0
    while stage.loop.table.in_state(WRITE_PENDING) and read < sent:
        stage.pass_slowly(1)
        read += len(stage.read(client, 64 * 1024))
    assert stage.seen.ended == {}


def test_who_is_silent_is_ended_though_others_talk(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    silent, talking = stage.arrive(), stage.arrive()
    for _ in range(4):
        stage.pass_slowly(1)
        stage.echo(talking)
    assert ended(silent)
    assert stage.echo(talking, b"hello") == b"hello"


def test_the_idle_time_of_a_newcomer_begins_with_its_coming(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    stage.arrive()
    stage.pass_slowly(1.5)
    newcomer = stage.arrive()
    stage.pass_slowly(1)
    assert stage.seen.ended == {"idle_timeout": 1}
    assert stage.echo(newcomer, b"hello") == b"hello"


def test_the_first_client_after_a_long_quiet_is_not_idle(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    stage.clock.now += 1000
    client = stage.arrive()
    stage.pass_slowly(1)
    assert stage.seen.ended == {}
    assert stage.echo(client, b"hello") == b"hello"


def test_who_is_answered_by_a_function_may_be_idle_too(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2), handler=RespondHandler(bytes.upper, "lines", b""))
    client = stage.arrive()
    stage.pass_slowly(3)
    assert ended(client)
    assert stage.seen.ended == {"idle_timeout": 1}


def test_when_everybody_has_left_nothing_is_looked_at_any_more(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    stage.arrive().close()
    stage.until(lambda: stage.seen.open == 0)
    stage.pass_slowly(1)
    assert stage.loop.timers.patience(stage.clock.now) is None


# Lifetime.


def test_who_was_here_for_too_long_is_ended_however_busy(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_lifetime=3))
    client = stage.arrive()
    for _ in range(2):
        stage.pass_slowly(1)
        assert stage.echo(client, b"hello") == b"hello"
    stage.pass_slowly(2)
    assert ended(client)
    assert stage.seen.ended == {"max_lifetime": 1}


# Stalling.


def test_who_does_not_read_is_closed_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(stall_timeout=4))
    client = stage.arrive(buffer=SMALL)
    stage.flood(client)
    stage.pass_slowly(3.75)
    assert stage.seen.open == 1
    stage.pass_slowly(1.5)
    assert stage.seen.open == 0
    assert stage.seen.ended == {"stall_timeout": 1}
    assert stage.seen.pending_write_bytes == 0


def test_who_reads_a_little_now_and_then_is_not_stalled(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(stall_timeout=4))
    client = stage.arrive(buffer=SMALL)
    stage.flood(client)
    for _ in range(5):
        stage.pass_slowly(3)
        stage.read(client, 128 * 1024)
    assert stage.seen.ended == {}


def test_who_is_owed_nothing_may_be_silent_for_ever(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(stall_timeout=4))
    client = stage.arrive()
    stage.pass_slowly(100, step=1)
    assert stage.echo(client, b"hello") == b"hello"


def test_a_snapshot_says_how_long_the_slowest_debt_has_not_shrunk(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(stall_timeout=60))
    client = stage.arrive(buffer=SMALL)
    stage.flood(client)
    stage.pass_slowly(7)
    assert stage.seen.oldest_pending_write_seconds == pytest.approx(7, abs=1)
    reset(client)
    stage.until(lambda: stage.seen.open == 0)
    stage.pass_slowly(2)
    assert stage.seen.oldest_pending_write_seconds == 0


def test_the_slowest_debt_is_told_where_stalling_is_not_limited(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(stall_timeout=None))
    stage.flood(stage.arrive(buffer=SMALL))
    stage.pass_slowly(7)
    assert stage.seen.oldest_pending_write_seconds == pytest.approx(7, abs=1)


# Bytes.


def test_who_sends_exactly_as_much_as_is_allowed_gets_it_all_back(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=10))
    client = stage.arrive()
    client.send(b"0123456789")
    client.shutdown(socket.SHUT_WR)
    assert stage.read(client) == b"0123456789"
    assert stage.seen.ended == {}


def test_who_sends_one_byte_more_gets_what_is_allowed_and_the_end(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=10))
    client = stage.arrive()
    client.send(b"0123456789x")
    assert stage.read(client) == b"0123456789"
    assert stage.seen.ended == {"max_bytes": 1}


def test_who_sends_more_in_pieces_gets_what_is_allowed_and_the_end(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=10))
    client = stage.arrive()
    assert stage.echo(client, b"01234") == b"01234"
    assert stage.echo(client, b"56789") == b"56789"
    client.send(b"x")
    assert stage.read(client) == b""
    assert stage.seen.ended == {"max_bytes": 1}


def test_who_sends_far_more_and_its_end_is_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=10))
    client = stage.arrive()
    client.send(b"0123456789" * 10)
    client.shutdown(socket.SHUT_WR)
    assert stage.read(client) == b"0123456789"
    assert stage.seen.ended == {"max_bytes": 1}


@pytest.mark.parametrize("most", [300_000, 262_144, 1_000_000])
def test_a_limit_beyond_one_buffer_is_exact_too(make_stage: MakeStage, most: int) -> None:
    stage = make_stage(Limits(max_bytes=most))
    client = stage.arrive()
    data, got, sent = pattern(most + 5), bytearray(), 0
    while len(got) < most:
        if sent < len(data):
            sent += client.send(data[sent : sent + 4000])
        got += stage.read(client, min(sent, most) - len(got))
    assert bytes(got) == data[:most]
    client.send(data[sent:] or b"x")
    assert stage.read(client) == b""
    assert stage.seen.ended == {"max_bytes": 1}


def test_what_one_client_sent_is_not_held_against_the_next(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=10))
    for _ in range(3):
        client = stage.arrive()
        assert stage.echo(client, b"0123456789") == b"0123456789"
        client.close()
        stage.until(lambda: stage.seen.open == 0)
    assert stage.seen.ended == {}


# The rate.


def test_who_is_too_fast_rests_until_it_is_due(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    client = stage.arrive()
    client.send(pattern(5000))
    stage.settle()
    first = stage.seen.received_bytes
    assert first <= 2 * 1000 * BURST
    assert stage.loop.table.in_state(THROTTLED)
    stage.pass_slowly(1)
    assert stage.seen.received_bytes - first <= 1000 * (1 + BURST)


def test_over_time_the_rate_is_kept_and_reached(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    client = stage.arrive()
    client.send(pattern(12_000))
    stage.pass_slowly(10, step=0.05)
    assert 9_000 <= stage.seen.received_bytes <= 10_000 + 2 * 1000 * BURST


def test_who_is_slow_enough_never_rests(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    client = stage.arrive()
    for _ in range(20):
        assert stage.echo(client, pattern(100)) == pattern(100)
        assert not stage.loop.table.in_state(THROTTLED)
        stage.pass_slowly(0.1, step=0.1)


def test_everything_comes_back_in_the_end(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    client = stage.arrive()
    client.send(pattern(5000))
    client.shutdown(socket.SHUT_WR)
    stage.pass_slowly(6)
    assert stage.read(client) == pattern(5000)


def test_who_rests_keeps_no_turn_busy_and_nobody_else_waiting(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    fast, other = stage.arrive(), stage.arrive()
    fast.send(pattern(5000))
    stage.settle()
    assert stage.loop.poller.poll(0) == []
    assert stage.echo(other, b"hello") == b"hello"


def test_who_resets_while_it_rests_is_forgotten(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    if isinstance(stage.loop.poller, Selector):
        pytest.skip("selectors say nothing of who rests: its number is its own until the pause is over")
    client = stage.arrive()
    client.send(pattern(5000))
    stage.settle()
    reset(client)
    stage.pass_slowly(2)
    assert stage.seen.open == 0


def test_a_pause_that_is_over_does_not_wake_who_has_the_number_now(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    if isinstance(stage.loop.poller, Selector):
        pytest.skip("selectors say nothing of who rests: its number is its own until the pause is over")
    client = stage.arrive()
    client.send(pattern(5000))
    stage.settle()
    reset(client)
    stage.until(lambda: stage.seen.open == 0)
    newcomer = stage.arrive()
    stage.pass_slowly(10)
    assert stage.echo(newcomer, b"hello") == b"hello"


@pytest.mark.parametrize("rate", [1, 3])
def test_a_very_low_rate_lets_a_byte_through_now_and_then(make_stage: MakeStage, rate: int) -> None:
    stage = make_stage(Limits(rate_limit=rate))
    client = stage.arrive()
    client.send(b"hello world")
    stage.pass_slowly(11, step=0.1)
    assert 10 * rate - 2 <= stage.seen.received_bytes or stage.seen.received_bytes == 11


# All clients' debts together.


def test_when_too_much_is_owed_the_largest_debtor_is_closed_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_memory=30_000, stall_timeout=None))
    stage.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * SMALL)
    stage.flood(stage.arrive(buffer=SMALL))
    [(largest, debt)] = stage.loop.table.pending_writes.items()
    stage.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    for _ in range(30_000 // 1000):
        stage.flood(stage.arrive(buffer=SMALL))
        if stage.seen.ended:
            break
        assert max(map(len, stage.loop.table.pending_writes.values())) == len(debt)
    assert largest not in stage.loop.table.pending_writes
    assert stage.seen.ended == {"max_memory": 1}
    assert 30_000 - len(debt) <= stage.seen.pending_write_bytes <= 30_000


def test_a_debt_larger_than_all_may_owe_ends_its_own_connection(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_memory=1000))
    client, other = stage.arrive(buffer=SMALL), stage.arrive()
    while not stage.seen.ended:
        try:
            client.send(pattern(1 << 20))
        except BlockingIOError:
            stage.loop.turn(1)
    assert stage.seen.ended == {"max_memory": 1}
    assert (stage.seen.open, stage.seen.pending_write_bytes) == (1, 0)
    assert stage.echo(other, b"hello") == b"hello"


# What is told.


def test_the_log_is_told_why_a_connection_was_ended(make_stage: MakeStage) -> None:
    notes = Notes()
    stage = make_stage(Limits(idle_timeout=2), observer=notes)
    client = stage.arrive()
    stage.pass_slowly(3)
    client.close()
    stage.until(lambda: stage.seen.open == 0)
    assert notes.told[-1] == ("closed", "idle_timeout")
