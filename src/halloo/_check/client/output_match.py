r"""Find the server's reply in a program's output: verbatim, quoted, escaped (`\xc3`), or piece by piece.

Works on bytes only. Programs print an echo in many formats; each one that shows every byte is accepted.
"""

import json
import re
from collections.abc import Iterator

MIN_SHOWN = 3  # bytes that do not occur in other output by chance
_QUOTED = re.compile(rb"""'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)\"""")
_LABEL = re.compile(rb"(?m)^(?:[A-Za-z][A-Za-z0-9 ]*[:>=]+ ?)+")
_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\)|^Exception in thread|^Unhandled exception|^panic: |^thread '.*' panicked"
    r"|^\s+at \S+ ?\(.*:\d+\)|^Uncaught |terminate called after throwing",
    re.MULTILINE,
)

_ERROR = re.compile(
    r"(?i)error|exception|refused|reset|abort|broken|tim(?:ed|e) ?-?out|clos(?:ed|ing)|fail|unable|can(?:'t|not| not)"
    r"|could(?:n't| not)|unreachable|lost|incomplete|missing|no (?:reply|response|answer|server|more)|did not|gone"
    r"|disconnect|end of (?:file|stream)|\beof\b|too (?:short|long|slow|few)|only \d+"
)


def shows(output: bytes, reply: bytes) -> bool:
    """Whether the output contains the reply; its final line end is ignored."""
    output, reply = output.replace(b"\r\n", b"\n"), reply.replace(b"\r\n", b"\n").rstrip(b"\r\n")
    forms = [*_spellings(reply)]
    if any(form in output for form in forms):
        return True
    quoted = b"".join(one or other for one, other in _QUOTED.findall(output))
    if any(form in quoted for form in forms):
        return True
    bare = _LABEL.sub(b"", output).replace(b"\n", b"")
    return any(form.replace(b"\n", b"") in bare for form in forms)


def shows_in_order(output: bytes, reply: bytes) -> bool:
    """Whether the bytes of the reply are in the output in their order, whatever is between them."""
    rest = iter(output)
    return all(byte in rest for byte in reply.rstrip(b"\r\n"))


def remove_reply(output: bytes, reply: bytes) -> bytes:
    """Return the output without the first verbatim or escaped occurrence of the reply."""
    form = next((form for form in _spellings(reply.rstrip(b"\r\n")) if form in output), b"")
    return output.replace(form, b"", 1)


def _spellings(reply: bytes) -> Iterator[bytes]:
    yield reply
    if not reply.isascii() or not reply.decode().isprintable():
        yield repr(reply)[2:-1].encode()
        try:
            text = reply.decode()
        except UnicodeDecodeError:
            yield repr(reply.decode("latin-1"))[1:-1].encode()
            text = reply.decode(errors="replace")  # bytes that are no text cannot be shown otherwise
            yield from (text.encode(), repr(text)[1:-1].encode())
        else:
            yield from (form[1:-1].encode() for form in (repr(text), ascii(text), json.dumps(text)))


def shown_length(output: bytes, reply: bytes) -> int:
    """Count the bytes at the start of the reply that the output contains; one or two within a word do not count."""
    low, high = 0, len(reply)
    while low < high:
        middle = (low + high + 1) // 2
        if shows(output, reply[:middle]):
            low = middle
        else:
            high = middle - 1
    if low >= MIN_SHOWN or low == len(reply):
        return low
    return low if re.search(rb"(?<!\w)" + re.escape(reply[:low]) + rb"(?!\w)", output) else 0


def pattern_of(length: int) -> str:
    """Name the pattern of an incomplete reply: the number of bytes after which it is cut."""
    return f"cut at-{length}" if length else "nothing-shown"


def is_traceback(text: str) -> bool:
    """Whether the text contains a traceback, or its equivalent in Java, Go, Rust, JavaScript or C++."""
    return bool(_TRACEBACK.search(text))


def mentions_error(text: str) -> bool:
    """Whether a message of a program says that something went wrong."""
    return bool(_ERROR.search(text))


def quote_end(data: bytes, limit: int = 300) -> str:
    """Quote the last `limit` characters of the output."""
    text = data.decode(errors="replace").replace("\r\n", "\n").strip()
    return repr(text if len(text) <= limit else f"...{text[-limit:]}")
