"""Echo datagrams: each goes back whole, from the address that was asked, and those that came together go together.

Knows datagram sockets, and what the kernel tells of what came. Whom not to answer is for `core.guard` to say.

Where the kernel can, one read brings a train: datagrams of one size from one sender, the last one perhaps shorter, with
that size beside them (UDP_GRO); and one write with that size sends them all back (UDP_SEGMENT; udp(7)). The same read
tells which of our addresses was asked (IP_PKTINFO; ip(7)), so that the answer comes from there (RFC 1122, 4.1.3.5).
"""

import errno
import logging
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halloo._net.binding import EVERYWHERE
from halloo._net.bpf import break_loops
from halloo._net.datagrams import IP_PKTINFO, WHOLE, PeerName, tell_destination
from halloo._server import connections as states
from halloo._server.udp_policy import UdpPolicy

if TYPE_CHECKING:
    from halloo._server.acceptor import Endpoint
    from halloo._server.tcp import Loop
    from halloo._server.timestamps import ProbeTimestamper

BATCH = 64  # reads at one event, so that a flood of datagrams does not hold up the others
ROOM = 128  # bytes for what the kernel tells beside a read
SILENCE = 1.0  # seconds between two lines about the same refusal
LINES = 20  # about new senders in a second
RECENT = 1024  # senders that are not told of again

# Linux's numbers, which the socket module does not name.
UDP_SEGMENT, UDP_GRO = 103, 104

#  in_pktinfo    0            4                 8             12     ip(7)
#                | interface  | address of ours | destination |
#  in6_pktinfo   0                              16           20      ipv6(7)
#                | destination                  | interface  |
_PKTINFO4, _PKTINFO6 = struct.Struct("=I4s4s"), struct.Struct("=16sI")
_GROUP4, _GROUP6, _LINK6 = 0xE0, 0xFF, b"\xfe\x80"  # how the addresses of multicast, and of one link, begin

_SEGMENTED = (socket.IPPROTO_UDP, UDP_SEGMENT)
# What a train meets where a device, a route or a datagram's size does not allow it; one by one they go.
NO_TRAINS = {errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT}

log = logging.getLogger("halloo")
Note = tuple[int, int, bytes]  # level, type and data, as recvmsg(2) tells them
Reply = tuple[list[Note], int, str | None]
_NOTHING: Reply = ([], 0, None)
Receive = Callable[[list[memoryview], int], tuple[int, Sequence[Note], int, PeerName]]


@dataclass(frozen=True, slots=True)
class DatagramEndpoint:
    """One socket, and what goes with it."""

    sock: socket.socket
    receive: Receive
    policy: UdpPolicy
    respond: Callable[[bytes], bytes | None] | None
    timestamper: "ProbeTimestamper | None"


class Datagrams:
    """The act HEARING: all the datagram sockets of a loop."""

    def __init__(self, loop: "Loop", posts: Sequence["Endpoint"]) -> None:
        """Hear them from now on."""
        self._loop = loop
        self._most = loop.limits.max_bytes or WHOLE
        self._buffer = memoryview(bytearray(WHOLE))
        self._recent: dict[PeerName, None] | None = {} if loop.observer else None
        self._lines, self._second = 0, 0.0
        self._silent: dict[str, float] = {}  # refusal -> until when nothing is told of it
        own = {post.sock.getsockname()[1] for post in posts}
        self._ears: dict[int, DatagramEndpoint] = {}
        for post in posts:
            fd = post.sock.fileno()
            self._ears[fd] = DatagramEndpoint(
                post.sock, _receiver(post), UdpPolicy(loop.limits, own), post.respond, post.timestamper
            )
            break_loops(post.sock)
            loop.watch(fd, states.DATAGRAM)

    def readable(self, fd: int) -> bool:  # noqa: C901, PLR0912 - see below
        """Echo what has come, in BATCH reads at most; whether there may be more."""
        # Long, because all of this is done for every datagram, and a call costs as much as half of it.
        ear, buffer, recent, now = self._ears[fd], self._buffer, self._recent, self._loop.clock()
        receive, sendto, respond, stamper = ear.receive, ear.sock.sendto, ear.respond, ear.timestamper
        ports, friends, most = ear.policy.ports, ear.policy.friends, self._most
        buffers, piece, size, told, more = [buffer], buffer[:0], 0, None, True
        control, segment, refusal = _NOTHING
        received = datagrams = sent = answers = 0
        for _ in range(BATCH):
            try:
                length, notes, _, peer = receive(buffers, ROOM)
            except BlockingIOError:
                more = False
                break
            except OSError as error:
                self._fail(error, 1)
                continue
            if length != size:
                piece, size = buffer[:length], length
            if notes != told:
                told, (control, segment, refusal) = notes, reply(notes)
            count = -(-size // segment) if segment else 1
            received += size
            datagrams += count
            if peer[1] in ports or peer[0] not in friends or size > most or refusal:
                reason = refusal or ear.policy.refuses(peer[0], peer[1], count, size, now)
                if not reason and not segment and size > most:
                    reason = "too_long"
                if reason:
                    self._refuse(ear, piece, segment, peer, reason)
                    continue
            if recent is not None and peer not in recent:
                self._introduce(peer, now)
            try:
                if respond or segment > most or (stamper and stamper.concerns(piece, segment)):
                    self._singly(ear, piece, control, segment, peer)
                    continue
                if control:
                    ear.sock.sendmsg((piece,), control, 0, peer)
                else:
                    sendto(piece, peer)
            except OSError as error:
                if segment and error.errno in NO_TRAINS:
                    self._singly(ear, piece, control, segment, peer)
                else:
                    self._fail(error, count)
                continue
            sent += size
            answers += count
        self._note(received, datagrams, sent, answers)
        return more

    def drain(self, until: float) -> None:
        """Answer what has come, until `until` on the loop's clock or a `stop` at most, and hear nothing more."""
        for fd in self._ears:
            while self.readable(fd) and self._loop.running and self._loop.clock() < until:
                pass
        self.close()

    def close(self) -> None:
        """Hear nothing more."""
        for fd in self._ears:
            self._loop.table.state[fd] = states.FREE
            with suppress(OSError, KeyError, ValueError):  # its owner has closed it already
                self._loop.poller.forget(fd)
        self._ears.clear()

    def _note(self, received: int, datagrams: int, sent: int, answers: int) -> None:
        row = self._loop.table.row
        row[states.RECEIVED] += received
        row[states.DATAGRAMS] += datagrams
        row[states.SENT] += sent
        row[states.MESSAGES] += answers

    def _singly(
        self, ear: DatagramEndpoint, piece: memoryview, control: Sequence[Note], segment: int, peer: PeerName
    ) -> None:
        """Answer the datagrams of a read one by one."""
        control = [note for note in control if note[:2] != _SEGMENTED]
        for start in range(0, len(piece) or 1, segment or WHOLE):
            part = piece[start : start + (segment or WHOLE)]
            if len(part) > self._most:  # perhaps the last of its train is not
                self._refuse(ear, part, 0, peer, "too_long")
                continue
            if ear.timestamper:
                ear.timestamper.stamp(part)
            answer = self._answer(ear.respond, bytes(part)) if ear.respond else part
            if answer is None:
                continue
            try:
                sent = ear.sock.sendmsg((answer,), control, 0, peer) if control else ear.sock.sendto(answer, peer)
            except OSError as error:
                self._fail(error, 1)
            else:
                self._note(0, 0, sent, 1)

    def _answer(self, respond: Callable[[bytes], bytes | None], datagram: bytes) -> bytes | None:
        try:
            answer = respond(datagram)
            return None if answer is None else b"".join((answer,))  # takes bytes alone; `bytes` would take a number
        except Exception:
            log.exception("respond failed; this datagram has no answer, others do")
            self._loop.table.count("respond")
            return None

    def _fail(self, error: OSError, datagrams: int) -> None:
        """Count an error: of one datagram, or of an earlier one, whose sender has gone (ICMP); it ends nothing."""
        name = errno.errorcode.get(error.errno or 0, "other")
        self._loop.table.count(name, datagrams)

    def _refuse(self, ear: DatagramEndpoint, piece: memoryview, segment: int, peer: PeerName, reason: str) -> None:
        """Count the datagrams of a read that are not answered, and tell of it, but not of each."""
        now = self._loop.clock()
        self._loop.table.count(reason, -(-len(piece) // segment) if segment else 1)
        if ear.timestamper:
            ear.timestamper.refuse(piece, segment)
        if self._loop.observer and now >= self._silent.get(reason, now):
            self._silent[reason] = now + SILENCE
            self._loop.observer.refused(peer, reason)

    def _introduce(self, peer: PeerName, now: float) -> None:
        """Tell of a sender who was not heard lately."""
        assert self._recent is not None  # noqa: S101 - there is a observer
        if len(self._recent) >= RECENT:
            self._recent.clear()
        self._recent[peer] = None
        if now >= self._second:
            self._lines, self._second = 0, now + 1
        self._lines += 1
        if self._loop.observer and self._lines <= LINES:
            self._loop.observer.datagram_received(peer)


def receiver(sock: socket.socket, *, trains: bool = True) -> Receive:
    """Make what reads a socket, as recvmsg_into does, and ask the kernel for all that it can tell beside it.

    Where it tells nothing, the read is plain, and the answers are the same. `trains` is whether they may come.
    """
    if not hasattr(sock, "recvmsg_into"):  # Windows
        return lambda buffers, _room: (*(found := sock.recvfrom_into(buffers[0]))[:1], (), 0, found[1])
    if sys.platform.startswith("linux"):
        if trains:
            with suppress(OSError):  # a kernel before 5.0
                sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        if sock.getsockname()[0] in EVERYWHERE:
            tell_destination(sock)
    return sock.recvmsg_into


def _receiver(post: "Endpoint") -> Receive:
    receive = receiver(post.sock)
    return post.timestamper.timed(post.sock, receive) if post.timestamper else receive


def reply(notes: Sequence[Note]) -> Reply:
    """Read what came beside a read: what to send beside the answer, a train's size, and why it may not be answered."""
    control: list[Note] = []
    segment, refusal = 0, None
    for level, kind, data in notes:
        if (level, kind) == (socket.IPPROTO_UDP, UDP_GRO):
            segment = int.from_bytes(data[:4], sys.byteorder)
            control.append((*_SEGMENTED, struct.pack("=H", segment)))
        elif (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            _, ours, asked = _PKTINFO4.unpack(data)
            if ours == bytes(4):  # it came before the kernel was told to tell
                ours = asked
            if ours != asked or asked[0] & 0xF0 == _GROUP4:
                refusal = "multicast" if asked[0] & 0xF0 == _GROUP4 else "broadcast"
            control.append((level, kind, _PKTINFO4.pack(0, ours, bytes(4))))
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            asked, interface = _PKTINFO6.unpack(data)
            if asked[0] == _GROUP6:
                refusal = "multicast"
            control.append((level, kind, _PKTINFO6.pack(asked, interface if asked.startswith(_LINK6) else 0)))
    return control, segment, refusal
