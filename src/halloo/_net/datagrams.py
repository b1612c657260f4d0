"""Datagrams to and from one peer.

What is lost on the way is lost: nothing is acknowledged or sent again.
"""

import errno
import os
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from halloo._core import arguments
from halloo._core.address import Address
from halloo._core.arguments import ReadableBuffer
from halloo._core.icmp import IcmpReport, parse_report
from halloo._net import error_mapping
from halloo._net.connection import Attempt, ConnectedSocket, Timeout, Times
from halloo._net.racing import ATTEMPT_DELAY, Failure, race
from halloo._net.readiness import Steps
from halloo._net.resolver import Place, address_of
from halloo._net.socket_options import of_version
from halloo.errors import HallooError, TimedOut, Truncated, UsageError

MAX_DATAGRAM = 65507  # bytes of payload over IPv4 (RFC 768); IPv6 takes 20 more
DATAGRAM_ROOM = 65536  # bytes to receive a datagram in, so that none is cut off unnoticed
QUEUE = 8 << 20  # bytes asked for, each way; the kernel takes it down to net.core.rmem_max and wmem_max (socket(7))
RESENT = 64  # datagrams kept, to be sent again to the next address of the name if the first refuses
_SO_MEMINFO, _DROPS, _MEMINFO = 55, 8, struct.Struct("9I")  # of Linux: SK_MEMINFO_DROPS, and all up to it
MAX_REPORTS = 32  # read at a time, so that a flood of them cannot delay anything else
_QUOTE, _ROOM = 2048, 256  # bytes for the quoted datagram, and for the report
# Linux's numbers, which the socket module does not name, or since Python 3.14 only.
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_REPORTS = {(socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)}
IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
IpPeer = tuple[str, int] | tuple[str, int, int, int]
Ancillary = tuple[int, int, bytes]  # level, type and data, as in recvmsg(2)
Receive = Callable[[list[memoryview], int], tuple[int, Sequence[Ancillary], int, IpPeer]]  # as recvmsg_into does
Prepare = Callable[[socket.socket], object]  # what is done to a socket before it connects


def no_preparation(_sock: socket.socket) -> None:
    """Do nothing to a socket before it connects."""


class DatagramConnection(ConnectedSocket):
    """Datagrams to and from one peer: `send` sends one, `receive` returns one whole; an empty one counts as well.

    Datagrams may be lost, duplicated and reordered on the way; nothing is sent again. `timeout=` and `deadline=` are
    seconds, None is for ever, and a timeout of `...` is the connection's own. Where a name has several addresses and
    the first refuses, or cannot be reached, the next gets what was sent so far; `attempts` are those before it.
    A silent address is kept, as its answer may be late. `close` may be called from any thread.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: Address,
        *,
        timeout: float | None = None,
        wanted: Address | None = None,
        places: Sequence[Place] = (),
        queued: Sequence[bytes] = (),
        prepare: Prepare = no_preparation,
    ) -> None:
        """Take over a connected socket; `queued` are datagrams that the peer has sent already.

        `places` are further addresses of the peer, and `wanted` is the address that stands for all of them.
        """
        super().__init__(sock, address, timeout=timeout)
        self._wanted = wanted or address
        self._places = deque(places)
        self._queued = deque(queued)
        self._prepare = prepare
        self._sent: deque[bytes] = deque(maxlen=RESENT)
        self._failures: list[tuple[Address, OSError]] = []  # of the addresses before, until one has answered
        self._refusal: OSError | None = None  # raised once what arrived before it has been received
        self._opened = time.monotonic()
        self.reports: deque[tuple[IcmpReport, bytes]] = deque(maxlen=MAX_REPORTS)  # each with its datagram's beginning

    def send(self, data: ReadableBuffer, *, timeout: Timeout = ..., deadline: float | None = None) -> None:
        """Send one datagram. Raises UsageError when `data` is too long for one; Refused, TimedOut, ConnectionClosed."""
        datagram = bytes(arguments.payload("data", data))
        times = self._times(timeout, deadline)
        while True:
            try:
                self.socket.send(datagram)
            except BlockingIOError:
                self._wait(times, f"takes no datagram ({len(datagram)} bytes left)", writing=True)
            except OSError as error:
                self._check_open()
                if self.collect_reports() and not self._places:
                    continue
                if error.errno == errno.EMSGSIZE:
                    size, fact = len(datagram), f"{len(datagram)} bytes do not fit into one packet of this link"
                    remedy = "find the largest size with a size sweep, or allow fragmentation"
                    if size > MAX_DATAGRAM:
                        fact = f"a datagram of {size} bytes is too long"
                        remedy = f"send at most {MAX_DATAGRAM}, or use tcp://"
                    raise TooLong(fact, remedy) from error
                self.next_address(error)
            else:
                self._refusal = None  # if nothing listens still, this datagram brings another refusal
                if self._places:
                    self._sent.append(datagram)
                return

    def receive(self, limit: int = DATAGRAM_ROOM, *, timeout: Timeout = ..., deadline: float | None = None) -> bytes:
        """Receive one datagram. Raises Truncated, whose `partial` is its beginning, when it is longer than `limit`.

        Raises Refused, TimedOut, ConnectionClosed.
        """
        arguments.whole("limit", limit, 0)
        times = self._times(timeout, deadline)
        datagram = self._queued.popleft() if self._queued else self._next(times)
        if len(datagram) > limit:
            fact = f"{self.address.place} sent a datagram of {len(datagram)} bytes, longer than the limit of {limit}"
            error = Truncated(
                fact, f"allow more with limit=, {DATAGRAM_ROOM} is enough for any", address=str(self.address)
            )
            error.partial = datagram[:limit]
            raise error
        return datagram

    @property
    def silence_remedy(self) -> str:
        """As for a stream; what was reported since the last datagram, or further addresses of the name, come first."""
        if reported := self.undelivered:
            return str(reported)
        others = ", ".join(str(address_of(place, "udp")) for place in [*self._places][: error_mapping.MAX_NAMED])
        return f"try another address of {self._wanted.host}: {others}" if others else error_mapping.SILENT

    def check_refused(self) -> None:
        """Raise Refused if the peer's host has reported by now that nothing listens on the port (ICMP)."""
        with suppress(TimedOut):
            self._queued.append(self._next(self._times(0, None)))

    def __iter__(self) -> Iterator[bytes]:
        """Yield datagrams as they come, until TimedOut."""
        while True:
            yield self.receive()

    def _next(self, times: Times | None) -> bytes:
        left = times
        while True:
            try:
                datagram = self.socket.recv(DATAGRAM_ROOM)
            except BlockingIOError:
                if self._refusal is None:
                    left = self._wait(left, "sent nothing")
                    continue
                refusal, self._refusal, left = self._refusal, None, times
                self.next_address(refusal)
            except OSError as error:
                if self.fileno() < 0:
                    self._raise(error)
                if not self.collect_reports() or self._places:
                    if isinstance(error, ConnectionResetError):  # on Windows a reset says that nothing listens
                        error = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
                    self._refusal = error
            else:
                self.keep_address()
                self.reports.clear()
                return datagram

    def collect_reports(self) -> bool:
        """Read what routers and hosts report; return whether an error was no more than that, and no refusal."""
        new = [*read_reports(self.socket)]
        self.reports.extend(new)
        return bool(new) and all(report.errno != errno.ECONNREFUSED for report, _ in new)

    @property
    def undelivered(self) -> HallooError | None:
        """The error of the latest report; None without one."""
        return error_mapping.undelivered(self.address, self.reports[-1][0]) if self.reports else None

    def _failure(self, error: OSError) -> HallooError:
        """Return the error of this address; a refusal by a router does not show that nothing listens."""
        reported = self.undelivered if error.errno == errno.ECONNREFUSED else None
        return reported or error_mapping.connecting(self.address, error)

    def keep_address(self) -> None:
        """Try no further address from now on: this one has answered."""
        if self._places or self._failures:
            self._places.clear()
            self._sent.clear()
            self._failures.clear()

    def next_address(self, error: OSError) -> None:
        """Go on at the next address, with what was sent so far; raise the error of all when there is none."""
        with suppress(OSError):  # most often there is none
            self._queued.append(self.socket.recv(DATAGRAM_ROOM))
            self.keep_address()
        failures, failure = [*self._failures, (self.address, error)], self._failure(error)
        opened = None
        with suppress(OSError):  # none of those left can be connected to
            if self._places:
                opened = _open_connected(self._wanted, self._places, self._prepare)
        if opened is None:
            by_router = self.reports and self.reports[-1][0].router != self.address.host
            raise (failure if by_router else error_mapping.all_failed(self._wanted, failures)) from error
        self.attempts += (Attempt(self.address, time.monotonic() - self._opened, failure),)
        self.reports.clear()
        self.socket.close()
        (self.socket, self.address), self._opened, self._failures = opened, time.monotonic(), failures
        try:
            for datagram in self._sent:
                self.socket.send(datagram)
        except BlockingIOError:
            pass  # what does not fit now is lost, as it might be on the way
        except OSError as refusal:
            self.next_address(refusal)


class TooLong(UsageError):  # noqa: N818 - as in errors
    """The datagram is longer than one can be, or than one packet if fragmentation is forbidden (EMSGSIZE)."""


def open_datagrams(
    wanted: Address, places: Sequence[Place], *, timeout: float | None, prepare: Prepare = no_preparation
) -> DatagramConnection:
    """Connect to the first address that accepts it; nothing is sent (connect(2)). Raises Unreachable, PeerError."""
    left = deque(places)
    sock, address = _open_connected(wanted, left, prepare)
    return DatagramConnection(sock, address, timeout=timeout, wanted=wanted, places=left, prepare=prepare)


def answering_first(
    places: Sequence[Place], question: bytes, *, until_ns: int | None, prepare: Prepare = no_preparation
) -> Steps[list[Place]]:
    """Send a datagram to the places in turn, until one answers; put that one first, and those that refuse last.

    Each has ATTEMPT_DELAY alone, and none has more than that after the last. If none answers, the order is kept.
    """

    def begin(place: Place) -> socket.socket:
        sock, _ = _open_connected(Address("udp"), deque([place]), prepare)
        try:
            sock.send(question)
        except OSError:
            sock.close()
            raise
        return sock

    longest = time.monotonic_ns() + len(places) * ATTEMPT_DELAY
    until_ns = longest if until_ns is None else min(until_ns, longest)
    failures: list[Failure] = []
    winner = yield from race(places, begin, _answered, writing=False, until_ns=until_ns, failures=failures)
    if winner:
        winner.socket.close()
    refusing = {failure.place for failure in failures if not isinstance(failure.error, TimeoutError)}
    return sorted(places, key=lambda place: (not winner or place != winner.place, place in refusing))


def _answered(sock: socket.socket) -> bool:
    try:
        sock.recv(DATAGRAM_ROOM)
    except BlockingIOError:
        return False
    return True


def _open_connected(wanted: Address, places: deque[Place], prepare: Prepare) -> tuple[socket.socket, Address]:
    """Consume addresses until one can be connected to. Raises what the last one raised."""
    while True:
        family, sockaddr = places.popleft()
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            enlarge_buffers(sock)
            request_reports(sock)
            prepare(sock)
            connect_elsewhere(sock, sockaddr)
        except OSError as error:
            sock.close()
            if not places:
                raise error_mapping.connecting(wanted, error) from error
        except BaseException:  # of `prepare`
            sock.close()
            raise
        else:
            return sock, address_of((family, sockaddr), "udp")


def connect_elsewhere(sock: socket.socket, sockaddr: tuple[str | int, ...]) -> None:
    """Connect a socket to its peer, but not to itself, which would look like a perfect echo. Raises OSError."""
    try:
        sock.connect(sockaddr)
    except BlockingIOError as error:  # the socket gets its port now, and none is free: as bind(2) says it
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from error
    if sock.getsockname() == sock.getpeername():  # an unused port of the ephemeral range
        raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def enlarge_buffers(sock: socket.socket) -> None:
    """Ask for QUEUE bytes each way; a system that refuses instead of granting what it allows is asked for less."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        for size in (QUEUE >> halvings for halvings in range(8)):
            with suppress(OSError):  # ENOBUFS, on BSD and macOS
                sock.setsockopt(socket.SOL_SOCKET, option, size)
                break


def dropped(sock: socket.socket) -> int:
    """Count the datagrams that the kernel has dropped: its queue was full, or a filter dropped them (sock_diag(7))."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        meminfo = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:  # a kernel before 4.12, or gVisor
        return 0
    return int(_MEMINFO.unpack(meminfo)[_DROPS])


def request_destination(sock: socket.socket) -> None:
    """Have the kernel report the destination address of each datagram (ip(7), ipv6(7)).

    Call it before bind(2): for datagrams that arrived earlier the kernel has not kept it.
    """
    sock.setsockopt(*of_version(sock, IP_PKTINFO, socket.IPV6_RECVPKTINFO), 1)


def request_reports(sock: socket.socket) -> None:
    """Have the kernel keep the reports about a datagram socket; each also makes the next call fail, once."""
    if sys.platform.startswith("linux") and hasattr(sock, "recvmsg"):
        sock.setsockopt(*of_version(sock, _IP_RECVERR, _IPV6_RECVERR), 1)


def read_reports(sock: socket.socket) -> Iterator[tuple[IcmpReport, bytes]]:
    """Yield the reports kept (ip(7)), each with as much of its datagram as the router quoted, perhaps nothing."""
    if not sys.platform.startswith("linux") or not hasattr(sock, "recvmsg"):
        return
    for _ in range(MAX_REPORTS):
        try:
            quoted, ancillary, _, _ = sock.recvmsg(_QUOTE, _ROOM, socket.MSG_ERRQUEUE)
        except OSError:  # no more
            return
        for level, kind, data in ancillary:
            if (level, kind) in _REPORTS and (report := parse_report(data)):
                yield report, quoted
