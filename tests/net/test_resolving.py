"""The addresses of a name, at once or in a thread; the resolver itself is the system's."""

import errno
import socket
import threading

import pytest

from halloo.core.addresses import parse
from halloo.errors import TimedOut, UnknownHost
from halloo.net.resolving import Resolve, at_once, in_a_thread
from halloo.net.waiting import finished, moment

WAIT = 10.0  # seconds that no test takes


@pytest.mark.parametrize("resolve", [at_once, in_a_thread])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_name_has_its_places_and_the_time_it_took(resolve: Resolve, host: str) -> None:
    places, took = finished(resolve(parse(f"{host}:9"), 4, moment(WAIT)))
    assert places[0] == (socket.AF_INET, ("127.0.0.1", 9))
    assert 0 < took < WAIT * 1e9


@pytest.mark.parametrize("resolve", [at_once, in_a_thread])
def test_a_name_that_nobody_has_is_told(resolve: Resolve) -> None:
    with pytest.raises(UnknownHost, match=r"no address is known for 'halloo\.invalid'"):
        finished(resolve(parse("halloo.invalid:9"), None, moment(WAIT)))


def test_an_address_is_looked_up_in_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "Thread", None)
    with pytest.raises(StopIteration) as over:
        next(in_a_thread(parse("127.0.0.1:9"), None, None))
    assert over.value.value[0] == [(socket.AF_INET, ("127.0.0.1", 9))]


def test_a_resolver_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = threading.Event()
    asked: list[threading.Thread] = []

    def slowly(*_: object, **__: object) -> list[object]:
        asked.append(threading.current_thread())
        patience.wait(WAIT)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    with pytest.raises(TimedOut, match=r"the resolver does not say where 'slow' is \(timed out\); try again later"):
        finished(in_a_thread(parse("slow:9"), None, moment(0.01)))
    patience.set()
    for thread in asked:
        thread.join(WAIT)
        assert not thread.is_alive()


@pytest.mark.parametrize("resolve", [at_once, in_a_thread])
def test_what_the_system_refuses_is_raised_where_it_is_waited_for(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> list[object]:
        raise OSError(errno.EMFILE, "no descriptor is left")

    monkeypatch.setattr(socket, "getaddrinfo", full)
    with pytest.raises(OSError, match="no descriptor is left"):
        finished(resolve(parse("host:9"), None, moment(WAIT)))


def test_where_no_thread_is_to_be_had_it_is_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    places, _ = finished(in_a_thread(parse("localhost:9"), 4, moment(WAIT)))
    assert places
