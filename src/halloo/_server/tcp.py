"""Echo over streams: one loop, one connection table, one handler for each state.

The loop uses sockets and a poller. It is given listening sockets and run; it handles no addresses, signals or threads.

A byte of state selects the handler of a connection. While it is ECHOING, what is read is written at once, out of one
buffer that all connections share. When a write falls short, the rest becomes its pending write: the connection is
WRITE_PENDING and is not read until the rest is flushed. So a client that never reads costs one buffer at most, and its
own sending stops. When the client's FIN is read, everything received has been answered or is pending.

    accept -> [HANDSHAKING ->] ECHOING  <-> WRITE_PENDING     states used on demand only: LIMITED and THROTTLED for
                |  or LIMITED or HANDLING                     limits (throttling.py), HANDLING (handlers.py),
                v                                             HANDSHAKING and TLS_CLOSING for TLS (tls.py), LINGERING
              [TLS_CLOSING ->] FREE                           when the server closes (closer.py)
"""

import os
import socket
import time
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from halloo._core.limits import Limits
from halloo._core.timers import Timers
from halloo._net.fork import release_in_children
from halloo._server import connections as states
from halloo._server.acceptor import Acceptor, Endpoint
from halloo._server.closer import Closer
from halloo._server.connections import ECHOING, ConnectionTable, Snapshot
from halloo._server.handlers import ConnectionObserver, Handler, PeerName
from halloo._server.poller import READ, READ_NORMAL, WRITE, Poller, default_poller
from halloo._server.throttling import ConnectionLimiter

if TYPE_CHECKING:
    from halloo._server.tls import HandshakeHandler
    from halloo._server.udp import DatagramEcho

BUFFER_SIZE = 256 * 1024  # bytes; 64 KiB reaches two thirds of the throughput, more gains nothing
SMALL_MESSAGE = 460  # bytes: with its header the largest object that Python's own allocator (obmalloc) serves


class Loop:
    """One poller, one table, one tuple of handlers: `handlers[state[fd]](fd)` for every descriptor that is ready."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        poller: Poller | None = None,
        limits: Limits | None = None,
        clients: int | None = None,
        observer: ConnectionObserver | None = None,
        counters: MutableSequence[int] | None = None,
        shared: bool = False,
        busy_poll: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve `endpoints`, whose sockets the caller closes; stop after `clients` connections.

        `counters` is where to count (see `ConnectionTable`); `shared` means that other workers have the same listeners.
        With `busy_poll` the loop never sleeps, which saves the wake-up latency and takes a whole core.
        """
        self.poller = poller or default_poller()
        self._tls_handshakes = _handshakes(self) if any(endpoint.context for endpoint in endpoints) else None
        self.poller = observer.measured(self.poller) if observer else self.poller
        self.limits = limits or Limits()
        self.table = ConnectionTable(counters)
        self.timers = Timers()
        self.clock = clock
        self._busy_poll = busy_poll
        self.running = True
        self.observer = observer
        self.buffer = memoryview(bytearray(max(self.limits.buffer or BUFFER_SIZE, self.poller.min_read)))
        self._small_messages = self.poller.prefers_read
        self._echo_state = states.LIMITED if self.limits.limited else ECHOING
        self._connection_handlers: dict[int, Handler] = {}
        self.closer = Closer(self)
        self._clients = clients
        self.on_wakeup: Callable[[], None] | None = None  # called after each wake-up
        self._started = clock()
        self.limiter = ConnectionLimiter(self)
        self._wakeup_reader, self.wakeup_writer = socket.socketpair()
        try:
            for sock in (self._wakeup_reader, self.wakeup_writer):
                sock.setblocking(False)
            self.watch(self._wakeup_reader.fileno(), states.WAKEUP)
            streams = [endpoint for endpoint in endpoints if endpoint.stream]
            self.acceptor = Acceptor(self, streams, clients=clients, shared=shared)
            self.datagrams = _datagrams(self, [endpoint for endpoint in endpoints if not endpoint.stream])
        except BaseException:
            self.release()
            raise
        self._handlers = self._handlers_by_state()
        release_in_children(self)

    def _handlers_by_state(self) -> tuple[Callable[[int], object], ...]:
        handlers: dict[int, Callable[[int], object]] = {
            states.FREE: self._ignore,
            states.LISTENING: self.acceptor.accept,
            states.WAKEUP: self._wake,
            states.ECHOING: self.echo,  # inlined in `turn` as well
            states.WRITE_PENDING: self._flush,
            states.LIMITED: self.limiter.make_echo(),
            states.THROTTLED: self.limiter.resume,
            states.HANDLING: self._readable,
            states.HANDSHAKING: self._tls_handshakes.advance if self._tls_handshakes else self._ignore,
            states.TLS_CLOSING: self.closer.close_after_flush,
            states.LINGERING: self.closer.discard_input,
            states.PARENT_EXIT: self._parent_exited,
            states.DATAGRAM: self.datagrams.readable if self.datagrams else self._ignore,
        }
        return tuple(handlers[state] for state in range(len(handlers)))

    def run(self) -> None:
        """Take turns until `stop`, or until the last of `clients` connections has closed."""
        timers, clock = self.timers, self.clock
        while self.running:
            self.turn(0 if self._busy_poll else timers.timeout(clock()))
            for callback in timers.pop_due(clock()):
                callback()

    def turn(self, timeout: float | None = 0) -> list[tuple[int, int]]:  # noqa: C901, PLR0912, PLR0915 - see below
        """Poll for `timeout` seconds, without limit if None; handle every event once; return the events."""
        # Long, because the echo itself is inlined here: a call for each message would cost a tenth of the speed.
        # READ_NORMAL is watched in state ECHOING only, so that no state has to be looked up. For SMALL_MESSAGEs a read
        # that makes a new bytes object is quicker than one into the buffer, which needs a slice as well.
        poller, buffer, handlers, state = self.poller, self.buffer, self._handlers, self.table.state
        limited = self._echo_state != ECHOING
        read, readv, write, small = poller.read, poller.readv, poller.write, self._small_messages
        chunk: bytes | memoryview = b""
        buffers, size, echoed, messages = [buffer], 0, 0, 0
        ready = poller.poll(timeout)
        if limited:
            self.limiter.tick()
        for fd, events in ready:
            if events != READ_NORMAL:
                handlers[state[fd]](fd)
                continue
            try:
                if small:
                    chunk = read(fd, SMALL_MESSAGE)
                    received = len(chunk)
                    if received == SMALL_MESSAGE:
                        chunk = self._read_rest(fd, chunk)
                        received, size, small = len(chunk), 0, False
                else:
                    received = readv(fd, buffers)
                    if received != size:
                        chunk, size = buffer[:received], received
                        small = size < SMALL_MESSAGE and poller.prefers_read
            except BlockingIOError:
                continue  # closed and reused for a new connection within this batch
            except OSError as error:
                self.connection_failed(fd, error)
                continue
            if not received:
                self.closer.close_after_flush(fd)
                continue
            try:
                sent = write(fd, chunk)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self.connection_failed(fd, error)
                continue
            messages += 1
            echoed += sent
            if sent != received:
                self.table.counters[states.RECEIVED] += received - sent
                self.queue_write(fd, memoryview(chunk)[sent:])
        if limited:
            self.limiter.flush_counts()
        self._small_messages = small
        counters = self.table.counters
        counters[states.RECEIVED] += echoed
        counters[states.SENT] += echoed
        counters[states.MESSAGES] += messages
        return ready

    def _read_rest(self, fd: int, start: bytes | memoryview) -> memoryview:
        """Read what follows a SMALL_MESSAGE, so that a larger message is sent back by one write."""
        self.buffer[:SMALL_MESSAGE] = start
        try:
            rest = self.poller.readv(fd, [self.buffer[SMALL_MESSAGE:]])
        except OSError:
            rest = 0  # no data, or an error that the next read meets again
        return self.buffer[: SMALL_MESSAGE + rest]

    def stop(self) -> None:
        """End `run` after its present turn; may be called from any thread and any signal handler."""
        self.running = False
        self.wake()

    def wake(self) -> None:
        """Make a waiting `turn` return."""
        with suppress(OSError):  # full of wake-ups already, or closed: either way no turn is waiting
            self.wakeup_writer.send(b"!")

    def snapshot(self) -> Snapshot:
        return Snapshot.of(self.table.counters, started=self._started, now=self.clock())

    def shutdown(self) -> None:
        """Close every connection and the loop's own descriptors; the listeners stay open."""
        if self._wakeup_reader.fileno() < 0:
            return  # this is a forked child, which has released them
        self.running = False
        for fd in self.table.in_state(*states.CONNECTED):
            self.closer.close(fd, "cut_off")
        self.acceptor.pause_accepting()
        if self.datagrams:
            self.datagrams.close()
        self.poller.unwatch(self._wakeup_reader.fileno())
        self.release()

    def release(self) -> None:
        """Close the descriptors in this process alone, as a forked child does; the parent's poller is not changed."""
        self.running = False
        for fd in self.table.in_state(*states.CONNECTED):
            self.table.state[fd] = states.FREE
            self.poller.release_fd(fd)
        self._wakeup_reader.close()
        self.wakeup_writer.close()
        self.poller.close()

    def watch(self, fd: int, state: int) -> None:
        """Have the handler of a state called when a descriptor other than a connection is readable."""
        self.table.add(fd, state)
        self.poller.watch(fd, READ)

    # Operations for handlers.

    def add_connection(self, sock: socket.socket, peer: PeerName, endpoint: Endpoint) -> int:
        """Take over an accepted, non-blocking socket; return its descriptor."""
        if self._tls_handshakes and endpoint.context:
            fd, state = self._tls_handshakes.wrap(sock, endpoint.context), states.HANDSHAKING
        else:
            fd, state = self.poller.adopt(sock), states.HANDLING if endpoint.handler else self._echo_state
        try:
            self.poller.watch(fd, READ_NORMAL if state == ECHOING else READ)
        except OSError:
            with suppress(OSError):
                self.poller.close_fd(fd)
            raise
        self.table.add(fd, state)
        self.table.opened(fd, endpoint.scheme)
        if self._echo_state != ECHOING:
            self.limiter.add(fd)
        if self.observer:
            self.observer.opened(fd, peer, endpoint.address)
        if endpoint.handler:
            self._connection_handlers[fd] = endpoint.handler
            if state != states.HANDSHAKING:
                endpoint.handler.opened(self, fd)
        if state == states.HANDSHAKING:
            self.closer.set_deadline(fd, self.limits.handshake_timeout, "handshake_timeout")
        return fd

    def receive(self, fd: int) -> memoryview | None:
        """Read into the shared buffer: empty at the end of the stream, None if there is no data now."""
        limited = self._echo_state != ECHOING
        limit = self.limiter.allowance(fd) if limited else len(self.buffer)
        try:
            received = self.poller.readv(fd, [self.buffer[: max(limit, self.poller.min_read)]])
        except BlockingIOError:
            return None
        except OSError as error:
            self.connection_failed(fd, error)
            return None
        self.table.counters[states.RECEIVED] += received
        if limited and (excess := self.limiter.record(fd, received)):
            if excess < received:
                self.send(fd, self.buffer[: received - excess])
            if self.table.state[fd] not in (states.FREE, states.WRITE_PENDING):
                self.closer.disconnect(fd, "max_bytes")
            return None
        return self.buffer[:received]

    def send(self, fd: int, data: memoryview | bytes) -> bool:
        """Write an answer; True if all of it was written; otherwise the rest is pending, or the connection failed."""
        try:
            sent = self.poller.write(fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.connection_failed(fd, error)
            return False
        self.table.counters[states.SENT] += sent
        self.table.counters[states.MESSAGES] += 1
        if sent < len(data):
            self.queue_write(fd, memoryview(data)[sent:])
        return sent == len(data)

    def echo(self, fd: int) -> None:
        """Read and write once; `turn` inlines this for state ECHOING."""
        chunk = self.receive(fd)
        if chunk:
            if self.send(fd, chunk):
                self.limiter.throttle_if_overdrawn(fd)
        elif chunk is not None:
            self.closer.close_after_flush(fd)

    def queue_write(self, fd: int, rest: memoryview) -> None:
        """Keep the unsent rest of an answer, and read no more until the client has taken it."""
        self.table.queue_write(fd, memoryview(bytes(rest)), self.clock())
        self.table.state[fd] = states.WRITE_PENDING
        self.poller.change(fd, WRITE)
        self.limiter.write_queued()

    def handshake_done(self, fd: int) -> None:
        """Start serving a connection after its TLS handshake."""
        self.closer.clear_deadline(fd)
        self.flushed(fd)
        if handler := self._connection_handlers.get(fd):
            handler.opened(self, fd)

    def flushed(self, fd: int) -> None:
        state = self.table.state[fd] = states.HANDLING if fd in self._connection_handlers else self._echo_state
        self.poller.change(fd, READ_NORMAL if state == ECHOING else READ)

    def replace_handler(self, fd: int, handler: Handler) -> Handler | None:
        """Have a handler serve a connection from now on; return the one before, None for the echo."""
        before, self._connection_handlers[fd] = self._connection_handlers.get(fd), handler
        if self.table.state[fd] not in (states.WRITE_PENDING, states.THROTTLED):
            self.flushed(fd)
        return before

    def connection_failed(self, fd: int, error: OSError) -> None:
        if self.table.state[fd] != states.FREE:
            name = states.error_name(error)
            self.table.count(name)
            self.close(fd, name)

    def close(self, fd: int, reason: str = "") -> None:
        """Close a connection; the reason is for the log, empty if the client closed."""
        table = self.table
        table.state[fd] = states.FREE
        if table.pending_writes:
            table.discard_pending(fd)
        self.poller.close_fd(fd)
        table.closed(fd)
        self.closer.clear_deadline(fd)
        if self._connection_handlers and (handler := self._connection_handlers.pop(fd, None)):
            handler.closed(fd)
        if self.observer:
            self.observer.closed(fd, reason)
        self.acceptor.connection_closed(fd)
        if table.counters[states.CLOSED] == self._clients:
            self.running = False

    # Handlers.

    def _ignore(self, fd: int) -> None:
        """Handle an event of a descriptor that was closed earlier in the same batch."""

    def _wake(self, fd: int) -> None:  # noqa: ARG002 - every handler takes the descriptor
        with suppress(BlockingIOError):
            self._wakeup_reader.recv(65536)  # once: any beyond these make another turn
        if self.on_wakeup:
            self.on_wakeup()

    def _parent_exited(self, fd: int) -> None:  # noqa: ARG002 - as above
        # Without the parent nothing restarts this worker or closes the port; its clients need another server.
        os._exit(1)

    def _readable(self, fd: int) -> None:
        self._connection_handlers[fd].readable(self, fd)

    def _flush(self, fd: int) -> None:
        pending = self.table.pending_writes[fd]
        try:
            sent = self.poller.write(fd, pending) if pending else 0
        except BlockingIOError:
            return
        except OSError as error:
            self.connection_failed(fd, error)
            return
        self.table.counters[states.SENT] += sent
        if self._echo_state != ECHOING:
            self.limiter.record(fd, 0)
        if sent < len(pending):
            self.table.queue_write(fd, pending[sent:], self.clock())
            return
        self.table.discard_pending(fd)
        self.flushed(fd)
        if handler := self._connection_handlers.get(fd):
            handler.writable(self, fd)


def _handshakes(loop: Loop) -> "HandshakeHandler":
    from halloo._server.tls import HandshakeHandler  # noqa: PLC0415 - ssl is slow to import, and only for TLS

    return HandshakeHandler(loop)


def _datagrams(loop: Loop, endpoints: Sequence[Endpoint]) -> "DatagramEcho | None":
    if not endpoints:
        return None
    from halloo._server.udp import DatagramEcho  # noqa: PLC0415 - most servers serve streams only

    return DatagramEcho(loop, endpoints)
