"""The instrumented server: what a case does to a client's connection, and what the client does, noted byte by byte.

Knows sockets. Nothing here is halloo's own server, which may share the mistakes of halloo's client. A connection is
driven by an act, a script that is begun for each; what the client sends is read beside it.
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

Hear = Callable[[], object]
BACKLOG = 64
CHUNK = 256 * 1024
QUIET = 0.3  # seconds without a byte after which a message of unknown length is complete
RESETTING = struct.pack("ii", 1, 0)  # struct linger, on and zero: close is a reset


Family = Literal[4, 6]
Sockets = dict[Family, socket.socket]
HOSTS: dict[Family, str] = {4: "127.0.0.1", 6: "::1"}
_NUMBERS: dict[Family, int] = {4: socket.AF_INET, 6: socket.AF_INET6}
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def take(scheme: str, fixed: int = 0, *, patience: float = PORT_TIMEOUT) -> Sockets:
    """Take a free port, or the fixed one as soon as it can be had. Raises AddressInUse."""
    deadline = time.monotonic() + patience
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    while True:
        try:
            return _taken(kind, fixed or free_port(scheme), reuse=bool(fixed))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        if fixed and time.monotonic() >= deadline:
            raise AddressInUse(f"port {fixed} is taken by another program", "stop it, or name another: --port")
        time.sleep(POLL_INTERVAL)


def _taken(kind: socket.SocketKind, port: int, *, reuse: bool) -> Sockets:
    """Bind both families, or none; one that this machine lacks is left out."""
    sockets: Sockets = {}
    try:
        for family, host in HOSTS.items():
            try:
                sockets[family] = _bound(family, (host, port), kind, reuse=reuse)
            except OSError as error:
                if error.errno not in _NO_FAMILY:
                    raise
    except BaseException:
        for sock in sockets.values():
            sock.close()
        raise
    return sockets


def _bound(family: Family, place: tuple[str, int], kind: socket.SocketKind, *, reuse: bool) -> socket.socket:
    """Bind one; with `reuse` beside connections of an earlier case that rest in TIME-WAIT."""
    sock = socket.socket(_NUMBERS[family], kind)
    try:
        if reuse and kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
    except BaseException:
        sock.close()
        raise
    return sock


def resolved(name: str) -> Iterator[Family]:
    """Give the families in which a name is known here."""
    with suppress(OSError):
        known = {found[0] for found in socket.getaddrinfo(name, None)}
        yield from (family for family, number in _NUMBERS.items() if number in known)


class Peer:
    """One connection of the client: everything that it sent, when, and how it ended."""

    def __init__(self, sock: socket.socket, loop: ScriptLoop, *, expected: int = 0, hear: Hear = lambda: None) -> None:
        """Take over a connection; `expected` is the length of the message that will come, where that is known.

        `hear` is called before the first answer goes.
        """
        self.received = bytearray()
        self.arrivals: list[tuple[float, int]] = []  # when, and how many bytes
        self.end: Literal["", "FIN", "RST"] = ""  # of the client
        self.given = bytearray()  # what it was sent, or will be as soon as it takes it
        self.sent = 0  # bytes of that which the system has taken
        self.closed = False
        self.moved = loop.clock()
        self._sock, self._loop, self._expected, self._hear = sock, loop, expected, hear
        self._consumed = 0
        self._reading = True
        self._room: int | None = None  # bytes of answers owed above which nothing more is read
        self._echoing = self._finishing = self._finished = False
        sock.setblocking(False)
        self._watch()

    # What an act says to it.

    def give(self, data: bytes | bytearray | memoryview) -> None:
        """Send this, as soon as the client takes it."""
        if data and not self.given:
            self._hear()
        self.given += data
        self._write()

    def echo(self, *, room: int | None = None) -> None:
        """Send back what has come since the message, and all that will, and its end; owing no more than `room`."""
        self._echoing, self._room = True, room
        rest, self._consumed = self.received[self._consumed :], len(self.received)
        self.give(rest)
        if self.end == "FIN":
            self.finish()

    def finish(self) -> None:
        """Send the end after all that is still to go."""
        self._finishing = True
        self._write()

    def read(self, *, on: bool) -> None:
        """Read what comes, or leave it."""
        self._reading = on
        self._watch()

    def reset(self) -> None:
        """End the connection with a reset."""
        if not self.closed:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETTING)
            self.close()

    def close(self) -> None:
        """End the connection."""
        if not self.closed:
            self.closed = True
            self._loop.forget(self._sock.fileno())
            self._sock.close()

    # What an act waits for.

    def message(self) -> Generator[Step, None, bytes]:
        """Wait for the message, and give it; of unknown length it is what comes before a pause or the end."""
        yield self._complete
        start = self._consumed
        self._consumed = min(start + (self._expected or len(self.received)), len(self.received))
        return bytes(self.received[start : self._consumed])

    def rest(self) -> bytes:
        """Give what has come beside the message, such as the end of its line."""
        start, self._consumed = self._consumed, len(self.received)
        return bytes(self.received[start:])

    def _complete(self) -> bool:
        if self.end:
            return True
        length = len(self.received) - self._consumed
        if self._expected and length >= self._expected:
            return True
        return length > 0 and self._loop.clock() - self.arrivals[-1][0] >= QUIET

    @property
    def answered(self) -> bool:
        """Whether it was given all that the act has for it."""
        whole = self._echoing or self._finished or self.closed
        return whole and self.sent == len(self.given) >= max(self._expected * self._echoing, 1)

    @property
    def flushed(self) -> bool:
        """Whether the client's system has confirmed all that it was sent (tcp(7))."""
        if self.closed or self.sent < len(self.given):
            return self.closed
        answer = array.array("i", [0])
        fcntl.ioctl(self._sock, termios.TIOCOUTQ, answer)
        return answer[0] == 0

    @property
    def taken(self) -> bool:
        """Whether the client has read all that it was sent."""
        if self.closed or not self.flushed:
            return self.closed
        try:
            theirs = processes.server_socket(self._sock.getpeername()[1], self._sock.getsockname()[1])
        except OSError:  # it has gone
            return True
        return theirs is None or theirs.unread == 0

    # The socket.

    def _watch(self) -> None:
        if self.closed:
            return
        owed = len(self.given) - self.sent
        wants = self._reading and not self.end and (self._room is None or owed < self._room)
        self._loop.watch(self._sock.fileno(), self._on_ready, read=wants, write=owed > 0)

    def _on_ready(self, events: int) -> None:
        if events & ~WRITE:
            self._read()
        if not self.closed:
            self._write()

    def _read(self) -> None:
        try:
            data = self._sock.recv(CHUNK if self._room is None else self._room)
        except BlockingIOError:
            return
        except OSError:
            self._lost()
            return
        self.moved = self._loop.clock()
        if not data:
            self.end = "FIN"
            if self._echoing:
                self.finish()
            return
        self.received += data
        self.arrivals.append((self.moved, len(data)))
        if self._echoing:
            self._consumed = len(self.received)
            if not self.given:
                self._hear()
            self.given += data

    def _write(self) -> None:
        if self.closed:
            return
        try:
            while self.sent < len(self.given):
                with memoryview(self.given) as view:
                    self.sent += self._sock.send(view[self.sent : self.sent + CHUNK])
                self.moved = self._loop.clock()
            if self._finishing:
                self._finishing, self._finished = False, True
                self._sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._lost()
            return
        self._watch()

    def _lost(self) -> None:
        self.end = "RST"
        self.close()


Act = Callable[[Peer], Script]


class InstrumentedServer:
    """Listens on one port of loopback, on one family or both; each connection gets the act."""

    def __init__(
        self,
        sockets: Sockets,
        loop: ScriptLoop,
        act: Act | None = None,
        *,
        expected: int = 0,
        buffer: int = 0,
        hear: Hear = lambda: None,
    ) -> None:
        """Take over sockets that have a port; nothing listens yet."""
        self.peers: list[Peer] = []
        self._loop, self._act, self._expected, self._hear = loop, act, expected, hear
        self._listeners = sockets
        self._others: list[socket.socket] = []
        for sock in self._listeners.values():
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)

    def listen(self, families: tuple[Family, ...] = (4, 6)) -> None:
        """Listen and accept."""
        for family, sock in self._listeners.items():
            if family in families:
                sock.listen(BACKLOG)
                sock.setblocking(False)
                self._loop.watch(sock.fileno(), partial(self._accept, sock), read=True)

    def listen_full(self) -> None:
        """Listen with a queue that is full already, so that nobody is answered: a SYN gets no reply."""
        for family, sock in self._listeners.items():
            sock.listen(0)
            for _ in range(3):
                other = socket.socket(sock.family)
                other.setblocking(False)
                with suppress(BlockingIOError):
                    other.connect((HOSTS[family], sock.getsockname()[1]))
                self._others.append(other)

    def _accept(self, listener: socket.socket, _: int) -> None:
        with suppress(OSError):
            sock, _ = listener.accept()
            peer = Peer(sock, self._loop, expected=self._expected, hear=self._hear)
            self.peers.append(peer)
            if self._act:
                self._loop.play(self._act(peer))

    def close(self) -> None:
        """End all of it."""
        for peer in self.peers:
            peer.close()
        for sock in (*self._listeners.values(), *self._others):
            self._loop.forget(sock.fileno())
            sock.close()
