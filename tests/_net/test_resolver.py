import socket
import threading

import pytest

from halloo._net.readiness import deadline_ns, run_steps
from halloo._net.resolver import Resolved, in_thread, resolving
from tests.conditions import TIMEOUT

FOUND: Resolved = ([(socket.AF_INET, ("127.0.0.1", 9))], 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_resolving_returns_the_places_and_the_time_taken(host: str) -> None:
    places, took = run_steps(resolving(host, 9, family=socket.AF_INET, until_ns=deadline_ns(TIMEOUT)))
    assert places[0] == FOUND[0][0]
    assert 0 < took < TIMEOUT * 1e9


def test_an_error_of_the_resolver_is_raised_by_the_caller() -> None:
    with pytest.raises(socket.gaierror):
        run_steps(resolving("127.0.0.1", 9, family=socket.AF_INET6, until_ns=None))
    with pytest.raises(UnicodeError):
        run_steps(resolving("a..b", 9, until_ns=None))


def test_an_ip_address_is_resolved_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "Thread", None)
    with pytest.raises(StopIteration) as caught:
        next(resolving("127.0.0.1", 9, until_ns=None))
    assert caught.value.value[0] == FOUND[0]


def test_a_slow_resolver_times_out() -> None:
    released = threading.Event()
    threads: list[threading.Thread] = []

    def ask() -> Resolved:
        threads.append(threading.current_thread())
        released.wait(TIMEOUT)
        return FOUND

    with pytest.raises(TimeoutError):
        run_steps(in_thread(ask, deadline_ns(0.01)))
    released.set()
    (thread,) = threads
    assert thread.daemon
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_a_wait_for_the_resolver_can_be_abandoned() -> None:
    released = threading.Event()

    def ask() -> Resolved:
        released.wait(TIMEOUT)
        return FOUND

    steps = in_thread(ask, None)
    ((near,), writing, until_ns) = next(steps)
    steps.close()
    released.set()
    assert (near.fileno(), writing, until_ns) == (-1, False, None)


def test_without_a_free_thread_the_resolver_is_called_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    assert run_steps(in_thread(lambda: FOUND, deadline_ns(TIMEOUT))) == FOUND


def test_a_place_that_is_listed_twice_is_returned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(socket.AF_INET, 1, 6, "", ("127.0.0.1", 9))] * 2)
    assert run_steps(resolving("name", 9, until_ns=None))[0] == FOUND[0]
