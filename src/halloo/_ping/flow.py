"""Hold one way to an echo open: connect, send probes, take what comes back and when the kernel had it.

Knows a connection of any scheme. Whether an answer is right is for `core.account` to say.
"""

import errno
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from halloo._core.address import Address
from halloo._core.tls_options import ClientTLS
from halloo._net import error_mapping, socket_options
from halloo._net.connection import Connection
from halloo._net.connector import connecting, in_a_thread
from halloo._net.datagrams import DatagramConnection
from halloo._net.readiness import Awaited, Steps
from halloo._net.socket_options import SocketOptions, effective, path_mtu
from halloo._ping.reply_parser import ReplyParser
from halloo._ping.report import Kernel
from halloo._ping.tracker import Instant, ProbeTracker
from halloo.errors import HallooError, IncompleteRead, LocalError, PeerError, Refused

CHUNK = 256 * 1024  # bytes: the largest datagram, and many small answers at once
Came = tuple[bytes, Instant, int | None]  # what came, when it was read, and when the kernel had it


TCP_INFO_SIZE = 152
_U32 = struct.Struct("=I")
_MSS, _LOST, _RTT, _RTT_VAR, _WINDOW, _RETRANSMITS, _MIN_RTT = 16, 32, 68, 72, 80, 100, 148
_UNKNOWN = 0xFFFFFFFF
_US = 1000  # nanoseconds


def read_tcp_info(told: bytes) -> Kernel:
    """Read it; what a kernel does not tell is None or 0."""

    def number(offset: int) -> int:
        return int(_U32.unpack_from(told, offset)[0]) if len(told) >= offset + _U32.size else 0

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
    """How a lane connects."""

    address: Address
    timeout: float  # seconds for each step
    marking: SocketOptions = field(default_factory=SocketOptions)
    family: int | None = None
    tls: ClientTLS | None = None
    user_clock: bool = False


class ProbeConnection:
    """One way to one echo: closed, or opening, or open with a connection."""

    def __init__(self, dial_: ConnectOptions, *, run: int, size: int) -> None:
        """Open nothing yet; see Replies for `run` and `size`."""
        self.dial = dial_
        self.stamped = False  # whether the kernel tells when it had what came
        self.moved = False  # whether the peer is another one than when it was opened
        self._awaited: Awaited | None = None
        self._steps: Steps[Mapping[str, int]] | None = None
        self._run, self.size = run, size
        self._connection: Connection | None = None
        self._replies: ReplyParser | None = None
        self._unsent = b""
        self._plain = True

    @property
    def connection(self) -> Connection | None:
        """The connection, None when it is closed."""
        return self._connection

    @property
    def opening(self) -> bool:
        """Whether it connects, and is not there yet."""
        return self._steps is not None

    @property
    def awaited(self) -> Awaited:
        """What the next step of opening waits for."""
        assert self._awaited is not None  # noqa: S101 - whoever asks has begun
        return self._awaited

    def open(self) -> Mapping[str, int] | None:
        """Begin to connect, and go on as far as nothing is `awaited`: see `go_on_opening`."""
        self._steps = self._opening()
        return self.advance(None)

    def advance(self, ready: bool | None) -> Mapping[str, int] | None:
        """Take a step, `ready` or out of time; at the last, say how many nanoseconds each phase took.

        Raises what `connect` raises.
        """
        assert self._steps is not None  # noqa: S101 - whoever goes on has begun
        steps, self._steps = self._steps, None
        try:
            self._awaited = steps.send(ready)  # type: ignore[arg-type]  # None begins
        except StopIteration as over:
            return over.value  # type: ignore[no-any-return]
        self._steps = steps
        return None

    def _opening(self) -> Steps[Mapping[str, int]]:
        how = self.dial
        try:
            dialled = yield from connecting(
                how.address,
                timeout=how.timeout,
                family=how.family,
                tls=how.tls,
                prepare=how.marking.prepare,
                resolve=in_a_thread,
            )
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                fact = f"no descriptor is left for a connection to {how.address.place}"
                raise LocalError(fact, "allow more with: ulimit -n", errno=error.errno) from error
            if isinstance(error, HallooError):
                raise
            raise error_mapping.connecting(how.address, error) from error
        connection = self._connection = dialled.connection
        self._unsent = b""
        self._replies = None if connection.datagrams else ReplyParser(self._run, self.size)
        self._begin(connection)
        return dialled.phases

    def _begin(self, connection: Connection) -> None:
        """Make ready to read from its socket, which may be another one for the next address of a name."""
        self._plain = isinstance(connection.socket, socket.socket)  # and no TLS, which reads ahead of us
        self.stamped = self._plain and not self.dial.user_clock and socket_options.stamps(connection.socket)

    def _begin_again(self, connection: Connection) -> None:
        self._begin(connection)
        self.moved = True

    def close(self) -> None:
        """Close the connection, if there is one, or the beginning of one."""
        if self._steps:
            self._steps.close()
            self._steps = None
        if self._connection:
            self._connection.close()
            self._connection = None
            self._unsent = b""

    def send(self, probe: bytes) -> None:
        """Send a probe, all of it or nothing yet. Raises PeerError; over a full stream, Blocked."""
        connection = self._connection
        assert connection is not None  # noqa: S101 - whoever sends has opened it
        if self._replies is None:
            before = connection.socket
            connection.send(probe, timeout=self.dial.timeout)
            if connection.socket is not before:
                self._begin_again(connection)
            return
        self._send(self._unsent)
        if self._unsent:
            raise Blocked(f"{connection.address.place} takes no more bytes", "allow more time between probes with -i")
        self._send(probe)

    def _send(self, data: bytes) -> None:
        """Send what the kernel takes; the rest is kept, for a stream with a hole in it would be worth nothing."""
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
    def sending(self) -> bool:
        """Whether part of a probe waits for room."""
        return bool(self._unsent)

    def go_on_sending(self) -> None:
        """Send more of it."""
        self._send(self._unsent)

    def receive(self, clock: Callable[[], Instant]) -> Iterator[Came]:
        """Give what has come. Raises PeerError when there will be no more; IncompleteRead at the peer's end."""
        while connection := self._connection:
            try:
                data, kernel_ns = self._read(connection.socket)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(connection, error)
                continue
            now = clock()
            if self._replies is None:
                if isinstance(connection, DatagramConnection):
                    connection.settle()
                yield data, now, kernel_ns
                continue
            for piece in self._replies.feed(data):
                yield piece, now, kernel_ns
            if not data:
                if rest := self.rest():
                    yield rest, now, None
                fact = f"{connection.address.place} closed the connection"
                raise IncompleteRead(fact, error_mapping.LOOK, address=str(connection.address))
            if len(data) < CHUNK and self._plain:
                return

    def rest(self) -> bytes:
        """Give what has come of an answer that is not going to be whole; empty when there is nothing."""
        return self._replies.finish() if self._replies else b""

    def kernel(self) -> Kernel | None:
        """Ask what the kernel knows of the connection (TCP_INFO)."""
        sock = self._connection.socket if self._connection else None
        if sock is None or self._connection is None or self._connection.address.scheme not in ("tcp", "tls"):
            return None
        if not sys.platform.startswith("linux"):
            return None
        try:
            return read_tcp_info(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE))
        except OSError:
            return None

    def known(self) -> dict[str, object]:
        """Say what is known of the connection, as a Target has it."""
        connection = self._connection
        if connection is None:
            return {}
        dscp, ttl = effective(connection.socket)
        here = connection.socket.getsockname()
        local = Address(connection.address.scheme, *here[:2]).place if isinstance(here, tuple) else None
        return {
            "peer": connection.address.place,
            "local": local,
            "dscp": dscp,
            "ttl": ttl,
            "path_mtu": path_mtu(connection.socket) if connection.datagrams else None,
        }

    def _read(self, sock: socket.socket) -> tuple[bytes, int | None]:
        return socket_options.receive(sock, CHUNK) if self.stamped else (sock.recv(CHUNK), None)

    def _fail(self, connection: Connection, error: OSError) -> None:
        """Raise the error, unless the name has another address that may have a server of datagrams."""
        failure = error_mapping.connecting(self.dial.address, error)
        if isinstance(connection, DatagramConnection) and isinstance(failure, Refused):
            connection.go_elsewhere(failure)
            self._begin_again(connection)
        else:
            raise failure


class Blocked(PeerError):  # noqa: N818 - as in errors
    """The peer does not read, and its stream is full: the probe was not sent."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A lane and its account.

    With `reconnect` each probe has a connection of its own; with `connect` that is all there is to a probe.
    """

    connection: ProbeConnection
    tracker: ProbeTracker
    reconnect: bool = False
    connect: bool = False

    @property
    def stream(self) -> bool:
        """Whether nothing gets lost or overtakes on the way, and a connection has an end."""
        return self.connection.dial.address.scheme != "udp"

    @property
    def apart(self) -> bool:
        """Whether each probe has a connection of its own."""
        return self.reconnect or self.connect

    @property
    def held(self) -> bool:
        """Whether the next probe cannot leave: the connection still belongs to the last one."""
        return self.apart and self.tracker.tally.awaited > 0


#  0           8                                   16        20 ... 32     36 ... 68    72        76 ... 80      84
#  | 8 bytes   | rto   | ato                       | mss     |      | lost |      | rtt  | rttvar  |      | cwnd  |
#  ... 100            104 ...  148        152
#      | retransmits  |        | min_rtt  |         times in microseconds
