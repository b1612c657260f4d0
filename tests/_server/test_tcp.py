"""The echo loop, a turn at a time: the test is the thread that runs it, so nothing happens between two lines."""

import dataclasses
import hashlib
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Protocol

import pytest

from halloo._server import poller
from halloo._server.acceptor import ACCEPTS, FULL_PAUSE, Endpoint
from halloo._server.connections import ACCEPTED, CLOSED, ECHOING, RECEIVED, SENT, WRITE_PENDING, Snapshot
from halloo._server.handlers import ConnectionObserver
from halloo._server.poller import FLOW, READ, WRITE, Poller, Selector
from halloo._server.tcp import BUFFER, SMALL, Loop
from tests.stepping import IDLE, Notes

MAKERS: list[Callable[[], Poller]] = [Selector]
if hasattr(select, "epoll"):
    MAKERS.append(poller.Epoll)

SOON = 5  # seconds that a turn may wait for what is on its way
FLOOD = 64 * BUFFER  # more than the kernel keeps for the two of them
TURNS = 10_000  # after so many turns it will not happen any more


class MakeLoop(Protocol):
    def __call__(
        self,
        *,
        poller: Poller | None = None,
        clients: int | None = None,
        observer: ConnectionObserver | None = None,
        clock: Callable[[], float] = ...,
    ) -> Loop: ...


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        sock.setblocking(False)
        yield sock


@pytest.fixture(params=MAKERS)
def make_loop(request: pytest.FixtureRequest, listener: socket.socket, cleanup: ExitStack) -> MakeLoop:
    """Make loops on the listener, with either poller, and shut them down after the test."""

    def make_loop(**options: object) -> Loop:
        loop = Loop([Endpoint(listener)], **{"poller": request.param()} | options)
        cleanup.callback(lambda: None if loop.waker.fileno() < 0 else loop.shutdown())
        return loop

    return make_loop


@pytest.fixture
def loop(make_loop: MakeLoop) -> Loop:
    return make_loop()


@pytest.fixture
def dial(listener: socket.socket, cleanup: ExitStack) -> Callable[[], socket.socket]:
    """Connect clients that never block; the kernel answers them, accepted or not."""

    def dial() -> socket.socket:
        client = cleanup.enter_context(socket.create_connection(listener.getsockname()))
        client.setblocking(False)
        return client

    return dial


Dial = Callable[[], socket.socket]


# Turns.


def test_a_turn_with_nothing_to_do_returns_at_once(loop: Loop) -> None:
    loop.turn(0)
    assert counts(loop) == Snapshot()


def test_a_client_is_accepted_in_one_turn_and_answered_in_the_next(loop: Loop, dial: Dial) -> None:
    client = dial()
    client.send(b"hello")
    loop.turn(SOON)
    assert loop.table.row[RECEIVED] == 0
    loop.turn(SOON)
    assert client.recv(9) == b"hello"


def test_one_turn_answers_everybody(loop: Loop, dial: Dial) -> None:
    clients = [dial() for _ in range(5)]
    until(loop, lambda: loop.table.open == 5)
    for client in clients:
        client.send(b"hello")
    loop.turn(SOON)
    assert [client.recv(9) for client in clients] == [b"hello"] * 5


def test_a_burst_of_connections_takes_several_turns(loop: Loop, dial: Dial) -> None:
    for _ in range(ACCEPTS + 1):
        dial()
    loop.turn(SOON)
    assert loop.table.open == ACCEPTS
    loop.turn(SOON)
    assert loop.table.open == ACCEPTS + 1


@pytest.mark.parametrize("size", [SMALL - 1, SMALL, SMALL + 1, 2 * SMALL, BUFFER - 1, BUFFER, BUFFER + 1])
def test_a_message_comes_back_whole_whatever_its_size(loop: Loop, dial: Dial, size: int) -> None:
    client = dial()
    until(loop, lambda: loop.table.open == 1)
    for _ in range(3):  # the way to read changes with the size of what came before
        client.send(b"hello")
        assert drain(loop, client, 5) == b"hello"
        rest, got = memoryview(pattern(size)), b""
        while rest:
            with suppress(BlockingIOError):
                rest = rest[client.send(rest) :]
            if len(got) < size - len(rest):
                got += drain(loop, client, size - len(rest) - len(got))
        assert got == pattern(size)


def test_a_message_longer_than_a_small_one_goes_back_in_one_piece(loop: Loop, dial: Dial) -> None:
    client = dial()
    until(loop, lambda: loop.table.open == 1)
    client.send(pattern(2 * SMALL))
    loop.turn(SOON)
    assert client.recv(BUFFER) == pattern(2 * SMALL)


def test_the_next_turn_after_a_full_one_keeps_to_its_own_bytes(loop: Loop, dial: Dial) -> None:
    long, short = dial(), dial()
    until(loop, lambda: loop.table.open == 2)
    long.send(bytes(100_000))
    short.send(b"hello")
    until(loop, lambda: loop.table.row[SENT] == 100_005)
    assert short.recv(9) == b"hello"


def test_every_event_that_is_not_of_the_flow_may_come_twice(make_loop: MakeLoop, dial: Dial) -> None:
    loop = make_loop(poller=Stuttering())
    client = dial()
    until(loop, lambda: loop.table.open == 1)
    client.send(b"hello")
    until(loop, lambda: loop.table.row[SENT] == 5)
    client.shutdown(socket.SHUT_WR)
    until(loop, lambda: loop.table.open == 0)
    assert counts(loop) == Snapshot(1, 0, 5, 5, messages=1)


def test_a_stale_event_for_a_number_given_anew_does_nothing(make_loop: MakeLoop, dial: Dial) -> None:
    poller = Replaying()
    loop = make_loop(poller=poller)
    leaver = dial()
    until(loop, lambda: loop.table.open == 1)
    [fd] = loop.table.in_state(ECHOING)
    leaver.close()
    until(loop, lambda: loop.table.open == 0)
    newcomer = dial()
    until(loop, lambda: loop.table.open == 1)
    assert loop.table.in_state(ECHOING) == [fd]
    poller.replay = [(fd, READ), (fd, WRITE)]
    loop.turn(0)
    assert counts(loop) == Snapshot(accepted=2, open=1)
    newcomer.send(b"hello")
    until(loop, lambda: loop.table.row[SENT] == 5)
    assert newcomer.recv(9) == b"hello"


def test_a_stale_event_for_a_number_that_is_free_does_nothing(make_loop: MakeLoop) -> None:
    poller = Replaying()
    loop = make_loop(poller=poller)
    poller.replay = [(50, READ), (50, WRITE)]
    loop.turn(0)
    assert counts(loop) == Snapshot()


# Debts.


def test_a_slow_reader_owes_one_buffer_at_most(loop: Loop, dial: Dial) -> None:
    client = dial()
    sent = flood(loop, client)
    [debt] = loop.table.pending_writes.values()
    assert 0 < len(debt) <= BUFFER
    assert memoryview(debt.obj).nbytes <= BUFFER  # nor does the view keep more alive than that
    assert len(loop.table.in_state(WRITE_PENDING)) == 1
    assert loop.table.row[RECEIVED] < sent  # and the client's own sending has stopped


def test_a_slow_reader_gets_everything_in_the_end(loop: Loop, dial: Dial) -> None:
    client = dial()
    sent = flood(loop, client)
    assert drain(loop, client, sent) == flooded(sent)
    assert loop.table.pending_writes == {}
    assert counts(loop) == Snapshot(1, 1, sent, sent, loop.snapshot().messages)


def test_a_slow_reader_who_has_finished_gets_everything_and_then_the_end(loop: Loop, dial: Dial) -> None:
    client = dial()
    sent = flood(loop, client)
    client.shutdown(socket.SHUT_WR)
    assert drain(loop, client, sent) == flooded(sent)
    until(loop, lambda: loop.table.open == 0)
    assert client.recv(1) == b""


def test_a_finished_client_that_is_owed_something_keeps_no_turn_busy(loop: Loop, dial: Dial) -> None:
    client = dial()
    flood(loop, client)
    client.shutdown(socket.SHUT_WR)
    assert loop.poller.poll(0) == []


def test_a_debt_ends_with_its_connection(loop: Loop, dial: Dial) -> None:
    client = dial()
    flood(loop, client)
    reset(client)
    until(loop, lambda: loop.table.open == 0)
    assert loop.table.pending_writes == {}
    assert sum(loop.snapshot().errors.values()) == 1


def test_a_slow_reader_keeps_no_other_waiting(loop: Loop, dial: Dial) -> None:
    flood(loop, dial())
    other = dial()
    until(loop, lambda: loop.table.open == 2)
    other.send(b"hello")
    loop.turn(SOON)
    assert other.recv(9) == b"hello"


# Counts.


def test_a_snapshot_counts_connections_and_bytes(loop: Loop, dial: Dial) -> None:
    clients = [dial(), dial()]
    until(loop, lambda: loop.table.open == 2)
    clients[0].send(b"hello")
    until(loop, lambda: loop.table.row[SENT] == 5)
    clients[0].recv(9)  # or closing would be a reset
    clients[0].close()
    until(loop, lambda: loop.table.open == 1)
    assert counts(loop) == Snapshot(accepted=2, open=1, received_bytes=5, sent_bytes=5, messages=1)


def test_a_reset_is_counted_by_its_name(loop: Loop, dial: Dial) -> None:
    client = dial()
    until(loop, lambda: loop.table.open == 1)
    reset(client)
    until(loop, lambda: loop.table.open == 0)
    assert loop.snapshot().errors == {"ECONNRESET": 1}


def test_who_comes_is_told_with_his_address(make_loop: MakeLoop, dial: Dial) -> None:
    notes = Notes()
    loop = make_loop(observer=notes)
    client = dial()
    until(loop, lambda: loop.table.open == 1)
    assert notes.told == [("opened", client.getsockname())]


# Ending.


def test_so_many_clients_are_served_and_then_it_ends(make_loop: MakeLoop, dial: Dial) -> None:
    loop = make_loop(clients=2)
    clients = [dial() for _ in range(3)]
    for client in clients:
        client.send(b"hello")
        client.shutdown(socket.SHUT_WR)
    loop.run()
    assert counts(loop) == Snapshot(accepted=2, open=0, received_bytes=10, sent_bytes=10, messages=2)
    assert [client.recv(9) for client in clients[:2]] == [b"hello"] * 2


def test_the_one_too_many_keeps_no_turn_busy(make_loop: MakeLoop, dial: Dial) -> None:
    loop = make_loop(clients=2)
    first, _, _ = dial(), dial(), dial()
    until(loop, lambda: loop.table.open == 2)
    assert loop.poller.poll(0) == []
    first.close()
    until(loop, lambda: loop.table.open == 1)
    loop.turn(0)
    assert loop.poller.poll(0) == []


def test_clients_are_counted_one_after_another_too(make_loop: MakeLoop, dial: Dial) -> None:
    loop = make_loop(clients=2)
    dial().close()
    until(loop, lambda: loop.table.row[CLOSED] == 1)
    assert loop.running
    dial().close()
    until(loop, lambda: loop.table.row[CLOSED] == 2)
    assert not loop.running


def test_it_can_be_stopped_from_another_thread(loop: Loop) -> None:
    stopper = threading.Thread(target=loop.stop)
    stopper.start()
    loop.run()
    stopper.join()


def test_it_can_be_stopped_before_it_runs(loop: Loop) -> None:
    loop.stop()
    loop.run()


def test_any_number_of_wakings_end_in_one_turn(loop: Loop) -> None:
    for _ in range(TURNS):
        loop.wake()
    loop.turn(SOON)
    assert loop.poller.poll(0) == []


def test_shutting_down_ends_every_connection_and_leaves_the_listener(
    loop: Loop, dial: Dial, listener: socket.socket
) -> None:
    idle, slow = dial(), dial()
    until(loop, lambda: loop.table.open == 2)
    flood(loop, slow)
    loop.shutdown()
    assert loop.snapshot().open == 0
    assert loop.table.pending_writes == {}
    idle.settimeout(SOON)
    assert idle.recv(1) == b""
    dial()
    listener.accept()[0].close()


# Without sleep.


@pytest.mark.parametrize("busy_poll", [False, True])
def test_who_spins_never_waits_and_its_timers_ring_all_the_same(listener: socket.socket, busy_poll: bool) -> None:
    poller = Patient()
    loop = Loop([Endpoint(listener)], poller=poller, busy_poll=busy_poll)
    loop.timers.at(loop.clock() + 0.02, loop.stop)
    loop.run()
    loop.shutdown()
    assert (poller.patience == {0}) == busy_poll


@pytest.mark.parametrize("maker", MAKERS)
def test_who_spins_serves_and_is_stopped_by_others(listener: socket.socket, maker: Callable[[], Poller]) -> None:
    loop = Loop([Endpoint(listener)], poller=maker(), busy_poll=True)
    thread = threading.Thread(target=loop.run)
    thread.start()
    with socket.create_connection(listener.getsockname(), timeout=SOON) as client:
        for _ in range(10):
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        loop.stop()
        thread.join()
    loop.shutdown()


# Out of descriptors.


needs_rlimit = pytest.mark.skipif(
    sys.platform == "win32" or sys.modules.get("resource", ...) is None, reason="needs setrlimit"
)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let the number that would be given next be the first that is forbidden."""
    import resource  # noqa: PLC0415 - there is none on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unused = os.dup(0)
    os.close(unused)
    resource.setrlimit(resource.RLIMIT_NOFILE, (unused, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@needs_rlimit
def test_out_of_descriptors_it_accepts_nobody_and_keeps_no_turn_busy(loop: Loop, dial: Dial) -> None:
    dial()
    with no_descriptor_left():
        loop.turn(SOON)
        assert loop.poller.poll(0) == []
    assert counts(loop) == Snapshot(errors={"EMFILE": 1})


@needs_rlimit
def test_out_of_descriptors_it_serves_those_it_has(loop: Loop, dial: Dial) -> None:
    client = dial()
    until(loop, lambda: loop.table.open == 1)
    dial()
    with no_descriptor_left():
        client.send(b"hello")
        until(loop, lambda: loop.snapshot().errors == {"EMFILE": 1} and loop.table.row[SENT] == 5)
    assert client.recv(9) == b"hello"


@needs_rlimit
def test_accepting_goes_on_when_a_connection_closes(loop: Loop, dial: Dial) -> None:
    leaver = dial()
    until(loop, lambda: loop.table.open == 1)
    waiting = [dial(), dial()]
    with no_descriptor_left():
        until(loop, lambda: loop.snapshot().errors == {"EMFILE": 1})
        leaver.shutdown(socket.SHUT_WR)
        until(loop, lambda: loop.table.row[ACCEPTED] == 2)
        until(loop, lambda: loop.snapshot().errors == {"EMFILE": 2})
        waiting[0].send(b"hello")
        until(loop, lambda: loop.table.row[SENT] == 5)
        assert loop.poller.poll(0) == []
    assert waiting[0].recv(9) == b"hello"


@needs_rlimit
def test_accepting_goes_on_after_a_moment(make_loop: MakeLoop, dial: Dial) -> None:
    now = 1000.0
    loop = make_loop(clock=lambda: now)
    dial()
    with no_descriptor_left():
        until(loop, lambda: loop.snapshot().errors == {"EMFILE": 1})
    assert loop.timers.patience(now) == pytest.approx(FULL_PAUSE)
    assert list(loop.timers.due(now)) == []
    now += FULL_PAUSE + 0.001
    for act in loop.timers.due(now):
        act()
    until(loop, lambda: loop.table.open == 1)


# What the tests are made of.


class Stuttering(Selector):
    """Reports everything twice, FLOW apart: what flows is nobody else's to close, so that its event is never stale."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        ready = super().poll(timeout)
        return ready + [(fd, events) for fd, events in ready if events != FLOW]


class Replaying(Selector):
    """Reports once more what the test remembers."""

    replay: list[tuple[int, int]]

    def __init__(self) -> None:
        super().__init__()
        self.replay = []

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        replay, self.replay = self.replay, []
        return [*super().poll(timeout), *replay]


class Patient(Selector):
    """Notes how long it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.patience = set[float | None]()

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.patience.add(timeout)
        return super().poll(timeout)


def counts(loop: Loop) -> Snapshot:
    """Say what was done, not how long it took."""
    return dataclasses.replace(loop.snapshot(), uptime_seconds=0.0)


def until(loop: Loop, condition: Callable[[], bool]) -> None:
    """Take turns until it is so."""
    for _ in range(TURNS):
        if condition():
            return
        loop.turn(SOON)
    raise AssertionError(f"not after {TURNS} turns: {loop.snapshot()}")


@cache
def pattern(size: int) -> bytes:
    """Make bytes that look like chance, and are the same in every run."""
    return hashlib.shake_128(b"halloo").digest(size)


def flood(loop: Loop, client: socket.socket) -> int:
    """Send until neither the loop nor the system takes any more; say how much was taken."""
    data = memoryview(pattern(FLOOD))
    sent = 0
    while sent < len(data):
        try:
            sent += client.send(data[sent : sent + BUFFER])
        except BlockingIOError:
            if loop.table.pending_writes and not loop.poller.poll(0):
                return sent
            loop.turn(SOON)
    raise AssertionError(f"{sent} bytes were taken")


def flooded(size: int) -> bytes:
    """Give what a flood of so many bytes sent."""
    return pattern(FLOOD)[:size]


def drain(loop: Loop, client: socket.socket, size: int) -> bytes:
    """Read so many bytes while the loop takes turns."""
    pieces = bytearray()
    for _ in range(TURNS):
        try:
            pieces += client.recv(BUFFER)
        except BlockingIOError:
            loop.turn(IDLE)  # not longer: all may be written, and still be on its way
        if len(pieces) >= size:
            break
    return bytes(pieces)


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
