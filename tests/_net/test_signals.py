"""What signals are taken for: stop after this, look, or stop now."""

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from halloo._net.signals import LOOKING, STOPPING, StopRequest

WAIT = 10.0  # seconds that no test takes


@pytest.fixture
def wish() -> Iterator[StopRequest]:
    with closing(StopRequest()) as made:
        yield made


def woken(wish: StopRequest, seconds: float = 0) -> bool:
    return bool(select.select([wish.waking], [], [], seconds)[0])


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_wish_to_stop_is_noted(wish: StopRequest, number: int) -> None:
    wish.note(number)
    assert (wish.stop, wish.look) == (True, False)


def test_the_second_interrupts(wish: StopRequest) -> None:
    wish.note(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        wish.note(signal.SIGTERM)


@pytest.mark.parametrize("number", LOOKING)
def test_a_wish_to_look_is_no_wish_to_stop(wish: StopRequest, number: int) -> None:
    for _ in range(3):
        wish.note(number)
    assert (wish.stop, wish.look) == (False, True)


def test_closing_leaves_no_descriptor() -> None:
    wish = StopRequest()
    wish.close()
    assert wish.waking.fileno() == -1


# Signals of the system.


@pytest.mark.skipif(os.name == "nt", reason="signals of one's own end the process on Windows")
def test_a_signal_is_a_wish_and_wakes_who_waits(wish: StopRequest) -> None:
    with wish.of_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert woken(wish, WAIT)
    assert wish.stop
    wish.heard()
    assert not woken(wish)


@pytest.mark.skipif(not LOOKING, reason="needs SIGQUIT")
def test_looking_is_a_signal_too(wish: StopRequest) -> None:
    with wish.of_signals():
        os.kill(os.getpid(), signal.SIGQUIT)
        assert woken(wish, WAIT)
    assert (wish.look, wish.stop) == (True, False)


def test_afterwards_signals_are_what_they_were(wish: StopRequest) -> None:
    before = [signal.getsignal(number) for number in (*STOPPING, *LOOKING)]
    with wish.of_signals():
        assert all(signal.getsignal(number) == wish.note for number in (*STOPPING, *LOOKING))
    assert [signal.getsignal(number) for number in (*STOPPING, *LOOKING)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_in_another_thread_signals_are_left_alone(wish: StopRequest) -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def run() -> None:
        with wish.of_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_more_wake_ups_than_anybody_heard_are_no_harm(wish: StopRequest) -> None:
    with wish.of_signals():
        for _ in range(3):
            wish.heard()
        assert not woken(wish)
