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
from halloo._server.acceptor import Door, Post
from halloo._server.closer import Endings
from halloo._server.connections import FLOWING, Snapshot, Table
from halloo._server.handlers import Conversation, Peer, Witness
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
        posts: Sequence[Post],
        *,
        poller: Poller | None = None,
        limits: Limits | None = None,
        clients: int | None = None,
        witness: Witness | None = None,
        row: MutableSequence[int] | None = None,
        shared: bool = False,
        spin: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve `posts`, whose sockets stay the caller's to close; `clients` is how many to serve before ending.

        `row` is where to count (see `table`); `shared` is for workers that have the same listeners. With `spin` it
        never sleeps: nobody waits until it has woken up, at the price of a whole core.
        """
        self.poller = poller or best()
        self._handshakes = _handshakes(self) if any(post.context for post in posts) else None
        self.limits = limits or Limits()
        self.table = Table(row)
        self.timers = Timers()
        self.clock = clock
        self._spin = spin
        self.running = True
        self.witness = witness
        self.buffer = memoryview(bytearray(max(self.limits.buffer or BUFFER, self.poller.least)))
        self._small = self.poller.small
        self._entry = states.METERED if self.limits.metered else FLOWING
        self._conversations: dict[int, Conversation] = {}
        self.endings = Endings(self)
        self._clients = clients
        self.woken: Callable[[], None] = _nothing  # what to do after each wake-up
        self._began = clock()
        self.limiter = Limiter(self)
        self._waking, self.waker = socket.socketpair()
        try:
            for end in (self._waking, self.waker):
                end.setblocking(False)
            self.watch(self._waking.fileno(), states.WAKING)
            self.door = Door(self, [post for post in posts if post.stream], clients=clients, shared=shared)
            self.datagrams = _datagrams(self, [post for post in posts if not post.stream])
        except BaseException:
            self.release()
            raise
        self._acts = self._table_of_acts()

    def _table_of_acts(self) -> tuple[Callable[[int], object], ...]:
        acts: dict[int, Callable[[int], object]] = {
            states.FREE: self._ignore,
            states.LISTENING: self.door.accept,
            states.WAKING: self._wake,
            states.FLOWING: self.echo,  # in `turn` as well, written out
            states.OWING: self._repay,
            states.METERED: self.limiter.echo(),
            states.RESTING: self.limiter.probe,
            states.ANSWERING: self._converse,
            states.SHAKING: self._handshakes.act if self._handshakes else self._ignore,
            states.PARTING: self.endings.finish,
            states.LEAVING: self.endings.left,
            states.ORPHANING: self._orphan,
            states.HEARING: self.datagrams.hear if self.datagrams else self._ignore,
        }
        return tuple(acts[state] for state in range(len(acts)))

    def run(self) -> None:
        """Take turns until `stop`, or until the last of so many clients has left."""
        timers, clock = self.timers, self.clock
        while self.running:
            self.turn(0 if self._spin else timers.patience(clock()))
            for act in timers.due(clock()):
                act()

    def turn(self, timeout: float | None = 0) -> list[tuple[int, int]]:  # noqa: C901, PLR0912, PLR0915 - see below
        """Wait for what is ready, `timeout` seconds or for ever, do all of it once, and give it."""
        # Long, because the echo itself is written out here: a call for each message would cost a tenth of the speed.
        # FLOW is watched for nothing but FLOWING, so that no state has to be looked up. While messages are SMALL a
        # read that makes a new bytes object is quicker than one into the buffer, which takes a slice as well.
        poller, buffer, acts, state = self.poller, self.buffer, self._acts, self.table.state
        metered = self._entry != FLOWING
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
                self.endings.finish(fd)
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
                self.owe(fd, memoryview(piece)[sent:])
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
        for fd in self.table.within(*states.CONNECTED):
            self.close(fd)
        self.door.deafen()
        if self.datagrams:
            self.datagrams.deafen()
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

    # What acts and conversations are made of.

    def begin(self, sock: socket.socket, peer: Peer, post: Post) -> int:
        """Take over a client's socket, which does not block, and give its descriptor."""
        if self._handshakes and post.context:
            fd, state = self._handshakes.begin(sock, post.context), states.SHAKING
        else:
            fd, state = self.poller.adopt(sock), states.ANSWERING if post.conversation else self._entry
        try:
            self.poller.watch(fd, FLOW if state == FLOWING else READ)
        except OSError:
            with suppress(OSError):
                self.poller.shut(fd)
            raise
        self.table.begin(fd, state)
        self.table.row[states.ACCEPTED] += 1
        if self._entry != FLOWING:
            self.limiter.begin(fd)
        if self.witness:
            self.witness.opened(fd, peer)
        if post.conversation:
            self._conversations[fd] = post.conversation
            if state != states.SHAKING:
                post.conversation.begin(self, fd)
        if state == states.SHAKING:
            self.endings.expect(fd, self.limits.handshake_timeout, "handshake_timeout")
        return fd

    def receive(self, fd: int) -> memoryview | None:
        """Read what has come, into the shared buffer: empty at the client's end, None when there is nothing now."""
        metered = self._entry != FLOWING
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
            if self.table.state[fd] not in (states.FREE, states.OWING):
                self.endings.end(fd, "max_bytes")
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
            self.owe(fd, memoryview(data)[sent:])
        return sent == len(data)

    def echo(self, fd: int) -> None:
        """Read and write once; `turn` has this written out, for nearly all."""
        piece = self.receive(fd)
        if piece:
            if self.send(fd, piece):
                self.limiter.overdrawn(fd)
        elif piece is not None:
            self.endings.finish(fd)

    def owe(self, fd: int, rest: memoryview) -> None:
        """Keep the unsent rest of an answer, and wait until the client takes it before reading on."""
        self.table.owe(fd, memoryview(bytes(rest)), self.clock())
        self.table.state[fd] = states.OWING
        self.poller.change(fd, WRITE)
        self.limiter.owed()

    def agreed(self, fd: int) -> None:
        """Begin with a connection whose TLS is agreed."""
        self.endings.lift(fd)
        self.repaid(fd)
        if conversation := self._conversations.get(fd):
            conversation.begin(self, fd)

    def repaid(self, fd: int) -> None:
        """Let a connection flow again; what is to come next decides about its state."""
        state = self.table.state[fd] = states.ANSWERING if fd in self._conversations else self._entry
        self.poller.change(fd, FLOW if state == FLOWING else READ)

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
        if table.debts:
            table.forgive(fd)
        self.poller.shut(fd)
        table.row[states.CLOSED] += 1
        self.endings.lift(fd)
        if self._conversations and (conversation := self._conversations.pop(fd, None)):
            conversation.end(fd)
        if self.witness:
            self.witness.closed(fd, reason)
        self.door.left(fd)
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

    def _orphan(self, fd: int) -> None:  # noqa: ARG002 - as above
        # Nobody is left who could restart us or close the port, and our clients are better off with another server.
        os._exit(1)

    def _converse(self, fd: int) -> None:
        self._conversations[fd].hear(self, fd)

    def _repay(self, fd: int) -> None:
        debt = self.table.debts[fd]
        try:
            sent = self.poller.write(fd, debt)
        except BlockingIOError:
            return
        except OSError as error:
            self.lose(fd, error)
            return
        self.table.row[states.SENT] += sent
        if self._entry != FLOWING:
            self.limiter.note(fd, 0)
        if sent < len(debt):
            self.table.owe(fd, debt[sent:], self.clock())
            return
        self.table.forgive(fd)
        self.repaid(fd)
        if conversation := self._conversations.get(fd):
            conversation.resume(self, fd)


def _nothing() -> None:
    """Do nothing."""


def _handshakes(loop: Loop) -> "Handshakes":
    from halloo._server.tls import Handshakes  # noqa: PLC0415 - ssl is slow to import, and not for everybody

    return Handshakes(loop)


def _datagrams(loop: Loop, posts: Sequence[Post]) -> "Datagrams | None":
    if not posts:
        return None
    from halloo._server.udp import Datagrams  # noqa: PLC0415 - most servers are for streams alone

    return Datagrams(loop, posts)
