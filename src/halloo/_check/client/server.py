"""The instrumented servers: run a behaviour on each connection, or for datagrams, and record what the client does.

Uses sockets. They share no code with halloo's own server, so that a bug common to halloo's server and client is found.
The behaviour, a script, writes; bytes from the client are read and recorded beside it.
"""

import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from halloo._check import processes, sockets
from halloo._check.client.loop import WRITE, Script, ScriptLoop, Step
from halloo._check.messages import Messages
from halloo._check.sockets import HOSTS, Sockets, unacknowledged

BACKLOG = 64
CHUNK = 256 * 1024
MESSAGE_PAUSE = 0.3  # seconds without input after which a message of unknown length is complete
MAX_DATAGRAM = 65507  # bytes
OTHER_ADDRESS = "127.0.0.2"  # another loopback address (Linux has all of 127/8)

OnFirstReply = Callable[[], object]


class ClientConnection:
    """One connection of the client: the bytes it sent, when they arrived, and how it ended."""

    def __init__(
        self,
        sock: socket.socket,
        loop: ScriptLoop,
        expected: int,
        on_first_reply: OnFirstReply,
        messages: Messages | None = None,
    ) -> None:
        """Take over a connected socket.

        `expected` is the length of the message when known; `on_first_reply` is called before the first byte is sent.
        With `messages`, each request gets its reply instead of its own bytes.
        """
        self.received = bytearray()
        self.end: Literal["", "FIN", "RST"] = ""  # how the client ended its side
        self.queued = bytearray()  # all bytes to send, sent or not
        self.sent = 0  # how many of them the kernel has accepted
        self.closed = False
        self.left_first = False  # whether the client ended its side before anything was sent to it
        self.last_progress = self._last_received = loop.clock()
        self._sock, self._loop, self._expected, self._on_first_reply = sock, loop, expected, on_first_reply
        self._messages, self._answered = messages, 0
        self._consumed = 0
        self._reading = True
        self._max_pending: int | None = None  # unsent bytes at which reading pauses
        self._echoing = self._shutdown_pending = self._write_closed = self._held = False
        sock.setblocking(False)
        self._update_watch()

    # Actions of behaviours.

    def send(self, data: bytes | bytearray) -> None:
        if data and not self.queued:
            self.left_first = bool(self.end)
            self._on_first_reply()
        self.queued += data
        self._write()

    def echo(self, max_pending: int | None = None) -> None:
        """Echo unread and future bytes, then end of file; pause reading at `max_pending` unsent bytes."""
        self._echoing, self._max_pending = True, max_pending
        self.send(self.take_rest())
        if self.end == "FIN":
            self.shutdown_write()

    def shutdown_write(self) -> None:
        """Shut down the sending side once all queued bytes are sent."""
        self._shutdown_pending = not self._write_closed
        self._write()

    def hold(self) -> None:
        """Do not echo what arrives until `release`."""
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            if self._echoing:
                self.echo(self._max_pending)

    def send_line_end(self) -> None:
        """Send a line end if all that came has been echoed: a client that goes on now was waiting for more."""
        if self._echoing and not (self.closed or self._write_closed or self._shutdown_pending):
            self.send(b"\n")

    def set_reading(self, *, enabled: bool) -> None:
        self._reading = enabled
        self._update_watch()

    def reset(self) -> None:
        self._notice_reset()
        self.close(sockets.reset)

    def close(self, close: Callable[[socket.socket], None] = socket.socket.close) -> None:
        if not self.closed:
            self.closed = True
            self._loop.unwatch(self._sock.fileno())
            close(self._sock)

    # Conditions of behaviours.

    def receive_message(self) -> Generator[Step, None, bytes]:
        """Wait for the message, and return the reply; one of unknown length ends at a pause or end of file."""
        yield self._message_complete
        if self._messages:
            return self.take_rest()
        start = self._consumed
        self._consumed = min(start + (self._expected or len(self.received)), len(self.received))
        return bytes(self.received[start : self._consumed])

    def take_rest(self) -> bytes:
        """Return the reply to what came after the message, such as its line end."""
        if self._messages:
            return b"".join(self._replies(self._messages))
        start, self._consumed = self._consumed, len(self.received)
        return bytes(self.received[start:])

    def _replies(self, messages: Messages) -> Iterator[bytes]:
        """Reply to the requests that have arrived whole."""
        while True:
            message = messages.message(self._answered)
            if len(self.received) - self._consumed < len(message.request):
                return
            self._consumed += len(message.request)
            self._answered += 1
            yield message.reply

    def _message_complete(self) -> bool:
        length = len(self.received) - self._consumed
        if self.end or (self._expected and length >= self._expected):
            return True
        return length > 0 and self._loop.clock() - self._last_received >= MESSAGE_PAUSE

    @property
    def reply_sent(self) -> bool:
        whole = self._echoing or self._write_closed or self.closed
        expected = 0 if self._messages else self._expected * self._echoing
        return whole and self.sent == len(self.queued) >= max(expected, 1)

    @property
    def acknowledged(self) -> bool:
        return self.closed or (self.sent == len(self.queued) and unacknowledged(self._sock) == 0)

    @property
    def read_by_client(self) -> bool:
        self._notice_reset()
        if self.closed or not self.acknowledged:
            return self.closed
        client_socket = processes.other_end(self._sock)
        return client_socket is None or client_socket.unread == 0

    @property
    def left_unread(self) -> bool:
        """Whether the client ended it without having read a byte, as one does that only sends."""
        self._notice_reset()
        return not self.queued or (self.left_first and self.end == "RST")

    @property
    def unread(self) -> int:
        """The number of bytes that have arrived at the client and that it has not read."""
        client_socket = None if self.closed else processes.other_end(self._sock)
        return client_socket.unread if client_socket else 0

    # Socket events.

    def _update_watch(self) -> None:
        if self.closed:
            return
        pending = len(self.queued) - self.sent
        want_read = self._reading and not self.end and (self._max_pending is None or pending < self._max_pending)
        self._loop.watch(self._sock.fileno(), self._on_ready, read=want_read, write=pending > 0)

    def _on_ready(self, events: int) -> None:
        try:
            if events & ~WRITE:
                self._read()
        except BlockingIOError:
            pass
        except OSError:
            self._on_reset()
        self._write()

    def _read(self) -> None:
        data = self._sock.recv(CHUNK if self._max_pending is None else self._max_pending)
        self.last_progress = self._last_received = self._loop.clock()
        self.received += data
        if not data:
            self.end = "FIN"
            self._shutdown_pending = self._shutdown_pending or (self._echoing and not self._held)
        elif self._echoing and not self._held:
            self.send(self.take_rest())

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
        self._update_watch()

    def _notice_reset(self) -> None:
        """Notice a reset after the client's end of file, when nothing is read or written any more."""
        if not self.closed and self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._on_reset()

    def _on_reset(self) -> None:
        self.end = "RST"
        self.close()


Behaviour = Callable[[ClientConnection], Script]
"""A script on a connection. Those that end with an echo still reply to a client that sends more."""


def echo(connection: ClientConnection, max_pending: int | None = None) -> Script:
    """Echo everything immediately, with at most `max_pending` unsent bytes."""
    connection.echo(max_pending)
    yield 0


class InstrumentedServer:
    """Listens on one loopback port, on IPv4, IPv6 or both; runs the behaviour on each connection."""

    def __init__(
        self,
        sockets: Sockets,
        loop: ScriptLoop,
        behaviour: Behaviour | None,
        *,
        expected: int,
        buffer: int,
        on_first_reply: OnFirstReply,
        messages: Messages | None = None,
    ) -> None:
        """Take over bound sockets; they do not listen yet."""
        self.connections: list[ClientConnection] = []
        self._loop, self._behaviour, self._expected, self._on_first_reply = loop, behaviour, expected, on_first_reply
        self._listeners, self._messages = sockets, messages
        self._queue_fillers: list[socket.socket] = []
        if buffer:
            for sock in self._listeners.values():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)

    def listen(self, *families: socket.AddressFamily) -> None:
        """Listen on these address families, by default on all."""
        for family, sock in self._listeners.items():
            if family in (families or HOSTS):
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
            connection = ClientConnection(sock, self._loop, self._expected, self._on_first_reply, self._messages)
            self.connections.append(connection)
            if self._behaviour:
                self._loop.start(self._behaviour(connection))

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        for sock in (*self._listeners.values(), *self._queue_fillers):
            self._loop.unwatch(sock.fileno())
            sock.close()


@dataclass(frozen=True, slots=True)
class Datagram:
    """A received datagram."""

    data: bytes
    received_at: float
    sender: tuple[str, int]
    socket: socket.socket


class UdpServer:
    """A loopback port for datagrams, on IPv4 and IPv6."""

    def __init__(
        self, sockets: Sockets, loop: ScriptLoop, on_first_reply: OnFirstReply, messages: Messages | None = None
    ) -> None:
        """Take over bound sockets; `on_first_reply` is called before anything is sent."""
        self.received: list[Datagram] = []
        self._messages = messages
        self.sent: list[bytes] = []
        self._loop, self._on_first_reply = loop, on_first_reply
        self._consumed = 0
        self._sockets = [*sockets.values()]
        for sock in self._sockets:
            sock.setblocking(False)
            loop.watch(sock.fileno(), partial(self._read, sock), read=True)

    def _read(self, sock: socket.socket, _: int) -> None:
        with suppress(OSError):  # ICMP error for a reply to a closed port
            data, sender = sock.recvfrom(MAX_DATAGRAM)
            self.received.append(Datagram(data, self._loop.clock(), sender[:2], sock))

    def receive(self) -> Generator[Step, None, Datagram]:
        yield lambda: len(self.received) > self._consumed
        self._consumed += 1
        return self.received[self._consumed - 1]

    def reply(self, datagram: Datagram, data: bytes | None = None) -> None:
        """Send `data` to the sender of a datagram; when None, its own data, or the reply to its message."""
        self._on_first_reply()
        if data is None and self._messages:
            data = self._messages.reply_to(datagram.data)
        self.sent.append(datagram.data if data is None else data)
        with suppress(OSError):
            datagram.socket.sendto(self.sent[-1], datagram.sender)

    def spoof_reply(self, datagram: Datagram, data: bytes) -> None:
        """Send `data` to the sender of a datagram from another port and from another address."""
        self._on_first_reply()
        family = datagram.socket.family
        host, port, *_ = datagram.socket.getsockname()
        for address in ((host, 0), (OTHER_ADDRESS, port))[: 2 if family == socket.AF_INET else 1]:
            with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.bind(address)
                sock.sendto(data, datagram.sender)

    def close(self) -> None:
        for sock in self._sockets:
            self._loop.unwatch(sock.fileno())
            sock.close()


UdpBehaviour = Callable[[UdpServer], Script]
