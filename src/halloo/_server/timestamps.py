"""Write receive and send times, and which probes of the run have arrived, into probes: the echo with --timestamps.

A timestamp fills the space that the probe reserves for it (see `_core.probe`): no byte is added, moved, or changed
elsewhere. Each loop counts separately; with several workers a connection, or the datagrams from one port to one
address, stay with one worker.

The receive time is the kernel's, so that waiting for a busy server counts as the server's time. Over TLS and Unix
sockets, and where the kernel gives no time, it is the time of the read.
"""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from halloo._core.probe import REQUEST, TIMESTAMP_END, ServerTimestamp, read_request, request_spans, write_timestamp
from halloo._net import socket_options
from halloo._server.exchange import Exchange
from halloo._server.poller import Epoll
from halloo._server.run_window import ReceiveWindows

if TYPE_CHECKING:
    from halloo._net.datagrams import Ancillary, IpPeer, Receive

_KERNEL_TIME = (socket.SOL_SOCKET, socket_options.SO_TIMESTAMPNS)


class ProbeTimestamper:
    """Writes timestamps into probes in place: in the buffer that was read, before it is sent."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self.received_ns = 0
        """When the kernel received the last read, 0 if unknown."""
        self._runs = ReceiveWindows()

    def timestamp(self, data: memoryview) -> None:
        """Write a timestamp into a datagram if it is a probe that requests one."""
        self._timestamp(data, self.received_ns or self._clock())

    def timestamp_lines(self, data: memoryview) -> None:
        """Write a timestamp into each probe that lies whole in a read of a stream, at the start of a line."""
        received_ns = self.received_ns or self._clock()
        for start, end in request_spans(bytes(data)):
            self._timestamp(data[start:end], received_ns)

    def record_refused(self, data: memoryview, segment: int) -> None:
        """Record the probes in a read of datagrams, `segment` bytes each, that are not answered."""
        for datagram in _split(data, segment):
            if header := read_request(bytes(datagram[:TIMESTAMP_END])):
                self._runs.record(header, refused=True)

    def may_contain_request(self, data: memoryview, segment: int) -> bool:
        """Whether a read of datagrams may contain a probe; a read without one is sent back in one call."""
        return any(datagram[: len(REQUEST)] == REQUEST for datagram in _split(data, segment))

    def wrap_receive(self, sock: socket.socket, receive: "Receive") -> "Receive":
        """Have the kernel report receive times, and remove them from the ancillary data that `receive` returns."""
        socket_options.stamps(sock)

        def read(buffers: list[memoryview], room: int) -> "tuple[int, Sequence[Ancillary], int, IpPeer]":
            length, notes, flags, peer = receive(buffers, room)
            self.received_ns = socket_options.timestamp([*notes]) or 0
            return length, [note for note in notes if note[:2] != _KERNEL_TIME], flags, peer

        return read

    def _timestamp(self, data: memoryview, received_ns: int) -> None:
        start = bytes(data[:TIMESTAMP_END])
        if header := read_request(start):
            seen = self._runs.record(header)
            data[:TIMESTAMP_END] = write_timestamp(start, ServerTimestamp(received_ns, self._clock(), *seen))


class TimestampingHandler:
    """A handler for the loop: the echo, with timestamps in its probes."""

    def __init__(self, timestamper: ProbeTimestamper) -> None:
        self._timestamper = timestamper

    def opened(self, exchange: Exchange, fd: int) -> None:
        """Do nothing."""

    def readable(self, exchange: Exchange, fd: int) -> None:
        """Read, write timestamps, and send back."""
        self._timestamper.received_ns = 0
        chunk = exchange.receive(fd)
        if chunk:
            self._timestamper.timestamp_lines(chunk)
            if exchange.send(fd, chunk):
                exchange.answered(fd)
        elif chunk is not None:
            exchange.end(fd)

    def writable(self, exchange: Exchange, fd: int) -> None:
        """Check the rate limit."""
        exchange.answered(fd)

    def closed(self, fd: int) -> None:
        """Do nothing."""


class TimestampPoller:
    """Epoll that reads with recvmsg(2) to get receive times, which needs a socket object for each connection."""

    prefers_read = False
    min_read = 1

    def __init__(self, timestamper: ProbeTimestamper) -> None:
        """Set `timestamper.received_ns` at each read."""
        epoll = Epoll()
        self._timestamper = timestamper
        self._sockets: dict[int, socket.socket] = {}
        self.poll = epoll.poll
        self.watch = epoll.watch
        self.change = epoll.change
        self.unwatch = epoll.unwatch
        self.read = epoll.read
        self.write = epoll.write
        self.shutdown_write = epoll.shutdown_write
        self.close_notify = epoll.close_notify
        self.queued_bytes = epoll.queued_bytes
        self.close = epoll.close
        self.release_fd = self.close_fd

    def adopt(self, sock: socket.socket) -> int:
        """Keep the socket by its number."""
        fd = sock.fileno()
        self._sockets[fd] = sock
        return fd

    def readv(self, fd: int, buffers: Sequence[memoryview]) -> int:
        """Read into the one buffer; 0 at the end of the stream."""
        received, ancillary, _, _ = self._sockets[fd].recvmsg_into(buffers, socket_options.CONTROL_SIZE)
        self._timestamper.received_ns = socket_options.timestamp(ancillary) or 0
        return received

    def close_fd(self, fd: int) -> None:
        """Close the socket; close(2) also takes it out of the epoll set."""
        self._sockets.pop(fd).close()


def _split(data: memoryview, segment: int) -> Iterator[memoryview]:
    """Yield the datagrams of a read."""
    size = segment or len(data) or 1
    return (data[start : start + size] for start in range(0, len(data), size))
