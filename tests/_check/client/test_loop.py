import os
from collections.abc import Iterator

import pytest

from halloo._check.case import Failed
from halloo._check.client.loop import Script, ScriptLoop


class Clock:
    """Time that passes by itself: a hundredth of a second for each look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@pytest.fixture
def loop() -> ScriptLoop:
    return ScriptLoop(60, Clock())


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_script_goes_on_when_its_time_has_come(loop: ScriptLoop) -> None:
    said = []

    def script() -> Script:
        yield 1
        said.append("a second")

    loop.play(script())
    assert not said
    assert loop.until(lambda: bool(said), 5)


def test_a_script_goes_on_when_what_it_waits_for_is_true(loop: ScriptLoop) -> None:
    said: list[str] = []

    def script() -> Script:
        yield lambda: "first" in said
        said.append("second")

    loop.play(script())
    loop.turn()
    assert not said
    said.append("first")
    loop.turn()
    assert said == ["first", "second"]


def test_until_gives_up(loop: ScriptLoop) -> None:
    assert not loop.until(lambda: False, 0.5)


def test_a_descriptor_that_is_ready_is_served(loop: ScriptLoop, pipe: tuple[int, int]) -> None:
    came: list[bytes] = []
    loop.watch(pipe[0], lambda _: came.append(os.read(pipe[0], 10)), read=True)
    os.write(pipe[1], b"hello")
    assert loop.until(lambda: came == [b"hello"], 5)


def test_a_descriptor_that_is_forgotten_is_not_served(loop: ScriptLoop, pipe: tuple[int, int]) -> None:
    loop.watch(pipe[0], lambda _: pytest.fail("served"), read=True)
    loop.forget(pipe[0])
    os.write(pipe[1], b"hello")
    loop.turn()


def test_what_a_script_raises_comes_out_of_the_turn(loop: ScriptLoop) -> None:
    def script() -> Script:
        yield 0
        raise Failed("too much memory")

    loop.play(script())
    with pytest.raises(Failed, match="too much memory"):
        loop.pause(1)


def test_a_case_that_takes_too_long_fails() -> None:
    loop = ScriptLoop(1, Clock())
    with pytest.raises(Failed, match="not done within 1 s"):
        loop.pause(2)
