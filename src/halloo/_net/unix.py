"""Listen on the path of a Unix socket (unix(7)): a stale file is replaced, one in use never.

The file is removed when the listener closes, if it is still the same one.
"""

import errno
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from halloo._core.address import Address
from halloo._net import error_mapping
from halloo.errors import AddressInUse, LocalError, Unsupported

MAX_PATH = 107  # bytes: sun_path without its final NUL


def bound(address: Address, backlog: int, options: Sequence[tuple[int, int, int]]) -> socket.socket:
    """Return a socket that listens on the path. Raises AddressInUse when a server answers there."""
    path = checked(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        for option in options:
            sock.setsockopt(*option)
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise error_mapping.listening(address, error) from error
            _remove_stale(path, address)
            sock.bind(path)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def checked(address: Address) -> str:
    """Return the path, if this system can use it. Raises Unsupported, LocalError."""
    if not hasattr(socket, "AF_UNIX"):
        raise Unsupported("this system has no Unix sockets", "use tcp://")
    path = address.path or ""
    if len(os.fsencode(path)) > MAX_PATH:
        raise LocalError(f"{address} is longer than {MAX_PATH} bytes", "choose a shorter path", address=str(address))
    return path


def name_text(name: str | bytes) -> str:
    """Return a socket's name as text: `@` begins an abstract one, as in ss(8); bytes that are not UTF-8 are escaped.

    The kernel takes any bytes as a name, and begins an abstract one with NUL (unix(7)).
    """
    data = os.fsencode(name)
    return ("@" if data.startswith(b"\0") else "") + data.removeprefix(b"\0").decode(errors="backslashreplace")


def identity(path: str) -> tuple[int, int] | None:
    """Return the device and inode of a path, None when nothing is there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - the address is a string, and may be anything
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove(path: str, made: tuple[int, int] | None) -> None:
    """Remove the file, unless it has been replaced by another."""
    if made is not None and identity(path) == made:
        with suppress(OSError):
            Path(path).unlink()


def _remove_stale(path: str, address: Address) -> None:
    """Remove the file of a socket without a listener, which is left when a server is killed."""
    if not stat.S_ISSOCK(Path(path).lstat().st_mode):
        remedy = "remove the file, or choose another path"
        raise AddressInUse(f"{path} exists and is not a socket", remedy, address=str(address), errno=errno.EADDRINUSE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            Path(path).unlink()
            return
    remedy = "stop that server, or choose another path"
    raise AddressInUse(f"{path} is taken: a server answers there", remedy, address=str(address), errno=errno.EADDRINUSE)
