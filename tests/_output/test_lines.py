"""Lines on a pipe, a terminal and a stream, read or not."""

import io
import os
from collections.abc import Iterator

import pytest

from halloo._output.lines import MAX_LINE, REPLACING, LineWriter, dropped_text

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

FULL = 100  # lines of MAX_LINE, more than a pipe holds


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    with LineWriter(pipe[1]) as write:
        write("hello")
        write("world")
    assert os.read(pipe[0], 100) == b"hello\nworld\n"


def test_a_line_stays_one_line_without_terminal_codes(pipe: tuple[int, int]) -> None:
    with LineWriter(pipe[1]) as write:
        write("\x1b[31mred\nConnected by \udc80")
    assert os.read(pipe[0], 100) == b"\\x1b[31mred\\nConnected by \\udc80\n"


def test_a_line_replaces_the_one_before_if_that_may_be_replaced(pipe: tuple[int, int]) -> None:
    with LineWriter(pipe[1]) as write:
        write("event")
        write.replace("1 open")
        write.replace("2 open")
    assert os.read(pipe[0], 100).decode() == f"event\n1 open\n{REPLACING.format(1)}2 open\n"


def test_a_full_pipe_blocks_no_line_and_all_are_written_once_it_is_read(pipe: tuple[int, int]) -> None:
    with LineWriter(pipe[1]) as write:
        for _ in range(FULL):
            write("x" * (MAX_LINE - 1))
        received = 0
        while received < FULL * MAX_LINE:
            received += len(os.read(pipe[0], 1 << 20))


def test_a_descriptor_that_another_process_made_non_blocking_loses_no_line(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    with LineWriter(pipe[1]) as write:
        for _ in range(FULL):
            write("x" * (MAX_LINE - 1))
        received = 0
        while received < FULL * MAX_LINE:
            received += len(os.read(pipe[0], 1 << 20))


@pytest.mark.skipif(termios is None, reason="needs terminals")
def test_a_stopped_terminal_blocks_no_line() -> None:
    terminal, output = os.openpty()
    try:
        termios.tcflow(output, termios.TCOOFF)  # as ^S does
        with LineWriter(output) as write:
            write("hello")
            assert not write._background.flush(0)
            termios.tcflow(output, termios.TCOON)
            assert os.read(terminal, 100) == b"hello\r\n"
    finally:
        os.close(terminal)
        os.close(output)


def test_a_closed_descriptor_raises_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with LineWriter(writing) as write:
        write("hello")
        write.flush()
        os.close(writing)
        write("hello")


@pytest.mark.parametrize("closed", [False, True])
def test_a_stream_without_a_descriptor_gets_the_lines_itself(closed: bool) -> None:
    stream = io.StringIO()
    if closed:
        stream.close()
    with LineWriter(stream) as write:
        write("hello")
    assert closed or stream.getvalue() == "hello\n"


def test_what_a_stream_still_buffers_comes_first(pipe: tuple[int, int]) -> None:
    with os.fdopen(os.dup(pipe[1]), "w", encoding="utf-8") as stream:
        stream.write("before\n")
        with LineWriter(stream) as write:
            write("hello")
    assert os.read(pipe[0], 100) == b"before\nhello\n"


def test_without_a_stream_lines_are_discarded() -> None:
    with LineWriter(None) as write:
        write("hello")


def test_dropped_lines_are_reported_in_a_line() -> None:
    assert dropped_text(12) == "halloo: 12 lines dropped, because the output was not read"


@pytest.mark.skipif(termios is None, reason="needs terminals")
@pytest.mark.parametrize("folding", [True, False])
def test_a_long_line_is_folded_on_a_terminal_and_replaced_as_a_whole(folding: bool) -> None:
    terminal, output = os.openpty()
    long, lines = "10 words " * 10, 2 if folding else 1
    try:
        with LineWriter(output, folding=folding) as write:
            write.replace(long)
            write.replace(long)
        text = os.read(terminal, 1000).decode().replace("\r\n", "\n")
    finally:
        os.close(terminal)
        os.close(output)
    first, second = text.split(REPLACING.format(lines))
    assert first == second
    assert (first.count("\n"), first.split()) == (lines, long.split())
