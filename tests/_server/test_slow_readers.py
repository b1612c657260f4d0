"""Clients that do not read, with a clock that the test moves."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo._core.limits import Limits
from halloo._server.poller import Poller
from tests.peers import payload, reset
from tests.stepping import MAKERS, Stage

SMALL_BUFFER = 16 * 1024  # bytes of the kernel's buffer, so that a write is soon pending
LARGEST = 8192  # bytes of a read, and so of a pending write
MakeStage = Callable[[Limits], Stage]


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest) -> Iterator[MakeStage]:
    """Make a stage with limits, on either poller."""
    make_poller: Callable[[], Poller] = request.param
    with ExitStack() as cleanup:
        yield lambda limits: cleanup.enter_context(Stage(limits, poller=make_poller(), buffer=SMALL_BUFFER))


# Stalling.


def test_a_client_that_does_not_read_is_closed_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(stall_timeout=4))
    client = stage.connect(buffer=SMALL_BUFFER)
    stage.flood(client)
    stage.elapse_in_steps(3.75)
    assert stage.snapshot.open == 1
    stage.elapse_in_steps(1.5)
    assert stage.snapshot.open == 0
    assert stage.snapshot.ended == {"stall_timeout": 1}
    assert stage.snapshot.pending_write_bytes == 0


def test_a_client_that_reads_a_little_now_and_then_is_not_stalled(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(stall_timeout=4))
    client = stage.connect(buffer=SMALL_BUFFER)
    stage.flood(client)
    for _ in range(5):
        stage.elapse_in_steps(3)
        stage.read(client, 128 * 1024)
    assert stage.snapshot.ended == {}


def test_a_silent_client_without_a_pending_write_is_not_stalled(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(stall_timeout=4))
    client = stage.connect()
    stage.elapse_in_steps(100, step=1)
    assert stage.echo(client, b"hello") == b"hello"


def test_a_snapshot_has_the_time_without_progress_of_the_oldest_pending_write(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(stall_timeout=60))
    client = stage.connect(buffer=SMALL_BUFFER)
    stage.flood(client)
    stage.elapse_in_steps(7)
    assert stage.snapshot.oldest_pending_write_seconds == pytest.approx(7, abs=1)
    reset(client)
    stage.until(lambda: stage.snapshot.open == 0)
    stage.elapse_in_steps(2)
    assert stage.snapshot.oldest_pending_write_seconds == 0


def test_the_oldest_pending_write_is_reported_without_a_stall_timeout(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(stall_timeout=None))
    stage.flood(stage.connect(buffer=SMALL_BUFFER))
    stage.elapse_in_steps(7)
    assert stage.snapshot.oldest_pending_write_seconds == pytest.approx(7, abs=1)


# The pending writes of all clients.


def test_beyond_max_memory_the_largest_pending_write_is_closed_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_memory=30_000, stall_timeout=None, buffer=LARGEST))
    pending, left = stage.loop.connections.pending, list[int]()
    stage.loop.connections.on_closed.append(lambda _fd, _reason: left.append(stage.snapshot.pending_write_bytes))
    while not left:
        before = {fd: len(data) for fd, data in pending.items()}
        stage.flood(stage.connect(buffer=SMALL_BUFFER))
    assert stage.snapshot.ended == {"max_memory": 1}
    closed = [size for fd, size in before.items() if fd not in pending] or [LARGEST]  # or the last to connect
    assert max(before[fd] for fd in pending if fd in before) <= closed[0]
    assert 30_000 - closed[0] < left[0] <= 30_000


def test_a_pending_write_beyond_max_memory_closes_its_own_connection(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_memory=1000))
    client, other = stage.connect(buffer=SMALL_BUFFER), stage.connect()
    while not stage.snapshot.ended:
        try:
            client.send(payload(1 << 20))
        except BlockingIOError:
            stage.loop.turn(1)
    assert stage.snapshot.ended == {"max_memory": 1}
    assert (stage.snapshot.open, stage.snapshot.pending_write_bytes) == (1, 0)
    assert stage.echo(other, b"hello") == b"hello"
