"""The standard streams of the client commands: read chunks, and print received data.

Uses standard input, output and error.
"""

import os
import sys
from collections.abc import Iterator
from typing import Self

from halloo._core.escape import EscapingDecoder, quoted
from halloo._net.connection import CHUNK
from halloo._output.terminal import say

MAX_LINE = 4095  # bytes of a line, without its newline, that a terminal of Linux keeps (termios(3), canonical mode)


def standard_input() -> Iterator[bytes]:
    """Yield chunks of standard input, unbuffered: a thread blocked in a buffered read would hold the buffer's lock."""
    fd = sys.stdin.fileno()
    terminal = os.isatty(fd)
    while data := os.read(fd, CHUNK):
        if terminal:  # which passes on one line at a time
            report_cut(data.removesuffix(b"\n"))
        yield data


def report_cut(line: bytes) -> None:
    """Say that a terminal may have cut a line, if this one is as long as a line can be."""
    if len(line) == MAX_LINE:
        fact = f"the terminal passes on {MAX_LINE} bytes of a line, and may have cut this one"
        say(f"{fact}; send longer lines from a file: halloo connect HOST < FILE")


def report_no_input() -> None:
    """Say that standard input was empty: a forgotten `docker run -i` looks like a server that does not answer."""
    say("nothing was sent (no input; with docker: run -i)")


def print_received(data: bytes) -> None:
    """Print each line as the tutorial does: `Received 'text'`."""
    for line in data.removesuffix(b"\n").split(b"\n") if data else ():
        print("Received", quoted(line), flush=True)


class Printer:
    """Print received data: unchanged, except that a terminal gets it escaped, with its last line terminated."""

    def __init__(self) -> None:
        self._decoder = EscapingDecoder() if sys.stdout.isatty() else None
        self._open_line = False

    def __enter__(self) -> Self:
        return self

    def __call__(self, data: bytes) -> None:
        if self._decoder:
            self._print(self._decoder.feed(data))
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def __exit__(self, *_: object) -> None:
        if self._decoder:
            self._print(self._decoder.feed(b"", last=True))
            if self._open_line:
                print(flush=True)

    def _print(self, text: str) -> None:
        print(text, end="", flush=True)
        self._open_line = not text.endswith("\n") if text else self._open_line
