"""Echo over streams: one loop, one table, one tuple of acts.

Knows sockets and readiness. Knows no address, no signal and no thread: it is given listening sockets and told to run.

A connection goes from act to act by its byte of state. While it is FLOWING, what is read is written at once, out of one
buffer that all connections share. When a write falls short, the rest becomes its debt: the connection is OWING, and is
not read from until it is repaid, so that a client that never reads costs one buffer at most, and its own sending stops.
At the client's FIN everything received has been answered, or will be before the connection is looked at again.

    accept -> [SHAKING ->] FLOWING  <-> OWING          what costs nothing unless asked for: METERED and RESTING for
                |  or METERED or ANSWERING             limits (limiting.py), ANSWERING (answering.py), SHAKING and
                v                                      PARTING for TLS (tls.py), LEAVING when it is us who end it
              [PARTING ->] FREE
"""

import errno
import os
import socket
import time
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from halloo._core.limits import Limits
from halloo._core.timers import Timers
from halloo._server import connections as states
from halloo._server.acceptor import Acceptor, Endpoint
from halloo._server.closer import Closer
from halloo._server.connections import ECHOING, ConnectionTable, Snapshot
from halloo._server.handlers import ConnectionObserver, Handler, PeerName
from halloo._server.poller import FLOW, READ, WRITE, Poller, best
from halloo._server.throttling import Limiter

if TYPE_CHECKING:
    from halloo._server.tls import Handshakes
    from halloo._server.udp import Datagrams

BUFFER = 256 * 1024  # bytes; 64 KiB moves two thirds as much in a stream, more gains nothing
SMALL = 460  # bytes: with its header, what Python's own allocator (obmalloc) still serves


class Loop:
    """One poller, one table, one tuple of acts: `acts[state[fd]](fd)` for everything that is ready."""

    def __init__(
        self,
        posts: Sequence[Endpoint],
        *,
        poller: Poller | None = None,
        limits: Limits | None = None,
        clients: int | None = None,
        observer: ConnectionObserver | None = None,
        row: MutableSequence[int] | None = None,
        shared: bool = False,
        busy_poll: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve `posts`, whose sockets stay the caller's to close; `clients` is how many to serve before ending.

        `row` is where to count (see `table`); `shared` is for workers that have the same listeners. With `busy_poll` it
        never sleeps: nobody waits until it has woken up, at the price of a whole core.
        """
        self.poller = poller or best()
        self._handshakes = _handshakes(self) if any(post.context for post in posts) else None
        self.limits = limits or Limits()
        self.table = ConnectionTable(row)
        self.timers = Timers()
        self.clock = clock
        self._busy_poll = busy_poll
        self.running = True
        self.observer = observer
        self.buffer = memoryview(bytearray(max(self.limits.buffer or BUFFER, self.poller.least)))
        self._small = self.poller.small
        self._entry = states.LIMITED if self.limits.limited else ECHOING
        self._connection_handlers: dict[int, Handler] = {}
        self.closer = Closer(self)
        self._clients = clients
        self.woken: Callable[[], None] = _nothing  # what to do after each wake-up
        self._began = clock()
        self.limiter = Limiter(self)
        self._waking, self.waker = socket.socketpair()
        try:
            for end in (self._waking, self.waker):
                end.setblocking(False)
            self.watch(self._waking.fileno(), states.WAKEUP)
            self.acceptor = Acceptor(self, [post for post in posts if post.stream], clients=clients, shared=shared)
            self.datagrams = _datagrams(self, [post for post in posts if not post.stream])
        except BaseException:
            self.release()
            raise
        self._handlers = self._handlers_by_state()

    def _handlers_by_state(self) -> tuple[Callable[[int], object], ...]:
        acts: dict[int, Callable[[int], object]] = {
            states.FREE: self._ignore,
            states.LISTENING: self.acceptor.accept,
            states.WAKEUP: self._wake,
            states.ECHOING: self.echo,  # in `turn` as well, written out
            states.WRITE_PENDING: self._flush,
            states.LIMITED: self.limiter.echo(),
            states.THROTTLED: self.limiter.probe,
            states.HANDLING: self._readable,
            states.HANDSHAKING: self._handshakes.act if self._handshakes else self._ignore,
            states.TLS_CLOSING: self.closer.close_after_flush,
            states.LINGERING: self.closer.discard_input,
            states.PARENT_EXIT: self._parent_exited,
            states.DATAGRAM: self.datagrams.readable if self.datagrams else self._ignore,
        }
        return tuple(acts[state] for state in range(len(acts)))

    def run(self) -> None:
        """Take turns until `stop`, or until the last of so many clients has left."""
        timers, clock = self.timers, self.clock
        while self.running:
            self.turn(0 if self._busy_poll else timers.patience(clock()))
            for act in timers.due(clock()):
                act()

    def turn(self, timeout: float | None = 0) -> list[tuple[int, int]]:  # noqa: C901, PLR0912, PLR0915 - see below
        """Wait for what is ready, `timeout` seconds or for ever, do all of it once, and give it."""
        # Long, because the echo itself is written out here: a call for each message would cost a tenth of the speed.
        # FLOW is watched for nothing but FLOWING, so that no state has to be looked up. While messages are SMALL a
        # read that makes a new bytes object is quicker than one into the buffer, which takes a slice as well.
        poller, buffer, acts, state = self.poller, self.buffer, self._handlers, self.table.state
        metered = self._entry != ECHOING
        read, readv, write, small = poller.read, poller.readv, poller.write, self._small
        piece: bytes | memoryview = b""
        buffers, size, echoed, messages = [buffer], 0, 0, 0
        ready = poller.poll(timeout)
        if metered:
            self.limiter.tick()
        for fd, events in ready:
            if events != FLOW:
                acts[state[fd]](fd)
                continue
            try:
                if small:
                    piece = read(fd, SMALL)
                    received = len(piece)
                    if received == SMALL:
                        piece = self._with_surplus(fd, piece)
                        received, size, small = len(piece), 0, False
                else:
                    received = readv(fd, buffers)
                    if received != size:
                        piece, size, small = buffer[:received], received, received < SMALL and poller.small
            except BlockingIOError:
                continue  # the number was closed and given to a new connection within this batch
            except OSError as error:
                self.lose(fd, error)
                continue
            if not received:
                self.closer.close_after_flush(fd)
                continue
            try:
                sent = write(fd, piece)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self.lose(fd, error)
                continue
            messages += 1
            echoed += sent
            if sent != received:
                self.table.row[states.RECEIVED] += received - sent
                self.queue_write(fd, memoryview(piece)[sent:])
        if metered:
            self.limiter.settle()
        self._small = small
        row = self.table.row
        row[states.RECEIVED] += echoed
        row[states.SENT] += echoed
        row[states.MESSAGES] += messages
        return ready

    def _with_surplus(self, fd: int, piece: bytes | memoryview) -> memoryview:
        """Read what came beyond a SMALL piece, so that a larger message goes back in one."""
        self.buffer[:SMALL] = piece
        try:
            surplus = self.poller.readv(fd, [self.buffer[SMALL:]])
        except OSError:
            surplus = 0  # nothing, or a failure that the next read will meet again
        return self.buffer[: SMALL + surplus]

    def stop(self) -> None:
        """End `run` after its present turn; any thread and any signal handler may call this."""
        self.running = False
        self.wake()

    def wake(self) -> None:
        """Make a waiting `turn` return."""
        with suppress(OSError):  # full of wake-ups already, or closed: either way nobody waits
            self.waker.send(b"!")

    def snapshot(self) -> Snapshot:
        """Say what has been done so far."""
        return Snapshot.of(self.table.row, began=self._began, now=self.clock())

    def shutdown(self) -> None:
        """Close every connection, and all that the loop opened for itself; the listeners stay open."""
        self.running = False
        for fd in self.table.in_state(*states.CONNECTED):
            self.close(fd)
        self.acceptor.pause_accepting()
        if self.datagrams:
            self.datagrams.close()
        self.poller.forget(self._waking.fileno())
        self.release()

    def release(self) -> None:
        """Close the loop's own descriptors and nothing else: what a forked child does with its parent's loop."""
        self._waking.close()
        self.waker.close()
        self.poller.close()

    def watch(self, fd: int, state: int) -> None:
        """Have the act of a state called when a descriptor that is not a connection can be read."""
        self.table.begin(fd, state)
        self.poller.watch(fd, READ)

    # What acts and handlers are made of.

    def begin(self, sock: socket.socket, peer: PeerName, post: Endpoint) -> int:
        """Take over a client's socket, which does not block, and give its descriptor."""
        if self._handshakes and post.context:
            fd, state = self._handshakes.begin(sock, post.context), states.HANDSHAKING
        else:
            fd, state = self.poller.adopt(sock), states.HANDLING if post.handler else self._entry
        try:
            self.poller.watch(fd, FLOW if state == ECHOING else READ)
        except OSError:
            with suppress(OSError):
                self.poller.close_fd(fd)
            raise
        self.table.begin(fd, state)
        self.table.row[states.ACCEPTED] += 1
        if self._entry != ECHOING:
            self.limiter.begin(fd)
        if self.observer:
            self.observer.opened(fd, peer)
        if post.handler:
            self._connection_handlers[fd] = post.handler
            if state != states.HANDSHAKING:
                post.handler.opened(self, fd)
        if state == states.HANDSHAKING:
            self.closer.set_deadline(fd, self.limits.handshake_timeout, "handshake_timeout")
        return fd

    def receive(self, fd: int) -> memoryview | None:
        """Read what has come, into the shared buffer: empty at the client's end, None when there is nothing now."""
        metered = self._entry != ECHOING
        most = self.limiter.allowance(fd) if metered else len(self.buffer)
        try:
            received = self.poller.readv(fd, [self.buffer[: max(most, self.poller.least)]])
        except BlockingIOError:
            return None
        except OSError as error:
            self.lose(fd, error)
            return None
        self.table.row[states.RECEIVED] += received
        if metered and (excess := self.limiter.note(fd, received)):
            if excess < received:
                self.send(fd, self.buffer[: received - excess])
            if self.table.state[fd] not in (states.FREE, states.WRITE_PENDING):
                self.closer.end(fd, "max_bytes")
            return None
        return self.buffer[:received]

    def send(self, fd: int, data: memoryview | bytes) -> bool:
        """Write an answer; whether all of it went. Otherwise the rest is owed, or the connection lost."""
        try:
            sent = self.poller.write(fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.lose(fd, error)
            return False
        self.table.row[states.SENT] += sent
        self.table.row[states.MESSAGES] += 1
        if sent < len(data):
            self.queue_write(fd, memoryview(data)[sent:])
        return sent == len(data)

    def echo(self, fd: int) -> None:
        """Read and write once; `turn` has this written out, for nearly all."""
        piece = self.receive(fd)
        if piece:
            if self.send(fd, piece):
                self.limiter.throttle_if_overdrawn(fd)
        elif piece is not None:
            self.closer.close_after_flush(fd)

    def queue_write(self, fd: int, rest: memoryview) -> None:
        """Keep the unsent rest of an answer, and wait until the client takes it before reading on."""
        self.table.queue_write(fd, memoryview(bytes(rest)), self.clock())
        self.table.state[fd] = states.WRITE_PENDING
        self.poller.change(fd, WRITE)
        self.limiter.write_pending()

    def handshake_done(self, fd: int) -> None:
        """Begin with a connection whose TLS is agreed."""
        self.closer.clear_deadline(fd)
        self.flushed(fd)
        if handler := self._connection_handlers.get(fd):
            handler.opened(self, fd)

    def flushed(self, fd: int) -> None:
        """Let a connection flow again; what is to come next decides about its state."""
        state = self.table.state[fd] = states.HANDLING if fd in self._connection_handlers else self._entry
        self.poller.change(fd, FLOW if state == ECHOING else READ)

    def lose(self, fd: int, error: OSError) -> None:
        """Close a connection that failed, and count why."""
        if self.table.state[fd] == states.FREE:
            return
        name = errno.errorcode.get(error.errno or 0, "")
        if name not in states.SLOT:
            name = type(error).__name__
        self.table.count(name)
        self.close(fd, name)

    def close(self, fd: int, reason: str = "") -> None:
        """Close a connection; the reason is for the log, and empty at the client's own end."""
        table = self.table
        table.state[fd] = states.FREE
        if table.pending_writes:
            table.discard_pending(fd)
        self.poller.close_fd(fd)
        table.row[states.CLOSED] += 1
        self.closer.clear_deadline(fd)
        if self._connection_handlers and (handler := self._connection_handlers.pop(fd, None)):
            handler.closed(fd)
        if self.observer:
            self.observer.closed(fd, reason)
        self.acceptor.connection_closed(fd)
        if table.row[states.CLOSED] == self._clients:
            self.running = False

    # The acts.

    def _ignore(self, fd: int) -> None:
        """Do nothing: closed earlier in the same batch."""

    def _wake(self, fd: int) -> None:  # noqa: ARG002 - every act takes the descriptor
        with suppress(BlockingIOError):
            while self._waking.recv(4096):
                pass
        self.woken()

    def _parent_exited(self, fd: int) -> None:  # noqa: ARG002 - as above
        # Nobody is left who could restart us or close the port, and our clients are better off with another server.
        os._exit(1)

    def _readable(self, fd: int) -> None:
        self._connection_handlers[fd].readable(self, fd)

    def _flush(self, fd: int) -> None:
        debt = self.table.pending_writes[fd]
        try:
            sent = self.poller.write(fd, debt)
        except BlockingIOError:
            return
        except OSError as error:
            self.lose(fd, error)
            return
        self.table.row[states.SENT] += sent
        if self._entry != ECHOING:
            self.limiter.note(fd, 0)
        if sent < len(debt):
            self.table.queue_write(fd, debt[sent:], self.clock())
            return
        self.table.discard_pending(fd)
        self.flushed(fd)
        if handler := self._connection_handlers.get(fd):
            handler.writable(self, fd)


def _nothing() -> None:
    """Do nothing."""


def _handshakes(loop: Loop) -> "Handshakes":
    from halloo._server.tls import Handshakes  # noqa: PLC0415 - ssl is slow to import, and not for everybody

    return Handshakes(loop)


def _datagrams(loop: Loop, posts: Sequence[Endpoint]) -> "Datagrams | None":
    if not posts:
        return None
    from halloo._server.udp import Datagrams  # noqa: PLC0415 - most servers are for streams alone

    return Datagrams(loop, posts)
