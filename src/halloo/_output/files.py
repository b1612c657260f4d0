"""Where results go, and come from again: a file, packed when its name ends in .gz, or standard output for `-`.

What is opened before the work begins is known to be writable when it is done.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from halloo.errors import LocalError

STANDARD = "-"
PIECE = 1024  # bytes read at a time: of a packed file that is cut off, the last ones are lost


@contextmanager
def opened(place: str, *, more: bool = False) -> Iterator[TextIO]:
    """Open a place for text, to follow what is there already where there is `more`. Raises LocalError."""
    if place == STANDARD:
        yield sys.stdout
        return
    try:
        raw = _file(place, "ab" if more else "wb")
    except OSError as error:
        raise _unusable(place, "written", error) from error
    with io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as file:
        yield file


def see_writable(place: str) -> None:
    """See, before the work begins, that a place can be written; what is there stays. Raises LocalError."""
    if place == STANDARD:
        return
    try:
        with open(place, "ab"):  # noqa: PTH123 - as `opened` does
            pass
    except OSError as error:
        raise _unusable(place, "written", error) from error


def read_from(place: str) -> str:
    """Read what was written there, as far as it goes where its writer was killed, nothing where nobody wrote.

    Raises LocalError.
    """
    pieces = []
    try:
        with cast("io.BufferedReader", _file(place, "rb")) as file, suppress(EOFError):
            while piece := file.read1(PIECE):
                pieces.append(piece)
    except FileNotFoundError:
        return ""
    except (OSError, zlib.error) as error:
        raise _unusable(place, "read", error) from error
    return b"".join(pieces).decode(errors="replace")  # the last character may be half of one


def _file(place: str, mode: str) -> io.BufferedWriter:
    file = gzip.open(place, mode) if place.endswith(".gz") else open(place, mode)  # noqa: SIM115, PTH123 - its caller's
    return cast("io.BufferedWriter", file)


def _unusable(place: str, use: str, error: Exception) -> LocalError:
    told = getattr(error, "strerror", None) or str(error)
    return LocalError(f"{place} cannot be {use}: {told.lower()}", "name another file")
