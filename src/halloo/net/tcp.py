"""Echo over TCP: one loop, one table, one tuple of acts.

Knows sockets and readiness. Knows no address, no signal and no thread: it is given listening sockets and told to run.

A connection goes from act to act by its byte of state. While it is FLOWING, what is read is written at once, out of one
buffer that all connections share. When a write falls short, the rest becomes its debt: the connection is OWING, and is
not read from until it is repaid, so that a client that never reads costs one buffer at most, and its own sending stops.
At the client's FIN everything received has been answered, or will be before the connection is looked at again.
"""

import errno
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from halloo.core.timers import Timers
from halloo.net.poller import READ, WRITE, Poller, best
from halloo.net.table import ANSWERING, FLOWING, FREE, LISTENING, OWING, WAKING, Snapshot, Table

BUFFER = 256 * 1024  # bytes; 64 KiB moves two thirds as much in a stream, more gains nothing
ACCEPTS = 16  # connections taken at one event, so that a burst of them does not hold up the others
FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}  # accept(2): nothing left to make a socket of
FULL_PAUSE = 0.1  # seconds until the next try, when no connection of ours closes before
# accept(2): errors that belong to the connection that was to be, not to the listener
PASSING = {
    getattr(errno, name, 0)
    for name in (
        *("ECONNABORTED", "EPROTO", "EPERM", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH"),
        *("EOPNOTSUPP", "ENETUNREACH", "ECONNRESET", "ETIMEDOUT"),
    )
}

Peer = tuple[str, int] | tuple[str, int, int, int] | str


class Conversation(Protocol):
    """What answers instead of the echo; see `answering`."""

    def begin(self, loop: "Loop", fd: int) -> None:
        """Take note of a connection just accepted."""

    def hear(self, loop: "Loop", fd: int) -> None:
        """Read what has come."""

    def resume(self, loop: "Loop", fd: int) -> None:
        """Go on, now that all that was owed has been repaid."""

    def end(self, fd: int) -> None:
        """Forget a connection that is closed."""


class Loop:
    """One poller, one table, one tuple of acts: `acts[state[fd]](fd)` for everything that is ready."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        poller: Poller | None = None,
        conversation: Conversation | None = None,
        clients: int | None = None,
        on_open: Callable[[Peer], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve `listeners`, which stay the caller's to close; `clients` is how many to serve before ending."""
        self.poller = poller or best()
        self.table = Table()
        self.timers = Timers()
        self.running = True
        self.entry = FLOWING if conversation is None else ANSWERING
        self._conversation = conversation
        self._clients = clients
        self._on_open = on_open
        self._clock = clock
        self._buffer = memoryview(bytearray(BUFFER))
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._listening = False
        self._acts = (self._ignore, self._accept, self._wake, self._ignore, self._repay, self._hear)
        self._waking, self.waker = socket.socketpair()
        for end in (self._waking, self.waker):
            end.setblocking(False)
        self.table.begin(self._waking.fileno(), WAKING)
        self.poller.watch(self._waking.fileno(), READ)
        self._listen()

    def run(self) -> None:
        """Take turns until `stop`, or until the last of so many clients has left."""
        timers, clock = self.timers, self._clock
        while self.running:
            self.turn(timers.patience(clock()))
            for act in timers.due(clock()):
                act()

    def turn(self, timeout: float | None = 0) -> None:
        """Wait for what is ready, `timeout` seconds or for ever, and do all of it once."""
        # Long, because the echo itself is written out here: a call for each message would cost a tenth of the speed.
        table, acts, buffer = self.table, self._acts, self._buffer
        readv, write, state = self.poller.readv, self.poller.write, table.state
        buffers, piece, size, echoed = [buffer], buffer, len(buffer), 0
        for fd, _ in self.poller.poll(timeout):
            if state[fd] != FLOWING:
                acts[state[fd]](fd)
                continue
            try:
                received = readv(fd, buffers)
            except BlockingIOError:
                continue  # the number was closed and given to a new connection within this batch
            except OSError as error:
                self.lose(fd, error)
                continue
            if not received:
                self.close(fd)
                continue
            if received != size:
                piece, size = buffer[:received], received
            try:
                sent = write(fd, piece)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self.lose(fd, error)
                continue
            echoed += sent
            if sent != received:
                table.received += received - sent
                self.owe(fd, piece[sent:])
        table.received += echoed
        table.sent += echoed

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
        return self.table.snapshot()

    def shutdown(self) -> None:
        """Close every connection, and all that the loop opened for itself; the listeners stay open."""
        for fd in self.table.within(FLOWING, OWING, ANSWERING):
            self.close(fd)
        self._deafen()
        self.poller.forget(self._waking.fileno())
        self._waking.close()
        self.waker.close()
        self.poller.close()

    # What acts and conversations are made of.

    def owe(self, fd: int, rest: memoryview | bytes) -> None:
        """Keep the unsent rest of an answer, and wait until the client takes it before reading on."""
        self.table.debts[fd] = memoryview(bytes(rest))
        self.table.state[fd] = OWING
        self.poller.change(fd, WRITE)

    def send(self, fd: int, data: bytes) -> bool:
        """Write an answer; whether all of it went. Otherwise the rest is owed, or the connection lost."""
        try:
            sent = self.poller.write(fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.lose(fd, error)
            return False
        self.table.sent += sent
        if sent < len(data):
            self.owe(fd, memoryview(data)[sent:])
        return sent == len(data)

    def receive(self, fd: int) -> bytes | None:
        """Read what has come: empty at the client's FIN, None when there is nothing or the connection was lost."""
        try:
            received = self.poller.readv(fd, [self._buffer])
        except BlockingIOError:
            return None
        except OSError as error:
            self.lose(fd, error)
            return None
        self.table.received += received
        return bytes(self._buffer[:received])

    def lose(self, fd: int, error: OSError) -> None:
        """Close a connection that failed, and count why."""
        self.table.count_error(error)
        self.close(fd)

    def close(self, fd: int) -> None:
        """End a connection."""
        self.table.state[fd] = FREE
        self.table.debts.pop(fd, None)
        self.poller.shut(fd)
        self.table.closed += 1
        if self._conversation:
            self._conversation.end(fd)
        if not self._listening:
            self._listen()
        if self.table.closed == self._clients:
            self.running = False

    # The acts.

    def _ignore(self, fd: int) -> None:
        """Nothing to do: closed earlier in the same batch."""

    def _wake(self, fd: int) -> None:  # noqa: ARG002 - every act takes the descriptor
        with suppress(BlockingIOError):
            while self._waking.recv(4096):
                pass

    def _accept(self, fd: int) -> None:
        listener = self._listeners[fd]
        for _ in range(ACCEPTS):
            if self.table.accepted == self._clients:
                return self._deafen()
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in FULL:
                    return self._pause(error)
                if error.errno not in PASSING:
                    raise
                self.table.count_error(error)
                continue
            try:
                self._admit(sock, peer)
            except OSError as error:
                sock.close()
                return self._pause(error)
        return None

    def _admit(self, sock: socket.socket, peer: Peer) -> None:
        sock.setblocking(False)
        fd = self.poller.adopt(sock)
        self.table.begin(fd, self.entry)
        self.poller.watch(fd, READ)
        self.table.accepted += 1
        if self._on_open:
            self._on_open(peer)
        if self._conversation:
            self._conversation.begin(self, fd)

    def _hear(self, fd: int) -> None:
        if self._conversation:
            self._conversation.hear(self, fd)

    def _repay(self, fd: int) -> None:
        debt = self.table.debts[fd]
        try:
            sent = self.poller.write(fd, debt)
        except BlockingIOError:
            return
        except OSError as error:
            self.lose(fd, error)
            return
        self.table.sent += sent
        if sent < len(debt):
            self.table.debts[fd] = debt[sent:]
            return
        del self.table.debts[fd]
        self.table.state[fd] = self.entry
        self.poller.change(fd, READ)
        if self._conversation:
            self._conversation.resume(self, fd)

    # Listening, and not listening while there is nothing left to make a socket of.

    def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            for fd in self._listeners:
                self.table.begin(fd, LISTENING)
                self.poller.watch(fd, READ)

    def _deafen(self) -> None:
        if self._listening:
            self._listening = False
            for fd in self._listeners:
                self.table.state[fd] = FREE
                self.poller.forget(fd)

    def _pause(self, error: OSError) -> None:
        """Stop accepting until a connection closes or a moment has passed: a full listener would be ready for ever."""
        self.table.count_error(error)
        self._deafen()
        self.timers.at(self._clock() + FULL_PAUSE, self._listen)
