"""What the system tells of a server from outside: its processes, memory, descriptors, work, and its sockets.

Knows Linux's /proc (proc(5)), and whether a port can be had. A server is all processes of a session, so that what its
children begin is seen as well, and is still seen when the parent has died.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
LISTEN, ESTABLISHED, UNCONNECTED = 0x0A, 0x01, 0x07
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


def parent(pid: int) -> int:
    """Give the process that has to take note of its end, or 0."""
    return int((_stat(pid) or "00")[1])


def is_stopped(pid: int) -> bool:
    """Whether a signal has it stand still."""
    return _stat(pid)[:1] == ["T"]


def resident(pid: int) -> int:
    """Count the bytes of memory that it has now."""
    with suppress(*_GONE):
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE
    return 0


def owned(pid: int) -> int:
    """Count the bytes of memory that it has now, of what it shares only its part: forked processes share nearly all."""
    with suppress(*_GONE):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def worked(pid: int) -> float:
    """Count the seconds of processor time that it has used."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICK if fields else 0.0


def wanted(pid: int) -> float:
    """Count the seconds of processor time that it has used or waited for: on a busy machine it gets less than it wants.

    Where the system does not count the waiting (/proc/PID/task/TID/schedstat), these are the seconds used.
    """
    try:
        lines = [task.joinpath("schedstat").read_text() for task in (PROC / str(pid) / "task").iterdir()]
    except OSError:
        return worked(pid)
    return sum(int(number) for line in lines for number in line.split()[:2]) / 1e9


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
        yield from _rows(table)


def _rows(table: str) -> Iterator[str]:
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


def listening(pids: Iterable[int], kind: str = "tcp") -> dict[int, str]:
    """Give the ports on which processes listen (tcp), or that they have bound (udp), each with a host to reach it at.

    They are found by the processes' own descriptors; nobody connects to find out.
    """
    own = {inode for pid in pids for inode in _inodes(pid)}
    state = f" {LISTEN if kind == 'tcp' else UNCONNECTED:02X} "
    found: dict[int, str] = {}
    for table, loopback in ((kind, "127.0.0.1"), (f"{kind}6", "::1")):
        for line in _rows(table):
            if state in line:  # there may be thousands of others, in TIME-WAIT
                entry = _entry(line.split())
                if entry.inode in own:
                    found.setdefault(entry.port, loopback)
    return found


def hosts(pids: Iterable[int], port: int, kind: str) -> set[str]:
    """Give the addresses on which processes have a port, as far as they matter here: loopback's and every one."""
    own = {inode for pid in pids for inode in _inodes(pid)}
    names = {"0100007F": "127.0.0.1", "0" * 8: "0.0.0.0", "0" * 24 + "01000000": "::1", "0" * 32: "::"}
    found = set()
    for table in (kind, f"{kind}6"):
        for line in _rows(table):
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if int(number, 16) == port and int(fields[9]) in own:
                found.add(names.get(address, address))
    return found


def everywhere(pids: Iterable[int], port: int, kind: str) -> bool:
    """Whether processes have a port on every address of IPv4, perhaps by a socket for both families (ipv6(7))."""
    found = hosts(pids, port, kind)
    return "0.0.0.0" in found or ("::" in found and not _free(port, kind))


def _free(port: int, kind: str) -> bool:
    """Whether a port could be had on every address of IPv4: a socket of IPv6 alone does not show that it is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("", port))
        except OSError:
            return False
    return True


def listens_at(path: str) -> bool:
    """Whether a Unix socket listens at a path (flag 0x10000 of net/unix; unix(7))."""
    with suppress(FileNotFoundError):
        for line in (PROC / "net" / "unix").read_text().splitlines()[1:]:
            fields = line.split(None, 7)
            if fields[-1] == path and int(fields[3], 16) & 0x10000:
                return True
    return False


def marked(mark: str) -> list[int]:
    """List the processes that have this in their environment."""
    wanted, found = mark.encode(), []
    for pid in _pids():
        with suppress(*_GONE):
            if wanted in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


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
