"""Escape control characters in text from users and peers. Pure: no I/O, no clock, no randomness."""

import codecs


def printable(text: str) -> str:
    r"""Escape every control character except newline and tab, so that a terminal does not interpret it.

    >>> printable("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    if text.replace("\n", "").replace("\t", "").isprintable():  # a tenth of the time
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def quoted(message: bytes) -> str:
    r"""Return the repr of a message as the tutorial prints it: of text if it is UTF-8, otherwise of bytes.

    >>> quoted(b"hello"), quoted(b"\xff")
    ("'hello'", "b'\\xff'")
    """
    try:
        return repr(message.decode())
    except UnicodeDecodeError:
        return repr(message)


class EscapingDecoder:
    """Decode a stream of UTF-8 into text that is safe to print; a chunk may end amid a character."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """Return the text that the data completes; `last` escapes an incomplete character at the end."""
        return printable(self._decoder.decode(data, last))
