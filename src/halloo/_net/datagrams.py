"""Exchange datagrams with one peer, in the shape of a Connection; and make that of who writes to a listening socket.

Knows datagram sockets. What is lost on the way is lost: nobody is told, and whoever needs it sends again.
"""

import errno
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from halloo._core.address import Address
from halloo._net import error_mapping
from halloo._net.connection import Connection
from halloo.errors import HallooError, IncompleteRead, Refused, Reset, TimedOut, Truncated, UsageError

MOST = 65507  # bytes of payload over IPv4 (RFC 768); IPv6 takes 20 more
WHOLE = 65536  # bytes of room, so that nothing is cut off unnoticed
QUEUE = 8 << 20  # bytes asked for, each way; the kernel takes it down to net.core.rmem_max and wmem_max (socket(7))
KEPT = 64  # datagrams sent, for the next address of the name if nobody is at the first
_SO_MEMINFO, _DROPS, _MEMINFO = 55, 8, struct.Struct("9I")  # of Linux: SK_MEMINFO_DROPS, and all up to it
IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # Linux's number; the module has a name for it since Python 3.14
PeerName = tuple[str, int] | tuple[str, int, int, int]
Place = tuple[int, tuple[str | int, ...]]  # a family and a socket address of it
Prepare = Callable[[socket.socket], object]  # what is done to a socket before it connects


def no_preparation(_sock: socket.socket) -> None:
    """Do nothing to a socket before it connects."""


class DatagramConnection(Connection):
    """Datagrams to and from one peer: `send` is one, and `receive` gives one whole; an empty one is one as well.

    Where a name has several addresses, and the first turns out to have nobody at it, the next is tried.
    """

    datagrams = True

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
        """Take over a connected socket; `letters` are what the peer has sent already.

        `places` are where else the peer may be, and `wanted` is the address that stands for all of them.
        """
        super().__init__(sock, address, timeout=timeout)
        self._wanted = wanted or address
        self._places = deque(places)
        self._queued = deque(queued)
        self._prepare = prepare
        self._sent: deque[bytes] = deque(maxlen=KEPT)
        self._aborted = False
        self._refusal: HallooError | None = None  # raised when what came before it has been received

    def send(self, data: bytes | bytearray | memoryview, *, timeout: float | None = None) -> None:
        """Send one datagram. Raises UsageError when it is too long for one; Refused, TimedOut."""
        datagram = bytes(data)
        while True:
            try:
                self.socket.send(datagram)
            except BlockingIOError:
                self._until_writable(timeout, f"{len(datagram)} of {len(datagram)}")
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    raise _too_long(len(datagram)) from error
                self.go_elsewhere(error_mapping.connecting(self._wanted, error))
            else:
                self._refusal = None  # if it still holds, this datagram is going to bring another
                if self._places:
                    self._sent.append(datagram)
                return

    def receive(self, limit: int = WHOLE, *, timeout: float | None = None) -> bytes:
        """Receive one datagram. Raises Truncated, whose `partial` is its beginning, when it is longer than `limit`.

        Raises Refused, TimedOut.
        """
        datagram = self._queued.popleft() if self._queued else self._next(timeout)
        if len(datagram) > limit:
            fact = f"{self.address.place} sent a datagram of {len(datagram)} bytes, where {limit} may be"
            error = Truncated(fact, f"allow for more, {WHOLE} is enough for any", address=str(self.address))
            error.partial = datagram[:limit]
            raise error
        return datagram

    def receive_exactly(self, size: int, *, timeout: float | None = None) -> bytes:
        """Receive one datagram of `size` bytes. Raises Truncated for a longer one, IncompleteRead for a shorter one."""
        datagram = self.receive(size, timeout=timeout)
        if len(datagram) < size:
            fact = f"{self.address.place} sent a datagram of {len(datagram)} bytes, not of {size}"
            error = IncompleteRead(fact, error_mapping.LOOK, address=str(self.address))
            error.partial = datagram
            raise error
        return datagram

    def send_eof(self) -> None:
        """Raise Refused if it is known by now that nobody is there (ICMP); datagrams have no end to be told of."""
        with suppress(TimedOut):
            self._queued.append(self._next(0))

    def abort(self) -> None:
        """End both directions at once, also for a thread that waits in `receive`, which then raises Reset."""
        self._aborted = True
        super().abort()

    def __iter__(self) -> Iterator[bytes]:
        """Give the datagrams as they come, until TimedOut."""
        while True:
            yield self.receive()

    def _recv(self, limit: int) -> bytes:
        if self._aborted:  # the system wakes who waits, and then has nothing to tell
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
        return super()._recv(limit)

    def _next(self, timeout: float | None) -> bytes:
        while True:
            try:
                datagram = super().receive(WHOLE, timeout=0 if self._refusal else timeout)
            except TimedOut:
                if not self._refusal:
                    raise
                refusal, self._refusal = self._refusal, None
                self.go_elsewhere(refusal)
            except (Refused, Reset):  # a reset is what Windows says of a port that nobody has
                if self._aborted:
                    raise
                refused = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
                self._refusal = error_mapping.connecting(self._wanted, refused)
            else:
                self.settle()
                return datagram

    def settle(self) -> None:
        """Stay with this address from now on: something came from it."""
        self._places.clear()
        self._sent.clear()

    def go_elsewhere(self, error: HallooError) -> None:
        """Go on at the next address, with what was sent so far; raise the error when there is none."""
        while self._places:
            with suppress(OSError):
                sock, address = _dialled(self._wanted, self._places, self._prepare)
                self.socket.close()
                self.socket, self.address = sock, address
                sock.setblocking(False)
                with suppress(BlockingIOError):  # what does not fit now is lost, as it might be on the way
                    for datagram in self._sent:
                        sock.send(datagram)
                return
        raise error


def _too_long(size: int) -> UsageError:
    if size > MOST:
        return UsageError(f"{size} bytes are too many for a datagram", f"{MOST} are the most; or use tcp://")
    fact = f"{size} bytes do not fit into one packet of this link, and fragments are forbidden"
    return UsageError(fact, "find the most with --size-sweep, or leave --df out")


def connected(
    wanted: Address, places: Sequence[Place], *, timeout: float | None, prepare: Prepare = no_preparation
) -> DatagramConnection:
    """Connect to the first of the places that can be; nothing is sent (connect(2)). Raises Unreachable, PeerError."""
    left = deque(places)
    sock, address = _dialled(wanted, left, prepare)
    return DatagramConnection(sock, address, timeout=timeout, wanted=wanted, places=left, prepare=prepare)


def _dialled(wanted: Address, places: deque[Place], prepare: Prepare) -> tuple[socket.socket, Address]:
    """Take places away until one can be connected to; when it was the last, say why not."""
    while True:
        family, sockaddr = places.popleft()
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            widen(sock)
            prepare(sock)
            join(sock, sockaddr)
        except OSError as error:
            sock.close()
            if not places:
                raise error_mapping.connecting(wanted, error) from error
        except BaseException:  # of the preparation
            sock.close()
            raise
        else:
            return sock, Address("udp", str(sockaddr[0]), int(sockaddr[1]))


def join(sock: socket.socket, sockaddr: tuple[str | int, ...]) -> None:
    """Connect a socket to its peer, but not to itself: then it would echo perfectly. Raises OSError."""
    sock.connect(sockaddr)
    if sock.getsockname() == sock.getpeername():  # a port of the ephemeral range, which nobody has
        raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def widen(sock: socket.socket) -> None:
    """Ask for QUEUE bytes each way. A system that does not take it down to what it allows is asked for less."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        for size in (QUEUE >> halvings for halvings in range(8)):
            with suppress(OSError):  # ENOBUFS, on BSD and macOS
                sock.setsockopt(socket.SOL_SOCKET, option, size)
                break


class DatagramListener:
    """A listening socket of datagrams, which becomes a connection for each who writes."""

    def __init__(self, sock: socket.socket) -> None:
        """Empty it with `accept`; the socket stays the caller's to close."""
        self._sock = sock
        self.datagrams: deque[tuple[bytes, PeerName]] = deque()  # received already, of those who have no connection yet

    def accept(self) -> DatagramConnection | None:
        """Make a connection with who wrote first, on the same port; None when nobody has."""
        while self.datagrams or self._collect(self._sock):
            peer, sock = self.datagrams[0][1], self._sibling()
            try:
                sock.connect(peer)
            except OSError:
                sock.close()
                self._from(peer)  # thrown away: no answer could ever go there
                continue
            # What came before the sibling was connected went to either, from anybody; what comes from now on, to it.
            self._collect(self._sock)
            self._collect(sock)
            return DatagramConnection(sock, Address("udp", *peer[:2]), queued=self._from(peer))
        return None

    def _from(self, peer: PeerName) -> list[bytes]:
        """Take out the letters of one peer."""
        letters, self.datagrams = self.datagrams, deque(letter for letter in self.datagrams if letter[1] != peer)
        return [data for data, sender in letters if sender == peer]

    def _collect(self, sock: socket.socket) -> bool:
        """Take what has come; whether anything had."""
        before = len(self.datagrams)
        with suppress(BlockingIOError):
            while True:
                try:
                    self.datagrams.append(sock.recvfrom(WHOLE))
                except ConnectionError:
                    continue  # of an earlier one
        return len(self.datagrams) > before

    def _sibling(self) -> socket.socket:
        """Open a socket on the same port, to be for one peer alone: the kernel prefers the one that is connected.

        Elsewhere than on Linux a port cannot be shared afterwards, and the first connection takes it for itself.
        """
        if not sys.platform.startswith("linux"):
            return self._sock.dup()
        sock = socket.socket(self._sock.family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            for one in (self._sock, sock):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            widen(sock)
            sock.bind(self._sock.getsockname())
        except BaseException:
            sock.close()
            raise
        return sock


def dropped(sock: socket.socket) -> int:
    """Count the datagrams that the kernel has dropped: its queue was full, or a filter said so (sock_diag(7))."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        told = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:  # a kernel before 4.12, or gVisor
        return 0
    return int(_MEMINFO.unpack(told)[_DROPS])


def tell_destination(sock: socket.socket) -> None:
    """Have the kernel tell which of our addresses each datagram asked (ip(7), ipv6(7)).

    Of what came before it was told to, it has forgotten it: so this comes before bind(2).
    """
    four = sock.family == socket.AF_INET
    option = (socket.IPPROTO_IP, IP_PKTINFO) if four else (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
    sock.setsockopt(*option, 1)
