"""Listen on a Unix socket's path: take over one that was left behind, never one that is in use.

Knows unix(7). The file goes when the listener closes, if it is still the one that was made.
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

LONGEST = 107  # bytes of a path, sun_path less its final NUL


def bound(address: Address, backlog: int, options: Sequence[tuple[int, int, int]]) -> socket.socket:
    """Give a socket that listens on the address's path. Raises AddressInUse when somebody answers there."""
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
    """Give the path, if this system can use it. Raises Unsupported, LocalError."""
    if not hasattr(socket, "AF_UNIX"):
        raise Unsupported("this system has no Unix sockets", "use tcp://")
    path = address.path or ""
    if len(os.fsencode(path)) > LONGEST:
        raise LocalError(f"{address} is longer than {LONGEST} bytes", "choose a shorter path", address=str(address))
    return path


def identity(path: str) -> tuple[int, int] | None:
    """Give device and inode of a path, to know it again; None when nothing is there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - the address is a string, and may be anything
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove(path: str, made: tuple[int, int] | None) -> None:
    """Remove the file, unless another has taken its place."""
    if made is not None and identity(path) == made:
        with suppress(OSError):
            Path(path).unlink()


def _remove_stale(path: str, address: Address) -> None:
    """Remove a socket that nobody listens on; bind(2) leaves it behind when its server is killed."""
    if not stat.S_ISSOCK(Path(path).lstat().st_mode):
        remedy = "remove the file, or choose another path"
        raise AddressInUse(f"{path} exists and is no socket", remedy, address=str(address), errno=errno.EADDRINUSE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            Path(path).unlink()
            return
    remedy = "stop that server, or choose another path"
    raise AddressInUse(f"{path} is taken: a server answers there", remedy, address=str(address), errno=errno.EADDRINUSE)
