"""TLS for the loop: a poller whose reads and writes are encrypted.

A read that finds no data (an incomplete record, or one of TLS's own) and a write that does not fit are a
BlockingIOError, so the handlers are the same as without TLS. A turn handles one record of a connection; the next ones
may have been received already, and are reported by `poll` all the same.
"""

import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

from halloo._net.tls_records import HEADER, MAX_ENCRYPTED, RecordFeed
from halloo._server import states
from halloo._server.closer import Closer
from halloo._server.connections import Connections
from halloo._server.poller import READ, READ_NORMAL, WRITE, Poller
from halloo._server.reactor import Reactor

MAX_RECORD = 16 * 1024  # bytes of data (RFC 8446, 5.1), and so the smallest read buffer
MAX_HANDSHAKES = 8  # continued in one turn; one takes 1 to 3 ms, and a burst of them would hold up everything else
MAX_WRITE = 64 * 1024  # bytes encrypted at a time; they are kept until the kernel has taken them


class TlsConnection:
    """The server's side of one encrypted connection; no call waits, or handles more than one record received.

    All connections share two MemoryBIOs, which is quicker than two for each: every call leaves them empty.
    """

    __slots__ = ("_accepted", "_incoming", "_outgoing", "_send", "_shaken", "_unsent", "events", "records", "tls")

    def __init__(
        self, poller: Poller, fd: int, context: ssl.SSLContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        """Encrypt a descriptor that the poller adopts; `do_handshake` comes next."""
        self._incoming, self._outgoing = incoming, outgoing
        self.tls = context.wrap_bio(incoming, outgoing, server_side=True)
        self._send = partial(poller.write, fd)
        self.records = RecordFeed(partial(poller.read, fd), incoming)
        self._shaken = False
        self._unsent = b""  # encrypted, not yet taken by the kernel
        self._accepted = 0  # bytes of data among them
        self.events = 0  # that the poller watches for

    def do_handshake(self) -> int:
        """Continue by one record; return READ or WRITE to wait for, or 0 once it is done. Raises ssl.SSLError."""
        with suppress(BlockingIOError):
            self._flush()
            if not self._shaken:
                self.records.feed()
                try:
                    self.tls.do_handshake()
                    self._shaken, self.records.without_data = True, 0
                except ssl.SSLWantReadError:
                    pass
                finally:
                    self._collect()
                self._flush()
        return WRITE if self._unsent else 0 if self._shaken else READ

    def idle(self) -> bool:
        """Whether nothing but data has been received, and nothing waits to be sent."""
        return not self._unsent and self.records.idle()

    def read(self, buffer: memoryview) -> int:
        """Read the data of the record fed last; 0 is the peer's close_notify. Raises BlockingIOError without data."""
        try:
            received: int = self.tls.read(len(buffer), buffer)  # type: ignore[assignment]  # a count, with a buffer
        except ssl.SSLError as error:
            self.read_failed(error)
        self._collect()
        self.records.without_data = 0
        return received

    def read_failed(self, error: ssl.SSLError) -> NoReturn:
        self._collect()
        with suppress(OSError):
            self._flush()  # an alert, or the reply to a KeyUpdate
        if isinstance(error, ssl.SSLWantReadError):
            raise BlockingIOError from error
        raise error

    def write(self, data: memoryview | bytes) -> int:
        """Encrypt and send; after a BlockingIOError the next call has to offer the same data."""
        if self._unsent:
            self._flush()
        accepted, self._accepted = self._accepted, 0
        if accepted:
            return accepted
        try:
            accepted = self.tls.write(data if len(data) <= MAX_WRITE else data[:MAX_WRITE])
        finally:
            encrypted = self._outgoing.read()
        try:
            sent = self._send(encrypted)
        except BlockingIOError:
            sent = 0
        if sent < len(encrypted):
            self.keep_unsent(encrypted[sent:], accepted)
        return accepted

    def keep_unsent(self, encrypted: bytes, accepted: int) -> NoReturn:
        """Keep what the kernel has not taken of so many bytes of data."""
        self._unsent, self._accepted = encrypted, accepted
        raise BlockingIOError

    def close_notify(self) -> None:
        with suppress(ssl.SSLError):  # ours is made; the peer's is optional
            self.tls.unwrap()
        self._collect()
        self._flush()

    def _collect(self) -> None:
        """Keep what OpenSSL has written, and discard what it has refused to read."""
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        if self._incoming.pending:
            self._incoming.read()

    def _flush(self) -> None:
        """Pass encrypted data to the kernel. Raises BlockingIOError when it does not take it all."""
        while self._unsent:
            self._unsent = self._unsent[self._send(self._unsent) :]


class TlsPoller:
    """A poller some of whose sockets are encrypted."""

    prefers_read = False
    min_read = MAX_RECORD  # with less, the rest of a record would stay inside OpenSSL, invisible to the poller

    def __init__(self, inner: Poller) -> None:
        self._inner = inner
        self._bios = incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._feed, self._encrypted = incoming.write, outgoing.read
        self._connections: dict[int, TlsConnection] = {}
        self._idle: dict[int, ssl.SSLObject] = {}  # of connections that are `idle`, which need no more than OpenSSL
        self._keeping: set[int] = set()  # connections that may have received another record
        self.handshakes_left = MAX_HANDSHAKES  # in this turn
        self.unwatch = inner.unwatch
        self.adopt = inner.adopt
        self.read = inner.read
        self._write = inner.write
        self.close = inner.close

    def wrap(self, sock: socket.socket, context: ssl.SSLContext) -> int:
        """Take over a socket to encrypt, as the server; `do_handshake` comes next."""
        connection = TlsConnection(self._inner, sock.fileno(), context, *self._bios)
        fd = self._inner.adopt(sock)
        self._connections[fd] = connection
        return fd

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Poll; connections that are watched for reading and have received another record are ready too."""
        self.handshakes_left = MAX_HANDSHAKES
        if not self._keeping:
            return self._inner.poll(timeout)
        connections = self._connections
        self._keeping = {fd for fd in self._keeping if fd in connections and connections[fd].records.complete()}
        ready = {fd: events for fd in self._keeping if (events := connections[fd].events) & (READ | READ_NORMAL)}
        return list((ready | dict(self._inner.poll(0 if ready else timeout))).items())

    def watch(self, fd: int, events: int) -> None:
        self._inner.watch(fd, events)
        if connection := self._connections.get(fd):
            connection.events = events

    def change(self, fd: int, events: int) -> None:
        if connection := self._connections.get(fd):
            if connection.events == events:
                return
            connection.events = events
        self._inner.change(fd, events)

    def do_handshake(self, fd: int) -> int:
        """Continue by one record; return READ or WRITE to wait for, or 0 once it is done. Raises ssl.SSLError."""
        connection = self._connections[fd]
        wanted = connection.do_handshake()
        if connection.records.kept:
            self._keeping.add(fd)
        return wanted

    def readv(self, fd: int, buffers: Sequence[memoryview]) -> int:
        """Read into the one buffer; 0 is the peer's close_notify. Raises ssl.SSLEOFError at an end without one."""
        # Nearly every message is one record that was received whole, without another: this needs no call of ours.
        tls = self._idle.get(fd)
        if tls is None:
            return self._read_record(fd, buffers, None)
        data = self.read(fd, MAX_ENCRYPTED)
        if not (HEADER <= len(data) == HEADER + (data[3] << 8 | data[4])):
            return self._read_record(fd, buffers, data)
        self._feed(data)
        try:
            return tls.read(MAX_RECORD, buffers[0])  # type: ignore[return-value]  # a count, as above
        except ssl.SSLError as error:
            del self._idle[fd]
            connection = self._connections[fd]
            connection.records.without_data = 1
            connection.read_failed(error)

    def _read_record(self, fd: int, buffers: Sequence[memoryview], received: bytes | None) -> int:
        """Read the next record, of which some bytes may have been received."""
        connection = self._connections.get(fd)
        if connection is None:
            return self._inner.readv(fd, buffers)
        self._idle.pop(fd, None)
        if received is None:
            connection.records.feed()
        else:
            connection.records.add(received)
        if connection.records.kept:
            self._keeping.add(fd)
        count = connection.read(buffers[0])
        if connection.idle():
            self._idle[fd] = connection.tls
        return count

    def write(self, fd: int, data: memoryview | bytes) -> int:
        tls = self._idle.get(fd)
        if tls is None or len(data) > MAX_WRITE:
            connection = self._connections.get(fd)
            return self._write(fd, data) if connection is None else connection.write(data)
        try:
            accepted = tls.write(data)
        finally:
            encrypted = self._encrypted()
        try:
            sent = self._write(fd, encrypted)
        except BlockingIOError:
            sent = 0
        if sent != len(encrypted):
            del self._idle[fd]
            self._connections[fd].keep_unsent(encrypted[sent:], accepted)
        return accepted

    def queued_bytes(self, fd: int) -> tuple[int, int]:
        """Count the unread and the unacknowledged bytes, encrypted."""
        unread, unacknowledged = self._inner.queued_bytes(fd)
        connection = self._connections.get(fd)
        kept = len(connection.records.kept) if connection and connection.records.complete() else 0
        return unread + kept, unacknowledged

    def close_notify(self, fd: int) -> None:
        """Send close_notify (RFC 8446, 6.1), without waiting for the peer's."""
        self._idle.pop(fd, None)
        if connection := self._connections.get(fd):
            connection.close_notify()

    def shutdown_write(self, fd: int) -> None:
        """Shut down the sending side; what is read after it is not decrypted."""
        self._forget(fd)
        self._inner.shutdown_write(fd)

    def close_fd(self, fd: int) -> None:
        self._forget(fd)
        self._inner.close_fd(fd)

    def release_fd(self, fd: int) -> None:
        self._forget(fd)
        self._inner.release_fd(fd)

    def _forget(self, fd: int) -> None:
        self._idle.pop(fd, None)
        self._connections.pop(fd, None)


class Handshakes:
    """The handler for HANDSHAKING."""

    def __init__(
        self,
        reactor: Reactor,
        poller: TlsPoller,
        connections: Connections,
        closer: Closer,
        done: Callable[[int], object],
        *,
        timeout: float,
    ) -> None:
        """Have `done` called for a connection once it can be read and written, within `timeout` seconds."""
        self._reactor = reactor
        self._poller = poller
        self._connections = connections
        self._closer = closer
        self._timeout = timeout
        self._done = done
        self.wrap = poller.wrap
        reactor.handlers[states.HANDSHAKING] = self._advance

    def begin(self, fd: int) -> None:
        """Close the connection if its handshake takes too long."""
        self._closer.set_deadline(fd, self._timeout, "handshake_timeout")

    def _advance(self, fd: int) -> None:
        """Continue a handshake; after invalid input the connection lingers, so that the client can read the alert."""
        if not self._poller.handshakes_left:
            return  # it is ready in the next turn again
        self._poller.handshakes_left -= 1
        try:
            wanted = self._poller.do_handshake(fd)
        except ssl.SSLError as error:
            self._closer.disconnect(fd, type(error).__name__)
        except OSError as error:
            self._connections.fail(fd, error)
        else:
            if wanted:
                self._reactor.poller.change(fd, wanted)
            else:
                self._closer.clear_deadline(fd)
                self._done(fd)
