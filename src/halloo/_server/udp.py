"""Echo datagrams: each is sent back whole, from the address it was sent to; those received together are sent together.

`udp_policy` decides which datagrams are answered.

Where the kernel can, one read returns a batch: datagrams of one size from one sender, the last one perhaps shorter,
with that size in the ancillary data (UDP_GRO). One write with that size sends them all back (UDP_SEGMENT; udp(7)). The
same read gives our address that they were sent to (IP_PKTINFO; ip(7)), which is the reply's source (RFC 1122, 4.1.3.5).
"""

import errno
import socket
import struct
import sys
from collections.abc import MutableSequence, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halloo._core.address import EVERYWHERE
from halloo._core.limits import Limits
from halloo._net.bpf import break_loops
from halloo._net.datagrams import DATAGRAM_ROOM, IP_PKTINFO, Ancillary, IpPeer, Receive, request_destination
from halloo._server import states
from halloo._server.counters import DATAGRAMS, MESSAGES, RECEIVED, SENT, count_event, error_name
from halloo._server.endpoint import Endpoint
from halloo._server.handlers import ConnectionObserver
from halloo._server.reactor import Reactor
from halloo._server.refusals import RateNotices, RefusalReports
from halloo._server.responder import Responder, RespondError
from halloo._server.udp_policy import UdpPolicy

if TYPE_CHECKING:
    from halloo._server.timestamps import ProbeTimestamper

MAX_READS = 64  # reads at one event, so that a flood of datagrams does not delay other descriptors
ANCILLARY_SIZE = 128  # bytes for the ancillary data of a read
MAX_NEW_PEERS = 20  # new senders reported in a second
MAX_RECENT_PEERS = 1024  # senders that are not reported again

# Linux's numbers, which the socket module does not name.
UDP_SEGMENT, UDP_GRO = 103, 104

#  in_pktinfo    0            4                 8             12     ip(7)
#                | interface  | address of ours | destination |
#  in6_pktinfo   0                              16           20      ipv6(7)
#                | destination                  | interface  |
_PKTINFO4, _PKTINFO6 = struct.Struct("=I4s4s"), struct.Struct("=16sI")
_MULTICAST4, _MULTICAST6, _LINK_LOCAL6 = 0xE0, 0xFF, b"\xfe\x80"  # how addresses of multicast, and of a link, begin

_SEGMENTED = (socket.IPPROTO_UDP, UDP_SEGMENT)
# Errors where a device, a route or a datagram's size does not allow segmentation; single datagrams work there.
SEGMENTATION_ERRORS = {errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT}

ReplyControl = tuple[list[Ancillary], int, str | None]
_NO_CONTROL: ReplyControl = ([], 0, None)


@dataclass(frozen=True, slots=True)
class DatagramEndpoint:
    """One socket, and how it is served."""

    sock: socket.socket
    receive: Receive
    policy: UdpPolicy
    responder: Responder | None
    timestamper: "ProbeTimestamper | None"
    address: str


class DatagramEcho:
    """The handler for DATAGRAM: all the datagram sockets of a loop."""

    def __init__(
        self,
        reactor: Reactor,
        counters: MutableSequence[int],
        endpoints: Sequence[Endpoint],
        *,
        limits: Limits,
        observer: ConnectionObserver | None = None,
    ) -> None:
        self._reactor = reactor
        self._counters = counters
        self._observer = observer
        self._max_datagram = limits.max_bytes or DATAGRAM_ROOM
        self._buffer = memoryview(bytearray(DATAGRAM_ROOM))
        self._recent_peers: dict[IpPeer, None] | None = {} if observer else None
        self._new_peers, self._second_end = 0, 0.0
        self._refusals, self._notices = RefusalReports(), RateNotices()
        reactor.handlers[states.DATAGRAM] = self.readable
        own_ports = {endpoint.sock.getsockname()[1] for endpoint in endpoints}
        self._endpoints: dict[int, DatagramEndpoint] = {}
        for endpoint in endpoints:
            fd = endpoint.sock.fileno()
            self._endpoints[fd] = DatagramEndpoint(
                endpoint.sock,
                _endpoint_receive(endpoint),
                UdpPolicy(limits, own_ports),
                endpoint.responder,
                endpoint.timestamper,
                endpoint.address,
            )
            break_loops(endpoint.sock)
            reactor.watch(fd, states.DATAGRAM)

    def readable(self, fd: int) -> bool:  # noqa: C901, PLR0912, PLR0915 - see below
        """Echo what has arrived, in at most MAX_READS reads; return whether there may be more."""
        # Long, because all of this runs for every datagram, and a call would add half of its cost.
        endpoint, buffer, now = self._endpoints[fd], self._buffer, self._reactor.clock()
        recent_peers = self._recent_peers
        receive, responder, timestamper = endpoint.receive, endpoint.responder, endpoint.timestamper
        sendto, limit = endpoint.sock.sendto, self._max_datagram
        ports, trusted_hosts = endpoint.policy.ports, endpoint.policy.trusted_hosts
        buffers, data, size, previous, more = [buffer], buffer[:0], 0, None, True
        control, segment, refusal = _NO_CONTROL
        received = datagrams = sent = answers = 0
        for _ in range(MAX_READS):
            try:
                length, ancillary, _, peer = receive(buffers, ANCILLARY_SIZE)
            except BlockingIOError:
                more = False
                break
            except OSError as error:
                self._count_error(error, 1)
                continue
            if length != size:
                data, size = buffer[:length], length
            if ancillary != previous:
                previous, (control, segment, refusal) = ancillary, reply_control(ancillary)
            count = -(-size // segment) if segment else 1
            received += size
            datagrams += count
            if peer[1] in ports or peer[0] not in trusted_hosts or size > limit or refusal:
                reason = refusal or endpoint.policy.refusal_reason(peer[0], peer[1], count, size, now)
                if not reason and not segment and size > limit:
                    reason = "too_long"
                if reason:
                    self._refuse(endpoint, data, control, segment, peer, reason=reason)
                    continue
            if recent_peers is not None and peer not in recent_peers:
                self._report_peer(peer, endpoint.address, now)
            try:
                if responder or segment > limit or (timestamper and timestamper.may_contain_request(data, segment)):
                    self._echo_separately(endpoint, data, control, segment, peer)
                    continue
                if control:
                    endpoint.sock.sendmsg((data,), control, 0, peer)
                else:
                    sendto(data, peer)
            except OSError as error:
                if segment and error.errno in SEGMENTATION_ERRORS:
                    self._echo_separately(endpoint, data, control, segment, peer)
                else:
                    self._count_error(error, count)
                continue
            sent += size
            answers += count
        self._count(received, datagrams, sent, answers)
        if now >= endpoint.policy.next_sample and datagrams:
            endpoint.policy.sample(peer[0], peer[1], data[: segment or size], now)
        return more

    def drain(self, until: float) -> None:
        """Answer what has arrived, until `until` on the loop's clock or a `stop` at the latest, and then close."""
        for fd in self._endpoints:
            while self.readable(fd) and self._reactor.running and self._reactor.clock() < until:
                pass
        self.close()

    def close(self) -> None:
        """Stop receiving."""
        for fd in self._endpoints:
            self._reactor.unwatch(fd)
        self._endpoints.clear()

    def _count(self, received: int, datagrams: int, sent: int, answers: int) -> None:
        self._counters[RECEIVED] += received
        self._counters[DATAGRAMS] += datagrams
        self._counters[SENT] += sent
        self._counters[MESSAGES] += answers

    def _echo_separately(
        self,
        endpoint: DatagramEndpoint,
        data: memoryview,
        control: Sequence[Ancillary],
        segment: int,
        peer: IpPeer,
    ) -> None:
        control = _single(control)
        for start in range(0, len(data) or 1, segment or DATAGRAM_ROOM):
            datagram = data[start : start + (segment or DATAGRAM_ROOM)]
            if len(datagram) > self._max_datagram:  # the last one of its batch may be shorter
                self._refuse(endpoint, datagram, control, 0, peer, reason="too_long")
                continue
            if endpoint.timestamper:
                endpoint.timestamper.timestamp(datagram)
            answer = self._answer(endpoint.responder, bytes(datagram)) if endpoint.responder else datagram
            if answer is None:
                continue
            self._send(endpoint, answer, control, peer)

    def _answer(self, responder: Responder, datagram: bytes) -> bytes | None:
        try:
            return responder(datagram)
        except RespondError:
            count_event(self._counters, "respond")
            return None

    def _count_error(self, error: OSError, datagrams: int) -> None:
        """Count an error of this datagram, or of an earlier one whose sender has closed (ICMP)."""
        count_event(self._counters, error_name(error), datagrams)

    def _send(
        self,
        endpoint: DatagramEndpoint,
        data: memoryview | bytes,
        control: Sequence[Ancillary],
        peer: IpPeer,
        *,
        answers: int = 1,
    ) -> None:
        sock = endpoint.sock
        try:
            sent = sock.sendmsg((data,), control, 0, peer) if control else sock.sendto(data, peer)
        except OSError as error:
            self._count_error(error, 1)
        else:
            self._count(0, 0, sent, answers)

    def _refuse(
        self,
        endpoint: DatagramEndpoint,
        data: memoryview,
        control: Sequence[Ancillary],
        segment: int,
        peer: IpPeer,
        *,
        reason: str,
    ) -> None:
        """Count the datagrams of a read that are not answered, and report the refusal unless one was just reported."""
        now, datagrams = self._reactor.clock(), -(-len(data) // segment) if segment else 1
        count_event(self._counters, reason, datagrams)
        if timestamper := endpoint.timestamper:
            timestamper.record_refused(data, segment)
        if self._observer and (times := self._refusals.record(reason, peer[0], datagrams, now)):
            self._observer.refused(peer, endpoint.address, reason, times)
        counted = timestamper and timestamper.may_contain_request(data, segment)  # the next timestamp has the count
        if reason == "rate_limit" and not endpoint.responder and not counted:
            first = bytes(data[: segment or len(data)])
            if notice := self._notices.notice(peer[0], first, datagrams, now):
                self._send(endpoint, notice, _single(control), peer, answers=0)

    def _report_peer(self, peer: IpPeer, address: str, now: float) -> None:
        """Report a sender that was not seen recently."""
        assert self._recent_peers is not None  # noqa: S101 - there is an observer
        if len(self._recent_peers) >= MAX_RECENT_PEERS:
            self._recent_peers.clear()
        self._recent_peers[peer] = None
        if now >= self._second_end:
            self._new_peers, self._second_end = 0, now + 1
        self._new_peers += 1
        if self._observer and self._new_peers <= MAX_NEW_PEERS:
            self._observer.datagram_received(peer, address)


def make_receive(sock: socket.socket, *, segmentation: bool = True) -> Receive:
    """Make the function that reads a socket, as recvmsg_into does, with all ancillary data the kernel offers.

    Without ancillary data the reads are plain, and the answers the same. `segmentation` allows batches of datagrams.
    """
    if not hasattr(sock, "recvmsg_into"):  # Windows
        return lambda buffers, _room: (*(found := sock.recvfrom_into(buffers[0]))[:1], (), 0, found[1])
    if sys.platform.startswith("linux"):
        if segmentation:
            with suppress(OSError):  # a kernel before 5.0
                sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        if sock.getsockname()[0] in EVERYWHERE:
            request_destination(sock)
    return sock.recvmsg_into


def _endpoint_receive(endpoint: Endpoint) -> Receive:
    receive = make_receive(endpoint.sock)
    return endpoint.timestamper.wrap_receive(endpoint.sock, receive) if endpoint.timestamper else receive


def _single(control: Sequence[Ancillary]) -> list[Ancillary]:
    """Return the ancillary data for one datagram of a batch."""
    return [item for item in control if item[:2] != _SEGMENTED]


def reply_control(ancillary: Sequence[Ancillary]) -> ReplyControl:
    """Parse a read's ancillary data: the reply's own, the size of a batch's datagrams, and why not to answer, if so."""
    control: list[Ancillary] = []
    segment, refusal = 0, None
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_UDP, UDP_GRO):
            segment = int.from_bytes(data[:4], sys.byteorder)
            control.append((*_SEGMENTED, struct.pack("=H", segment)))
        elif (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            _, local, destination = _PKTINFO4.unpack(data)
            if local == bytes(4):  # it arrived before the socket option was set
                local = destination
            if local != destination or destination[0] & 0xF0 == _MULTICAST4:
                refusal = "multicast" if destination[0] & 0xF0 == _MULTICAST4 else "broadcast"
            control.append((level, kind, _PKTINFO4.pack(0, local, bytes(4))))
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            destination, interface = _PKTINFO6.unpack(data)
            if destination[0] == _MULTICAST6:
                refusal = "multicast"
            scope = interface if destination.startswith(_LINK_LOCAL6) else 0
            control.append((level, kind, _PKTINFO6.pack(destination, scope)))
    return control, segment, refusal
