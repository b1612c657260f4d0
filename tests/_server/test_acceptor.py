"""Who is taken in, who is turned away, and what happens when there is nothing left to take anybody in with."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from halloo._core.limits import Limits
from halloo._server import acceptor
from halloo._server.acceptor import ACCEPTS, FULL_PAUSE, LOOK, Endpoint, host_of
from halloo._server.connections import ECHOING
from halloo._server.handlers import RespondHandler
from halloo._server.poller import Selector
from halloo._server.tcp import Loop
from tests.stepping import MAKERS, Clock, Notes, Stage, ended, reset

OTHER = "127.0.0.2"  # all of 127/8 is this machine on Linux


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


def other_host() -> str:
    """Give a second address of this machine, or skip the test."""
    with socket.socket() as sock:
        try:
            sock.bind((OTHER, 0))
        except OSError:
            pytest.skip(f"needs {OTHER}")
    return OTHER


# Who is turned away.


def test_one_more_than_may_be_there_is_closed_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_connections=2))
    clients = [stage.arrive() for _ in range(3)]
    assert ended(clients[2])
    assert (stage.seen.accepted, stage.seen.open, stage.seen.refused) == (2, 2, {"max_connections": 1})
    assert [stage.echo(client, b"hello") for client in clients[:2]] == [b"hello"] * 2


def test_who_is_turned_away_without_a_word_of_its_own_is_closed_politely(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_connections=1))
    stage.arrive()
    assert ended(stage.arrive())  # an end, and no reset


def test_who_is_turned_away_after_it_has_spoken_is_closed_politely(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_connections=1))
    stage.arrive()
    client = stage.dial()
    client.send(b"hello")
    stage.until(lambda: bool(stage.seen.refused))
    assert ended(client)


def test_who_leaves_makes_room(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_connections=1))
    for _ in range(3):
        client = stage.arrive()
        assert stage.echo(client, b"hello") == b"hello"
        client.close()
        stage.until(lambda: stage.seen.open == 0)
    assert stage.seen.refused == {}


def test_one_more_of_a_host_is_closed_and_counted_and_others_are_not(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_per_host=1))
    stage.arrive()
    assert ended(stage.arrive())
    assert stage.echo(stage.arrive(other_host()), b"hello") == b"hello"
    assert stage.seen.refused == {"max_per_host": 1}


def test_who_leaves_makes_room_for_its_host(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_per_host=1))
    for _ in range(3):
        client = stage.arrive()
        assert stage.echo(client, b"hello") == b"hello"
        reset(client)
        stage.until(lambda: stage.seen.open == 0)
    assert stage.seen.refused == {}


def test_who_is_denied_is_closed_and_counted_and_others_are_not(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(deny=(other_host(),)))
    assert ended(stage.arrive(OTHER))
    assert stage.echo(stage.arrive(), b"hello") == b"hello"
    assert stage.seen.refused == {"denied": 1}


def test_who_is_not_among_the_allowed_is_closed_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(allow=("127.0.0.1",)))
    assert ended(stage.arrive(other_host()))
    assert stage.echo(stage.arrive(), b"hello") == b"hello"
    assert stage.seen.refused == {"denied": 1}


def test_the_log_is_told_who_was_turned_away_and_why(make_stage: MakeStage) -> None:
    notes = Notes()
    stage = make_stage(Limits(max_connections=1), observer=notes)
    first, second = stage.arrive(), stage.arrive()
    assert notes.told == [("opened", first.getsockname()), ("refused: max_connections", second.getsockname())]


def test_a_greeted_client_that_has_reset_already_makes_room_for_its_host(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_per_host=1), handler=RespondHandler(bytes.upper, "lines", b"welcome\n"))
    reset(stage.dial())
    stage.until(lambda: stage.seen.accepted == 1 or bool(stage.seen.errors))
    stage.until(lambda: stage.seen.open == 0)
    assert stage.read(stage.arrive(), 8) == b"welcome\n"


def test_who_was_let_in_but_cannot_be_watched_takes_no_room(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_connections=1), poller=Full())
    stage.dial()
    stage.until(lambda: bool(stage.seen.errors))
    stage.elapse(FULL_PAUSE)
    assert stage.echo(stage.arrive(), b"hello") == b"hello"
    assert stage.seen.refused == {}


def test_who_cannot_be_watched_is_closed(make_stage: MakeStage) -> None:
    stage = make_stage(poller=Full())
    client = stage.dial()
    stage.until(lambda: bool(stage.seen.errors))
    assert ended(client)
    assert stage.loop.table.in_state(ECHOING) == []


# Errors of accepting.


def test_a_connection_that_was_aborted_before_it_was_accepted_is_counted_and_passed_over(
    make_stage: MakeStage, cleanup: ExitStack
) -> None:
    listener = failing(cleanup, errno.ECONNABORTED)
    stage = make_stage()
    stage.loop.acceptor.add([Endpoint(listener)])
    with socket.create_connection(listener.getsockname()) as client:
        stage.until(lambda: stage.seen.accepted == 1)
        assert stage.seen.errors == {"ECONNABORTED": 1}
        client.setblocking(False)
        assert stage.echo(client, b"hello") == b"hello"


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_with_nothing_left_accepting_pauses_for_a_moment(make_stage: MakeStage, cleanup: ExitStack, name: str) -> None:
    listener = failing(cleanup, getattr(errno, name))
    stage = make_stage()
    stage.loop.acceptor.add([Endpoint(listener)])
    with socket.create_connection(listener.getsockname()):
        stage.until(lambda: stage.seen.errors == {name: 1})
        assert stage.loop.poller.poll(0) == []
        stage.elapse(FULL_PAUSE)
        stage.until(lambda: stage.seen.accepted == 1)


def test_an_error_of_the_listener_itself_is_not_hidden(make_stage: MakeStage, cleanup: ExitStack) -> None:
    listener = failing(cleanup, errno.EBADF)
    stage = make_stage()
    stage.loop.acceptor.add([Endpoint(listener)])
    with socket.create_connection(listener.getsockname()), pytest.raises(OSError, match="EBADF"):
        stage.until(lambda: False)


# The door.


def test_who_waits_when_the_door_shuts_is_taken_in_and_nobody_after(make_stage: MakeStage) -> None:
    stage = make_stage()
    waiting = [stage.dial() for _ in range(3 * ACCEPTS)]
    stage.loop.acceptor.close()
    assert stage.seen.accepted == len(waiting)
    stage.dial()
    assert stage.loop.poller.poll(0) == []


def test_who_waits_behind_many_that_are_denied_is_taken_in_when_the_door_shuts(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(deny=(other_host(),)))
    for _ in range(2 * ACCEPTS):
        stage.dial(OTHER)
    client = stage.dial()
    stage.loop.acceptor.close()
    assert stage.echo(client, b"hello") == b"hello"


def test_a_door_that_is_shut_does_not_open_when_somebody_leaves(make_stage: MakeStage) -> None:
    stage = make_stage()
    client = stage.arrive()
    stage.loop.acceptor.close()
    client.close()
    stage.until(lambda: stage.seen.open == 0)
    assert not stage.loop.acceptor.open


def test_another_listener_may_be_added(make_stage: MakeStage, cleanup: ExitStack) -> None:
    stage = make_stage()
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.setblocking(False)
    stage.loop.acceptor.add([Endpoint(listener, RespondHandler(bytes.upper, "lines", b""))])
    with socket.create_connection(listener.getsockname()) as client:
        client.setblocking(False)
        assert stage.echo(client, b"hello\n") == b"HELLO\n"
    assert stage.echo(stage.arrive(), b"hello\n") == b"hello\n"


# A listener that is shared with others.


needs_epoll = pytest.mark.skipif(len(MAKERS) == 1, reason="needs epoll")


@needs_epoll
def test_of_two_loops_at_one_listener_both_take_clients_in_turn(cleanup: ExitStack) -> None:
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.setblocking(False)
    loops = [Loop([Endpoint(listener)], shared=True) for _ in range(2)]
    for loop in loops:
        cleanup.callback(loop.shutdown)
    for _ in range(10):
        cleanup.enter_context(socket.create_connection(listener.getsockname()))
        for loop in loops:
            loop.turn(0)
    taken = [loop.snapshot().accepted for loop in loops]
    assert sum(taken) == 10


@needs_epoll
def test_a_client_that_nobody_was_woken_for_is_found_within_a_moment(cleanup: ExitStack) -> None:
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.setblocking(False)
    clock = Clock()
    hanging, awake = (Loop([Endpoint(listener)], shared=True, clock=clock) for _ in range(2))
    for loop in (hanging, awake):
        cleanup.callback(loop.shutdown)
    cleanup.enter_context(socket.create_connection(listener.getsockname()))
    clock.now += LOOK
    for act in awake.timers.due(clock.now):
        act()
    assert awake.snapshot().accepted == 1


# Addresses.


def test_the_host_is_the_first_part_of_an_address_and_a_unix_socket_has_none() -> None:
    assert [host_of(("127.0.0.1", 5)), host_of(("::1", 5, 0, 0)), host_of("/tmp/x")] == ["127.0.0.1", "::1", ""]  # noqa: S108 - no file


def test_the_errors_of_passing_connections_are_none_of_fullness() -> None:
    assert not acceptor.PASSING & acceptor.FULL


# What the tests are made of.


class Full(Selector):
    """Cannot watch the first client: epoll_ctl(2) says so when the user watches too many (ENOSPC)."""

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


class Failing(socket.socket):
    """A listening socket whose first accept(2) fails so."""

    number = 0

    def accept(self) -> tuple[socket.socket, object]:
        number, self.number = self.number, 0
        if number:
            raise OSError(number, errno.errorcode[number])
        return super().accept()


def failing(cleanup: ExitStack, number: int) -> socket.socket:
    listener = cleanup.enter_context(Failing())
    listener.number = number
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    return listener
