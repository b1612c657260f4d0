"""Answer with a function instead of the echo: once a line, a chunk or a message.

The answers of a connection keep their order. While one is pending, the next message is not even parsed, so a client
that does not read costs one batch of answers and what it had sent before.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from halloo._core.framing import FRAMERS, Framer
from halloo._net.datagrams import IpPeer
from halloo._server.exchange import Exchange
from halloo._server.poller import Poller
from halloo._server.responder import Respond, Responder, RespondError, log_failure
from halloo.errors import HallooError

BATCH_SIZE = 64 * 1024  # bytes of answers collected before they are written
BATCH_MESSAGES = 200  # answered in one turn, 0.3 ms; a read may hold 262144, and other clients would wait for them

PeerName = IpPeer | str | bytes  # as accept(2) reports it; of a Unix socket, its name or "", bytes of an abstract one


class ConnectionObserver(Protocol):
    """Observes clients as they connect, send datagrams, are refused, and disconnect."""

    def measured(self, poller: Poller) -> Poller:
        """Return the poller that the loop uses: this one, or another in front of it."""

    def opened(self, fd: int, peer: PeerName, listener: str) -> None:
        """Observe a connection accepted at an address."""

    def datagram_received(self, peer: PeerName, listener: str) -> None:
        """Observe a sender of datagrams."""

    def refused(self, peer: PeerName, listener: str, reason: str, count: int = 1) -> None:
        """Observe a refused client, or that many of its datagrams since the last time."""

    def closed(self, fd: int, reason: str) -> None:
        """Observe a closed connection; the reason is empty if the client closed."""


@dataclass(slots=True)
class MessageQueue:
    """The messages of one connection that are not answered yet."""

    framing: Framer
    messages: Iterator[bytes] = field(default_factory=lambda: iter(()))
    answered: bool = True
    eof: bool = False
    failure: str | None = None

    def fail(self, failure: str) -> None:
        """Drop the remaining messages; answers made already are sent."""
        self.messages, self.answered, self.failure = iter(()), True, failure


class RespondHandler:
    """Sends `greeting`, then `respond(message)` for each message; None is no answer."""

    def __init__(
        self,
        respond: Respond | None,
        framing: str,
        greeting: bytes,
        report: Callable[[BaseException], object] = log_failure,
    ) -> None:
        """Pass to `report` whatever `respond` raises."""
        self.plain_echo = respond is None and not greeting
        """Whether the answers equal the plain echo, which is faster."""
        self.responder = Responder(respond, report) if respond else None
        self._framing = FRAMERS[framing]
        self.greeting = greeting
        self._queues: dict[int, MessageQueue] = {}

    def opened(self, exchange: Exchange, fd: int) -> None:
        self._queues[fd] = MessageQueue(self._framing())
        if self.greeting:
            exchange.send(fd, self.greeting)

    def readable(self, exchange: Exchange, fd: int) -> None:
        """Read, and answer the messages that are complete."""
        chunk = exchange.receive(fd)
        if chunk is None:
            return
        data = bytes(chunk)
        queue = self._queues[fd]
        queue.eof = not data
        queue.messages = queue.framing.feed(data) if data else queue.framing.feed_eof()
        self.writable(exchange, fd)

    def writable(self, exchange: Exchange, fd: int) -> None:
        """Answer a batch of messages, and the next one in another turn; close after the last."""
        queue = self._queues[fd]
        answers = self._answers(queue)
        if answers and not exchange.send(fd, answers):
            return
        if not queue.answered:
            exchange.continue_later(fd)
        elif queue.failure:
            exchange.disconnect(fd, queue.failure)
        elif queue.eof:
            exchange.end(fd)
        else:
            exchange.answered(fd)

    def closed(self, fd: int) -> None:
        """Remove the connection's queue."""
        self._queues.pop(fd, None)

    def _answers(self, queue: MessageQueue) -> bytes:
        """Answer the next messages: at most BATCH_MESSAGES, and about BATCH_SIZE bytes of answers."""
        answers, collected = [], 0
        queue.answered = False
        try:
            for count, frame in enumerate(queue.messages, 1):
                answer = self._answer(queue, frame)
                if answer is not None:
                    answers.append(answer)
                    collected += len(answer)
                if queue.failure or collected >= BATCH_SIZE or count >= BATCH_MESSAGES:
                    break
            else:
                queue.answered = True
        except HallooError as error:  # invalid framing by the client
            queue.fail(type(error).__name__)
        return b"".join(answers)

    def _answer(self, queue: MessageQueue, frame: bytes) -> bytes | None:
        body = queue.framing.body(frame)
        if self.responder is None:
            return queue.framing.frame_reply(frame, body)
        try:
            answer = self.responder(body)
            return None if answer is None else queue.framing.frame_reply(frame, answer)
        except OverflowError as error:  # longer than the four bytes of a length can say
            self.responder.report(error)
        except RespondError:
            pass
        queue.fail("respond")
        return None
