"""Lines on a pipe, a terminal and a stream, read or not."""

import io
import os
from collections.abc import Iterator

import pytest

from halloo._output.lines import MAX_LINE, REPLACING, LineWriter, dropped_text

try:
    import termios
except ImportError:
    termios = None  # type: ignore[assignment]  # Windows has none

FULL = 100  # lines of MAX_LINE, more than a pipe holds


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_lines_are_written_in_order_and_without_terminal_codes(pipe: tuple[int, int]) -> None:
    with LineWriter(pipe[1]) as write:
        write("hello")
        write("\x1b[31mred\nConnected by \udc80")
    assert os.read(pipe[0], 100) == b"hello\n\\x1b[31mred\\nConnected by \\udc80\n"


@pytest.mark.parametrize("blocking", [True, False])
def test_a_full_pipe_blocks_no_line_and_all_are_written_once_it_is_read(
    pipe: tuple[int, int], *, blocking: bool
) -> None:
    os.set_blocking(pipe[1], blocking)  # another process may have done so
    with LineWriter(pipe[1]) as write:
        for _ in range(FULL):
            write("x" * (MAX_LINE - 1))
        received = 0
        while received < FULL * MAX_LINE:
            received += len(os.read(pipe[0], 1 << 20))


def test_a_line_replaces_the_one_before_if_that_may_be_replaced(pipe: tuple[int, int]) -> None:
    with LineWriter(pipe[1]) as write:
        write("event")
        write.replace("1 open")
        write.replace("2 open")
    assert os.read(pipe[0], 100).decode() == f"event\n1 open\n{REPLACING.format(1)}2 open\n"


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


def test_a_stream_without_a_descriptor_gets_the_lines_itself() -> None:
    stream, closed = io.StringIO(), io.StringIO()
    closed.close()
    for output in (stream, closed, None):
        with LineWriter(output) as write:
            write("hello")
    assert stream.getvalue() == "hello\n"
    assert dropped_text(12) == "halloo: 12 lines dropped, because the output was not read"


def test_what_a_stream_still_buffers_comes_first(pipe: tuple[int, int]) -> None:
    with os.fdopen(os.dup(pipe[1]), "w", encoding="utf-8") as stream:
        stream.write("before\n")
        with LineWriter(stream) as write:
            write("hello")
    assert os.read(pipe[0], 100) == b"before\nhello\n"


@pytest.mark.skipif(termios is None, reason="needs terminals")
@pytest.mark.parametrize("folding", [True, False])
def test_a_long_line_is_folded_on_a_terminal_and_replaced_as_a_whole(folding: bool) -> None:
    terminal, output = os.openpty()
    long, lines = "10 words " * 10, 2 if folding else 1
    try:
        with LineWriter(output, folding=folding) as write:
            write.replace(long)
            write.replace(long)
        text = ""
        while text.count("words") < 20 or not text.endswith("\n"):
            text += os.read(terminal, 1000).decode().replace("\r\n", "\n")
    finally:
        os.close(terminal)
        os.close(output)
    first, second = text.split(REPLACING.format(lines))
    assert first == second
    assert (first.count("\n"), first.split()) == (lines, long.split())
