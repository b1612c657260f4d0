"""What the system tells of a server from outside: its processes, memory, descriptors, work, and its sockets.

Knows Linux's /proc (proc(5)). A server is all processes of a session, so that what its children begin is seen as well,
and is still seen when the parent has died.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
LISTEN, ESTABLISHED = 0x0A, 0x01
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def session(leader: int) -> list[int]:
    """List the processes of a session, zombies too."""
    return [pid for pid in _pids() if _session_of(pid) == leader]


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir(PROC) if name.isdecimal())  # noqa: PTH208 - names are all that is needed


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    """Give the fields after the name, which may hold anything: state, parent, ..."""
    with suppress(*_GONE):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def is_zombie(pid: int) -> bool:
    """Whether it has ended and nobody took note."""
    return _stat(pid)[:1] == ["Z"]


def resident(pid: int) -> int:
    """Count the bytes of memory that it has now."""
    with suppress(*_GONE):
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE
    return 0


def worked(pid: int) -> float:
    """Count the seconds of processor time that it has used."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICK if fields else 0.0


def descriptors(pid: int) -> int:
    """Count its open descriptors."""
    with suppress(*_GONE):
        return len(os.listdir(PROC / str(pid) / "fd"))  # noqa: PTH208 - as above
    return 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A TCP socket as the system lists it."""

    port: int
    remote_port: int
    state: int
    unread: int
    timer: int
    timer_seconds: float
    inode: int


def sockets() -> Iterator[Entry]:
    """List all TCP sockets."""
    return (_entry(line.split()) for line in _lines())


def served(port: int, remote_port: int) -> Entry | None:
    """Find the server's end of a connection."""
    ends = f":{port:04X} ", f":{remote_port:04X} "
    for line in _lines():
        if ends[0] in line and ends[1] in line:  # there may be thousands of others, in TIME-WAIT
            entry = _entry(line.split())
            if (entry.port, entry.remote_port) == (port, remote_port):
                return entry
    return None


def _lines() -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            yield from (PROC / "net" / table).read_text().splitlines()[1:]


def _entry(fields: list[str]) -> Entry:
    timer, _, ticks = fields[5].partition(":")
    return Entry(
        port=int(fields[1].rpartition(":")[2], 16),
        remote_port=int(fields[2].rpartition(":")[2], 16),
        state=int(fields[3], 16),
        unread=int(fields[4].partition(":")[2], 16),
        timer=int(timer, 16),
        timer_seconds=int(ticks, 16) / TICK,
        inode=int(fields[9]),
    )


def listening(leader: int) -> list[int]:
    """List the ports on which a session listens, by its own descriptors; nobody connects to find out."""
    own = {inode for pid in session(leader) for inode in _inodes(pid)}
    return sorted({entry.port for entry in sockets() if entry.state == LISTEN and entry.inode in own})


def _inodes(pid: int) -> Iterator[int]:
    with suppress(*_GONE):
        for link in (PROC / str(pid) / "fd").iterdir():
            with suppress(*_GONE):
                target = os.readlink(link)  # noqa: PTH115 - Path would take `socket:[1]` apart
                if target.startswith("socket:["):
                    yield int(target[8:-1])


def kernel_memory() -> int:
    """Count the bytes that all TCP sockets of this system pin (net/sockstat)."""
    for line in (PROC / "net" / "sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            return int(words[words.index("mem") + 1]) * PAGE
    return 0
