"""Work in another thread: its order, its bounds, and what happens while it is blocked."""

import sys
import threading
from collections.abc import Iterator

import pytest

from halloo._output.background import Background, close_all

TIMEOUT = 20.0  # seconds, longer than any passing test takes
MAX_WAITING = 3


class Output:
    """What blocks until the test opens it, and keeps what it was given."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.fail = False  # once
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, item: str) -> None:
        self.entered.set()
        assert self.opened.wait(TIMEOUT)
        if self.fail:
            self.fail = False
            raise ZeroDivisionError
        self.items.append(item)


@pytest.fixture
def output() -> Output:
    return Output()


@pytest.fixture
def background(output: Output) -> Iterator[Background[str]]:
    background = Background(output, dropped="{} dropped".format, max_waiting=MAX_WAITING)
    yield background
    output.opened.set()
    background.close(TIMEOUT)


def block(background: Background[str], output: Output) -> None:
    background.add("blocked")
    assert output.entered.wait(TIMEOUT)


def test_items_are_done_in_their_order_and_after_a_close_by_another_thread(
    background: Background[str], output: Output
) -> None:
    output.opened.set()
    for item in "abc":
        background.add(item)
    assert background.flush(TIMEOUT)
    assert output.items == ["a", "b", "c"]
    background.close(TIMEOUT)
    background.add("d")
    close_all(TIMEOUT)
    assert output.items == ["a", "b", "c", "d"]


def test_a_blocked_output_blocks_neither_add_nor_flush_nor_close(background: Background[str], output: Output) -> None:
    block(background, output)
    background.add("waits")
    assert not background.flush(0)
    background.close(0)
    assert output.items == []
    output.opened.set()
    background.close(TIMEOUT)
    assert output.items == ["blocked", "waits"]


def test_items_beyond_the_bound_are_dropped_and_counted(background: Background[str], output: Output) -> None:
    block(background, output)
    for number in range(MAX_WAITING + 5):
        background.add(str(number))
    output.opened.set()
    assert background.flush(TIMEOUT)
    background.add("next")
    assert background.flush(TIMEOUT)
    assert output.items == ["blocked", "0", "1", "2", "5 dropped", "next"]


def test_without_items_there_is_no_thread(background: Background[str]) -> None:
    before = threading.active_count()
    assert background.flush(TIMEOUT)
    background.close(TIMEOUT)
    assert threading.active_count() == before


def test_an_item_that_fails_is_reported_and_the_next_one_done(
    background: Background[str], output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[object] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, _error, _traceback: failed.append(kind))
    block(background, output)
    background.add("waits")
    output.fail = True
    output.opened.set()
    assert background.flush(TIMEOUT)
    assert (failed, output.items) == ([ZeroDivisionError], ["waits"])


def test_a_forked_child_begins_anew(background: Background[str], output: Output) -> None:
    block(background, output)
    output.opened.set()
    background.close(TIMEOUT)
    background.release()  # as in the child
    background.add("of the child")
    assert background.flush(TIMEOUT)
    assert output.items == ["blocked", "of the child"]


def test_an_item_is_dropped_if_no_thread_can_be_started(
    background: Background[str], output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    output.opened.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        background.add("lost")
    background.add("next")
    assert background.flush(TIMEOUT)
    assert output.items == ["1 dropped", "next"]
