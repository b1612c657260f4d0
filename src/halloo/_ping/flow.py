"""One flow of probes: connect, send, receive replies, and read the kernel's receive timestamps.

Works with a connection of any scheme. `_ping.tracker` decides whether a reply is right.
"""

import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from halloo._core.address import Address
from halloo._core.icmp import IcmpReport
from halloo._core.probe import MIN_SIZE, Probes
from halloo._core.tls_options import ClientTLS
from halloo._net import error_mapping, socket_options
from halloo._net.connection import Connection
from halloo._net.connector import connecting
from halloo._net.datagrams import DatagramConnection
from halloo._net.readiness import Awaited, Steps
from halloo._net.resolver import from_sockaddr
from halloo._net.socket_options import SocketOptions, effective, path_mtu
from halloo._ping.reply_parser import ReplyParser
from halloo._ping.report import Kernel
from halloo._ping.round_trip import Instant
from halloo._ping.tracker import ProbeTracker
from halloo.errors import HallooError, IncompleteRead, PeerError, Refused, Unreachable

RECEIVE_SIZE = 256 * 1024  # bytes: more than the largest datagram, and many small replies at once
Received = tuple[bytes, Instant, int | None]  # data, when it was read, the kernel's timestamp

TCP_INFO_SIZE = 152
_U32 = struct.Struct("=I")
_MSS, _LOST, _RTT, _RTT_VAR, _WINDOW, _RETRANSMITS, _MIN_RTT = 16, 32, 68, 72, 80, 100, 148
_UNKNOWN = 0xFFFFFFFF
_US = 1000  # nanoseconds


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


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """How a ProbeConnection connects."""

    address: Address
    timeout: float  # seconds for each step
    socket_options: SocketOptions = field(default_factory=SocketOptions)
    family: int | None = None
    tls: ClientTLS | None = None
    user_clock: bool = False


class ProbeConnection:
    """A connection to one echo server: closed, opening or open."""

    def __init__(self, options: ConnectOptions, *, run: int, size: int) -> None:
        """Store the options without connecting; see ReplyParser for `run` and `size`."""
        self.options = options
        self.kernel_timestamps = False  # whether the kernel provides receive timestamps
        self.peer_changed = False  # whether another address of the name is in use since opening
        self.reports: deque[tuple[IcmpReport, bytes]] = deque()  # of undelivered probes, with what is quoted of each
        self._awaited: Awaited | None = None
        self._steps: Steps[Mapping[str, int]] | None = None
        self._run, self.size = run, size
        self._connection: Connection | DatagramConnection | None = None
        self._replies: ReplyParser | None = None
        self._arrived: Iterator[Received] | None = None  # unfinished: what has arrived, but was not processed yet
        self._unsent = b""
        self._plain = True

    @property
    def connection(self) -> Connection | DatagramConnection | None:
        return self._connection

    @property
    def opening(self) -> bool:
        return self._steps is not None

    @property
    def awaited(self) -> Awaited:
        assert self._awaited is not None  # noqa: S101 - open() comes first
        return self._awaited

    def open(self) -> Mapping[str, int] | None:
        """Start to connect, and proceed until a step has to wait: see `advance`."""
        self._steps = self._opening()
        return self.advance(None)

    def advance(self, ready: bool | None) -> Mapping[str, int] | None:
        """Take the next step; `ready` is False if its time ran out. Return the phases' nanoseconds once connected.

        Raises what `connect` raises.
        """
        assert self._steps is not None  # noqa: S101 - open() comes first
        steps, self._steps = self._steps, None
        try:
            self._awaited = steps.send(ready)  # type: ignore[arg-type]  # None begins
        except StopIteration as over:
            return over.value  # type: ignore[no-any-return]  # StopIteration has no type parameter
        self._steps = steps
        return None

    def _opening(self) -> Steps[Mapping[str, int]]:
        options = self.options
        try:
            opened = yield from connecting(
                options.address,
                timeout=options.timeout,
                family=options.family,
                tls=options.tls,
                prepare=options.socket_options.prepare,
                in_order=True,
                question=Probes(self._run + 1, MIN_SIZE).encode(0, 0),  # of another run: its reply is none of ours
            )
        except OSError as error:
            raise error_mapping.connecting(options.address, error) from error
        connection = self._connection = opened.connection
        self._unsent = b""
        if isinstance(connection, DatagramConnection):
            self.reports, self._replies = connection.reports, None
        else:
            self._replies = ReplyParser(self._run, self.size)
        self._attach(connection)
        return opened.phases

    def _attach(self, connection: Connection | DatagramConnection) -> None:
        """Prepare to read from the connection's socket, which is a new one for each address of a name."""
        plain = self._plain = isinstance(connection.socket, socket.socket)  # not TLS, which buffers received data
        self.kernel_timestamps = plain and not self.options.user_clock and socket_options.stamps(connection.socket)

    def _reattach(self, connection: Connection | DatagramConnection) -> None:
        self._attach(connection)
        self.peer_changed = True

    def close(self) -> None:
        if self._steps:
            self._steps.close()
            self._steps = None
        if self._connection:
            self._connection.close()
            self._connection = self._arrived = None
            self.reports.clear()
            self._unsent = b""

    def send(self, probe: bytes) -> None:
        """Send a probe; a stream keeps an unsent rest. Raises PeerError; Blocked while an earlier rest is unsent."""
        connection = self._connection
        assert connection is not None  # noqa: S101 - the caller has opened it
        if isinstance(connection, DatagramConnection):
            self._send_datagram(connection, probe)
            return
        self._send(self._unsent)
        if self._unsent:
            raise Blocked(f"{connection.address.place} stopped reading", "use a longer interval between probes")
        self._send(probe)

    def _send_datagram(self, connection: DatagramConnection, probe: bytes) -> None:
        """Send a datagram, again if the error was a report of an earlier one."""
        before = connection.socket
        while True:
            known = len(connection.reports)
            try:
                return connection.send(probe)
            except HallooError:
                self.collect_reports()
                if len(connection.reports) <= known:
                    raise
            finally:
                if connection.socket is not before:
                    self._reattach(connection)

    def collect_reports(self) -> bool:
        """Read what was reported of earlier probes; return whether there are any `reports`."""
        if isinstance(self._connection, DatagramConnection):
            self._connection.collect_reports()
        return bool(self.reports)

    def _send(self, data: bytes) -> None:
        """Send what the kernel accepts and keep the rest: a stream with a gap would be useless."""
        assert self._connection is not None  # noqa: S101 - as above
        try:
            while data:
                data = data[self._connection.socket.send(data) :]
        except BlockingIOError:
            pass
        except OSError as error:
            raise error_mapping.connecting(self._connection.address, error) from error
        finally:
            self._unsent = data

    @property
    def has_unsent(self) -> bool:
        """Whether part of a probe waits until the socket is writable."""
        return bool(self._unsent)

    def flush(self) -> None:
        self._send(self._unsent)

    def receive(self, clock: Callable[[], Instant]) -> Iterator[Received]:
        """Return an iterator over the replies that have arrived, the same one until it is finished.

        It raises PeerError if the connection failed or, IncompleteRead, ended.
        """
        if self._arrived is None:
            self._arrived = self._receive(clock)
        return self._arrived

    def _receive(self, clock: Callable[[], Instant]) -> Iterator[Received]:
        try:
            while connection := self._connection:
                try:
                    data, kernel_ns = self._read(connection.socket)
                except BlockingIOError:
                    return
                except OSError as error:
                    self._try_next_address(connection, error)
                    continue
                now = clock()
                if self._replies is None:
                    if isinstance(connection, DatagramConnection):
                        connection.keep_address()
                    yield data, now, kernel_ns
                    continue
                for piece in self._replies.feed(data):
                    yield piece, now, kernel_ns
                if not data:
                    if rest := self.partial_reply():
                        yield rest, now, None
                    fact = f"{connection.address.place} closed the connection"
                    raise IncompleteRead(fact, error_mapping.LOOK, address=str(connection.address))
                if len(data) < RECEIVE_SIZE and self._plain:
                    return
        finally:
            self._arrived = None

    def partial_reply(self) -> bytes:
        return self._replies.finish() if self._replies else b""

    def kernel_info(self) -> Kernel | None:
        """Read TCP_INFO; None where the connection or the system has none."""
        sock = self._connection.socket if self._connection else None
        if sock is None or self._connection is None or self._connection.address.scheme not in ("tcp", "tls"):
            return None
        if not sys.platform.startswith("linux"):
            return None
        try:
            return read_tcp_info(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE))
        except OSError:
            return None

    def describe(self) -> dict[str, object]:
        """Return the fields of TargetReport that the connection determines."""
        connection = self._connection
        if connection is None:
            return {}
        dscp, ttl = effective(connection.socket)
        name = connection.socket.getsockname()
        local = from_sockaddr(connection.address.scheme, name).place if isinstance(name, tuple) else None
        return {
            "peer": connection.address.place,
            "local": local,
            "dscp": dscp,
            "ttl": ttl,
            "path_mtu": path_mtu(connection.socket) if isinstance(connection, DatagramConnection) else None,
        }

    def _read(self, sock: socket.socket) -> tuple[bytes, int | None]:
        return socket_options.receive(sock, RECEIVE_SIZE) if self.kernel_timestamps else (sock.recv(RECEIVE_SIZE), None)

    def _try_next_address(self, connection: Connection | DatagramConnection, error: OSError) -> None:
        """Continue with the name's next address if the datagram was not accepted; otherwise raise the error."""
        failure = error_mapping.connecting(self.options.address, error)
        if isinstance(connection, DatagramConnection) and isinstance(failure, Refused | Unreachable):
            connection.next_address(error)
            self._reattach(connection)
        else:
            raise failure


class Blocked(PeerError):  # noqa: N818 - as in errors
    """The peer does not read and its stream is full: the probe was not sent."""


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A connection and the tracker of its probes.

    With `reconnect` each probe has its own connection; with `connect` connecting is the whole probe.
    """

    connection: ProbeConnection
    tracker: ProbeTracker
    reconnect: bool = False
    connect: bool = False

    @property
    def stream(self) -> bool:
        """Whether the transport is reliable and ordered, and a connection can end."""
        return self.connection.options.address.scheme != "udp"

    @property
    def one_shot(self) -> bool:
        """Whether each probe has its own connection."""
        return self.reconnect or self.connect

    @property
    def busy(self) -> bool:
        """Whether the next probe cannot be sent because the last one still uses the connection."""
        return self.one_shot and self.tracker.counters.pending > 0


#  0           8                                   16        20 ... 32     36 ... 68    72        76 ... 80      84
#  | 8 bytes   | rto   | ato                       | mss     |      | lost |      | rtt  | rttvar  |      | cwnd  |
#  ... 100            104 ...  148        152
#      | retransmits  |        | min_rtt  |         times in microseconds
