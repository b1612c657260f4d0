"""Fit text into the width of a terminal: sentences continue on further lines, names are shortened in the middle.

What goes into a pipe or a file stays whole: its width is None.
"""

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from textwrap import wrap
from typing import IO

USUAL = 80  # columns, where a terminal does not say
NARROWEST = 20  # columns, whatever it says
_CUT = "..."
# A number and its unit, an option and its value, and a command at the end, which can then be copied.
_TOGETHER = re.compile(r"\d [%a-z]|--[\w-]+ \S|\bhalloo [a-z]+ [^;,]*$")


def width_of(stream: IO[str] | int | None) -> int | None:
    """Return the width of a terminal, by COLUMNS where that is set; None for anything else."""
    if stream is None:  # a program without a console
        return None
    try:
        fd = stream if isinstance(stream, int) else stream.fileno()
        if not os.isatty(fd):
            return None
    except (OSError, ValueError):  # the stream is a program's own, such as io.StringIO, or closed
        return None
    told = os.environ.get("COLUMNS", "")
    width = int(told) if told.isdecimal() else 0
    with suppress(OSError):
        width = width or os.get_terminal_size(fd).columns
    return max(width or USUAL, NARROWEST)


def fold(text: str, width: int, *, indent: str = "") -> list[str]:
    """Break a text into lines between words, none of which is cut; all but the first are indented."""
    joined = _TOGETHER.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    lines = wrap(joined, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def folded(text: str, width: int | None) -> str:
    """Break a message into lines if it does not fit into the width; further ones are indented by two more columns."""
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    return text if width is None or len(text) <= width else "\n".join(fold(text, width, indent=indent))


def say(text: str) -> None:
    """Print a message of the command's own to standard error."""
    print(folded(f"halloo: {text}", width_of(sys.stderr)), file=sys.stderr, flush=True)


def shortened_names(names: Sequence[str], room: int) -> list[str]:
    """Leave out the middle of long names, so that they have room; at another place if they would be alike.

    >>> shortened_names(["tcp://probe-1.example.com:8888", "tcp://probe-2.example.com:8888"], 20)
    ['tcp://probe-1...8888', 'tcp://probe-2...8888']
    """
    kept = max(room - len(_CUT), 1)
    heads = sorted(range(kept + 1), key=lambda head: abs(head - kept // 2))
    found = ([_without_middle(name, head, kept - head) for name in names] for head in heads)
    distinct = (texts for texts in found if len(set(texts)) == len(set(names)))
    return next(distinct, None) or [_without_middle(name, kept // 2, kept - kept // 2) for name in names]


def _without_middle(name: str, head: int, tail: int) -> str:
    return name if len(name) <= head + len(_CUT) + tail else f"{name[:head]}{_CUT}{name[len(name) - tail :]}"
