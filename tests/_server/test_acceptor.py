"""Accepting: limits, access lists, errors of accept(2), and shared listeners."""

import errno
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo._core.limits import Limits
from halloo._net.binding import BACKLOG
from halloo._server.acceptor import MAX_ACCEPTS, RESOURCE_PAUSE, RETRY_INTERVAL, host_of
from halloo._server.echo import EchoServer
from halloo._server.endpoint import Endpoint
from halloo._server.handlers import RespondHandler
from halloo._server.log import ClientLog, Form, Log
from halloo._server.poller import Selector
from halloo._server.states import ECHOING
from tests.peers import reset
from tests.stepping import MAKERS, POLL_TIMEOUT, Clock, RecordingObserver, Stage, ended

OTHER_HOST = "127.0.0.2"  # Linux: all of 127/8 is local


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest, cleanup: ExitStack) -> Callable[..., Stage]:
    def make_stage(limits: Limits | None = None, **options: object) -> Stage:
        return cleanup.enter_context(Stage(limits, **{"poller": request.param()} | options))

    return make_stage


MakeStage = Callable[..., Stage]
needs_epoll = pytest.mark.skipif(len(MAKERS) == 1, reason="needs epoll")


def other_host() -> str:
    """Return a second address of this machine, or skip the test."""
    with socket.socket() as sock:
        try:
            sock.bind((OTHER_HOST, 0))
        except OSError:
            pytest.skip(f"needs {OTHER_HOST}")
    return OTHER_HOST


# Refused clients.


def test_a_client_beyond_max_connections_is_closed_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_connections=2))
    clients = [stage.connect() for _ in range(3)]
    assert ended(clients[2])
    assert (stage.snapshot.accepted, stage.snapshot.open, stage.snapshot.refused) == (2, 2, {"max_connections": 1})
    assert [stage.echo(client, b"hello") for client in clients[:2]] == [b"hello"] * 2


def test_a_refused_client_that_sent_nothing_gets_fin_not_a_reset(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_connections=1))
    stage.connect()
    assert ended(stage.connect())  # FIN, not a reset


def test_a_refused_client_that_sent_data_gets_fin_not_a_reset(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_connections=1))
    stage.connect()
    client = stage.dial()
    client.send(b"hello")
    stage.until(lambda: bool(stage.snapshot.refused))
    assert ended(client)


def test_a_refused_client_that_keeps_sending_is_closed_after_one_read(
    make_stage: MakeStage, cleanup: ExitStack
) -> None:
    listener = cleanup.enter_context(ChattyListener())
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    stage = make_stage(Limits(deny=("127.0.0.1",)))
    stage.loop.acceptor.add([Endpoint(listener)])
    with socket.create_connection(listener.getsockname()) as client:
        stage.until(lambda: stage.snapshot.refused == {"denied": 1})
        client.setblocking(False)
        assert ended(client)
    assert listener.accepted[0].reads == 1


def test_a_closed_connection_frees_its_place(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_connections=1))
    for _ in range(3):
        client = stage.connect()
        assert stage.echo(client, b"hello") == b"hello"
        client.close()
        stage.until(lambda: stage.snapshot.open == 0)
    assert stage.snapshot.refused == {}


def test_a_client_beyond_max_per_host_is_closed_and_counted_and_other_hosts_are_not(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_per_host=1))
    stage.connect()
    assert ended(stage.connect())
    assert stage.echo(stage.connect(other_host()), b"hello") == b"hello"
    assert stage.snapshot.refused == {"max_per_host": 1}


def test_a_closed_connection_frees_its_place_for_the_host(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_per_host=1))
    for _ in range(3):
        client = stage.connect()
        assert stage.echo(client, b"hello") == b"hello"
        reset(client)
        stage.until(lambda: stage.snapshot.open == 0)
    assert stage.snapshot.refused == {}


def test_a_denied_client_is_closed_and_counted_and_others_are_not(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(deny=(other_host(),)))
    assert ended(stage.connect(OTHER_HOST))
    assert stage.echo(stage.connect(), b"hello") == b"hello"
    assert stage.snapshot.refused == {"denied": 1}


def test_a_client_that_is_not_allowed_is_closed_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(allow=("127.0.0.1",)))
    assert ended(stage.connect(other_host()))
    assert stage.echo(stage.connect(), b"hello") == b"hello"
    assert stage.snapshot.refused == {"denied": 1}


def test_a_refused_client_is_reported_with_the_reason(make_stage: MakeStage) -> None:
    notes = RecordingObserver()
    stage = make_stage(Limits(max_connections=1), observer=notes)
    first, second = stage.connect(), stage.connect()
    assert notes.events == [("opened", first.getsockname()), ("refused: max_connections", second.getsockname())]


def test_a_greeted_client_that_has_reset_already_frees_its_place_for_the_host(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_per_host=1), handler=RespondHandler(bytes.upper, "line", b"welcome\n"))
    reset(stage.dial())
    stage.until(lambda: stage.snapshot.accepted == 1 or bool(stage.snapshot.errors))
    stage.until(lambda: stage.snapshot.open == 0)
    assert stage.read(stage.connect(), 8) == b"welcome\n"


def test_an_accepted_client_that_cannot_be_watched_takes_no_place(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_connections=1), poller=FullPoller())
    stage.dial()
    stage.until(lambda: bool(stage.snapshot.errors))
    stage.elapse(RESOURCE_PAUSE)
    assert stage.echo(stage.connect(), b"hello") == b"hello"
    assert stage.snapshot.refused == {}


def test_a_client_that_cannot_be_watched_is_closed(make_stage: MakeStage) -> None:
    stage = make_stage(poller=FullPoller())
    client = stage.dial()
    stage.until(lambda: bool(stage.snapshot.errors))
    assert ended(client)
    assert stage.loop.reactor.in_state(ECHOING) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs abstract names (unix(7))")
@pytest.mark.parametrize("form", ["json", "text"])
def test_a_client_with_an_abstract_name_that_is_no_text_is_served_and_logged(cleanup: ExitStack, form: Form) -> None:
    listener, client = (cleanup.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
    listener.bind(b"\0halloo-test-%d" % os.getpid())
    listener.listen()
    listener.setblocking(False)
    lines: list[str] = []
    loop = EchoServer([Endpoint(listener)], observer=ClientLog(Log(lines.append, form)))
    cleanup.callback(loop.shutdown)
    client.bind(b"\0\xff\n-%d" % os.getpid())
    client.connect(listener.getsockname())
    loop.turn(POLL_TIMEOUT)
    assert loop.snapshot().open_by_scheme == {"tcp": 0, "tls": 0, "unix": 1}
    assert len(lines) == 1
    assert lines[0].isprintable()


# Errors of accepting.


def test_a_connection_aborted_before_accept_is_counted_and_skipped(make_stage: MakeStage, cleanup: ExitStack) -> None:
    listener = failing(cleanup, errno.ECONNABORTED)
    stage = make_stage()
    stage.loop.acceptor.add([Endpoint(listener)])
    with socket.create_connection(listener.getsockname()) as client:
        stage.until(lambda: stage.snapshot.accepted == 1)
        assert stage.snapshot.errors == {"ECONNABORTED": 1}
        client.setblocking(False)
        assert stage.echo(client, b"hello") == b"hello"


@pytest.mark.parametrize("name", ["ECONNRESET", "EPERM", "EPROTO", "ENETDOWN", "ETIMEDOUT", "ESOCKTNOSUPPORT"])
def test_an_error_of_one_connection_delays_no_other(make_stage: MakeStage, cleanup: ExitStack, name: str) -> None:
    listener = failing(cleanup, getattr(errno, name))
    stage = make_stage()
    stage.loop.acceptor.add([Endpoint(listener)])
    with socket.create_connection(listener.getsockname()):
        stage.until(lambda: stage.snapshot.accepted == 1)
    assert sum(stage.snapshot.errors.values()) == 1


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_a_tls_client_that_resets_while_it_is_accepted_delays_no_other(cleanup: ExitStack, shared: bool) -> None:
    listener = cleanup.enter_context(ResettingListener())
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    loop = EchoServer([Endpoint(listener, context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))], shared=shared)
    cleanup.callback(loop.shutdown)
    for _ in range(3):
        client = socket.create_connection(listener.getsockname())
        client.send(b"hello")
        listener.reset = lambda client=client: reset(client)
        loop.turn(POLL_TIMEOUT)
        assert loop.acceptor.accepting
        cleanup.enter_context(socket.create_connection(listener.getsockname()))
        loop.turn(POLL_TIMEOUT)
    # The reset is met by the first read, which may still find the bytes sent before it.
    assert (loop.snapshot().accepted, sum(loop.snapshot().errors.values())) == (6, 3)


@needs_epoll
@pytest.mark.parametrize("name", ["EMFILE", "ENFILE"])
def test_a_worker_without_resources_tries_again_though_none_of_its_connections_closes(
    cleanup: ExitStack, name: str
) -> None:
    listener, clock = failing(cleanup, 0), Clock()
    loop = EchoServer([Endpoint(listener)], shared=True, clock=clock)
    cleanup.callback(loop.shutdown)
    cleanup.enter_context(socket.create_connection(listener.getsockname()))
    loop.turn(POLL_TIMEOUT)
    listener.number = getattr(errno, name)
    cleanup.enter_context(socket.create_connection(listener.getsockname()))
    loop.turn(POLL_TIMEOUT)
    assert not loop.acceptor.accepting
    clock.now += RETRY_INTERVAL
    loop.reactor.call_due()
    assert (loop.snapshot().accepted, loop.snapshot().errors) == (2, {name: 1})


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_without_resources_accepting_pauses(make_stage: MakeStage, cleanup: ExitStack, name: str) -> None:
    listener = failing(cleanup, getattr(errno, name))
    stage = make_stage()
    stage.loop.acceptor.add([Endpoint(listener)])
    with socket.create_connection(listener.getsockname()):
        stage.until(lambda: stage.snapshot.errors == {name: 1})
        assert stage.loop.reactor.poller.poll(0) == []
        stage.elapse(RESOURCE_PAUSE)
        stage.until(lambda: stage.snapshot.accepted == 1)


def test_an_error_of_the_listener_is_raised(make_stage: MakeStage, cleanup: ExitStack) -> None:
    listener = failing(cleanup, errno.EBADF)
    stage = make_stage()
    stage.loop.acceptor.add([Endpoint(listener)])
    with socket.create_connection(listener.getsockname()), pytest.raises(OSError, match="EBADF"):
        stage.until(lambda: False)


# Pausing and closing.


def test_close_accepts_queued_clients_and_none_after(make_stage: MakeStage) -> None:
    stage = make_stage()
    waiting = [stage.dial() for _ in range(3 * MAX_ACCEPTS)]
    stage.loop.acceptor.close()
    assert stage.snapshot.accepted == len(waiting)
    stage.dial()
    assert stage.loop.reactor.poller.poll(0) == []


def test_close_accepts_a_client_queued_behind_many_denied_ones(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(deny=(other_host(),)))
    for _ in range(2 * MAX_ACCEPTS):
        stage.dial(OTHER_HOST)
    client = stage.dial()
    stage.loop.acceptor.close()
    assert stage.echo(client, b"hello") == b"hello"


def test_close_ends_though_clients_keep_connecting(make_stage: MakeStage, cleanup: ExitStack) -> None:
    listener = cleanup.enter_context(EndlessListener())
    stage = make_stage(Limits(max_connections=1))
    stage.loop.acceptor.add([Endpoint(listener)])
    stage.loop.acceptor.close()
    assert stage.snapshot.accepted + stage.snapshot.refused["max_connections"] == BACKLOG


def test_a_closed_acceptor_does_not_resume_when_a_connection_closes(make_stage: MakeStage) -> None:
    stage = make_stage()
    client = stage.connect()
    stage.loop.acceptor.close()
    client.close()
    stage.until(lambda: stage.snapshot.open == 0)
    assert not stage.loop.acceptor.accepting


def test_another_listener_may_be_added(make_stage: MakeStage, cleanup: ExitStack) -> None:
    stage = make_stage()
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.setblocking(False)
    stage.loop.acceptor.add([Endpoint(listener, RespondHandler(bytes.upper, "line", b""))])
    with socket.create_connection(listener.getsockname()) as client:
        client.setblocking(False)
        assert stage.echo(client, b"hello\n") == b"HELLO\n"
    assert stage.echo(stage.connect(), b"hello\n") == b"hello\n"


# Shared listeners.


@needs_epoll
def test_two_loops_on_one_listener_both_accept(cleanup: ExitStack) -> None:
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.setblocking(False)
    loops = [EchoServer([Endpoint(listener)], shared=True) for _ in range(2)]
    for loop in loops:
        cleanup.callback(loop.shutdown)
    for _ in range(10):
        cleanup.enter_context(socket.create_connection(listener.getsockname()))
        for loop in loops:
            loop.turn(0)
    taken = [loop.snapshot().accepted for loop in loops]
    assert sum(taken) == 10


@needs_epoll
def test_a_client_that_has_reset_before_a_worker_starts_is_reported_and_frees_its_place(cleanup: ExitStack) -> None:
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.setblocking(False)
    reset(socket.create_connection(listener.getsockname()))
    endpoint, notes = Endpoint(listener, RespondHandler(None, "line", b"welcome\n")), RecordingObserver()
    loop = EchoServer([endpoint], limits=Limits(max_per_host=1), observer=notes, shared=True)
    cleanup.callback(loop.shutdown)
    assert [event for event, _ in notes.events] == ["opened", "closed"]
    cleanup.enter_context(socket.create_connection(listener.getsockname()))
    loop.turn(POLL_TIMEOUT)
    assert (loop.snapshot().accepted, loop.snapshot().open, loop.snapshot().refused) == (2, 1, {})


@needs_epoll
def test_a_client_without_a_wake_up_is_accepted_by_the_retry(cleanup: ExitStack) -> None:
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.setblocking(False)
    clock = Clock()
    hanging, awake = (EchoServer([Endpoint(listener)], shared=True, clock=clock) for _ in range(2))
    for loop in (hanging, awake):
        cleanup.callback(loop.shutdown)
    cleanup.enter_context(socket.create_connection(listener.getsockname()))
    clock.now += RETRY_INTERVAL
    awake.reactor.call_due()
    assert awake.snapshot().accepted == 1


# Addresses.


def test_the_host_is_the_first_part_of_an_address_and_a_unix_socket_has_none() -> None:
    assert [host_of(("127.0.0.1", 5)), host_of(("::1", 5, 0, 0)), host_of("/tmp/x")] == ["127.0.0.1", "::1", ""]  # noqa: S108 - no file


# Helpers.


class FullPoller(Selector):
    """Cannot watch the first client: epoll_ctl(2) fails with ENOSPC when the user watches too many."""

    def __init__(self) -> None:
        super().__init__()
        self._full = True
        self._clients: set[int] = set()

    def adopt(self, sock: socket.socket) -> int:
        fd = super().adopt(sock)
        self._clients.add(fd)
        return fd

    def watch(self, fd: int, events: int) -> None:
        if fd in self._clients and self._full:
            self._full = False
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().watch(fd, events)


class FailingListener(socket.socket):
    """A listening socket whose next accept(2) fails with the given error."""

    number = 0

    def accept(self) -> tuple[socket.socket, object]:
        number, self.number = self.number, 0
        if number:
            raise OSError(number, errno.errorcode[number])
        return super().accept()


class EndlessListener(socket.socket):
    """A listening socket at which a client always waits."""

    def accept(self) -> tuple[socket.socket, object]:
        sock, client = socket.socketpair()
        client.close()
        return sock, ("127.0.0.1", 0)


class ConnectedSocket(socket.socket):
    """A connection that is still one when it is asked, and no longer when it is used."""

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 0


class ResettingListener(socket.socket):
    """A listening socket whose client resets the connection once it is accepted, if `reset` is set."""

    reset: Callable[[], None] | None = None

    def accept(self) -> tuple[socket.socket, object]:
        sock, peer = super().accept()
        if self.reset:
            self.reset()
            self.reset = None
            return ConnectedSocket(fileno=sock.detach()), peer
        return sock, peer


class ChattySocket(socket.socket):
    """A connection whose peer sends faster than it is read."""

    reads = 0

    def recv(self, size: int, _flags: int = 0) -> bytes:
        self.reads += 1
        assert self.reads < 100, "no end of reading"
        return bytes(size)


class ChattyListener(socket.socket):
    """A listening socket whose clients send without a pause."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: list[ChattySocket] = []

    def accept(self) -> tuple[socket.socket, object]:
        sock, peer = super().accept()
        self.accepted.append(ChattySocket(fileno=sock.detach()))
        return self.accepted[-1], peer


def failing(cleanup: ExitStack, number: int) -> FailingListener:
    listener = cleanup.enter_context(FailingListener())
    listener.number = number
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    return listener
