"""The instrumented server: runs a behaviour on each connection of the client and records what the client does.

Uses sockets. It shares no code with halloo's own server, so that a bug common to halloo's server and client is found.
The behaviour, a script, writes; bytes from the client are read and recorded beside it.
"""

import array
import errno
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from typing import Literal

from halloo._check import processes
from halloo._check.client.loop import WRITE, Script, ScriptLoop, Step
from halloo._check.server.program import POLL_INTERVAL, PORT_TIMEOUT, free_port
from halloo.errors import AddressInUse

OnFirstReply = Callable[[], object]
BACKLOG = 64
CHUNK = 256 * 1024
MESSAGE_PAUSE = 0.3  # seconds without input after which a message of unknown length is complete
LINGER_RESET = struct.pack("ii", 1, 0)  # struct linger, on, zero seconds: close() sends RST


Family = Literal[4, 6]
Sockets = dict[Family, socket.socket]
HOSTS: dict[Family, str] = {4: "127.0.0.1", 6: "::1"}
_ADDRESS_FAMILIES: dict[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
_NO_FAMILY_ERRNOS = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def bind_port(scheme: str, fixed: int = 0, *, timeout: float = PORT_TIMEOUT) -> Sockets:
    """Bind a free port, or wait for the fixed one. Raises AddressInUse."""
    deadline = time.monotonic() + timeout
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    while True:
        try:
            return _bind_all(kind, fixed or free_port(scheme), reuse=bool(fixed))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        if fixed and time.monotonic() >= deadline:
            raise AddressInUse(f"port {fixed} is taken by another program", "stop it, or choose another with port=")
        time.sleep(POLL_INTERVAL)


def _bind_all(kind: socket.SocketKind, port: int, *, reuse: bool) -> Sockets:
    """Bind both address families or none; a family that this machine lacks is left out."""
    sockets: Sockets = {}
    try:
        for family, host in HOSTS.items():
            try:
                sockets[family] = _bind(family, (host, port), kind, reuse=reuse)
            except OSError as error:
                if error.errno not in _NO_FAMILY_ERRNOS:
                    raise
    except BaseException:
        for sock in sockets.values():
            sock.close()
        raise
    return sockets


def _bind(family: Family, address: tuple[str, int], kind: socket.SocketKind, *, reuse: bool) -> socket.socket:
    """Bind one socket; `reuse` permits connections of an earlier case in TIME-WAIT."""
    sock = socket.socket(_ADDRESS_FAMILIES[family], kind)
    try:
        if reuse and kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def resolved_families(name: str) -> Iterator[Family]:
    """Yield the address families that a name resolves to on this machine."""
    with suppress(OSError):
        known = {found[0] for found in socket.getaddrinfo(name, None)}
        yield from (family for family, number in _ADDRESS_FAMILIES.items() if number in known)


class ClientConnection:
    """One connection of the client: the bytes it sent, when they arrived, and how it ended."""

    def __init__(
        self, sock: socket.socket, loop: ScriptLoop, *, expected: int = 0, on_first_reply: OnFirstReply = lambda: None
    ) -> None:
        """Take over a connected socket.

        `expected` is the length of the message when known; `on_first_reply` is called before the first byte is sent.
        """
        self.received = bytearray()
        self.arrivals: list[tuple[float, int]] = []  # time and number of bytes
        self.end: Literal["", "FIN", "RST"] = ""  # how the client ended its side
        self.queued = bytearray()  # all bytes to send, sent or not
        self.sent = 0  # how many of them the kernel has accepted
        self.closed = False
        self.last_progress = loop.clock()
        self._sock, self._loop, self._expected, self._on_first_reply = sock, loop, expected, on_first_reply
        self._consumed = 0
        self._reading = True
        self._max_pending: int | None = None  # unsent bytes at which reading pauses
        self._echoing = self._shutdown_pending = self._write_closed = False
        sock.setblocking(False)
        self._update_watch()

    # Actions of behaviours.

    def send(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self.queued:
            self._on_first_reply()
        self.queued += data
        self._write()

    def echo(self, *, max_pending: int | None = None) -> None:
        """Echo unread and future bytes, then end of file; pause reading at `max_pending` unsent bytes."""
        self._echoing, self._max_pending = True, max_pending
        rest, self._consumed = self.received[self._consumed :], len(self.received)
        self.send(rest)
        if self.end == "FIN":
            self.shutdown_write()

    def shutdown_write(self) -> None:
        """Shut down the sending side once all queued bytes are sent."""
        self._shutdown_pending = True
        self._write()

    def set_reading(self, *, enabled: bool) -> None:
        self._reading = enabled
        self._update_watch()

    def reset(self) -> None:
        if not self.closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()

    # Conditions of behaviours.

    def receive_message(self) -> Generator[Step, None, bytes]:
        """Wait for the message; one of unknown length ends at a pause or end of file."""
        yield self._message_complete
        start = self._consumed
        self._consumed = min(start + (self._expected or len(self.received)), len(self.received))
        return bytes(self.received[start : self._consumed])

    def take_rest(self) -> bytes:
        """Return the bytes after the message, such as its line end."""
        start, self._consumed = self._consumed, len(self.received)
        return bytes(self.received[start:])

    def _message_complete(self) -> bool:
        if self.end:
            return True
        length = len(self.received) - self._consumed
        if self._expected and length >= self._expected:
            return True
        return length > 0 and self._loop.clock() - self.arrivals[-1][0] >= MESSAGE_PAUSE

    @property
    def reply_sent(self) -> bool:
        whole = self._echoing or self._write_closed or self.closed
        return whole and self.sent == len(self.queued) >= max(self._expected * self._echoing, 1)

    @property
    def acknowledged(self) -> bool:
        """Whether the client's kernel has acknowledged all bytes (SIOCOUTQ, tcp(7))."""
        if self.closed or self.sent < len(self.queued):
            return self.closed
        unacknowledged = array.array("i", [0])
        fcntl.ioctl(self._sock, termios.TIOCOUTQ, unacknowledged)
        return unacknowledged[0] == 0

    @property
    def read_by_client(self) -> bool:
        if self.closed or not self.acknowledged:
            return self.closed
        try:
            client_socket = processes.server_socket(self._sock.getpeername()[1], self._sock.getsockname()[1])
        except OSError:  # the client has closed it
            return True
        return client_socket is None or client_socket.unread == 0

    # Socket events.

    def _update_watch(self) -> None:
        if self.closed:
            return
        pending = len(self.queued) - self.sent
        want_read = self._reading and not self.end and (self._max_pending is None or pending < self._max_pending)
        self._loop.watch(self._sock.fileno(), self._on_ready, read=want_read, write=pending > 0)

    def _on_ready(self, events: int) -> None:
        if events & ~WRITE:
            self._read()
        if not self.closed:
            self._write()

    def _read(self) -> None:
        try:
            data = self._sock.recv(CHUNK if self._max_pending is None else self._max_pending)
        except BlockingIOError:
            return
        except OSError:
            self._on_reset()
            return
        self.last_progress = self._loop.clock()
        if not data:
            self.end = "FIN"
            if self._echoing:
                self.shutdown_write()
            return
        self.received += data
        self.arrivals.append((self.last_progress, len(data)))
        if self._echoing:
            self._consumed = len(self.received)
            if not self.queued:
                self._on_first_reply()
            self.queued += data

    def _write(self) -> None:
        if self.closed:
            return
        try:
            while self.sent < len(self.queued):
                with memoryview(self.queued) as view:
                    self.sent += self._sock.send(view[self.sent : self.sent + CHUNK])
                self.last_progress = self._loop.clock()
            if self._shutdown_pending:
                self._shutdown_pending, self._write_closed = False, True
                self._sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._on_reset()
            return
        self._update_watch()

    def _on_reset(self) -> None:
        self.end = "RST"
        self.close()


Behaviour = Callable[[ClientConnection], Script]


class InstrumentedServer:
    """Listens on one loopback port, on IPv4, IPv6 or both; runs the behaviour on each connection."""

    def __init__(
        self,
        sockets: Sockets,
        loop: ScriptLoop,
        behaviour: Behaviour | None = None,
        *,
        expected: int = 0,
        buffer: int = 0,
        on_first_reply: OnFirstReply = lambda: None,
    ) -> None:
        """Take over bound sockets; they do not listen yet."""
        self.connections: list[ClientConnection] = []
        self._loop, self._behaviour, self._expected, self._on_first_reply = loop, behaviour, expected, on_first_reply
        self._listeners = sockets
        self._queue_fillers: list[socket.socket] = []
        for sock in self._listeners.values():
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)

    def listen(self, families: tuple[Family, ...] = (4, 6)) -> None:
        for family, sock in self._listeners.items():
            if family in families:
                sock.listen(BACKLOG)
                sock.setblocking(False)
                self._loop.watch(sock.fileno(), partial(self._accept, sock), read=True)

    def listen_with_full_queue(self) -> None:
        """Listen with a full accept queue, so that a SYN gets no reply."""
        for family, sock in self._listeners.items():
            sock.listen(0)
            for _ in range(3):
                filler = socket.socket(sock.family)
                filler.setblocking(False)
                with suppress(BlockingIOError):
                    filler.connect((HOSTS[family], sock.getsockname()[1]))
                self._queue_fillers.append(filler)

    def _accept(self, listener: socket.socket, _: int) -> None:
        with suppress(OSError):
            sock, _ = listener.accept()
            connection = ClientConnection(
                sock, self._loop, expected=self._expected, on_first_reply=self._on_first_reply
            )
            self.connections.append(connection)
            if self._behaviour:
                self._loop.start(self._behaviour(connection))

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        for sock in (*self._listeners.values(), *self._queue_fillers):
            self._loop.unwatch(sock.fileno())
            sock.close()
