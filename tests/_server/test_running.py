"""A server in the background, or in this thread until a signal; and nothing of it left afterwards."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from halloo._net.listener import Listener, listen
from halloo._net.signals import STOPPING
from halloo._server.handlers import PeerName, RespondHandler
from halloo._server.running import RunningServer, Service

PATIENCE = 20  # seconds without a byte after which a client gives up, and its test has failed


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listen("127.0.0.1:0") as listener:
        yield listener


def dialled(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.address.port), timeout=PATIENCE)


def assert_served(server: RunningServer) -> None:
    with dialled(server) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"


# In the background.


def test_it_listens_before_it_is_started(listener: Listener) -> None:
    with RunningServer(listener, Service()) as server, dialled(server) as client:
        client.sendall(b"hello")
        server.start()
        assert client.recv(5) == b"hello"


def test_it_has_a_real_port_at_once(listener: Listener) -> None:
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
            with socket.create_connection((address.host, address.port), timeout=PATIENCE) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"


def test_it_counts_what_it_did(listener: Listener) -> None:
    with RunningServer(listener, Service()) as server:
        server.start()
        assert_served(server)
    seen = server.snapshot()
    assert (seen.accepted, seen.open, seen.received_bytes, seen.sent_bytes, seen.messages) == (1, 0, 5, 5, 1)


def test_closing_ends_every_connection_and_frees_the_port(listener: Listener) -> None:
    with RunningServer(listener, Service()) as server:
        server.start()
        client = dialled(server)
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
    with client:
        assert client.recv(1) == b""
    with listen(("127.0.0.1", server.address.port)):
        pass


def test_it_may_be_closed_before_it_was_started(listener: Listener) -> None:
    RunningServer(listener, Service()).close()
    assert [sock.fileno() for sock in listener.sockets] == [-1]


def test_it_may_be_closed_twice(listener: Listener) -> None:
    server = RunningServer(listener, Service())
    server.start()
    server.close()
    server.close()


def test_a_loop_that_cannot_be_made_leaves_no_listener() -> None:
    listener = listen("127.0.0.1:0", "127.0.0.1:0")
    listener.sockets[0].close()
    with pytest.raises((OSError, ValueError)):
        RunningServer(listener, Service())
    assert [sock.fileno() for sock in listener.sockets] == [-1, -1]


# Errors in the loop's own thread.


class Acting:
    """A observer that does as it is told for each client."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def opened(self, fd: int, peer: PeerName) -> None:  # noqa: ARG002 - the shape is Witness's
        self._act()

    def datagram_received(self, peer: PeerName) -> None: ...

    def refused(self, peer: PeerName, reason: str) -> None: ...

    def closed(self, fd: int, reason: str) -> None: ...


class Failing(Acting):
    """Fails at the first client, and tells that it has."""

    def __init__(self) -> None:
        super().__init__(self.fail)
        self.failed = threading.Event()

    def fail(self) -> None:
        self.failed.set()
        raise ZeroDivisionError


def test_what_ended_the_background_thread_is_raised_by_closing(listener: Listener) -> None:
    failing = Failing()
    server = RunningServer(listener, Service(observer=failing))
    server.start()
    with dialled(server):
        failing.failed.wait(PATIENCE)
        with pytest.raises(ZeroDivisionError):
            server.close()


def test_what_ended_a_thread_that_answers_is_raised_by_closing(listener: Listener) -> None:
    failing = Failing()
    server = RunningServer(listener, Service(observer=failing, handler=RespondHandler(bytes.upper, "line", b"")))
    server.start()
    with ExitStack() as cleanup:
        cleanup.enter_context(dialled(server))
        cleanup.callback(shut, server)
        failing.failed.wait(PATIENCE)
        with pytest.raises(ZeroDivisionError):
            server.close()


def shut(server: RunningServer) -> None:
    """Close what closing left open when it failed itself."""
    server.listener.close()
    for sock in (server.loop._wakeup_reader, server.loop.wakeup_writer):
        sock.close()
    with suppress(ValueError):
        server.loop.poller.close()


# In this thread, until a signal.


@pytest.fixture
def run(listener: Listener) -> Iterator[Callable[[Callable[[], None]], RunningServer]]:
    """Run a server in the main thread, and call the function when its first client has come."""
    with ExitStack() as cleanup:

        def run(act: Callable[[], None]) -> RunningServer:
            server = cleanup.enter_context(RunningServer(listener, Service(observer=Acting(act))))
            cleanup.enter_context(dialled(server))
            server.run()
            return server

        yield run


Run = Callable[[Callable[[], None]], RunningServer]
each_signal = pytest.mark.parametrize("number", STOPPING, ids=lambda number: signal.Signals(number).name)


@each_signal
def test_a_signal_amid_a_turn_ends_it_after_the_turn(run: Run, number: int) -> None:
    assert run(lambda: signal.raise_signal(number)).snapshot().accepted == 1


@each_signal
def test_a_signal_while_it_waits_ends_it(run: Run, number: int) -> None:
    """Python's handlers run in the main thread only, and that one waits: the wakeup descriptor has to end the wait."""
    sender = threading.Thread(target=signal.raise_signal, args=[number])
    run(sender.start)
    sender.join()


@each_signal
def test_a_second_signal_changes_nothing(run: Run, number: int) -> None:
    def twice() -> None:
        signal.raise_signal(number)
        signal.raise_signal(number)

    run(twice)


@each_signal
def test_the_handlers_are_what_they_were(run: Run, number: int) -> None:
    before = [signal.getsignal(each) for each in STOPPING]
    run(lambda: signal.raise_signal(number))
    assert [signal.getsignal(each) for each in STOPPING] == before


def test_the_wakeup_descriptor_is_what_it_was(run: Run) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        before = signal.set_wakeup_fd(one.fileno())
        try:
            run(lambda: signal.raise_signal(signal.SIGINT))
        finally:
            assert signal.set_wakeup_fd(before) == one.fileno()


def test_in_another_thread_it_leaves_signals_alone(listener: Listener) -> None:
    handler = signal.getsignal(signal.SIGINT)
    seen: list[object] = []
    observer = Acting(lambda: seen.append(signal.getsignal(signal.SIGINT)))
    with RunningServer(listener, Service(observer=observer)) as s:
        thread = threading.Thread(target=s.run)
        thread.start()
        assert_served(s)
        s.loop.stop()
        thread.join()
    assert seen == [handler]
