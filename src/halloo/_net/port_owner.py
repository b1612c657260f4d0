"""Find the process that is bound to a port, in Linux's /proc (proc(5)).

On other systems, and for processes of other users, the result is None.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# st, the fourth column of /proc/net/tcp (include/net/tcp_states.h): LISTEN; and CLOSE, for a datagram socket.
_LISTEN, _OPEN = "0A", "07"
_PROC = Path("/proc")


def port_owner(port: int, *, datagrams: bool = False) -> tuple[str, int] | None:
    """Return the name and id of the process that listens on a TCP port, or is bound to a UDP port, of this machine."""
    tables, state = (("udp", "udp6"), _OPEN) if datagrams else (("tcp", "tcp6"), _LISTEN)
    wanted = {f"socket:[{inode}]" for table in tables for inode in _inodes(_PROC / "net" / table, state, port)}
    if not wanted:
        return None
    for process in sorted(_PROC.glob("[0-9]*")):
        with suppress(OSError):  # it has ended, or is another user's
            if any(_link_target(fd) in wanted for fd in (process / "fd").iterdir()):
                return (process / "comm").read_text().strip(), int(process.name)
    return None


def _link_target(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:
        return ""  # closed since the directory was read


def _inodes(table: Path, state: str, port: int) -> Iterator[str]:
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        columns = row.split()
        if columns[3] == state and int(columns[1].rpartition(":")[2], 16) == port:
            yield columns[9]
