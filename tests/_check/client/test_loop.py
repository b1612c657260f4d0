import os
from collections.abc import Iterator

import pytest

from halloo._check.case import Failed
from halloo._check.client.loop import Script, ScriptLoop


class Clock:
    """A fake clock: each reading advances it by 10 ms."""

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


def test_a_script_continues_after_its_delay_or_when_its_condition_holds(loop: ScriptLoop) -> None:
    events: list[str] = []

    def script() -> Script:
        yield 1
        events.append("a second")
        yield lambda: "first" in events
        events.append("second")

    loop.start(script())
    assert not events
    assert loop.wait_until(lambda: bool(events), 5)
    loop.turn()
    events.append("first")
    loop.turn()
    assert events == ["a second", "first", "second"]


def test_a_descriptor_gets_its_callback_while_it_is_watched(loop: ScriptLoop, pipe: tuple[int, int]) -> None:
    received: list[bytes] = []
    loop.watch(pipe[0], lambda _: received.append(os.read(pipe[0], 10)), read=True)
    os.write(pipe[1], b"hello")
    assert loop.wait_until(lambda: received == [b"hello"], 5)
    loop.unwatch(pipe[0])
    os.write(pipe[1], b"hello")
    assert not loop.wait_until(lambda: len(received) > 1, 0.5)


def test_an_exception_in_a_script_propagates(loop: ScriptLoop) -> None:
    def script() -> Script:
        yield 0
        raise Failed("too much memory")

    loop.start(script())
    with pytest.raises(Failed, match="too much memory"):
        loop.run_for(1)


def test_a_case_over_its_time_limit_fails() -> None:
    loop = ScriptLoop(1, Clock())
    with pytest.raises(Failed, match="not finished within 1 s"):
        loop.run_for(2)
