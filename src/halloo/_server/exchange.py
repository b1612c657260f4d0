"""Read from a connection and answer it, within its limits: as an echo, or by a handler.

The plain echo without limits near comes here only where `EchoServer.turn` cannot go on: see there.
"""

from typing import Protocol

from halloo._server import states
from halloo._server.closer import Closer
from halloo._server.connections import Connections
from halloo._server.poller import READ, READ_NORMAL
from halloo._server.reactor import Reactor
from halloo._server.throttling import ConnectionLimiter


class Handler(Protocol):
    """Answers instead of the echo; see `RespondHandler` and `http.HttpHandler`."""

    def opened(self, exchange: "Exchange", fd: int) -> None:
        """Handle a new connection, after any TLS handshake."""

    def readable(self, exchange: "Exchange", fd: int) -> None:
        """Read and answer."""

    def writable(self, exchange: "Exchange", fd: int) -> None:
        """Continue after the pending write is flushed."""

    def closed(self, fd: int) -> None:
        """Release what is kept for a closed connection."""


class Exchange:
    """The handlers for ECHOING, HANDLING and WRITE_PENDING, and what a Handler may do with a connection."""

    def __init__(self, reactor: Reactor, connections: Connections, closer: Closer) -> None:
        self._reactor = reactor
        self._connections = connections
        self._closer = closer
        self._handlers: dict[int, Handler] = {}
        self.limiter: ConnectionLimiter | None = None
        self.send = connections.send
        self.end = closer.close_after_flush
        self.disconnect = closer.disconnect
        self.linger = closer.linger
        reactor.handlers[states.ECHOING] = self.echo
        reactor.handlers[states.HANDLING] = self._readable
        reactor.handlers[states.WRITE_PENDING] = self._flush
        reactor.handlers[states.THROTTLED] = self.resume  # ready all the same: it has failed, and the read says how
        connections.on_closed.append(self._closed)

    # For the server.

    def handle(self, fd: int, handler: Handler) -> None:
        """Have a handler answer a connection instead of the echo."""
        self._handlers[fd] = handler

    def reading(self, fd: int, handler: Handler | None) -> tuple[int, int]:
        """Return the state in which a connection is read, and the events to watch it for."""
        if handler:
            return states.HANDLING, READ
        return states.ECHOING, READ if self.limiter and self.limiter.near_limit(fd) else READ_NORMAL

    def resume(self, fd: int) -> None:
        """Read from a connection again, after a TLS handshake, a pending write or a pause."""
        self._reactor.move(fd, *self.reading(fd, self._handlers.get(fd)))

    def begin(self, fd: int) -> None:
        """Serve a connection after its TLS handshake."""
        self.resume(fd)
        self.opened(fd)

    def opened(self, fd: int) -> None:
        """Let the handler of a new connection begin, if it has one."""
        if handler := self._handlers.get(fd):
            handler.opened(self, fd)

    def replace_handler(self, fd: int, handler: Handler) -> Handler | None:
        """Have another handler serve a connection; return the one before, None for the echo."""
        before, self._handlers[fd] = self._handlers.get(fd), handler
        if self._reactor.state[fd] not in (states.WRITE_PENDING, states.THROTTLED):
            self.resume(fd)
        return before

    # For handlers.

    def receive(self, fd: int) -> memoryview | None:
        """Read into the shared buffer: empty at the end of the stream, None if there is no data now."""
        if self.limiter is None:
            return self._connections.receive(fd, len(self._connections.buffer))
        data = self._connections.receive(fd, self.limiter.allowance(fd))
        if data is None or not (excess := self.limiter.record(fd, len(data))):
            return data
        if excess < len(data):
            self.send(fd, data[: len(data) - excess])
        if self._reactor.state[fd] not in (states.FREE, states.WRITE_PENDING):
            self.disconnect(fd, "max_bytes")
        return None

    def continue_later(self, fd: int) -> None:
        """Have `writable` called in the next turn, after other connections."""
        self._connections.queue_write(fd, memoryview(b""))

    def answered(self, fd: int) -> None:
        """Pause the connection if it is over its rate limit: everything received is answered."""
        if self.limiter:
            self.limiter.throttle_if_overdrawn(fd)

    def echo(self, fd: int) -> None:
        """Read and write once; `EchoServer.turn` inlines this where it can."""
        chunk = self.receive(fd)
        if chunk:
            if self.send(fd, chunk):
                self.answered(fd)
        elif chunk is not None:
            self.end(fd)

    # Of the reactor.

    def _readable(self, fd: int) -> None:
        self._handlers[fd].readable(self, fd)

    def _flush(self, fd: int) -> None:
        if not self._connections.flush(fd):
            return
        if self.limiter:
            self.limiter.record(fd, 0)
        if fd not in self._connections.pending:
            self.resume(fd)
            if handler := self._handlers.get(fd):
                handler.writable(self, fd)

    def _closed(self, fd: int, _reason: str) -> None:
        if handler := self._handlers.pop(fd, None):
            handler.closed(fd)
