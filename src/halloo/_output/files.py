"""Open result files: compressed if the name ends in .gz, standard output for `-`.

A file is opened before the work begins, so that one that cannot be written is reported at once.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from halloo.errors import LocalError

STDOUT = "-"
READ_SIZE = 1024  # bytes read at a time; a truncated .gz file loses its last ones


@contextmanager
def open_text(path: str, *, append: bool = False) -> Iterator[TextIO]:
    """Open a file for writing text; `append` keeps its present content. Raises LocalError."""
    if path == STDOUT:
        yield sys.stdout
        return
    try:
        raw = _open_binary(path, "ab" if append else "wb")
    except OSError as error:
        raise _file_error(path, "written", error) from error
    with io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as file:
        yield file


def check_writable(path: str) -> None:
    """Check that a file can be written, and leave its content as it is. Raises LocalError."""
    if path == STDOUT:
        return
    try:
        with open(path, "ab"):  # noqa: PTH123 - as `_open_binary` does
            pass
    except OSError as error:
        raise _file_error(path, "written", error) from error


def read_text(path: str) -> str:
    """Read a file; a truncated .gz file is read as far as it goes, a missing file is empty. Raises LocalError."""
    chunks = []
    try:
        with cast("io.BufferedReader", _open_binary(path, "rb")) as file, suppress(EOFError):
            while chunk := file.read1(READ_SIZE):
                chunks.append(chunk)
    except FileNotFoundError:
        return ""
    except (OSError, zlib.error) as error:
        raise _file_error(path, "read", error) from error
    return b"".join(chunks).decode(errors="replace")  # the last character may be half of one


def _open_binary(path: str, mode: str) -> io.BufferedWriter:
    file = gzip.open(path, mode) if path.endswith(".gz") else open(path, mode)  # noqa: SIM115, PTH123 - the caller closes it
    return cast("io.BufferedWriter", file)


def _file_error(path: str, use: str, error: Exception) -> LocalError:
    reason = getattr(error, "strerror", None) or str(error)
    return LocalError(f"{path} cannot be {use}: {reason.lower()}", "name another file")
