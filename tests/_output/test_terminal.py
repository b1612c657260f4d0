"""Lines reach a reader that reads, and never block on one that does not."""

import os
from collections.abc import Iterator

import pytest

from halloo._output.terminal import MAX_LINE, LineWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_line_is_written(pipe: tuple[int, int]) -> None:
    LineWriter(pipe[1])("hello")
    assert os.read(pipe[0], 100) == b"hello\n"


def test_a_line_that_does_not_fit_is_dropped_and_counted(pipe: tuple[int, int]) -> None:
    lines = LineWriter(pipe[1])
    for _ in range(100):
        lines("x" * (MAX_LINE - 1))
    assert lines.dropped > 0


def test_a_closed_descriptor_raises_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    lines = LineWriter(writing)
    lines("hello")
    os.close(writing)
    lines("hello")
    assert lines.dropped == 2


def test_characters_that_cannot_be_encoded_are_escaped(pipe: tuple[int, int]) -> None:
    LineWriter(pipe[1])("\udc80")
    assert os.read(pipe[0], 100) == b"\\udc80\n"
