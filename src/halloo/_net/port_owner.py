"""Find out which process has a port, from Linux's own tables (proc(5)).

Knows /proc. Elsewhere, and for processes of other users, the answer is None: the message then leaves it out.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# st, the fourth column of /proc/net/tcp, in include/net/tcp_states.h: LISTEN; and CLOSE, for a socket of datagrams.
_LISTEN, _OPEN = "0A", "07"
_PROC = Path("/proc")


def port_owner(port: int, *, datagrams: bool = False) -> tuple[str, int] | None:
    """Give the name and the process id of who listens on a TCP port of this machine, or has a UDP port."""
    tables, state = (("udp", "udp6"), _OPEN) if datagrams else (("tcp", "tcp6"), _LISTEN)
    wanted = {f"socket:[{inode}]" for table in tables for inode in _inodes(_PROC / "net" / table, state, port)}
    if not wanted:
        return None
    for process in sorted(_PROC.glob("[0-9]*")):
        with suppress(OSError):  # gone meanwhile, or another user's
            if any(_leads_to(fd) in wanted for fd in (process / "fd").iterdir()):
                return (process / "comm").read_text().strip(), int(process.name)
    return None


def _leads_to(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:
        return ""  # closed since the folder was read


def _inodes(table: Path, state: str, port: int) -> Iterator[str]:
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        columns = row.split()
        if columns[3] == state and int(columns[1].rpartition(":")[2], 16) == port:
            yield columns[9]
