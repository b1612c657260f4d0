"""The reactor alone: states, events, timers and wake-ups, without any connection."""

import errno
import os
import socket
import threading
from array import array
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from halloo._server.poller import READ, WRITE, Selector
from halloo._server.reactor import Reactor
from halloo._server.states import DATAGRAM, ECHOING, FREE, HANDLING, LINGERING, LISTENING, WAKEUP, WRITE_PENDING
from tests.stepping import MAKERS, Clock


@pytest.fixture(params=MAKERS)
def reactor(request: pytest.FixtureRequest) -> Iterator[Reactor]:
    reactor = Reactor(request.param(), clock=Clock())
    yield reactor
    if not reactor.closed:
        reactor.close()


def turn(reactor: Reactor, timeout: float | None = 0) -> int:
    ready = reactor.poller.poll(timeout)
    for fd, _ in ready:
        reactor.handlers[reactor.state[fd]](fd)
    return len(ready)


@pytest.mark.parametrize("fd", [63, 64, 65, 127, 128, 19_999])
def test_the_states_grow_for_any_descriptor_and_stay_the_same_object(reactor: Reactor, fd: int) -> None:
    held = reactor.state
    reactor.add(fd, ECHOING)
    assert held is reactor.state
    assert reactor.in_state(ECHOING) == [fd]
    assert {*reactor.state} == {FREE, WAKEUP, ECHOING}


def test_other_arrays_grow_with_the_states(reactor: Reactor) -> None:
    times, names, late = array("d"), list[str](), bytearray()
    reactor.by_descriptor(times, 0)
    reactor.by_descriptor(names, "")
    for fd in (5, 63, 64, 19_999):
        reactor.add(fd, FREE)
        times[fd], names[fd] = fd, str(fd)
    reactor.by_descriptor(late, 0)
    assert len(times) == len(names) == len(late) == len(reactor.state)
    assert (sum(times), "".join(names)) == (20_131, "5636419999")


def test_a_descriptor_that_cannot_be_watched_has_no_state(reactor: Reactor) -> None:
    with socket.socket() as sock:
        fd = sock.fileno()
    with pytest.raises((OSError, ValueError)):
        reactor.watch(fd, ECHOING)  # it is closed
    assert reactor.in_state(ECHOING) == []


class FullPoller(Selector):
    """Cannot watch anything: epoll_ctl(2) fails with ENOSPC when the user watches too many."""

    def watch(self, fd: int, events: int) -> None:  # noqa: ARG002 - Poller's signature
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_reactor_that_cannot_watch_its_wake_up_closes_everything() -> None:
    poller = FullPoller()
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        Reactor(poller)
    with pytest.raises((OSError, ValueError)):  # it is closed
        poller.poll(0)


def test_descriptors_are_found_by_state(reactor: Reactor) -> None:
    for fd, state in enumerate((LISTENING, DATAGRAM, ECHOING, WRITE_PENDING, HANDLING, ECHOING), 100):
        reactor.add(fd, state)
    assert reactor.in_state(ECHOING, WRITE_PENDING) == [102, 103, 105]


def test_the_handler_of_its_state_is_called_for_a_ready_descriptor(reactor: Reactor) -> None:
    calls: list[tuple[str, int]] = []
    reactor.handlers[ECHOING] = lambda fd: calls.append(("read", fd))
    reactor.handlers[WRITE_PENDING] = lambda fd: calls.append(("write", fd))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = ours.fileno()
        reactor.watch(fd, ECHOING)
        assert turn(reactor) == 0
        theirs.send(b"x")
        turn(reactor)
        reactor.move(fd, WRITE_PENDING, WRITE)
        turn(reactor)
        reactor.move(fd, ECHOING, 0)
        assert turn(reactor) == 0
        reactor.move(fd, LINGERING, READ)
        turn(reactor)  # no handler: the event is ignored
        reactor.unwatch(fd)
        assert (turn(reactor), reactor.state[fd]) == (0, FREE)
        reactor.unwatch(fd)  # again
    assert calls == [("read", fd), ("write", fd)]


def test_callbacks_are_called_when_they_are_due_and_in_order(reactor: Reactor) -> None:
    calls: list[str] = []
    reactor.call_later(2, lambda: calls.append("second"))
    reactor.call_later(1, lambda: calls.append("first"))
    reactor.call_due()
    assert calls == []
    reactor.clock.now += 2  # type: ignore[attr-defined] # the test's clock
    reactor.call_due()
    assert calls == ["first", "second"]


@pytest.mark.parametrize("make_poller", MAKERS)
def test_a_turn_waits_for_the_next_callback_or_not_at_all(make_poller: type) -> None:
    for busy_poll, expected in ((False, [7, None]), (True, [0, 0])):
        reactor = Reactor(make_poller(), clock=Clock(), busy_poll=busy_poll)
        waits: list[float | None] = []
        reactor.call_later(7, lambda: None)

        def look(timeout: float | None, reactor: Reactor = reactor, waits: list[float | None] = waits) -> None:
            waits.append(timeout)
            reactor.timers.pop_due(2000)
            reactor.running = len(waits) < 2

        reactor.run(look)
        reactor.close()
        assert waits == expected


def test_a_wake_up_from_another_thread_is_handled_once(reactor: Reactor) -> None:
    woken: list[int] = []
    reactor.on_wakeup = lambda: woken.append(1)

    def wake_often() -> None:
        for _ in range(100_000):
            reactor.wake()

    thread = threading.Thread(target=wake_often)
    thread.start()
    thread.join()  # also when the buffer is full
    while turn(reactor):
        pass
    assert 1 <= len(woken) <= 100
    reactor.stop()
    assert (turn(reactor, None), reactor.running) == (1, False)
    reactor.on_wakeup = None
    reactor.wake()
    assert turn(reactor) == 1


def test_a_closed_reactor_has_no_descriptor_and_ignores_wake_ups(reactor: Reactor) -> None:
    with ExitStack() as cleanup:
        kept = cleanup.enter_context(socket.socket())
        reactor.add(kept.fileno(), ECHOING)
        reactor.close()
        reactor.wake()
        assert (reactor.closed, reactor.running, reactor.wakeup_writer.fileno()) == (True, False, -1)
        os.fstat(kept.fileno())  # which is not the reactor's to close
