"""Recognise a program for Python 2 by its error in Python 3, and say what becomes of it.

Pure: no I/O, no clock, no randomness. docs/tutorial.md has the same table.
"""

import re
from typing import NamedTuple


class Row(NamedTuple):
    """A line of Python 2, what Python 3 says about it, and the line that takes its place."""

    old: str
    error: str
    new: str
    pattern: str
    """What is looked for in the lines of the error, in place of `error`."""


ROWS = (
    Row(
        'print "Hello"',
        "SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?",
        'print("Hello")',
        r"SyntaxError: Missing parentheses in call to 'print'",
    ),
    Row(
        'text = raw_input("Send:")',
        "NameError: name 'raw_input' is not defined",
        'text = input("Send:")',
        r"NameError: name 'raw_input'",
    ),
    Row(
        'print("Received", `text`)',
        "SyntaxError: invalid syntax",
        'print("Received", repr(text))',
        r"`.*`.*\n.*\nSyntaxError: invalid syntax",
    ),
    Row(
        's.send("Hello world")',
        "TypeError: a bytes-like object is required, not 'str'",
        's.sendall(b"Hello world")`, or `text.encode()',
        r"TypeError: a bytes-like object is required, not 'str'",
    ),
    Row(
        "except socket.error, e:",
        "SyntaxError: multiple exception types must be parenthesized",
        "except OSError as e:",
        r"SyntaxError: multiple exception types must be parenthesized",
    ),
    Row(
        "import SocketServer",
        "ModuleNotFoundError: No module named 'SocketServer'",
        "import socketserver",
        r"No module named 'SocketServer'",
    ),
    Row(
        "import Queue, thread",
        "ModuleNotFoundError: No module named 'Queue'",
        "import queue, threading",
        r"No module named '(?:Queue|thread)'",
    ),
)


def advice(error: str) -> str:
    """Return what to write in Python 3, if the lines of an error are those of a program for Python 2; else nothing."""
    row = next((row for row in ROWS if re.search(row.pattern, error)), None)
    new = row.new.replace("`", "") if row else ""
    return f"This is Python 2: {row.old} is {new} in Python 3 (docs/tutorial.md)." if row else ""
