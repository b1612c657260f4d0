"""Write into a probe when it came and left, and what of its run has arrived: what an echo does with --timestamps.

Knows the wall clock, and how the loop reads. A stamp takes the place that the probe has left for it (see `core.probe`):
no byte is added, moved, or changed elsewhere. Each loop counts on its own; with several workers a connection, or the
datagrams from one port to one address, stay with one of them.

A probe came when the kernel had it, so that waiting for a busy server is part of the server's time; over TLS and Unix
sockets, and where no kernel tells, that is when it was read.
"""

import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from halloo._core.probe import ASKING, STAMP_END, ServerTimestamp, asking, asking_lines, stamped
from halloo._net import socket_options
from halloo._server.poller import Epoll, Poller, best
from halloo._server.run_window import RunWindows

if TYPE_CHECKING:
    from halloo._net.datagrams import PeerName
    from halloo._server.acceptor import Endpoint
    from halloo._server.tcp import Loop
    from halloo._server.udp import Note, Receive

_TIME = (socket.SOL_SOCKET, socket_options.SO_TIMESTAMPNS)


class ProbeTimestamper:
    """Stamps probes where they lie: in the bytes that were read, before they are sent."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        """Know of no run yet; the clock is the wall's, in nanoseconds."""
        self._clock = clock
        self.came_ns = 0
        """When the kernel had what was read last; 0 where it did not tell."""
        self._runs = RunWindows()

    def stamp(self, data: memoryview) -> None:
        """Stamp a datagram, if it is a probe that asks for it."""
        self._stamp(data, self.came_ns or self._clock())

    def stamp_lines(self, data: memoryview) -> None:
        """Stamp each probe that lies whole in what was read of a stream, where a line begins."""
        came_ns = self.came_ns or self._clock()
        for start, end in asking_lines(bytes(data)):
            self._stamp(data[start:end], came_ns)

    def refuse(self, data: memoryview, segment: int) -> None:
        """Note the probes in a read of datagrams, `segment` bytes each, that are not answered."""
        for datagram in _cut(data, segment):
            if heading := asking(bytes(datagram[:STAMP_END])):
                self._runs.arrive(heading, refused=True)

    def concerns(self, data: memoryview, segment: int) -> bool:
        """Whether there may be a probe in a read of datagrams; a train without one is sent back as it came."""
        return any(datagram[: len(ASKING)] == ASKING for datagram in _cut(data, segment))

    def timed(self, sock: socket.socket, receive: "Receive") -> "Receive":
        """Have the kernel tell when datagrams came, and take that out of what a read tells beside them."""
        socket_options.stamps(sock)

        def read(buffers: list[memoryview], room: int) -> "tuple[int, Sequence[Note], int, PeerName]":
            length, notes, flags, peer = receive(buffers, room)
            self.came_ns = socket_options.told([*notes]) or 0
            return length, [note for note in notes if note[:2] != _TIME], flags, peer

        return read

    def _stamp(self, data: memoryview, came_ns: int) -> None:
        head = bytes(data[:STAMP_END])
        if heading := asking(head):
            seen = self._runs.arrive(heading)
            data[:STAMP_END] = stamped(head, ServerTimestamp(came_ns, self._clock(), *seen))


class TimestampingHandler:
    """A handler for the loop: the echo, with stamps on its probes."""

    def __init__(self, stamper: ProbeTimestamper) -> None:
        """Stamp so."""
        self._stamper = stamper

    def opened(self, loop: "Loop", fd: int) -> None:
        """Nothing is to be said."""

    def readable(self, loop: "Loop", fd: int) -> None:
        """Read, stamp, and send back."""
        self._stamper.came_ns = 0
        piece = loop.receive(fd)
        if piece:
            self._stamper.stamp_lines(piece)
            if loop.send(fd, piece):
                loop.limiter.throttle_if_overdrawn(fd)
        elif piece is not None:
            loop.closer.close_after_flush(fd)

    def writable(self, loop: "Loop", fd: int) -> None:
        """Nothing is left to be said, but perhaps too much has been."""
        loop.limiter.throttle_if_overdrawn(fd)

    def closed(self, fd: int) -> None:
        """Nothing is remembered of a connection."""


class TimestampPoller:
    """Epoll that reads with recvmsg(2), to be told when it came as well; that takes an object for each socket."""

    small = False
    least = 1

    def __init__(self, stamper: ProbeTimestamper) -> None:
        """Tell the stamper when what is read has come."""
        below = Epoll()
        self._stamper = stamper
        self._sockets: dict[int, socket.socket] = {}
        self.poll = below.poll
        self.watch = below.watch
        self.change = below.change
        self.forget = below.forget
        self.read = below.read
        self.write = below.write
        self.shutdown_write = below.shutdown_write
        self.close_notify = below.close_notify
        self.in_flight = below.in_flight
        self.close = below.close

    def adopt(self, sock: socket.socket) -> int:
        """Keep the socket under its number."""
        fd = sock.fileno()
        self._sockets[fd] = sock
        return fd

    def readv(self, fd: int, buffers: Sequence[memoryview]) -> int:
        """Read into the one buffer; 0 is the end of the stream."""
        received, notes, _, _ = self._sockets[fd].recvmsg_into(buffers, socket_options.ROOM)
        self._stamper.came_ns = socket_options.told(notes) or 0
        return received

    def close_fd(self, fd: int) -> None:
        """Forget the descriptor and close its socket; close(2) also takes it out of the epoll set."""
        self._sockets.pop(fd).close()


def with_timestamps(posts: Sequence["Endpoint"]) -> tuple[list["Endpoint"], Poller]:
    """Have the echo at these posts stamp: give them as they are then, and the poller that their loop needs."""
    stamper = ProbeTimestamper()
    handler = TimestampingHandler(stamper)
    timed = [socket_options.stamps(post.sock) for post in posts if post.stream]  # what they accept does as they do
    poller = TimestampPoller(stamper) if any(timed) and hasattr(select, "epoll") else best()
    return [
        replace(post, handler=handler) if post.stream else replace(post, timestamper=stamper) for post in posts
    ], poller


def _cut(data: memoryview, segment: int) -> Iterator[memoryview]:
    """Give the datagrams of a read one by one."""
    size = segment or len(data) or 1
    return (data[start : start + size] for start in range(0, len(data), size))
