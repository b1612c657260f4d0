"""Measure the kernel memory of a server's connections, in whichever process.

Uses Linux's sock_diag(7). Unlike net/sockstat it lists single sockets, and so tells the two ends apart.
"""

import socket
import struct

DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
SOCK_DIAG_BY_FAMILY, NETLINK_SOCK_DIAG, NLMSG_ERROR, NLMSG_DONE = 20, 4, 2, 3
INET_DIAG_SKMEMINFO, ESTABLISHED = 7, 1

#  0         4      6       8     12    16
#  | length  | type | flags | seq | pid |        struct nlmsghdr
HEADER = struct.Struct("=IHHII")
#  0        1          2            4        8       10     12       56
#  | family | protocol | extensions | states | sport | dport | rest |     struct inet_diag_req_v2, the ports big-endian
REQUEST = struct.Struct("=BBBxI2s2s44s")
MESSAGE_SIZE = 72  # bytes of struct inet_diag_msg, which precedes the attributes
ATTRIBUTE = struct.Struct("=HH")  # length, type
#  rmem_alloc, rcvbuf, wmem_alloc, sndbuf, fwd_alloc, wmem_queued, optmem, backlog, drops
MEMORY = struct.Struct("=9I")


def kernel_memory(port: int) -> list[int]:
    """Return the bytes of kernel memory of each connection of a server on the port (IPv4)."""
    request = REQUEST.pack(
        socket.AF_INET,
        socket.IPPROTO_TCP,
        1 << (INET_DIAG_SKMEMINFO - 1),
        1 << ESTABLISHED,
        port.to_bytes(2, "big"),
        bytes(2),
        bytes(44),
    )
    found: list[int] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as sock:
        sock.sendall(HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, DUMP, 1, 0) + request)
        while True:
            messages = memoryview(sock.recv(1 << 17))
            while messages:
                length, kind, *_ = HEADER.unpack_from(messages)
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise OSError(-int.from_bytes(messages[HEADER.size :][:4], "little", signed=True), "sock_diag")
                found.append(_total(messages[HEADER.size + MESSAGE_SIZE : length]))
                messages = messages[_aligned(length) :]


def _total(attributes: memoryview) -> int:
    """Add up what is queued in both directions, reserved, and in the backlog."""
    while attributes:
        length, kind = ATTRIBUTE.unpack_from(attributes)
        if kind == INET_DIAG_SKMEMINFO:
            received, _, _, _, reserved, queued, options, backlog, _ = MEMORY.unpack_from(attributes, ATTRIBUTE.size)
            return int(received + reserved + queued + options + backlog)
        attributes = attributes[_aligned(length) :]
    raise OSError("sock_diag reports no memory")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
