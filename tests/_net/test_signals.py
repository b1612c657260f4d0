"""Signals as requests: to stop after the current step, to look at the state, or to stop now."""

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from halloo._net.signals import LOOKING, STOPPING, StopRequest

TIMEOUT = 10.0  # seconds, longer than any passing test takes


@pytest.fixture
def stop_request() -> Iterator[StopRequest]:
    with closing(StopRequest()) as made:
        yield made


def woken(stop_request: StopRequest, seconds: float = 0) -> bool:
    return bool(select.select([stop_request.waking], [], [], seconds)[0])


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_stop_signal_is_recorded(stop_request: StopRequest, number: int) -> None:
    stop_request.note(number)
    assert (stop_request.stop, stop_request.look) == (True, False)


def test_the_second_stop_signal_raises_keyboard_interrupt(stop_request: StopRequest) -> None:
    stop_request.note(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stop_request.note(signal.SIGTERM)


@pytest.mark.parametrize("number", LOOKING)
def test_a_look_signal_does_not_request_a_stop(stop_request: StopRequest, number: int) -> None:
    for _ in range(3):
        stop_request.note(number)
    assert (stop_request.stop, stop_request.look) == (False, True)


def test_close_closes_the_descriptor() -> None:
    stop_request = StopRequest()
    stop_request.close()
    assert stop_request.waking.fileno() == -1


# Real signals.


@pytest.mark.skipif(os.name == "nt", reason="on Windows os.kill ends the process")
def test_a_signal_requests_a_stop_and_wakes_a_select(stop_request: StopRequest) -> None:
    with stop_request.of_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert woken(stop_request, TIMEOUT)
    assert stop_request.stop
    stop_request.heard()
    assert not woken(stop_request)


@pytest.mark.skipif(not LOOKING, reason="needs SIGQUIT")
def test_sigquit_requests_a_look(stop_request: StopRequest) -> None:
    with stop_request.of_signals():
        os.kill(os.getpid(), signal.SIGQUIT)
        assert woken(stop_request, TIMEOUT)
    assert (stop_request.look, stop_request.stop) == (True, False)


def test_of_signals_restores_the_handlers(stop_request: StopRequest) -> None:
    before = [signal.getsignal(number) for number in (*STOPPING, *LOOKING)]
    with stop_request.of_signals():
        assert all(signal.getsignal(number) == stop_request.note for number in (*STOPPING, *LOOKING))
    assert [signal.getsignal(number) for number in (*STOPPING, *LOOKING)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_of_signals_in_another_thread_installs_no_handlers(stop_request: StopRequest) -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def run() -> None:
        with stop_request.of_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_heard_may_be_called_without_a_signal(stop_request: StopRequest) -> None:
    with stop_request.of_signals():
        for _ in range(3):
            stop_request.heard()
        assert not woken(stop_request)
