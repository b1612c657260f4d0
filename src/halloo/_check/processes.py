"""A server seen from outside: its processes, memory, descriptors, CPU time and sockets.

Reads Linux's /proc (proc(5)), and tests whether a port can be bound. A server is all processes of a session: that
includes the processes that its children start, even after the parent has exited.
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
_PROCESS_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def session(leader: int) -> list[int]:
    """List the processes of a session, including zombies."""
    return [pid for pid in _pids() if _session_of(pid) == leader]


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir(PROC) if name.isdecimal())  # noqa: PTH208 - only the names are needed


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, which may contain any character: state, parent, ..."""
    with suppress(*_PROCESS_GONE):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def is_zombie(pid: int) -> bool:
    """Whether the process has exited without having been reaped."""
    return _stat(pid)[:1] == ["Z"]


def running(pids: Iterable[int]) -> list[int]:
    """Return those of the processes that are no zombies."""
    return [pid for pid in pids if not is_zombie(pid)]


def parent(pid: int) -> int:
    """Return the parent process, which has to reap it, or 0."""
    return int((_stat(pid) or "00")[1])


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process."""
    return _stat(pid)[:1] == ["T"]


def resident_memory(pid: int) -> int:
    """Return the resident memory of the process in bytes."""
    with suppress(*_PROCESS_GONE):
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE
    return 0


def proportional_memory(pid: int) -> int:
    """Return the proportional set size in bytes: forked processes share nearly all of their resident memory."""
    with suppress(*_PROCESS_GONE):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu_time(pid: int) -> float:
    """Return the CPU time used by the process, in seconds."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICK if fields else 0.0


def cpu_demand(pid: int) -> float:
    """Return the seconds of CPU time that the process has used or waited for, which does not depend on other load.

    Where the kernel does not count the waiting (/proc/PID/task/TID/schedstat), only the time used.
    """
    try:
        lines = [task.joinpath("schedstat").read_text() for task in (PROC / str(pid) / "task").iterdir()]
    except OSError:
        return cpu_time(pid)
    return sum(int(number) for line in lines for number in line.split()[:2]) / 1e9


def descriptors(pid: int) -> int:
    """Count the open descriptors of the process."""
    with suppress(*_PROCESS_GONE):
        return len(os.listdir(PROC / str(pid) / "fd"))  # noqa: PTH208 - as above
    return 0


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """A row of /proc/net/tcp."""

    port: int
    remote_port: int
    state: int
    unread: int
    timer: int
    timer_seconds: float
    inode: int


def tcp_sockets() -> Iterator[TcpSocket]:
    """List all TCP sockets."""
    return (_parse_socket(line.split()) for line in _tcp_rows())


def server_socket(port: int, remote_port: int) -> TcpSocket | None:
    """Find the server's socket of a connection."""
    ends = f":{port:04X} ", f":{remote_port:04X} "
    for line in _tcp_rows():
        if ends[0] in line and ends[1] in line:  # there may be thousands of others, in TIME-WAIT
            entry = _parse_socket(line.split())
            if (entry.port, entry.remote_port) == (port, remote_port):
                return entry
    return None


def _tcp_rows() -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        yield from _rows(table)


def _rows(table: str) -> Iterator[str]:
    with suppress(FileNotFoundError):
        yield from (PROC / "net" / table).read_text().splitlines()[1:]


def _parse_socket(fields: list[str]) -> TcpSocket:
    timer, _, ticks = fields[5].partition(":")
    return TcpSocket(
        port=int(fields[1].rpartition(":")[2], 16),
        remote_port=int(fields[2].rpartition(":")[2], 16),
        state=int(fields[3], 16),
        unread=int(fields[4].partition(":")[2], 16),
        timer=int(timer, 16),
        timer_seconds=int(ticks, 16) / TICK,
        inode=int(fields[9]),
    )


def listening_ports(pids: Iterable[int], kind: str = "tcp") -> dict[int, str]:
    """Return the ports on which processes listen (tcp), or that they have bound (udp), each with a host to connect to.

    They are found through the descriptors of the processes, without connecting.
    """
    own = {inode for pid in pids for inode in _inodes(pid)}
    state = f" {LISTEN if kind == 'tcp' else UNCONNECTED:02X} "
    found: dict[int, str] = {}
    for table, loopback in ((kind, "127.0.0.1"), (f"{kind}6", "::1")):
        for line in _rows(table):
            if state in line:  # there may be thousands of others, in TIME-WAIT
                entry = _parse_socket(line.split())
                if entry.inode in own:
                    found.setdefault(entry.port, loopback)
    return found


def bound_hosts(pids: Iterable[int], port: int, kind: str) -> set[str]:
    """Return the addresses at which processes have bound a port; only loopback and wildcard addresses are decoded."""
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


def bound_to_any(pids: Iterable[int], port: int, kind: str) -> bool:
    """Whether processes have bound a port on all IPv4 addresses, perhaps with a dual-stack socket (ipv6(7))."""
    found = bound_hosts(pids, port, kind)
    return "0.0.0.0" in found or ("::" in found and not _can_bind(port, kind))


def _can_bind(port: int, kind: str) -> bool:
    """Whether a port can be bound on all IPv4 addresses: /proc does not show whether an IPv6 socket is dual-stack."""
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


def with_environment(entry: str) -> list[int]:
    """List the processes whose environment contains an entry (NAME=value)."""
    expected, found = entry.encode(), []
    for pid in _pids():
        with suppress(*_PROCESS_GONE):
            if expected in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def _inodes(pid: int) -> Iterator[int]:
    with suppress(*_PROCESS_GONE):
        for link in (PROC / str(pid) / "fd").iterdir():
            with suppress(*_PROCESS_GONE):
                target = os.readlink(link)  # noqa: PTH115 - Path would split `socket:[1]`
                if target.startswith("socket:["):
                    yield int(target[8:-1])


def kernel_memory() -> int:
    """Return the kernel memory of all TCP sockets of this system, in bytes (net/sockstat)."""
    for line in (PROC / "net" / "sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            return int(words[words.index("mem") + 1]) * PAGE
    return 0
