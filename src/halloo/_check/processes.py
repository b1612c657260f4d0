"""A program seen from outside: its processes, memory, descriptors, CPU time and sockets.

Reads Linux's /proc (proc(5)). A program is all processes of a session, and those that have its mark in their
environment: that includes daemons, and children whose parent has exited. Only a daemon whose environment has been
replaced is not found.
"""

import errno
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import islice
from pathlib import Path
from typing import Any

from halloo._check.case import Failed
from halloo._check.sockets import POLL_INTERVAL, is_free

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
LISTEN, UNCONNECTED = " 0A ", " 07 "  # the states of /proc/net/tcp and udp
KEEP_ALIVE = 2  # its `timer_active` value there
ENV_MARK = "HALLOO_CHECK"
NOT_STARTED = "unstarted"  # pattern of a failure to start
MAX_FILE_SIZE = 256 << 20  # bytes of a file written by the program
# Limits that hold from the first instruction: the size of files (in blocks), no core dumps, and if memory runs out, the
# kernel ends the program before others (proc(5)). Address space is not limited: Java reserves 9 GB of it, 500 threads
# reserve 4 GB for their stacks, and AddressSanitizer 20 TB; the runner polls the memory that is used.
_LIMITS = f"""
ulimit -f {MAX_FILE_SIZE // 512}; ulimit -c 0; echo 1000 >/proc/self/oom_score_adj
"""
_PROCESS_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
# The addresses that a server is dialled at, by those that it may be bound to; others are dialled as they are.
_DIALLED = {"0.0.0.0": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::1": "::1", "::": "::1"}
IPV4_LENGTH = 4  # bytes


class ProcessTree:
    """A command and all processes that it starts."""

    def __init__(
        self,
        argv: Sequence[str],
        env: dict[str, str],
        *,
        setup: str = "",
        redirection: str = "",
        **streams: Any,  # noqa: ANN401 - those of Popen
    ) -> None:
        """Start the command in a session of its own, within limits. Raises Failed.

        `setup` are shell commands that run before it in its process; `redirection` redirects its streams.
        """
        mark = secrets.token_hex(8)
        self._mark = f"{ENV_MARK}={mark}".encode()
        self._others = {*_pids()}  # of which none is to become one of its own
        if shutil.which(argv[0], path=env.get("PATH")) is None:
            number = errno.EACCES if os.path.exists(argv[0]) else errno.ENOENT  # noqa: PTH110 - it may be no path
            raise Failed(f"{argv[0]}: {os.strerror(number)}", pattern=NOT_STARTED)
        script = f'{{{_LIMITS}{setup}\n}} 2>/dev/null; exec "$@" {redirection}'
        words, env = ["sh", "-c", script, "sh", *argv], env | {ENV_MARK: mark}
        try:
            self.leader = subprocess.Popen(words, start_new_session=True, env=env, **streams)
        except OSError as error:
            raise Failed(f"{argv[0]}: {error.strerror}", pattern=NOT_STARTED) from error

    def running(self) -> list[int]:
        """List its processes, daemons too."""
        return [pid for pid in self._members(without=self._others) if not is_zombie(pid)]

    def _members(self, without: Collection[int] = ()) -> list[int]:
        """List the processes of its session, including zombies, and those with its mark."""
        found = []
        for pid in _pids():
            with suppress(OSError):
                if os.getsid(pid) == self.leader.pid or (
                    pid not in without and self._mark in _read(pid, "environ").split(b"\0")
                ):
                    found.append(pid)
        return found

    def signal(self, number: signal.Signals) -> None:
        _signal_all(self.running(), number)

    def kill(self) -> None:
        """Kill all processes until none is left."""
        while self.kill_once():
            with suppress(subprocess.TimeoutExpired):
                self.leader.wait(POLL_INTERVAL)
        self.leader.wait()

    def kill_once(self) -> bool:
        """Kill all processes; return whether there were any. May be called from another thread.

        Its process group is killed at one moment: processes that fork and exit all the time are never in a list.
        """
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.leader.pid, signal.SIGKILL)
        alive = [pid for pid in self._members() if not is_zombie(pid)]
        _signal_all(alive, signal.SIGKILL)
        return bool(alive)

    def zombies(self) -> int:
        """Count its child processes that have exited but have not been reaped; orphans are left to the system."""
        pids = self._members(without=self._others)
        return sum(is_zombie(pid) and parent(pid) in pids for pid in pids)

    def total(self, measure: Callable[[int], int]) -> int:
        """Add up a measure of its processes."""
        return sum(map(measure, self.running()))


def describe_exit(code: int) -> str:
    """Say how a process has ended.

    >>> describe_exit(1), describe_exit(-11)
    ('exited with code 1', 'was ended by SIGSEGV')
    """
    return f"exited with code {code}" if code >= 0 else f"was ended by {signal_name(-code)}"


def signal_name(number: int) -> str:
    """Return the name of a signal; real-time signals have none."""
    return signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"


def _signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir(PROC) if name.isdecimal())  # noqa: PTH208 - only the names are needed


def _read(pid: int, name: str) -> bytes:
    """Read a file about a process; empty once the process has gone."""
    with suppress(*_PROCESS_GONE):
        return (PROC / str(pid) / name).read_bytes()
    return b""


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, which may contain any character: state, parent, ..."""
    return _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def is_zombie(pid: int) -> bool:
    """Whether the process has exited without having been reaped."""
    return _stat(pid)[:1] == ["Z"]


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process."""
    return _stat(pid)[:1] == ["T"]


def parent(pid: int) -> int:
    """Return the parent process, which has to reap it, or 0."""
    return int((_stat(pid) or "00")[1])


def resident_memory(pid: int) -> int:
    """Return the resident memory of the process in bytes."""
    fields = _read(pid, "statm").split()
    return int(fields[1]) * PAGE if fields else 0


def proportional_memory(pid: int) -> int:
    """Return the proportional set size in bytes, shared pages counted once; this is slow."""
    rows = (line.split() for line in _read(pid, "smaps_rollup").splitlines())
    return next((int(words[1]) * 1024 for words in rows if words[0] == b"Pss:"), 0)


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
class Socket:
    """A row of /proc/net/tcp or udp."""

    host: str
    port: int
    remote_port: int
    unread: int
    keep_alive: float | None  # seconds until the next probe
    inode: int


def sockets(kind: str = "tcp", *parts: str) -> Iterator[Socket]:
    """List all sockets, IPv4 first; only rows with these `parts`: there may be thousands of others, in TIME-WAIT."""
    for table in (kind, f"{kind}6"):
        for line in _rows(table):
            if all(part in line for part in parts):
                _, local, remote, _, queues, timer, *_, inode = line.split()[:10]
                (host, port), (active, ticks) = local.split(":"), timer.split(":")
                yield Socket(
                    host=decode_host(host),
                    port=int(port, 16),
                    remote_port=int(remote.partition(":")[2], 16),
                    unread=int(queues.partition(":")[2], 16),
                    keep_alive=int(ticks, 16) / TICK if int(active, 16) == KEEP_ALIVE else None,
                    inode=int(inode),
                )


@lru_cache
def decode_host(digits: str) -> str:
    """Read an address of /proc/net: words of 32 bits, in the byte order of this machine; IPv4 may stand in IPv6."""
    words = (int(digits[start : start + 8], 16) for start in range(0, len(digits), 8))
    data = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    address = IPv4Address(data) if len(data) == IPV4_LENGTH else IPv6Address(data).ipv4_mapped or IPv6Address(data)
    return str(address)


def _rows(table: str) -> list[str]:
    return _lines(table)[1:]  # without the heading


def _lines(table: str) -> list[str]:
    with suppress(FileNotFoundError):
        return (PROC / "net" / table).read_text().splitlines()
    return []


def other_end(sock: socket.socket) -> Socket | None:
    """Find the socket at the other end of a connection; None if that has been closed."""
    try:
        port, remote_port = sock.getpeername()[1], sock.getsockname()[1]
    except OSError:
        return None
    found = sockets("tcp", f":{port:04X} ", f":{remote_port:04X} ")
    return next((each for each in found if (each.port, each.remote_port) == (port, remote_port)), None)


def listening_ports(pids: Iterable[int], kind: str = "tcp") -> dict[int, str]:
    """Return the ports on which processes listen (tcp), or that they have bound (udp), each with a host to connect to.

    They are found through the descriptors of the processes, without connecting.
    """
    own, found = {inode for pid in pids for inode in _inodes(pid)}, dict[int, list[str]]()
    for each in sockets(kind, LISTEN if kind == "tcp" else UNCONNECTED):
        if each.inode in own:
            found.setdefault(each.port, []).append(each.host)
    return {port: host_to_dial(hosts) for port, hosts in found.items()}


def host_to_dial(bound: Collection[str]) -> str:
    """Return where to reach a server that is bound to these addresses: on loopback if it can be reached there."""
    interfaces = _ipv6_interfaces()
    for own in filter(bound.__contains__, _DIALLED):
        host = _DIALLED[own]
        return host if own != "::" or host in interfaces else "127.0.0.1"  # :: serves IPv4 too, unless it is IPv6 only
    host = next(iter(bound))
    return f"{host}%{interfaces[host]}" if host in interfaces and ip_address(host).is_link_local else host


def _ipv6_interfaces() -> dict[str, str]:
    """Return this machine's IPv6 addresses, each with its interface."""
    rows = (line.split() for line in _lines("if_inet6"))
    return {str(IPv6Address(bytes.fromhex(fields[0]))): fields[-1] for fields in rows}


def unaccepted(port: int) -> int:
    """Return the number of clients that wait for accept(), or 0 if that is unknown; listeners are the first rows."""
    total = 0
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError), (PROC / "net" / table).open() as rows:
            for line in islice(rows, 1, None):
                if LISTEN not in line:
                    break
                _, local, _, _, queues, *_ = line.split()
                if int(local.partition(":")[2], 16) == port:
                    total += int(queues.partition(":")[2], 16)
    return total


def is_served(port: int, kind: str = "tcp") -> bool:
    """Whether any process of this machine listens on a port, or has bound it (udp)."""
    state = LISTEN if kind == "tcp" else UNCONNECTED
    return any(each.port == port for each in sockets(kind, state, f":{port:04X} "))


def is_closed_by_peer(sock: socket.socket) -> bool:
    """Whether the process at the other end of a connection of this machine has closed it."""
    found = other_end(sock)
    return found is not None and found.inode == 0


def bound_hosts(pids: Iterable[int], port: int, kind: str) -> set[str]:
    """Return the addresses at which processes have bound a port."""
    own = {inode for pid in pids for inode in _inodes(pid)}
    return {each.host for each in sockets(kind, f":{port:04X} ") if each.port == port and each.inode in own}


def bound_to_any(pids: Iterable[int], port: int, kind: str) -> bool:
    """Whether processes have bound a port on all IPv4 addresses, perhaps with a dual-stack socket (ipv6(7)).

    /proc does not show whether an IPv6 socket is dual-stack, but binding the port does.
    """
    found = bound_hosts(pids, port, kind)
    return "0.0.0.0" in found or ("::" in found and not is_free(kind, port, families=(socket.AF_INET,)))


def listens_at(path: str) -> bool:
    """Whether a Unix socket listens at a path (flag 0x10000 of net/unix; unix(7))."""
    rows = (line.split(None, 7) for line in _rows("unix"))
    return any(fields[-1] == path and int(fields[3], 16) & 0x10000 for fields in rows)


def _inodes(pid: int) -> Iterator[int]:
    with suppress(*_PROCESS_GONE):
        for link in (PROC / str(pid) / "fd").iterdir():
            with suppress(*_PROCESS_GONE):
                target = os.readlink(link)  # noqa: PTH115 - Path would split `socket:[1]`
                if target.startswith("socket:["):
                    yield int(target[8:-1])


def kernel_memory() -> int:
    """Return the kernel memory of all TCP sockets of this system, in bytes (net/sockstat)."""
    rows = (line.split() for line in (PROC / "net" / "sockstat").read_text().splitlines())
    return next((int(words[words.index("mem") + 1]) * PAGE for words in rows if words[0] == "TCP:"), 0)
