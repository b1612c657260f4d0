"""Write results: files that are whole or stay as they were, streams that logrotate(8) may rename, standard output.

Check first, so that a file that cannot be written is reported before the work begins. A name that ends in .gz is
compressed; `-` is standard output. Devices, FIFOs and the like are written directly.
"""

import errno
import gzip
import os
import secrets
import shutil
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import cast

from halloo.errors import LocalError

Write = Callable[[str], object]  # writes text, and hands it to the system at once
STDOUT = "-"
READ_SIZE = 1024  # bytes read at a time; a truncated .gz file loses its last ones
# The folder permits no new file, or no other file in place of this one: a mount point, or another user's in /tmp.
IN_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV}
OPEN_FILES = ("/dev/std", "/dev/fd/", "/proc/")  # names of open descriptors; a file of that name is in use
FULL = {errno.ENOSPC, errno.EDQUOT}


def check_writable(path: str) -> None:
    """Check that a file can be written, and leave everything as it is. Raises LocalError."""
    if is_stream(path):
        return
    target = Path(os.path.realpath(path))  # the file that a symbolic link leads to
    with _named_errors(path):
        if target.exists():
            target.open("ab").close()
        else:
            target.open("xb").close()
            target.unlink()


def write_file(path: str, text: str) -> None:
    """Replace a file by `text`: readers see the old content or the new, and after an error the old. Raises LocalError.

    A symbolic link stays, and the file that it names is replaced; mode and owner are those of the old file.
    """
    if is_stream(path):
        with writer(path) as write:
            write(text)
        return
    data, target = text.encode(errors="backslashreplace"), Path(os.path.realpath(path))
    data = gzip.compress(data) if path.endswith(".gz") else data
    with _named_errors(path):
        try:
            _replace(target, data)
        except OSError as error:
            if error.errno not in IN_PLACE:
                raise
            target.write_bytes(data)


@contextmanager
def writer(path: str) -> Iterator[Write]:
    """Yield a function that replaces a file by its text, after checking it. Raises LocalError, here and later.

    A device or FIFO is opened now, and stays open, so that its reader sees one stream.
    """
    if is_stream(path):
        with appender(path) as write:
            yield write
    else:
        check_writable(path)
        yield lambda text: write_file(path, text)


@contextmanager
def appender(path: str) -> Iterator[Write]:
    """Yield a function that appends its text to a file, made if it is missing. Raises LocalError, here and later."""
    if path == STDOUT:
        yield _write_to_standard_output
        return
    stream = _Stream(path)
    try:
        yield stream.write
    finally:
        stream.close()


def read_text(path: str) -> str:
    """Read a file; a truncated .gz file is read as far as it goes, a missing file is empty. Raises LocalError."""
    chunks = []
    try:
        with cast("BufferedReader", _open_file(path, "rb")) as file, suppress(EOFError):
            while chunk := file.read1(READ_SIZE):
                chunks.append(chunk)
    except FileNotFoundError:
        return ""
    except (OSError, zlib.error) as error:
        raise _file_error(path, "read", error) from error
    return b"".join(chunks).decode(errors="replace")  # the last character may be half of one


class _Stream:
    """A file that is appended to, and opened again when it was renamed or removed, as logrotate(8) does."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._special = is_stream(path)
        with _named_errors(path):
            self._open()

    def write(self, text: str) -> None:
        with _named_errors(self._path):
            if not self._special and self._renamed():
                with suppress(OSError):  # until it can be opened, the renamed file takes the text
                    renamed = self._file
                    self._open()
                    renamed.close()
            self._file.write(text.encode(errors="backslashreplace"))
            self._file.flush()

    def close(self) -> None:
        with suppress(BrokenPipeError), _named_errors(self._path):
            self._file.close()

    def _open(self) -> None:
        self._file = _open_file(self._path, "ab")
        self._identity = _identity(os.fstat(self._file.fileno()))

    def _renamed(self) -> bool:
        try:
            return _identity(os.stat(self._path)) != self._identity  # noqa: PTH116 - half the time, for each line
        except OSError:
            return True


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _write_to_standard_output(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _replace(target: Path, data: bytes) -> None:
    temporary = target.with_name(f".halloo-{secrets.token_hex(8)}")
    try:
        temporary.touch(exist_ok=False)
        temporary.write_bytes(data)
        with suppress(FileNotFoundError):
            owner = target.stat()
            if hasattr(os, "chown"):
                with suppress(PermissionError):  # only root may give a file away
                    os.chown(temporary, owner.st_uid, owner.st_gid)
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_stream(path: str) -> bool:
    """Whether it is standard output, a device, a FIFO or the like: what is written there cannot be replaced."""
    if path == STDOUT or path.startswith(OPEN_FILES):
        return True
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as the other functions of `os` here
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _open_file(path: str, mode: str) -> BufferedWriter:
    file = gzip.open(path, mode) if path.endswith(".gz") else open(path, mode)  # noqa: SIM115, PTH123 - the caller closes it
    return cast("BufferedWriter", file)


@contextmanager
def _named_errors(path: str) -> Iterator[None]:
    """Name the file in errors of the system; a reader that has left (EPIPE) is no error of the file."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _file_error(path, "written", error) from error


def _file_error(path: str, use: str, error: Exception) -> LocalError:
    reason, number = getattr(error, "strerror", None) or str(error), getattr(error, "errno", None)
    remedy = "make room on its disk, or name another file" if number in FULL else "name another file"
    return LocalError(f"{path} cannot be {use}: {reason.lower()}", remedy, errno=number)
