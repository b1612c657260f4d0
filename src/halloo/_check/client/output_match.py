r"""Tell whether what a program prints shows an answer: as it came, in quotes, spelled out as `\xc3`, or piece by piece.

Knows bytes. Programs show an echo in many shapes, and all that are honest count; what the shape hides is no mistake.
"""

import json
import re
from collections.abc import Iterator

ROUND = {2**power for power in range(4, 17)} | {1000, 10_000, 65535}  # sizes of buffers that people choose
_QUOTED = re.compile(rb"""'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)\"""")
_LABEL = re.compile(rb"(?m)^(?:[A-Za-z][A-Za-z0-9 ]*[:>=]+ ?)+")
_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\)|^Exception in thread|^Unhandled exception|^panic: |^thread '.*' panicked"
    r"|^\s+at \S+ ?\(.*:\d+\)|^Uncaught |terminate called after throwing",
    re.MULTILINE,
)


def shown(output: bytes, answer: bytes) -> bool:
    """Whether the output shows the answer; its final line end does not matter."""
    output, answer = output.replace(b"\r\n", b"\n"), answer.replace(b"\r\n", b"\n").rstrip(b"\r\n")
    forms = [*_forms(answer)]
    if any(form in output for form in forms):
        return True
    quoted = b"".join(one or other for one, other in _QUOTED.findall(output))
    if any(form in quoted for form in forms):
        return True
    bare = _LABEL.sub(b"", output).replace(b"\n", b"")
    return any(form.replace(b"\n", b"") in bare for form in forms)


def without(output: bytes, answer: bytes) -> bytes:
    """Give the output without the first place where it shows the answer as a whole."""
    for form in _forms(answer.rstrip(b"\r\n")):
        if form in output:
            return output.replace(form, b"", 1)
    return output


def _forms(answer: bytes) -> Iterator[bytes]:
    """Give the ways in which one may write it."""
    yield answer
    if not answer.isascii() or not answer.decode().isprintable():
        yield repr(answer)[2:-1].encode()
        try:
            text = answer.decode()
        except UnicodeDecodeError:
            yield repr(answer.decode("latin-1"))[1:-1].encode()
        else:
            yield from (form[1:-1].encode() for form in (repr(text), ascii(text), json.dumps(text)))


def extent(output: bytes, answer: bytes) -> int:
    """Count the bytes at the beginning of the answer that are shown."""
    low, high = 0, len(answer)
    while low < high:
        middle = (low + high + 1) // 2
        if shown(output, answer[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def pattern_of(extent: int) -> str:
    """Name how an answer is incomplete, for the cause: not at all there, cut at a buffer's size, or somewhere."""
    if extent == 0:
        return "silent"
    return "round" if extent in ROUND else "short"


def is_traceback(text: str) -> bool:
    """Whether a program has shown its inside instead of saying what happened."""
    return bool(_TRACEBACK.search(text))


def tail(data: bytes, most: int = 300) -> str:
    """Quote the end of what was printed."""
    text = data.decode(errors="replace").replace("\r\n", "\n").strip()
    return repr(text if len(text) <= most else f"...{text[-most:]}")
