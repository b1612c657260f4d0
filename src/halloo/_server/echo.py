"""The echo server: one loop, one table of connections, one handler for each state.

It is given listening sockets and run; it handles no addresses, signals or threads.

While a connection is ECHOING, what is read is written at once, out of one buffer that all connections share. When a
write falls short, the rest becomes its pending write: the connection is WRITE_PENDING and is not read until the rest is
flushed. So a client that never reads costs one buffer at most, and its own sending stops. When the client's FIN is
read, everything received has been answered or is pending. `states` draws the transitions.
"""

import mmap
import socket
import time
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from halloo._core.limits import Limits
from halloo._net.fork import release_in_children
from halloo._server import states
from halloo._server.acceptor import Acceptor
from halloo._server.closer import Closer
from halloo._server.connections import Connections
from halloo._server.counters import CLOSED, MESSAGES, RECEIVED, SENT, Snapshot
from halloo._server.drain import Drain
from halloo._server.endpoint import Endpoint
from halloo._server.exchange import Exchange
from halloo._server.handlers import ConnectionObserver, PeerName
from halloo._server.poller import READ, READ_NORMAL, Poller, default_poller
from halloo._server.reactor import Reactor
from halloo._server.slow_readers import SlowReaders
from halloo._server.throttling import ConnectionLimiter

if TYPE_CHECKING:
    from halloo._net.listener import Listener
    from halloo._server.udp import DatagramEcho

BUFFER_SIZE = 256 * 1024  # bytes; 64 KiB reaches two thirds of the throughput, more gains nothing
SMALL_MESSAGE = 460  # bytes: with its header the largest object that Python's own allocator (obmalloc) serves


class EchoServer:
    """Composes reactor, connections, acceptor, limits, TLS and datagrams, and takes the turns."""

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

        `counters` is where to count (see `counters`); `shared` means that other workers have the same listeners; for
        `busy_poll` see Reactor.
        """
        poller, limits = poller or default_poller(), limits or Limits()
        tls_poller = None
        if any(endpoint.context for endpoint in endpoints):
            from halloo._server.tls import Handshakes, TlsPoller  # noqa: PLC0415 - ssl is slow to import

            poller = tls_poller = TlsPoller(poller)
        poller = observer.measured(poller) if observer else poller
        buffer = page_aligned_buffer(max(limits.buffer or BUFFER_SIZE, poller.min_read))
        self.reactor = reactor = Reactor(poller, busy_poll=busy_poll, clock=clock)
        self.connections = connections = Connections(reactor, buffer, counters)
        self.closer = closer = Closer(reactor, connections, limits.stall_timeout)
        self.exchange = exchange = Exchange(reactor, connections, closer)
        SlowReaders(reactor, connections, limits)
        self._limiter = self._record = None
        if limits.limited:
            self._limiter = exchange.limiter = ConnectionLimiter(reactor, closer, limits, len(buffer), exchange.resume)
            self._record = self._limiter.record_echo
            buffer = buffer[: self._limiter.read_size]
        self._buffer = buffer
        self._prefers_read = self._small_messages = poller.prefers_read and len(buffer) > SMALL_MESSAGE
        self._handshakes = None
        if tls_poller:
            self._handshakes = Handshakes(
                reactor, tls_poller, connections, closer, exchange.begin, timeout=limits.handshake_timeout
            )
        self._observer = observer
        if observer:
            connections.on_closed.append(observer.closed)
        if clients is not None:
            connections.on_closed.append(lambda _fd, _reason: self._stop_after(clients))
        self._started = clock()
        try:
            self.acceptor, self.datagrams = self._listen(endpoints, limits, clients, shared=shared)
        except BaseException:
            self.release()
            raise
        release_in_children(self)

    def _listen(
        self, endpoints: Sequence[Endpoint], limits: Limits, clients: int | None, *, shared: bool
    ) -> "tuple[Acceptor, DatagramEcho | None]":
        reactor, connections, observer = self.reactor, self.connections, self._observer
        streams = [endpoint for endpoint in endpoints if endpoint.stream]
        acceptor = Acceptor(
            reactor,
            connections,
            streams,
            self._add_connection,
            limits=limits,
            observer=observer,
            clients=clients,
            shared=shared,
        )
        if len(streams) == len(endpoints):
            return acceptor, None
        from halloo._server.udp import DatagramEcho  # noqa: PLC0415 - most servers serve streams only

        datagrams = [endpoint for endpoint in endpoints if not endpoint.stream]
        return acceptor, DatagramEcho(reactor, connections.counters, datagrams, limits=limits, observer=observer)

    def run(self) -> None:
        """Take turns until the reactor is stopped, or until the last of `clients` connections has closed."""
        self.reactor.run(self.turn)

    def turn(self, timeout: float | None = 0) -> list[tuple[int, int]]:  # noqa: C901, PLR0912, PLR0915 - see below
        """Poll for `timeout` seconds, without limit if None; handle every event once; return the events."""
        # Long, because the echo itself is inlined here: a call for each message would cost a tenth of the speed.
        # READ_NORMAL is watched in state ECHOING only, so that no state has to be looked up; a connection near its
        # `max_bytes` is watched for READ, and `Exchange.echo` handles it. For SMALL_MESSAGEs a read that makes a new
        # bytes object is quicker than one into the buffer, which needs a slice as well.
        reactor, connections, buffer, record = self.reactor, self.connections, self._buffer, self._record
        poller, handlers, state = reactor.poller, reactor.handlers, reactor.state
        read, readv, write, small = poller.read, poller.readv, poller.write, self._small_messages
        chunk: bytes | memoryview = b""
        buffers, size, echoed, messages = [buffer], 0, 0, 0
        ready = poller.poll(timeout)
        if self._limiter:
            self._limiter.tick()
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
                        small = size < SMALL_MESSAGE and self._prefers_read
            except BlockingIOError:
                continue  # closed and reused for a new connection within this batch
            except OSError as error:
                connections.fail(fd, error)
                continue
            if not received:
                self.closer.close_after_flush(fd)
                continue
            try:
                sent = write(fd, chunk)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                connections.fail(fd, error)
                continue
            messages += 1
            echoed += sent
            if record:
                record(fd, received, sent == received)
            if sent != received:
                connections.counters[RECEIVED] += received - sent
                connections.queue_write(fd, memoryview(chunk)[sent:])
        self._small_messages = small
        counters = connections.counters
        counters[RECEIVED] += echoed
        counters[SENT] += echoed
        counters[MESSAGES] += messages
        return ready

    def _read_rest(self, fd: int, start: bytes | memoryview) -> memoryview:
        """Read what follows a SMALL_MESSAGE, so that a larger message is sent back by one write."""
        self._buffer[:SMALL_MESSAGE] = start
        try:
            rest = self.reactor.poller.readv(fd, [self._buffer[SMALL_MESSAGE:]])
        except OSError:
            rest = 0  # no data, or an error that the next read meets again
        return self._buffer[: SMALL_MESSAGE + rest]

    def snapshot(self) -> Snapshot:
        return Snapshot.of(self.connections.counters, started=self._started, now=self.reactor.clock())

    def drain(self, seconds: float, listener: "Listener") -> None:
        """Answer what clients have sent, within `seconds`, and close the connections and the listener's sockets.

        What the deadline, or a `stop` meanwhile, cuts off is counted.
        """
        reactor = self.reactor
        reactor.running = True
        deadline = reactor.clock() + seconds
        listener.refuse_new(socket.SOCK_STREAM)
        self.acceptor.close()
        listener.close_streams()
        Drain(reactor, self.connections, self.closer, self.exchange, self.turn, seconds=seconds).run()
        if self.datagrams:
            listener.refuse_new(socket.SOCK_DGRAM)
            self.datagrams.drain(deadline)
        listener.release()
        reactor.running = False

    def shutdown(self) -> None:
        """Close every connection and the server's own descriptors; the listeners stay open."""
        if self.reactor.closed:
            return  # this is a forked child, which has released them
        for fd in self.reactor.in_state(*states.CONNECTED):
            self.closer.close(fd, "cut_off")
        self.acceptor.pause_accepting()
        if self.datagrams:
            self.datagrams.close()
        self.reactor.close()

    def release(self) -> None:
        """Close the descriptors in this process alone, as a forked child does; the parent's poller is not changed."""
        for fd in self.reactor.in_state(*states.CONNECTED):
            self.reactor.state[fd] = states.FREE
            self.reactor.poller.release_fd(fd)
        self.reactor.release()

    def _add_connection(self, sock: socket.socket, peer: PeerName, endpoint: Endpoint) -> None:
        """Take over an accepted, non-blocking socket. Raises OSError."""
        reactor, poller, handler, fd = self.reactor, self.reactor.poller, endpoint.handler, sock.fileno()
        if self._limiter:
            self._limiter.add(fd)
        if self._handshakes and endpoint.context:
            self._handshakes.wrap(sock, endpoint.context)
            state, events, begin = states.HANDSHAKING, READ, self._handshakes.begin
        else:
            poller.adopt(sock)
            state, events = self.exchange.reading(fd, handler)
            begin = self.exchange.opened
        try:
            reactor.watch(fd, state, events)
        except OSError:
            with suppress(OSError):
                poller.close_fd(fd)
            raise
        self.connections.add(fd, endpoint.scheme)
        if self._observer:
            self._observer.opened(fd, peer, endpoint.address)
        if handler:
            self.exchange.handle(fd, handler)
        begin(fd)

    def _stop_after(self, clients: int) -> None:
        if self.connections.counters[CLOSED] == clients:
            self.reactor.running = False


def page_aligned_buffer(size: int) -> memoryview:
    """Make a buffer that begins with a page, as the data of a long message does in the kernel.

    Where it began a few bytes further, as a bytearray does, some processors would copy at a fifth of the speed: each
    load would seem to depend on the store just before, whose address has the same 12 low bits ("4 KiB aliasing").
    """
    if hasattr(mmap, "MAP_PRIVATE"):
        return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    return memoryview(mmap.mmap(-1, size))  # Windows, where no other process has it either
