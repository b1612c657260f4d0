"""The echo loop, turn by turn: the test's thread runs it, so that nothing happens between two lines."""

import ctypes
import dataclasses
import errno
import mmap
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

import pytest

from halloo._core.limits import MAX_BUFFER, Limits
from halloo._server.acceptor import MAX_ACCEPTS, RESOURCE_PAUSE
from halloo._server.counters import ACCEPTED, CLOSED, RECEIVED, SENT, Snapshot
from halloo._server.echo import BUFFER_SIZE, SMALL_MESSAGE, EchoServer, page_aligned_buffer
from halloo._server.endpoint import Endpoint
from halloo._server.handlers import ConnectionObserver
from halloo._server.poller import READ, READ_NORMAL, WRITE, Poller, Selector
from halloo._server.states import ECHOING, WRITE_PENDING
from tests.conditions import descriptors_exhausted, linux, needs_rlimit
from tests.peers import payload, reset
from tests.stepping import FLOOD, IDLE_TIMEOUT, MAKERS, MAX_TURNS, POLL_TIMEOUT, RecordingObserver


class MakeLoop(Protocol):
    def __call__(
        self,
        *,
        poller: Poller | None = None,
        clients: int | None = None,
        observer: ConnectionObserver | None = None,
        clock: Callable[[], float] = ...,
    ) -> EchoServer: ...


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

    def make_loop(**options: object) -> EchoServer:
        loop = EchoServer([Endpoint(listener)], **{"poller": request.param()} | options)
        cleanup.callback(lambda: None if loop.reactor.wakeup_writer.fileno() < 0 else loop.shutdown())
        return loop

    return make_loop


@pytest.fixture
def loop(make_loop: MakeLoop) -> EchoServer:
    return make_loop()


@pytest.fixture
def dial(listener: socket.socket, cleanup: ExitStack) -> Callable[[], socket.socket]:
    """Connect non-blocking clients; the kernel answers them, accepted or not."""

    def dial() -> socket.socket:
        client = cleanup.enter_context(socket.create_connection(listener.getsockname()))
        client.setblocking(False)
        return client

    return dial


Dial = Callable[[], socket.socket]


# Making a loop.


@pytest.mark.parametrize("size", [1, 4095, 4096, 100_000, BUFFER_SIZE])
def test_the_buffer_begins_with_a_page(size: int) -> None:
    buffer = page_aligned_buffer(size)
    assert len(buffer) == size
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % mmap.PAGESIZE == 0


@linux
@needs_rlimit
def test_a_loop_without_memory_for_its_buffer_leaves_no_descriptor(listener: socket.socket) -> None:
    import resource  # noqa: PLC0415 - there is none on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MAX_BUFFER // 2, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
            EchoServer([Endpoint(listener)], limits=Limits(buffer=MAX_BUFFER))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@needs_rlimit
@pytest.mark.parametrize("maker", MAKERS)
def test_a_loop_without_descriptors_for_its_wake_up_closes_its_poller(
    listener: socket.socket, maker: Callable[[], Poller]
) -> None:
    poller = maker()
    with descriptors_exhausted(), pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        EchoServer([Endpoint(listener)], poller=poller)
    with pytest.raises((OSError, ValueError)):  # it is closed
        poller.poll(0)


# Turns.


def test_a_turn_with_nothing_to_do_returns_at_once(loop: EchoServer) -> None:
    loop.turn(0)
    assert counts(loop) == Snapshot()


def test_a_client_is_accepted_in_one_turn_and_answered_in_the_next(loop: EchoServer, dial: Dial) -> None:
    client = dial()
    client.send(b"hello")
    loop.turn(POLL_TIMEOUT)
    assert loop.connections.counters[RECEIVED] == 0
    loop.turn(POLL_TIMEOUT)
    assert client.recv(9) == b"hello"


def test_one_turn_answers_every_client(loop: EchoServer, dial: Dial) -> None:
    clients = [dial() for _ in range(5)]
    until(loop, lambda: loop.connections.open == 5)
    for client in clients:
        client.send(b"hello")
    loop.turn(POLL_TIMEOUT)
    assert [client.recv(9) for client in clients] == [b"hello"] * 5


def test_a_burst_of_connections_takes_several_turns(loop: EchoServer, dial: Dial) -> None:
    for _ in range(MAX_ACCEPTS + 1):
        dial()
    loop.turn(POLL_TIMEOUT)
    assert loop.connections.open == MAX_ACCEPTS
    loop.turn(POLL_TIMEOUT)
    assert loop.connections.open == MAX_ACCEPTS + 1


@pytest.mark.parametrize(
    "size",
    [
        SMALL_MESSAGE - 1,
        SMALL_MESSAGE,
        SMALL_MESSAGE + 1,
        2 * SMALL_MESSAGE,
        BUFFER_SIZE - 1,
        BUFFER_SIZE,
        BUFFER_SIZE + 1,
    ],
)
def test_a_message_comes_back_whole_whatever_its_size(loop: EchoServer, dial: Dial, size: int) -> None:
    client = dial()
    until(loop, lambda: loop.connections.open == 1)
    for _ in range(3):  # the read method depends on the size of the previous message
        client.send(b"hello")
        assert drain(loop, client, 5) == b"hello"
        rest, got = memoryview(payload(size)), b""
        while rest:
            with suppress(BlockingIOError):
                rest = rest[client.send(rest) :]
            if len(got) < size - len(rest):
                got += drain(loop, client, size - len(rest) - len(got))
        assert got == payload(size)


def test_a_message_longer_than_a_small_one_is_sent_back_in_one_write(loop: EchoServer, dial: Dial) -> None:
    client = dial()
    until(loop, lambda: loop.connections.open == 1)
    client.send(payload(2 * SMALL_MESSAGE))
    loop.turn(POLL_TIMEOUT)
    assert client.recv(BUFFER_SIZE) == payload(2 * SMALL_MESSAGE)


def test_a_turn_after_a_full_buffer_echoes_its_own_bytes_only(loop: EchoServer, dial: Dial) -> None:
    long, short = dial(), dial()
    until(loop, lambda: loop.connections.open == 2)
    long.send(bytes(100_000))
    short.send(b"hello")
    until(loop, lambda: loop.connections.counters[SENT] == 100_005)
    assert short.recv(9) == b"hello"


def test_every_event_except_read_normal_may_be_reported_twice(make_loop: MakeLoop, dial: Dial) -> None:
    loop = make_loop(poller=DuplicatingPoller())
    client = dial()
    until(loop, lambda: loop.connections.open == 1)
    client.send(b"hello")
    until(loop, lambda: loop.connections.counters[SENT] == 5)
    client.shutdown(socket.SHUT_WR)
    until(loop, lambda: loop.connections.open == 0)
    assert counts(loop) == Snapshot(1, 0, 5, 5, messages=1)


def test_a_stale_event_for_a_reused_descriptor_does_nothing(make_loop: MakeLoop, dial: Dial) -> None:
    poller = ReplayingPoller()
    loop = make_loop(poller=poller)
    leaver = dial()
    until(loop, lambda: loop.connections.open == 1)
    [fd] = loop.reactor.in_state(ECHOING)
    leaver.close()
    until(loop, lambda: loop.connections.open == 0)
    newcomer = dial()
    until(loop, lambda: loop.connections.open == 1)
    assert loop.reactor.in_state(ECHOING) == [fd]
    poller.replay = [(fd, READ), (fd, WRITE)]
    loop.turn(0)
    assert counts(loop) == Snapshot(accepted=2, open=1)
    newcomer.send(b"hello")
    until(loop, lambda: loop.connections.counters[SENT] == 5)
    assert newcomer.recv(9) == b"hello"


def test_a_stale_event_for_a_closed_descriptor_does_nothing(make_loop: MakeLoop) -> None:
    poller = ReplayingPoller()
    loop = make_loop(poller=poller)
    poller.replay = [(50, READ), (50, WRITE)]
    loop.turn(0)
    assert counts(loop) == Snapshot()


# Pending writes.


def test_a_slow_reader_has_at_most_one_buffer_pending(loop: EchoServer, dial: Dial) -> None:
    client = dial()
    sent = flood(loop, client)
    [pending] = loop.connections.pending.values()
    assert 0 < len(pending) <= BUFFER_SIZE
    assert memoryview(pending.obj).nbytes <= BUFFER_SIZE  # nor does the view keep a larger object alive
    assert len(loop.reactor.in_state(WRITE_PENDING)) == 1
    assert loop.connections.counters[RECEIVED] < sent  # the client can send no more


def test_a_slow_reader_gets_everything_in_the_end(loop: EchoServer, dial: Dial) -> None:
    client = dial()
    sent = flood(loop, client)
    assert drain(loop, client, sent) == flooded_data(sent)
    assert loop.connections.pending == {}
    assert counts(loop) == Snapshot(1, 1, sent, sent, loop.snapshot().messages)


def test_a_slow_reader_that_has_sent_fin_gets_everything_and_then_fin(loop: EchoServer, dial: Dial) -> None:
    client = dial()
    sent = flood(loop, client)
    client.shutdown(socket.SHUT_WR)
    assert drain(loop, client, sent) == flooded_data(sent)
    until(loop, lambda: loop.connections.open == 0)
    assert client.recv(1) == b""


def test_a_client_with_fin_sent_and_a_pending_write_keeps_no_turn_busy(loop: EchoServer, dial: Dial) -> None:
    client = dial()
    flood(loop, client)
    client.shutdown(socket.SHUT_WR)
    assert loop.reactor.poller.poll(0) == []


def test_a_pending_write_ends_with_its_connection(loop: EchoServer, dial: Dial) -> None:
    client = dial()
    flood(loop, client)
    reset(client)
    until(loop, lambda: loop.connections.open == 0)
    assert loop.connections.pending == {}
    assert sum(loop.snapshot().errors.values()) == 1


def test_a_slow_reader_delays_no_other_client(loop: EchoServer, dial: Dial) -> None:
    flood(loop, dial())
    other = dial()
    until(loop, lambda: loop.connections.open == 2)
    other.send(b"hello")
    loop.turn(POLL_TIMEOUT)
    assert other.recv(9) == b"hello"


# Counts.


def test_a_snapshot_counts_connections_and_bytes(loop: EchoServer, dial: Dial) -> None:
    clients = [dial(), dial()]
    until(loop, lambda: loop.connections.open == 2)
    clients[0].send(b"hello")
    until(loop, lambda: loop.connections.counters[SENT] == 5)
    clients[0].recv(9)  # otherwise closing would send a reset
    clients[0].close()
    until(loop, lambda: loop.connections.open == 1)
    assert counts(loop) == Snapshot(accepted=2, open=1, received_bytes=5, sent_bytes=5, messages=1)


def test_a_reset_is_counted_by_its_name(loop: EchoServer, dial: Dial) -> None:
    client = dial()
    until(loop, lambda: loop.connections.open == 1)
    reset(client)
    until(loop, lambda: loop.connections.open == 0)
    assert loop.snapshot().errors == {"ECONNRESET": 1}


def test_a_new_connection_is_reported_with_its_address(make_loop: MakeLoop, dial: Dial) -> None:
    notes = RecordingObserver()
    loop = make_loop(observer=notes)
    client = dial()
    until(loop, lambda: loop.connections.open == 1)
    assert notes.events == [("opened", client.getsockname())]


# Ending.


def test_the_loop_ends_after_the_given_number_of_clients(make_loop: MakeLoop, dial: Dial) -> None:
    loop = make_loop(clients=2)
    clients = [dial() for _ in range(3)]
    for client in clients:
        client.send(b"hello")
        client.shutdown(socket.SHUT_WR)
    loop.run()
    assert counts(loop) == Snapshot(accepted=2, open=0, received_bytes=10, sent_bytes=10, messages=2)
    assert [client.recv(9) for client in clients[:2]] == [b"hello"] * 2


def test_a_client_beyond_the_number_keeps_no_turn_busy(make_loop: MakeLoop, dial: Dial) -> None:
    loop = make_loop(clients=2)
    first, _, _ = dial(), dial(), dial()
    until(loop, lambda: loop.connections.open == 2)
    assert loop.reactor.poller.poll(0) == []
    first.close()
    until(loop, lambda: loop.connections.open == 1)
    loop.turn(0)
    assert loop.reactor.poller.poll(0) == []


def test_consecutive_clients_count_too(make_loop: MakeLoop, dial: Dial) -> None:
    loop = make_loop(clients=2)
    dial().close()
    until(loop, lambda: loop.connections.counters[CLOSED] == 1)
    assert loop.reactor.running
    dial().close()
    until(loop, lambda: loop.connections.counters[CLOSED] == 2)
    assert not loop.reactor.running


def test_it_can_be_stopped_from_another_thread(loop: EchoServer) -> None:
    stopper = threading.Thread(target=loop.reactor.stop)
    stopper.start()
    loop.run()
    stopper.join()


def test_it_can_be_stopped_before_it_runs(loop: EchoServer) -> None:
    loop.reactor.stop()
    loop.run()


def test_any_number_of_wake_ups_end_in_few_turns(loop: EchoServer) -> None:
    for _ in range(MAX_TURNS):
        loop.reactor.wake()
    for _ in range(10):  # over a TCP connection, which stands for a socketpair on Windows, some arrive later
        loop.turn(0)
    assert loop.reactor.poller.poll(0) == []


def test_shutting_down_ends_every_connection_and_leaves_the_listener(
    loop: EchoServer, dial: Dial, listener: socket.socket
) -> None:
    idle, slow = dial(), dial()
    until(loop, lambda: loop.connections.open == 2)
    flood(loop, slow)
    loop.shutdown()
    assert loop.snapshot().open == 0
    assert loop.connections.pending == {}
    idle.settimeout(POLL_TIMEOUT)
    assert idle.recv(1) == b""
    dial()
    listener.accept()[0].close()


# Busy polling.


@pytest.mark.parametrize("busy_poll", [False, True])
def test_a_busy_polling_loop_never_waits_and_runs_its_timers(listener: socket.socket, busy_poll: bool) -> None:
    poller = TimeoutRecorder()
    loop = EchoServer([Endpoint(listener)], poller=poller, busy_poll=busy_poll)
    loop.reactor.timers.call_at(loop.reactor.clock() + 0.02, loop.reactor.stop)
    loop.run()
    loop.shutdown()
    assert (poller.patience == {0}) == busy_poll


@pytest.mark.parametrize("maker", MAKERS)
def test_a_busy_polling_loop_serves_and_can_be_stopped_from_another_thread(
    listener: socket.socket, maker: Callable[[], Poller]
) -> None:
    loop = EchoServer([Endpoint(listener)], poller=maker(), busy_poll=True)
    thread = threading.Thread(target=loop.run)
    thread.start()
    with socket.create_connection(listener.getsockname(), timeout=POLL_TIMEOUT) as client:
        for _ in range(10):
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        loop.reactor.stop()
        thread.join()
    loop.shutdown()


# Out of descriptors.


@needs_rlimit
def test_out_of_descriptors_the_loop_accepts_no_client_and_keeps_no_turn_busy(loop: EchoServer, dial: Dial) -> None:
    dial()
    with descriptors_exhausted():
        loop.turn(POLL_TIMEOUT)
        assert loop.reactor.poller.poll(0) == []
    assert counts(loop) == Snapshot(errors={"EMFILE": 1})


@needs_rlimit
def test_out_of_descriptors_the_loop_serves_its_connections(loop: EchoServer, dial: Dial) -> None:
    client = dial()
    until(loop, lambda: loop.connections.open == 1)
    dial()
    with descriptors_exhausted():
        client.send(b"hello")
        until(loop, lambda: loop.snapshot().errors == {"EMFILE": 1} and loop.connections.counters[SENT] == 5)
    assert client.recv(9) == b"hello"


@needs_rlimit
def test_accepting_resumes_when_a_connection_closes(loop: EchoServer, dial: Dial) -> None:
    leaver = dial()
    until(loop, lambda: loop.connections.open == 1)
    waiting = [dial(), dial()]
    with descriptors_exhausted():
        until(loop, lambda: loop.snapshot().errors == {"EMFILE": 1})
        leaver.shutdown(socket.SHUT_WR)
        until(loop, lambda: loop.connections.counters[ACCEPTED] == 2)
        until(loop, lambda: loop.snapshot().errors == {"EMFILE": 2})
        waiting[0].send(b"hello")
        until(loop, lambda: loop.connections.counters[SENT] == 5)
        assert loop.reactor.poller.poll(0) == []
    assert waiting[0].recv(9) == b"hello"


@needs_rlimit
def test_accepting_resumes_after_a_pause(make_loop: MakeLoop, dial: Dial) -> None:
    now = 1000.0
    loop = make_loop(clock=lambda: now)
    dial()
    with descriptors_exhausted():
        until(loop, lambda: loop.snapshot().errors == {"EMFILE": 1})
    assert loop.reactor.timers.timeout(now) == pytest.approx(RESOURCE_PAUSE)
    assert loop.reactor.timers.pop_due(now) == []
    now += RESOURCE_PAUSE + 0.001
    loop.reactor.call_due()
    until(loop, lambda: loop.connections.open == 1)


# Helpers.


class DuplicatingPoller(Selector):
    """Reports every event twice except READ_NORMAL, which is never stale: only the loop closes echoing connections."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        ready = super().poll(timeout)
        return ready + [(fd, events) for fd, events in ready if events != READ_NORMAL]


class ReplayingPoller(Selector):
    """Reports once more the events that the test has kept."""

    replay: list[tuple[int, int]]

    def __init__(self) -> None:
        super().__init__()
        self.replay = []

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        replay, self.replay = self.replay, []
        return [*super().poll(timeout), *replay]


class TimeoutRecorder(Selector):
    """Records the timeouts it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.patience = set[float | None]()

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.patience.add(timeout)
        return super().poll(timeout)


def counts(loop: EchoServer) -> Snapshot:
    """Return the counts of a snapshot, without times."""
    return dataclasses.replace(loop.snapshot(), uptime_seconds=0.0)


def until(loop: EchoServer, condition: Callable[[], bool]) -> None:
    """Take turns until the condition holds."""
    for _ in range(MAX_TURNS):
        if condition():
            return
        loop.turn(POLL_TIMEOUT)
    raise AssertionError(f"not after {MAX_TURNS} turns: {loop.snapshot()}")


def flood(loop: EchoServer, client: socket.socket) -> int:
    """Send until neither the loop nor the kernel takes more; return how much was taken."""
    data = memoryview(payload(FLOOD))
    sent = 0
    while sent < len(data):
        try:
            sent += client.send(data[sent : sent + BUFFER_SIZE])
        except BlockingIOError:
            if loop.connections.pending and not loop.reactor.poller.poll(0):
                return sent
            loop.turn(POLL_TIMEOUT)
    raise AssertionError(f"{sent} bytes were taken")


def flooded_data(size: int) -> bytes:
    """Return the first bytes that `flood` sends."""
    return payload(FLOOD)[:size]


def drain(loop: EchoServer, client: socket.socket, size: int) -> bytes:
    """Read that many bytes while the loop takes turns."""
    pieces = bytearray()
    for _ in range(MAX_TURNS):
        try:
            pieces += client.recv(BUFFER_SIZE)
        except BlockingIOError:
            loop.turn(IDLE_TIMEOUT)  # not longer: everything may be written and still in flight
        if len(pieces) >= size:
            break
    return bytes(pieces)
