"""Find out which process listens on a port, from Linux's own tables (proc(5)).

Knows /proc. Elsewhere, and for processes of other users, the answer is None: the message then leaves it out.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LISTEN = "0A"  # st, the fourth column of /proc/net/tcp, in include/net/tcp_states.h
_PROC = Path("/proc")


def holder(port: int) -> tuple[str, int] | None:
    """Give the name and the process id of who listens on a TCP port of this machine."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
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


def _inodes(port: int) -> Iterator[str]:
    for table in (_PROC / "net" / "tcp", _PROC / "net" / "tcp6"):
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]
