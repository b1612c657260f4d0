"""How connections close: by the client, by the server, or at a deadline."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo._core.limits import Limits
from halloo._server.closer import LINGER_TIMEOUT
from halloo._server.states import ECHOING, LINGERING
from tests.peers import payload, reset
from tests.stepping import MAKERS, RecordingObserver, Stage, ended

SMALL_BUFFER = 16 * 1024  # bytes of the kernel's buffer, so that a write is soon pending


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest) -> Iterator[Callable[..., Stage]]:
    with ExitStack() as cleanup:
        yield lambda *limits, **options: cleanup.enter_context(Stage(*limits, poller=request.param(), **options))


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


@pytest.fixture
def recorder() -> RecordingObserver:
    return RecordingObserver()


def only_connection(stage: Stage) -> int:
    """Return the descriptor of the one connection."""
    [fd] = stage.loop.reactor.in_state(ECHOING)
    return fd


# Closed by the client.


def test_after_the_client_s_fin_it_gets_ours_and_nothing_is_counted(stage: Stage) -> None:
    client = stage.connect()
    client.shutdown(socket.SHUT_WR)
    stage.until(lambda: stage.snapshot.open == 0)
    assert ended(client)
    assert (stage.snapshot.ended, stage.snapshot.errors) == ({}, {})


def test_a_close_by_the_client_is_reported_without_a_reason(
    make_stage: Callable[..., Stage], recorder: RecordingObserver
) -> None:
    stage = make_stage(observer=recorder)
    stage.connect().shutdown(socket.SHUT_WR)
    stage.until(lambda: stage.snapshot.open == 0)
    assert recorder.events[-1] == ("closed", "")


def test_a_failed_connection_is_reported_with_its_error(
    make_stage: Callable[..., Stage], recorder: RecordingObserver
) -> None:
    stage = make_stage(observer=recorder)
    reset(stage.connect())
    stage.until(lambda: stage.snapshot.open == 0)
    assert recorder.events[-1] == ("closed", "ECONNRESET")


def test_a_close_at_the_end_of_the_server_is_not_reported_as_the_client_s(
    make_stage: Callable[..., Stage], recorder: RecordingObserver
) -> None:
    stage = make_stage(observer=recorder)
    stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "max_lifetime")
    stage.connect()
    stage.loop.shutdown()
    assert {reason for event, reason in recorder.events if event == "closed"} == {"cut_off", "max_lifetime"}


# Closed by the server.


def test_when_the_server_closes_the_client_gets_fin_and_it_is_counted(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    assert ended(client)
    assert stage.snapshot.ended == {"idle_timeout": 1}


def test_input_after_our_fin_is_discarded(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    client.send(payload(100_000))
    stage.settle()
    assert ended(client)  # a reset would raise
    assert stage.snapshot.received_bytes == 0


def test_input_after_our_fin_does_not_destroy_earlier_answers(stage: Stage) -> None:
    client = stage.connect()
    client.send(b"hello")
    stage.until(lambda: stage.snapshot.sent_bytes == 5)
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    client.send(b"more")
    stage.settle()
    assert stage.read(client) == b"hello"


def test_lingering_ends_at_the_client_s_fin(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    client.close()
    stage.until(lambda: stage.snapshot.open == 0)


def test_lingering_ends_after_a_timeout(stage: Stage) -> None:
    stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    stage.elapse_in_steps(LINGER_TIMEOUT - 0.25)
    assert stage.snapshot.open == 1
    stage.elapse_in_steps(0.25)
    assert stage.snapshot.open == 0
    assert stage.snapshot.ended == {"idle_timeout": 1}  # once


def test_lingering_ends_after_a_timeout_though_the_client_keeps_sending(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    for _ in range(int(LINGER_TIMEOUT / 0.25)):
        client.send(b"and another thing")
        stage.elapse_in_steps(0.25)
    assert stage.snapshot.open == 0


def test_lingering_ends_at_the_client_s_reset(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    reset(client)
    stage.until(lambda: stage.snapshot.open == 0)
    assert stage.snapshot.errors == {}


def test_a_client_that_has_reset_already_can_be_disconnected(stage: Stage) -> None:
    client = stage.connect()
    fd = only_connection(stage)
    reset(client)
    stage.loop.closer.disconnect(fd, "idle_timeout")
    stage.until(lambda: stage.snapshot.open == 0)


def test_a_pending_write_of_a_disconnected_client_is_counted_as_lost(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(buffer=SMALL_BUFFER)
    stage.flood(stage.connect(buffer=SMALL_BUFFER))
    [(fd, pending)] = stage.loop.connections.pending.items()
    stage.loop.closer.disconnect(fd, "max_lifetime")
    assert (stage.snapshot.lost_bytes, stage.snapshot.pending_write_bytes) == (len(pending), 0)
    assert stage.loop.connections.pending == {}


def test_a_lingering_connection_keeps_no_turn_busy(stage: Stage) -> None:
    stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "idle_timeout")
    stage.settle()
    assert stage.loop.reactor.poller.poll(0) == []


def test_the_server_s_reason_is_reported_whatever_the_client_does_after(
    make_stage: Callable[..., Stage], recorder: RecordingObserver
) -> None:
    stage = make_stage(observer=recorder)
    client = stage.connect()
    stage.loop.closer.disconnect(only_connection(stage), "max_lifetime")
    client.close()
    stage.until(lambda: stage.snapshot.open == 0)
    assert recorder.events[-1] == ("closed", "max_lifetime")


# Deadlines.


def test_a_connection_that_misses_its_deadline_is_closed_and_counted(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.set_deadline(only_connection(stage), 5, "handshake_timeout")
    stage.elapse(4)
    assert stage.snapshot.open == 1
    stage.elapse(1)
    assert ended(client)
    assert stage.snapshot.ended == {"handshake_timeout": 1}


def test_a_cleared_deadline_closes_nothing(stage: Stage) -> None:
    stage.connect()
    fd = only_connection(stage)
    stage.loop.closer.set_deadline(fd, 5, "handshake_timeout")
    stage.loop.closer.clear_deadline(fd)
    stage.elapse(6)
    assert stage.snapshot.open == 1


def test_a_deadline_ends_with_its_connection(stage: Stage) -> None:
    client = stage.connect()
    stage.loop.closer.set_deadline(only_connection(stage), 5, "handshake_timeout")
    client.close()
    stage.until(lambda: stage.snapshot.open == 0)
    newcomer = stage.connect()
    stage.elapse(6)
    assert stage.echo(newcomer, b"hello") == b"hello"


def test_each_connection_has_its_own_deadline(stage: Stage) -> None:
    stage.connect()
    stage.loop.closer.set_deadline(only_connection(stage), 5, "handshake_timeout")
    first = only_connection(stage)
    stage.connect()
    [second] = set(stage.loop.reactor.in_state(ECHOING)) - {first}
    stage.elapse(3)
    stage.loop.closer.set_deadline(second, 5, "handshake_timeout")
    stage.elapse(2)
    assert stage.loop.reactor.in_state(ECHOING) == [second]
    stage.elapse(3)
    assert stage.snapshot.ended == {"handshake_timeout": 2}


def test_an_earlier_deadline_set_after_a_later_one_is_kept(stage: Stage) -> None:
    stage.connect()
    stage.loop.closer.set_deadline(only_connection(stage), 60, "handshake_timeout")
    first = only_connection(stage)
    stage.connect()
    [second] = set(stage.loop.reactor.in_state(ECHOING)) - {first}
    stage.loop.closer.set_deadline(second, 5, "handshake_timeout")
    stage.elapse(5)
    assert stage.loop.reactor.in_state(ECHOING) == [first]


def test_many_cleared_deadlines_leave_few_timers(stage: Stage) -> None:
    stage.connect()
    fd = only_connection(stage)
    for _ in range(1000):
        stage.loop.closer.set_deadline(fd, 5, "handshake_timeout")
        stage.loop.closer.clear_deadline(fd)
    assert len(stage.loop.reactor.timers.pop_due(stage.clock.now + 5)) < 10


def test_a_limit_disconnects_a_client_once(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Limits(idle_timeout=0.5))
    stage.connect()
    stage.elapse_in_steps(1.2)
    assert stage.loop.reactor.in_state(LINGERING)
    assert stage.snapshot.ended == {"idle_timeout": 1}
