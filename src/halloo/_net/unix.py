"""Listen on the path of a Unix socket (unix(7)): a stale file is replaced, one in use never.

Only the user may connect, unless a mode allows more. The file is removed when the listener closes, if it is still the
same one.
"""

import errno
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from halloo._core.address import Address
from halloo._core.arguments import shown
from halloo._net import error_mapping
from halloo.errors import AddressInUse, LocalError, Unsupported

MAX_PATH = 107  # bytes: sun_path without its final NUL
MAX_MODE = 0o777
MODE = 0o600  # connecting needs the permission to write (unix(7))
_SOCKETS = Path("/proc/net/unix")
_PATH_COLUMN = 7


def bound(address: Address, backlog: int, options: Sequence[tuple[int, int, int]], mode: int = MODE) -> socket.socket:
    """Return a socket that listens on the path, with these permissions. Raises AddressInUse when it is another's."""
    path = checked(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        for option in options:
            sock.setsockopt(*option)
        with suppress(OSError):  # of other systems than Linux, where the umask alone applies for a moment
            os.fchmod(sock.fileno(), mode)  # before bind(2), so that the file never allows more
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise error_mapping.listening(address, error) from error
            _replace_stale(sock, path, address)
        Path(path).chmod(mode)  # the umask has taken from it
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
        fact = f"{shown(path)} is longer than the {MAX_PATH} bytes of a Unix socket's path"
        raise LocalError(fact, "choose a shorter path", address=str(address))
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


def is_socket(path: str) -> bool:
    """Whether the path is that of a socket; False if nothing is there."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - as in `identity`
    except OSError:
        return False


def remove(path: str, made: tuple[int, int] | None) -> None:
    """Remove the file, unless it has been replaced by another."""
    if made is not None and identity(path) == made:
        with suppress(OSError):
            Path(path).unlink()


def _replace_stale(sock: socket.socket, path: str, address: Address) -> None:
    """Bind in the place of a stale file; no other server looks at it meanwhile, so that none removes a new one."""
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        folder = os.open(Path(path).parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_stale(path, address)
            sock.bind(path)
        finally:
            os.close(folder)
    except AddressInUse:
        raise
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EADDRINUSE, errno.ENOENT):
            raise error_mapping.listening(address, error) from error
        fact = f"{path} is taken: another server begins to listen there at the same time"
        remedy = "choose another path, or try again"
        raise AddressInUse(fact, remedy, address=str(address), errno=errno.EADDRINUSE) from error


def _remove_stale(path: str, address: Address) -> None:
    """Remove the file of a socket without a listener, which is left when a server is killed."""
    if not stat.S_ISSOCK(Path(path).lstat().st_mode):
        remedy = "remove the file, or choose another path"
        raise AddressInUse(f"{path} exists and is not a socket", remedy, address=str(address), errno=errno.EADDRINUSE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        refused = probe.connect_ex(path) == errno.ECONNREFUSED
    if refused and not _is_bound(path):
        Path(path).unlink()
        return
    reason = "a program is about to listen there, or has its own socket there" if refused else "a server answers there"
    remedy = "stop that program, or choose another path" if refused else "stop that server, or choose another path"
    raise AddressInUse(f"{path} is taken: {reason}", remedy, address=str(address), errno=errno.EADDRINUSE)


def _is_bound(path: str) -> bool:
    """Whether a socket has the path, listening or not; False where the system does not say (Linux: proc_net(5))."""
    try:
        rows = [row.split(None, _PATH_COLUMN) for row in _SOCKETS.read_bytes().splitlines()[1:]]
    except OSError:
        return False
    names = {os.fsdecode(row[_PATH_COLUMN]) for row in rows if len(row) > _PATH_COLUMN}  # as they were given to bind(2)
    wanted = Path(path).resolve()
    return path in names or any(name.startswith("/") and Path(name).resolve() == wanted for name in names)
