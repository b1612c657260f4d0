"""A server that runs in the background, or in the calling thread until a signal, and its cleanup."""

import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from importlib.util import find_spec

import pytest

from halloo._net.listener import Listener, listen
from halloo._net.signals import STOPPING
from halloo._server.drain import QUIET_TIME
from halloo._server.handlers import PeerName, RespondHandler
from halloo._server.poller import READ, Poller, Selector
from halloo._server.running import RunningServer, Service
from tests.stepping import Clock, draining

TIMEOUT = 20  # seconds without a byte, after which the test fails


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listen("127.0.0.1:0") as listener:
        yield listener


def connected(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.address.port), timeout=TIMEOUT)


# In the background.


def test_a_server_listens_before_it_is_started_and_may_be_closed_twice(listener: Listener) -> None:
    server = RunningServer(listener, Service())
    with connected(server) as client:
        client.sendall(b"hello")
        server.start()
        assert client.recv(5) == b"hello"
        server.close()
        server.close()
        assert client.recv(1) == b""
    with listen(("127.0.0.1", server.address.port)):  # it is free
        pass


def test_a_server_that_was_not_started_or_cannot_be_made_closes_the_listener(listener: Listener) -> None:
    RunningServer(listener, Service()).close()
    assert [sock.fileno() for sock in listener.sockets] == [-1]
    closed = listen("127.0.0.1:0", "127.0.0.1:0")
    closed.sockets[0].close()
    with pytest.raises((OSError, ValueError)):
        RunningServer(closed, Service())
    assert [sock.fileno() for sock in closed.sockets] == [-1, -1]


class RestlessPoller(Selector):
    """Always reports an event of a descriptor that is no connection."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        return [*super().poll(timeout), (0, READ)]


def test_a_snapshot_of_a_loop_that_is_never_idle_takes_a_bounded_number_of_turns(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halloo._server.running.SETTLING", TIMEOUT)
    monkeypatch.setattr("halloo._server.echo.default_poller", RestlessPoller)
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
        server.loop.reactor.clock = clock = Clock()
        while server.snapshot().accepted < 2:
            server.loop.turn(TIMEOUT)
        drain = draining(server.loop, 10)
        clock.now += QUIET_TIME
        first.sendall(b"first")
        server._awaited.append(threading.Event())
        server.loop.reactor.wake()
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
        assert select.select([server.loop.reactor._wakeup_reader], [], [], TIMEOUT)[0]
        gate.opened.set()
        for seen in (each.result() for each in taken):
            assert (seen.accepted, seen.open, seen.received_bytes, seen.sent_bytes) == (2, 1, 10, 10)
        assert time.monotonic() - start < TIMEOUT / 4


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


@pytest.mark.parametrize("handler", [None, RespondHandler(bytes.upper, "line", b"")], ids=["echo", "handler"])
def test_a_loop_that_has_failed_closes_its_clients_and_close_raises_the_error(
    listener: Listener, handler: RespondHandler | None
) -> None:
    failing = FailingObserver()
    server = RunningServer(listener, Service(observer=failing, handler=handler))
    with connected(server) as client:
        server.start()
        assert failing.failed.wait(TIMEOUT)
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
        with pytest.raises(ZeroDivisionError):
            server.close()


# In the calling thread, until a signal.


def run(act: Callable[[], None]) -> RunningServer:
    """Run a server in the main thread, and call the function when its first client has connected."""
    with RunningServer(listen("127.0.0.1:0"), Service(observer=CallingObserver(act))) as server, connected(server):
        server.run(0, lambda: None, lambda _event: None)
    return server


def test_a_signal_during_a_turn_stops_the_loop_after_the_turn_and_run_restores_the_handlers() -> None:
    before = [signal.getsignal(each) for each in STOPPING]
    for number in STOPPING:
        assert run(partial(signal.raise_signal, number)).snapshot().accepted == 1
        assert [signal.getsignal(each) for each in STOPPING] == before


def test_a_signal_during_a_wait_stops_the_loop() -> None:
    """Python's handlers run in the main thread only, which is waiting: the wakeup descriptor must end the wait."""
    for number in STOPPING:
        sender = threading.Thread(target=signal.raise_signal, args=[number])
        run(sender.start)
        sender.join()


def test_a_second_signal_raises_keyboard_interrupt() -> None:
    def twice() -> None:
        for _ in range(2):
            signal.raise_signal(STOPPING[0])

    with pytest.raises(KeyboardInterrupt):
        run(twice)


def test_run_restores_the_wakeup_descriptor() -> None:
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
    with RunningServer(listener, Service(observer=observer)) as server:
        thread = threading.Thread(target=server.run, args=[0, lambda: None, lambda _event: None])
        thread.start()
        with connected(server) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        server.loop.reactor.stop()
        thread.join()
    assert seen == [handler]
