"""Signals as requests: to stop after the current step, to look at the state, or to stop now."""

import select
import signal
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from halloo._net.signals import LOOKING, REQUESTS, STOPPING, StopRequest, interrupting
from tests.conditions import TIMEOUT


@pytest.fixture
def stop_request() -> Iterator[StopRequest]:
    with closing(StopRequest()) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_ignored() -> Iterator[None]:
    """Undo what nohup(1) or a shell's `&` has done to this process."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in REQUESTS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


each_stop = pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)


def woken(stop_request: StopRequest, seconds: float = 0) -> bool:
    return bool(select.select([stop_request.waking], [], [], seconds)[0])


@each_stop
def test_a_stop_signal_requests_a_stop_and_the_second_interrupts(
    stop_request: StopRequest, number: signal.Signals
) -> None:
    with stop_request.of_signals():
        signal.raise_signal(number)
        assert woken(stop_request, TIMEOUT)
        assert (stop_request.stop, stop_request.look) == (True, False)
        for _ in range(2):
            stop_request.heard()
            assert not woken(stop_request)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    with interrupting():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)


def test_a_stop_for_another_reason_counts_as_no_signal(stop_request: StopRequest) -> None:
    with stop_request.of_signals():
        stop_request.stop = True
        signal.raise_signal(signal.SIGTERM)
    stop_request.close()
    assert stop_request.waking.fileno() == -1


@pytest.mark.skipif(not LOOKING, reason="needs SIGQUIT")
def test_sigquit_requests_a_look_any_number_of_times(stop_request: StopRequest) -> None:
    with stop_request.of_signals():
        for _ in range(3):
            signal.raise_signal(signal.SIGQUIT)
        assert woken(stop_request, TIMEOUT)
    assert (stop_request.look, stop_request.stop) == (True, False)


@pytest.mark.parametrize("number", [*STOPPING, *LOOKING], ids=lambda number: number.name)
def test_an_ignored_signal_stays_ignored(stop_request: StopRequest, number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interrupting(), stop_request.of_signals():
            for _ in range(2):
                signal.raise_signal(number)
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert (stop_request.stop, stop_request.look) == (False, False)


def test_handlers_are_restored(stop_request: StopRequest) -> None:
    before = [signal.getsignal(number) for number in REQUESTS]
    with interrupting(), stop_request.of_signals():
        assert all(signal.getsignal(number) != handler for number, handler in zip(REQUESTS, before, strict=True))
    assert [signal.getsignal(number) for number in REQUESTS] == before
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
