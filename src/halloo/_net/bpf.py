"""Have the kernel drop packets before they reach a socket, by classic BPF programs (socket(7), bpf(4)).

On systems other than Linux nothing is filtered.
"""

import socket
import struct
import sys
from array import array
from collections.abc import Sequence
from contextlib import suppress

Step = tuple[int, int, int, int]  # code, steps to jump when true, when false, operand

TTL = 200
"""The time to live of our answers to datagrams: no system starts with one between MAX_INITIAL_TTL and 255."""
MAX_INITIAL_TTL = 128  # that systems start with, apart from 255: Windows; Linux and the BSDs start with 64

_SO_ATTACH_FILTER = 26  # of Linux; the socket module does not name it
_LOAD, _AND, _IF, _IF_MORE, _GO, _END = 0x30, 0x54, 0x15, 0x25, 0x05, 0x06
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets from here on are into the IP header, otherwise into TCP's or UDP's
_TTL4, _TTL6 = _NETWORK + 8, _NETWORK + 7
_DROP, _TAKE = (_END, 0, 0, 0), (_END, 0, 0, 0xFFFFFFFF)

# The first TCP segment of a connection has SYN and not ACK.
_NO_SYN = ((_LOAD, 0, 0, 13), (_AND, 0, 0, 0x12), (_IF, 0, 1, 0x02), _DROP, _TAKE)


# The IP version is read from the packet: a socket for IPv6 may receive IPv4 as well.
_TO_LIVE = ((_LOAD, 0, 0, _NETWORK), (_AND, 0, 0, 0xF0), (_IF, 0, 2, 0x60), (_LOAD, 0, 0, _TTL6), (_GO, 0, 0, 1))
_NO_ECHO = (*_TO_LIVE, (_LOAD, 0, 0, _TTL4), (_IF_MORE, 2, 0, TTL), (_IF_MORE, 0, 1, MAX_INITIAL_TTL), _DROP, _TAKE)


def refuse_new(sock: socket.socket) -> None:
    """Drop new connections to a listening socket, or new datagrams, unanswered.

    Those in the socket's queue can still be accepted, or received.
    """
    attach(sock, _NO_SYN if sock.type == socket.SOCK_STREAM else (_DROP,))


def break_loops(sock: socket.socket) -> None:
    """Mark what a datagram socket sends by its time to live, and drop what arrives with that mark.

    The mark is recognised up to TTL - MAX_INITIAL_TTL - 1 routers away. A datagram that starts at 255 is dropped as
    well after more than 54 routers.
    """
    for option in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)):
        with suppress(OSError):  # of the other family
            sock.setsockopt(*option, TTL)
    attach(sock, _NO_ECHO)


def attach(sock: socket.socket, program: Sequence[Step]) -> None:
    """Run the program on each packet that arrives at the socket (SO_ATTACH_FILTER)."""
    if not sys.platform.startswith("linux"):
        return
    code = array("B", b"".join(struct.pack("HBBI", *step) for step in program))
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), code.buffer_info()[0]))
