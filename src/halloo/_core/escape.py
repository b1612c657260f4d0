"""Escape control characters in text from users and peers. Pure: no I/O, no clock, no randomness.

Knows characters. Knows no terminal: whoever prints decides whether one is there.
"""

import codecs


def printable(text: str) -> str:
    r"""Spell out every character that a terminal might obey, newline and tab apart.

    >>> printable("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def quoted(message: bytes) -> str:
    r"""Write a message as the tutorial does, in quotes; as bytes where it is not UTF-8.

    >>> quoted(b"hello"), quoted(b"\xff")
    ("'hello'", "b'\\xff'")
    """
    try:
        return repr(message.decode())
    except UnicodeDecodeError:
        return repr(message)


class EscapingDecoder:
    """A stream of bytes as text that is safe to show; a character may be cut in two by the pieces."""

    def __init__(self) -> None:
        """Start between two characters."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """Take a piece and give what can be shown of it; `last` spells out a character that never ended."""
        return printable(self._decoder.decode(data, last))
