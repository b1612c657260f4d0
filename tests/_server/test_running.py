"""A server that runs in the background, or in the calling thread until a signal, and its cleanup."""

import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from importlib.util import find_spec

import pytest

from halloo._net.listener import Listener, listen
from halloo._net.signals import STOPPING
from halloo._server.drain import QUIET_TIME, Drain
from halloo._server.handlers import PeerName, RespondHandler
from halloo._server.poller import READ, Poller, Selector
from halloo._server.running import RunningServer, Service
from tests.stepping import Clock

TIMEOUT = 20  # seconds without a byte, after which the test fails


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listen("127.0.0.1:0") as listener:
        yield listener


def connected(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.address.port), timeout=TIMEOUT)


def assert_served(server: RunningServer) -> None:
    with connected(server) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"


# In the background.


def test_a_server_listens_before_it_is_started(listener: Listener) -> None:
    with RunningServer(listener, Service()) as server, connected(server) as client:
        client.sendall(b"hello")
        server.start()
        assert client.recv(5) == b"hello"


def test_a_server_has_an_assigned_port_before_it_is_started(listener: Listener) -> None:
    with RunningServer(listener, Service()) as server:
        assert server.address == listener.address
        assert server.address.port > 0


def test_both_families_have_the_same_port() -> None:
    with RunningServer(listen(0), Service()) as server:
        server.start()
        if len(server.addresses) == 1:
            pytest.skip("needs IPv6")
        assert [address.host for address in server.addresses] == ["127.0.0.1", "::1"]
        assert len({address.port for address in server.addresses}) == 1
        for address in server.addresses:
            with socket.create_connection((address.host, address.port), timeout=TIMEOUT) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"


def test_a_snapshot_counts_connections_bytes_and_messages(listener: Listener) -> None:
    with RunningServer(listener, Service()) as server:
        server.start()
        assert_served(server)
    seen = server.snapshot()
    assert (seen.accepted, seen.open, seen.received_bytes, seen.sent_bytes, seen.messages) == (1, 0, 5, 5, 1)


class RestlessPoller(Selector):
    """Always reports an event of a descriptor that is no connection."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        return [*super().poll(timeout), (0, READ)]


def test_a_snapshot_of_a_loop_that_is_never_idle_takes_a_bounded_number_of_turns(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halloo._server.running.SETTLING", TIMEOUT)
    monkeypatch.setattr("halloo._server.tcp.default_poller", RestlessPoller)
    with RunningServer(listener, Service()) as server:
        server.start()
        start = time.monotonic()
        server.snapshot()
        assert time.monotonic() - start < TIMEOUT / 4


@pytest.mark.skipif(find_spec("fcntl") is None, reason="this system does not tell what is queued")
def test_a_snapshot_does_not_hide_from_a_drain_what_a_client_sends(listener: Listener) -> None:
    with ExitStack() as cleanup:
        first, second = (
            cleanup.enter_context(socket.create_connection(listener.sockets[0].getsockname())) for _ in range(2)
        )

        def respond(message: bytes) -> None:
            if message == b"first":
                second.sendall(b"second")  # arrives in the turn in which the snapshot is taken

        server = cleanup.enter_context(RunningServer(listener, Service(handler=RespondHandler(respond, "raw", b""))))
        server.loop.clock = clock = Clock()
        while server.snapshot().accepted < 2:
            server.loop.turn(TIMEOUT)
        drain = Drain(server.loop, seconds=10)
        clock.now += QUIET_TIME
        first.sendall(b"first")
        server._awaited.append(threading.Event())
        server.loop.wake()
        drain.turn()
        drain.turn()
        assert (server.snapshot().received_bytes, server.snapshot().ended) == (11, {})


UNACKNOWLEDGED = 4  # TCP_FIN_WAIT1, the state of a client whose FIN has not been acknowledged (linux/tcp_states.h)


class Gate:
    """A respond function that holds the loop until the test lets it go on."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, message: bytes) -> bytes:
        self.entered.set()
        self.opened.wait(TIMEOUT)
        return message


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="needs TCP_INFO")
@pytest.mark.parametrize("snapshots", [1, 5])
def test_a_snapshot_counts_all_that_had_arrived_before(
    listener: Listener, snapshots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halloo._server.running.SETTLING", TIMEOUT)
    gate = Gate()
    with ExitStack() as cleanup:
        server = cleanup.enter_context(RunningServer(listener, Service(handler=RespondHandler(gate, "raw", b""))))
        pool = cleanup.enter_context(ThreadPoolExecutor(snapshots))
        cleanup.callback(gate.opened.set)
        server.start()
        first, closed = (cleanup.enter_context(connected(server)) for _ in range(2))
        first.sendall(b"first")
        assert gate.entered.wait(TIMEOUT)
        closed.sendall(b"hello")
        closed.shutdown(socket.SHUT_WR)
        while closed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == UNACKNOWLEDGED:
            pass  # it has not arrived yet
        start = time.monotonic()
        taken = [pool.submit(server.snapshot) for _ in range(snapshots)]
        assert select.select([server.loop._wakeup_reader], [], [], TIMEOUT)[0]
        gate.opened.set()
        for seen in (each.result() for each in taken):
            assert (seen.accepted, seen.open, seen.received_bytes, seen.sent_bytes) == (2, 1, 10, 10)
        assert time.monotonic() - start < TIMEOUT / 4


def test_close_closes_every_connection_and_frees_the_port(listener: Listener) -> None:
    with RunningServer(listener, Service()) as server:
        server.start()
        client = connected(server)
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
    with client:
        assert client.recv(1) == b""
    with listen(("127.0.0.1", server.address.port)):
        pass


def test_a_server_may_be_closed_before_it_is_started(listener: Listener) -> None:
    RunningServer(listener, Service()).close()
    assert [sock.fileno() for sock in listener.sockets] == [-1]


def test_a_server_may_be_closed_twice(listener: Listener) -> None:
    server = RunningServer(listener, Service())
    server.start()
    server.close()
    server.close()


def test_a_loop_that_cannot_be_created_closes_the_listener() -> None:
    listener = listen("127.0.0.1:0", "127.0.0.1:0")
    listener.sockets[0].close()
    with pytest.raises((OSError, ValueError)):
        RunningServer(listener, Service())
    assert [sock.fileno() for sock in listener.sockets] == [-1, -1]


# Errors in the loop's thread.


class CallingObserver:
    """An observer that calls a function for each client."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def measured(self, poller: Poller) -> Poller:
        return poller

    def opened(self, fd: int, peer: PeerName, listener: str) -> None:  # noqa: ARG002 - the signature of ConnectionObserver
        self._act()

    def datagram_received(self, peer: PeerName, listener: str) -> None: ...

    def refused(self, peer: PeerName, listener: str, reason: str, count: int = 1) -> None: ...

    def closed(self, fd: int, reason: str) -> None: ...


class FailingObserver(CallingObserver):
    """Raises at the first client, and sets an event."""

    def __init__(self) -> None:
        super().__init__(self.fail)
        self.failed = threading.Event()

    def fail(self) -> None:
        self.failed.set()
        raise ZeroDivisionError


def test_close_raises_the_error_of_the_background_thread(listener: Listener) -> None:
    failing = FailingObserver()
    server = RunningServer(listener, Service(observer=failing))
    server.start()
    with connected(server):
        failing.failed.wait(TIMEOUT)
        with pytest.raises(ZeroDivisionError):
            server.close()


def test_close_raises_the_error_of_a_thread_with_a_handler(listener: Listener) -> None:
    failing = FailingObserver()
    server = RunningServer(listener, Service(observer=failing, handler=RespondHandler(bytes.upper, "line", b"")))
    server.start()
    with ExitStack() as cleanup:
        cleanup.enter_context(connected(server))
        cleanup.callback(close_remaining, server)
        failing.failed.wait(TIMEOUT)
        with pytest.raises(ZeroDivisionError):
            server.close()


def test_a_loop_that_has_failed_closes_its_clients(listener: Listener) -> None:
    server = RunningServer(listener, Service(observer=FailingObserver()))
    with connected(server) as client:
        server.start()
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
        with pytest.raises(ZeroDivisionError):
            server.close()


def close_remaining(server: RunningServer) -> None:
    """Close what a failed `close` left open."""
    server.listener.close()
    for sock in (server.loop._wakeup_reader, server.loop.wakeup_writer):
        sock.close()
    with suppress(ValueError):
        server.loop.poller.close()


# In the calling thread, until a signal.


@pytest.fixture
def run(listener: Listener) -> Iterator[Callable[[Callable[[], None]], RunningServer]]:
    """Run a server in the main thread, and call the function when its first client has connected."""
    with ExitStack() as cleanup:

        def run(act: Callable[[], None]) -> RunningServer:
            server = cleanup.enter_context(RunningServer(listener, Service(observer=CallingObserver(act))))
            cleanup.enter_context(connected(server))
            server.run()
            return server

        yield run


Run = Callable[[Callable[[], None]], RunningServer]
each_signal = pytest.mark.parametrize("number", STOPPING, ids=lambda number: signal.Signals(number).name)


@each_signal
def test_a_signal_during_a_turn_stops_the_loop_after_the_turn(run: Run, number: int) -> None:
    assert run(lambda: signal.raise_signal(number)).snapshot().accepted == 1


@each_signal
def test_a_signal_during_a_wait_stops_the_loop(run: Run, number: int) -> None:
    """Python's handlers run in the main thread only, which is waiting: the wakeup descriptor must end the wait."""
    sender = threading.Thread(target=signal.raise_signal, args=[number])
    run(sender.start)
    sender.join()


@each_signal
def test_a_second_signal_raises_keyboard_interrupt(run: Run, number: int) -> None:
    def twice() -> None:
        signal.raise_signal(number)
        signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        run(twice)


@each_signal
def test_run_restores_the_signal_handlers(run: Run, number: int) -> None:
    before = [signal.getsignal(each) for each in STOPPING]
    run(lambda: signal.raise_signal(number))
    assert [signal.getsignal(each) for each in STOPPING] == before


def test_run_restores_the_wakeup_descriptor(run: Run) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        before = signal.set_wakeup_fd(one.fileno())
        try:
            run(lambda: signal.raise_signal(signal.SIGINT))
        finally:
            assert signal.set_wakeup_fd(before) == one.fileno()


def test_run_in_another_thread_installs_no_signal_handlers(listener: Listener) -> None:
    handler = signal.getsignal(signal.SIGINT)
    seen: list[object] = []
    observer = CallingObserver(lambda: seen.append(signal.getsignal(signal.SIGINT)))
    with RunningServer(listener, Service(observer=observer)) as s:
        thread = threading.Thread(target=s.run)
        thread.start()
        assert_served(s)
        s.loop.stop()
        thread.join()
    assert seen == [handler]
