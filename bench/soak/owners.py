"""Find the worker process at the other end of a connection, without asking the server.

Sources: proc(5), /proc/net and /proc/PID/fd; sock_diag(7) for Unix sockets.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from pathlib import Path

from bench.servers import children

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
SHOW_PEER = 4
PEER = 2
HEADER = struct.Struct("=IHHII")  # nlmsghdr
UNIX_REQUEST = struct.Struct("=BBxxIIIII")  # unix_diag_req
UNIX_ANSWER_BYTES = 16  # unix_diag_msg
TCP_REQUEST = struct.Struct("!BBBxIHH4s12x4s12xIII")  # inet_diag_req_v2; ports have network order, the rest none
TCP_INODE_AT = 68  # in inet_diag_msg
ALL = 0xFFFFFFFF  # states, and the halves of a cookie
QUEUE_SECONDS = 0.5


def owner_of(inode: int, parent: int) -> int:
    """Return the worker that has the socket open, 0 if there is none."""
    for pid in children(parent):
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):  # closed meanwhile
                    if str(entry.readlink()) == f"socket:[{inode}]":
                        return pid
    return 0


def peer_inode(sock: socket.socket) -> int:
    """Return the inode of the other end of a connected socket on this machine, 0 if it is not found."""
    if sock.family == socket.AF_UNIX:
        return unix_peer(os.fstat(sock.fileno()).st_ino)
    return tcp_inode(sock.getpeername(), sock.getsockname())


def udp_inode(sock: socket.socket) -> int:
    """Return the inode of the server's socket that a datagram is queued at; the workers must be stopped."""
    before, end = queues(sock), time.monotonic() + QUEUE_SECONDS
    sock.send(bytes(64))
    while time.monotonic() < end:
        for inode, queued in queues(sock).items():
            if queued > before.get(inode, 0):
                return inode
    return 0


def queues(sock: socket.socket) -> dict[int, int]:
    """Return the bytes queued at each of the server's datagram sockets."""
    server = sock.getpeername()[1]
    rows = (line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:])
    return {int(words[9]): int(words[4].split(":")[1], 16) for words in rows if port(words[1]) == server}


def port(place: str) -> int:
    """Return the port of an address as /proc/net has it."""
    return int(place.rpartition(":")[2], 16)


def ask_kernel(request: bytes) -> bytes:
    """Return the kernel's answer about one socket."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.send(HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, 1, 0, 0) + request)
        answer = netlink.recv(65_536)
    return answer[HEADER.size :] if HEADER.unpack_from(answer)[1] == SOCK_DIAG_BY_FAMILY else b""  # else an error


def tcp_inode(local: tuple[str, int], remote: tuple[str, int]) -> int:
    """Return the inode of a TCP socket, 0 if there is none."""
    hosts = (socket.inet_aton(host) for host, _ in (local, remote))
    answer = ask_kernel(
        TCP_REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, ALL, local[1], remote[1], *hosts, 0, ALL, ALL)
    )
    return int(struct.unpack_from("=I", answer, TCP_INODE_AT)[0]) if answer else 0


def unix_peer(inode: int) -> int:
    """Return the inode of the other end of a Unix socket, 0 if there is none."""
    answer = ask_kernel(UNIX_REQUEST.pack(socket.AF_UNIX, 0, ALL, inode, SHOW_PEER, ALL, ALL))
    at = UNIX_ANSWER_BYTES
    while at + 4 <= len(answer):
        length, kind = struct.unpack_from("=HH", answer, at)
        if kind == PEER:
            return int(struct.unpack_from("=I", answer, at + 4)[0])
        at += max(length + 3 & ~3, 4)
    return 0
