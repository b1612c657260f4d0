"""Have the kernel drop packets before they reach a socket, at no cost for the others: classic BPF (socket(7), bpf(4)).

Knows the headers of IP and TCP, and what the programs are for. Elsewhere than on Linux nothing is filtered.
"""

import socket
import struct
import sys
from array import array
from collections.abc import Sequence
from contextlib import suppress

Step = tuple[int, int, int, int]  # code, steps to jump when true, when false, operand

TTL = 200
"""The time to live of our answers to datagrams: nothing else starts with one between HIGHEST and 255."""
HIGHEST = 128  # of those that systems start with, apart from 255: Linux and the BSDs take 64, Windows this

_SO_ATTACH_FILTER = 26  # of Linux; the socket module does not name it
_LOAD, _AND, _IF, _IF_MORE, _GO, _END = 0x30, 0x54, 0x15, 0x25, 0x05, 0x06
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets from here on are into the IP header, otherwise into TCP's or UDP's
_TTL4, _TTL6 = _NETWORK + 8, _NETWORK + 7
_DROP, _TAKE = (_END, 0, 0, 0), (_END, 0, 0, 0xFFFFFFFF)

# Over TCP: who wants to connect has SYN and not ACK.
_NO_SYN = ((_LOAD, 0, 0, 13), (_AND, 0, 0, 0x12), (_IF, 0, 1, 0x02), _DROP, _TAKE)


# Which of both it is, a packet says itself: a socket for IPv6 may take IPv4 as well.
_TO_LIVE = ((_LOAD, 0, 0, _NETWORK), (_AND, 0, 0, 0xF0), (_IF, 0, 2, 0x60), (_LOAD, 0, 0, _TTL6), (_GO, 0, 0, 1))
_NO_ECHO = (*_TO_LIVE, (_LOAD, 0, 0, _TTL4), (_IF_MORE, 2, 0, TTL), (_IF_MORE, 0, 1, HIGHEST), _DROP, _TAKE)


def turn_away(sock: socket.socket) -> None:
    """Have who comes from now on go unanswered: connections to a listening socket, or datagrams.

    What is in the socket's queue can still be accepted, or read.
    """
    _attach(sock, _NO_SYN if sock.type == socket.SOCK_STREAM else (_DROP,))


def break_loops(sock: socket.socket) -> None:
    """Mark what a datagram socket sends by its time to live, and drop what arrives with that mark.

    It holds up to TTL - HIGHEST - 1 routers away. What starts at 255 would be dropped if it came over more than 54.
    """
    for option in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)):
        with suppress(OSError):  # of the other family
            sock.setsockopt(*option, TTL)
    _attach(sock, _NO_ECHO)


def _attach(sock: socket.socket, program: Sequence[Step]) -> None:
    if not sys.platform.startswith("linux"):
        return
    code = array("B", b"".join(struct.pack("HBBI", *step) for step in program))
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), code.buffer_info()[0]))
