"""Lines reach a reader who reads, and never harm a writer whose reader does not."""

import os
from collections.abc import Iterator

import pytest

from halloo._output.terminal import LONGEST, LineWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_line_is_written(pipe: tuple[int, int]) -> None:
    LineWriter(pipe[1])("hello")
    assert os.read(pipe[0], 100) == b"hello\n"


def test_what_nobody_reads_is_dropped_and_counted(pipe: tuple[int, int]) -> None:
    lines = LineWriter(pipe[1])
    for _ in range(100):
        lines("x" * (LONGEST - 1))
    assert lines.dropped > 0


def test_a_closed_descriptor_does_no_harm() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    lines = LineWriter(writing)
    lines("hello")
    os.close(writing)
    lines("hello")
    assert lines.dropped == 2


def test_what_cannot_be_encoded_is_spelled_out(pipe: tuple[int, int]) -> None:
    LineWriter(pipe[1])("\udc80")
    assert os.read(pipe[0], 100) == b"\\udc80\n"
