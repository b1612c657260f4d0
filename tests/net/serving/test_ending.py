"""How connections end: at the client's wish, at ours, or at a deadline."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo.core.limits import Limits
from halloo.net.serving.ending import GOODBYE
from halloo.net.serving.table import FLOWING, LEAVING
from tests.stepping import MAKERS, Notes, Stage, ended, pattern, reset

SMALL = 16 * 1024  # bytes of a kernel's buffer, so that a debt is soon there


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest) -> Iterator[Callable[..., Stage]]:
    with ExitStack() as cleanup:
        yield lambda *limits, **options: cleanup.enter_context(Stage(*limits, poller=request.param(), **options))


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


@pytest.fixture
def notes() -> Notes:
    return Notes()


def only(stage: Stage) -> int:
    """Give the one connection's number."""
    [fd] = stage.loop.table.within(FLOWING)
    return fd


# At the client's wish.


def test_at_the_client_s_end_it_gets_ours_and_nothing_is_counted(stage: Stage) -> None:
    client = stage.arrive()
    client.shutdown(socket.SHUT_WR)
    stage.until(lambda: stage.seen.open == 0)
    assert ended(client)
    assert (stage.seen.ended, stage.seen.errors) == ({}, {})


def test_the_log_is_told_no_reason_for_the_client_s_own_wish(make_stage: Callable[..., Stage], notes: Notes) -> None:
    stage = make_stage(witness=notes)
    stage.arrive().shutdown(socket.SHUT_WR)
    stage.until(lambda: stage.seen.open == 0)
    assert notes.told[-1] == ("closed", "")


def test_the_log_is_told_the_error_of_a_connection_that_broke(make_stage: Callable[..., Stage], notes: Notes) -> None:
    stage = make_stage(witness=notes)
    reset(stage.arrive())
    stage.until(lambda: stage.seen.open == 0)
    assert notes.told[-1] == ("closed", "ECONNRESET")


# At ours.


def test_when_we_end_the_client_gets_our_end_and_it_is_counted(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.endings.end(only(stage), "idle_timeout")
    assert ended(client)
    assert stage.seen.ended == {"idle_timeout": 1}


def test_what_still_comes_after_our_end_is_thrown_away_and_not_answered(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.endings.end(only(stage), "idle_timeout")
    client.send(pattern(100_000))
    stage.settle()
    assert ended(client)  # with a reset, this would have raised
    assert stage.seen.received_bytes == 0


def test_what_was_answered_before_our_end_is_not_destroyed_by_what_comes_after(stage: Stage) -> None:
    client = stage.arrive()
    client.send(b"hello")
    stage.until(lambda: stage.seen.sent_bytes == 5)
    stage.loop.endings.end(only(stage), "idle_timeout")
    client.send(b"more")
    stage.settle()
    assert stage.read(client) == b"hello"


def test_it_is_over_at_the_client_s_own_end(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.endings.end(only(stage), "idle_timeout")
    client.close()
    stage.until(lambda: stage.seen.open == 0)


def test_it_is_over_after_a_while_without_the_client_s_end(stage: Stage) -> None:
    stage.arrive()
    stage.loop.endings.end(only(stage), "idle_timeout")
    stage.pass_slowly(GOODBYE - 0.25)
    assert stage.seen.open == 1
    stage.pass_slowly(0.25)
    assert stage.seen.open == 0
    assert stage.seen.ended == {"idle_timeout": 1}  # once


def test_it_is_over_after_a_while_though_the_client_goes_on_sending(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.endings.end(only(stage), "idle_timeout")
    for _ in range(int(GOODBYE / 0.25)):
        client.send(b"and another thing")
        stage.pass_slowly(0.25)
    assert stage.seen.open == 0


def test_it_is_over_at_the_client_s_reset(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.endings.end(only(stage), "idle_timeout")
    reset(client)
    stage.until(lambda: stage.seen.open == 0)
    assert stage.seen.errors == {}


def test_a_client_that_has_reset_already_can_be_ended(stage: Stage) -> None:
    client = stage.arrive()
    fd = only(stage)
    reset(client)
    stage.loop.endings.end(fd, "idle_timeout")
    stage.until(lambda: stage.seen.open == 0)


def test_a_debt_of_a_connection_that_we_end_is_lost_and_counted(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(buffer=SMALL)
    stage.flood(stage.arrive(buffer=SMALL))
    [(fd, debt)] = stage.loop.table.debts.items()
    stage.loop.endings.end(fd, "max_lifetime")
    assert (stage.seen.lost_bytes, stage.seen.owed_bytes) == (len(debt), 0)
    assert stage.loop.table.debts == {}


def test_who_leaves_keeps_no_turn_busy(stage: Stage) -> None:
    stage.arrive()
    stage.loop.endings.end(only(stage), "idle_timeout")
    stage.settle()
    assert stage.loop.poller.poll(0) == []


def test_the_log_is_told_our_reason_whatever_the_client_then_does(
    make_stage: Callable[..., Stage], notes: Notes
) -> None:
    stage = make_stage(witness=notes)
    client = stage.arrive()
    stage.loop.endings.end(only(stage), "max_lifetime")
    client.close()
    stage.until(lambda: stage.seen.open == 0)
    assert notes.told[-1] == ("closed", "max_lifetime")


# Deadlines.


def test_who_meets_no_deadline_is_closed_and_counted(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.endings.expect(only(stage), 5, "handshake_timeout")
    stage.elapse(4)
    assert stage.seen.open == 1
    stage.elapse(1)
    assert ended(client)
    assert stage.seen.ended == {"handshake_timeout": 1}


def test_a_deadline_that_is_lifted_closes_nothing(stage: Stage) -> None:
    stage.arrive()
    fd = only(stage)
    stage.loop.endings.expect(fd, 5, "handshake_timeout")
    stage.loop.endings.lift(fd)
    stage.elapse(6)
    assert stage.seen.open == 1


def test_a_deadline_ends_with_its_connection(stage: Stage) -> None:
    client = stage.arrive()
    stage.loop.endings.expect(only(stage), 5, "handshake_timeout")
    client.close()
    stage.until(lambda: stage.seen.open == 0)
    newcomer = stage.arrive()
    stage.elapse(6)
    assert stage.echo(newcomer, b"hello") == b"hello"


def test_each_has_a_deadline_of_its_own(stage: Stage) -> None:
    stage.arrive()
    stage.loop.endings.expect(only(stage), 5, "handshake_timeout")
    first = only(stage)
    stage.arrive()
    [second] = set(stage.loop.table.within(FLOWING)) - {first}
    stage.elapse(3)
    stage.loop.endings.expect(second, 5, "handshake_timeout")
    stage.elapse(2)
    assert stage.loop.table.within(FLOWING) == [second]
    stage.elapse(3)
    assert stage.seen.ended == {"handshake_timeout": 2}


def test_a_sooner_deadline_is_kept_though_a_later_one_was_there_before(stage: Stage) -> None:
    stage.arrive()
    stage.loop.endings.expect(only(stage), 60, "handshake_timeout")
    first = only(stage)
    stage.arrive()
    [second] = set(stage.loop.table.within(FLOWING)) - {first}
    stage.loop.endings.expect(second, 5, "handshake_timeout")
    stage.elapse(5)
    assert stage.loop.table.within(FLOWING) == [first]


def test_many_deadlines_that_are_lifted_leave_few_timers(stage: Stage) -> None:
    stage.arrive()
    fd = only(stage)
    for _ in range(1000):
        stage.loop.endings.expect(fd, 5, "handshake_timeout")
        stage.loop.endings.lift(fd)
    assert len(list(stage.loop.timers.due(stage.clock.now + 5))) < 10


def test_a_limit_that_has_ended_somebody_does_not_end_him_again(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Limits(idle_timeout=0.5))
    stage.arrive()
    stage.pass_slowly(1.2)
    assert stage.loop.table.within(LEAVING)
    assert stage.seen.ended == {"idle_timeout": 1}
