"""Tests of a program's output: it never waits for a reader, and its first and last bytes are kept."""

import os
import threading
from contextlib import closing

from halloo._check.output import KEPT, PIPE_SIZE, OutputPipe


def test_what_has_been_written_is_read_at_once() -> None:
    with closing(OutputPipe()) as pipe:
        assert pipe.text == ""
        for number in range(100):
            os.write(pipe.writer, b"%d\n" % number)
            assert pipe.text.endswith(f"{number}\n")


def test_of_a_long_output_the_beginning_and_the_end_are_kept() -> None:
    with closing(OutputPipe()) as pipe:
        size = 4 * PIPE_SIZE  # more than the pipe holds: it is read meanwhile
        for piece in (b"first ", *[bytes(1 << 16)] * (size >> 16), b" last"):
            assert os.write(pipe.writer, piece) == len(piece)
        text = pipe.text
        assert (text[:6], text[-5:]) == ("first ", " last")
        assert f"\n... {size + 11 - 2 * KEPT} bytes ...\n" in text
        assert len(text) < 2 * KEPT + 100


def test_output_without_end_delays_neither_a_look_at_it_nor_its_end() -> None:
    stopped = threading.Event()
    with closing(OutputPipe()) as pipe:

        def write() -> None:
            while not stopped.is_set():
                os.write(pipe.writer, bytes(1 << 16))

        os.write(pipe.writer, b"begun")
        writer = threading.Thread(target=write)
        writer.start()
        text = pipe.text
        stopped.set()
        writer.join()
        assert text.startswith("begun")
