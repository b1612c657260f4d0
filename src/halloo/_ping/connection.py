"""A connection to an echo server: send probes, receive replies with the kernel's timestamps, read what it knows.

It exists from connecting to closing. `_ping.tracker` decides whether a reply is right.
"""

import socket
import struct
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator

from halloo._core.address import Address
from halloo._core.icmp import IcmpReport
from halloo._net import error_mapping, socket_options
from halloo._net.connection import Connection
from halloo._net.datagrams import DatagramConnection
from halloo._net.resolver import from_sockaddr
from halloo._net.socket_options import effective, path_mtu
from halloo._ping.delays import Instant
from halloo._ping.reply_parser import ReplyParser
from halloo._ping.report import Kernel
from halloo.errors import HallooError, IncompleteRead, PeerError, Refused, Unreachable

RECEIVE_SIZE = 256 * 1024  # bytes: more than the largest datagram, and many small replies at once
Received = tuple[bytes, Instant, int | None]  # data, when it was read, the kernel's timestamp

TCP_INFO_SIZE = 152
_U32 = struct.Struct("=I")
_MSS, _LOST, _RTT, _RTT_VAR, _WINDOW, _RETRANSMITS, _MIN_RTT = 16, 32, 68, 72, 80, 100, 148
#  0           8                                   16        20 ... 32     36 ... 68    72        76 ... 80      84
#  | 8 bytes   | rto   | ato                       | mss     |      | lost |      | rtt  | rttvar  |      | cwnd  |
#  ... 100            104 ...  148        152
#      | retransmits  |        | min_rtt  |         times in microseconds
_UNKNOWN = 0xFFFFFFFF
_US = 1000  # nanoseconds


class Blocked(PeerError):  # noqa: N818 - as in errors
    """The peer does not read and its stream is full: the probe was not sent."""


class ProbeConnection(ABC):
    """What a stream and datagrams have in common."""

    unsent = b""  # the rest of a probe that waits until the socket is writable

    def __init__(self, connection: Connection | DatagramConnection, wanted: Address, *, user_clock: bool) -> None:
        """Take over a connection to `wanted`; `user_clock` requests no kernel timestamps."""
        self.used = False  # whether a probe was sent
        self.peer_changed = False  # whether another address of the name is in use since opening
        self.reports: deque[tuple[IcmpReport, bytes]] = deque()  # of undelivered probes, with what is quoted of each
        self._connection = connection
        self._wanted = wanted
        self._user_clock = user_clock
        self._arrived: Iterator[Received] | None = None  # unfinished: what has arrived, but was not processed yet
        self._closed = False
        self._attach()

    def _attach(self) -> None:
        """Prepare to read from the socket, which is a new one for each address of a name."""
        self.socket, self.address = self._connection.socket, self._connection.address
        self._plain = isinstance(self.socket, socket.socket)  # not TLS, which buffers received data
        self.kernel_timestamps = self._plain and not self._user_clock and socket_options.stamps(self.socket)

    def close(self) -> None:
        self._closed = True
        self._connection.close()

    @abstractmethod
    def send(self, probe: bytes) -> None:
        """Send a probe. Raises PeerError, TooLong."""

    def receive(self, clock: Callable[[], Instant]) -> Iterator[Received]:
        """Return an iterator over the replies that have arrived, the same one until it is finished.

        It raises PeerError if the connection failed or, IncompleteRead, ended.
        """
        if self._arrived is None:
            self._arrived = self._receive(clock)
        return self._arrived

    @abstractmethod
    def _receive(self, clock: Callable[[], Instant]) -> Iterator[Received]:
        """Receive until nothing has arrived; then forget `_arrived`."""

    def _read(self) -> tuple[bytes, int | None]:
        if self.kernel_timestamps:
            return socket_options.receive(self.socket, RECEIVE_SIZE)
        return self.socket.recv(RECEIVE_SIZE), None

    def flush(self) -> None:  # noqa: B027 - a datagram leaves no rest
        """Send what is unsent."""

    def collect_reports(self) -> bool:
        """Read what was reported of earlier probes; return whether there are any `reports`."""
        return False

    def partial_reply(self) -> bytes:
        """Return an incomplete reply at the end of what was received."""
        return b""

    def kernel_info(self) -> Kernel | None:
        """Return the kernel's data on the connection; None where there is none."""
        return None

    def describe(self) -> dict[str, object]:
        """Return the fields of TargetReport that the connection determines."""
        dscp, ttl = effective(self.socket)
        name = self.socket.getsockname()
        local = from_sockaddr(self.address.scheme, name).place if isinstance(name, tuple) else None
        return {"peer": self.address.place, "local": local, "dscp": dscp, "ttl": ttl}


class ProbeStream(ProbeConnection):
    """A stream, of any scheme but UDP: it loses nothing, and it can end."""

    def __init__(self, connection: Connection, wanted: Address, replies: ReplyParser, *, user_clock: bool) -> None:
        super().__init__(connection, wanted, user_clock=user_clock)
        self._replies = replies

    def send(self, probe: bytes) -> None:
        """Send what the kernel accepts and keep the rest; Blocked while an earlier rest is unsent."""
        if self.unsent:
            self.flush()
            if self.unsent:
                raise Blocked(f"{self.address.place} stopped reading", "use a longer interval between probes")
        self.unsent = probe
        self.flush()

    def flush(self) -> None:
        """Send what the kernel accepts and keep the rest: a stream with a gap would be useless."""
        data = self.unsent
        try:
            while data:
                data = data[self.socket.send(data) :]
        except BlockingIOError:
            pass
        except OSError as error:
            raise error_mapping.connecting(self.address, error) from error
        finally:
            self.unsent = data

    def _receive(self, clock: Callable[[], Instant]) -> Iterator[Received]:
        try:
            while not self._closed:
                try:
                    data, kernel_ns = self._read()
                except BlockingIOError:
                    return
                except OSError as error:
                    raise error_mapping.connecting(self._wanted, error) from error
                now = clock()
                for piece in self._replies.feed(data):
                    yield piece, now, kernel_ns
                if not data:
                    if rest := self._replies.finish():
                        yield rest, now, None
                    fact = f"{self.address.place} closed the connection"
                    raise IncompleteRead(fact, error_mapping.LOOK, address=str(self.address))
                if len(data) < RECEIVE_SIZE and self._plain:
                    return
        finally:
            self._arrived = None

    def partial_reply(self) -> bytes:
        return self._replies.finish()

    def kernel_info(self) -> Kernel | None:
        if self.address.scheme not in ("tcp", "tls") or not sys.platform.startswith("linux"):
            return None
        try:
            return read_tcp_info(self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE))
        except OSError:
            return None


class ProbeDatagrams(ProbeConnection):
    """Datagrams to one address of a name: to the next one, on another socket, if it refuses."""

    _connection: DatagramConnection

    def __init__(self, connection: DatagramConnection, wanted: Address, *, user_clock: bool) -> None:
        super().__init__(connection, wanted, user_clock=user_clock)
        self.reports = connection.reports

    def close(self) -> None:
        super().close()
        self.reports.clear()

    def send(self, probe: bytes) -> None:
        """Send a datagram, again if the error was a report of an earlier one."""
        connection = self._connection
        while True:
            known = len(self.reports)
            try:
                return connection.send(probe)
            except HallooError:
                connection.collect_reports()
                if len(self.reports) <= known:
                    raise
            finally:
                if connection.socket is not self.socket:
                    self._follow()

    def _follow(self) -> None:
        self._attach()
        self.peer_changed = True

    def _receive(self, clock: Callable[[], Instant]) -> Iterator[Received]:
        connection = self._connection
        try:
            while not self._closed:
                try:
                    data, kernel_ns = self._read()
                except BlockingIOError:
                    return
                except OSError as error:
                    failure = error_mapping.connecting(self._wanted, error)
                    if not isinstance(failure, Refused | Unreachable):
                        raise failure from error
                    connection.next_address(error)
                    self._follow()
                    continue
                now = clock()
                connection.keep_address()
                yield data, now, kernel_ns
        finally:
            self._arrived = None

    def collect_reports(self) -> bool:
        self._connection.collect_reports()
        return bool(self.reports)

    def describe(self) -> dict[str, object]:
        return super().describe() | {"path_mtu": path_mtu(self.socket)}


def read_tcp_info(data: bytes) -> Kernel:
    """Parse a `struct tcp_info`; fields that this kernel does not provide are None or 0."""

    def number(offset: int) -> int:
        return int(_U32.unpack_from(data, offset)[0]) if len(data) >= offset + _U32.size else 0

    def time(offset: int) -> int | None:
        value = number(offset)
        return value * _US if value and value != _UNKNOWN else None

    return Kernel(
        min_rtt_ns=time(_MIN_RTT),
        rtt_ns=time(_RTT),
        rtt_var_ns=time(_RTT_VAR),
        retransmits=number(_RETRANSMITS),
        lost=number(_LOST),
        window_segments=number(_WINDOW),
        mss=number(_MSS),
    )
