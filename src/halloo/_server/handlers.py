"""Answer with a function instead of the echo: once a line, a chunk or a message.

Knows framings and the loop's reads and writes. A connection's answers keep their order; while one is owed, the next
message is not even looked at, so a client that does not read costs one batch of answers and what it had sent before.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from halloo._core.framing import FRAMERS, Framer
from halloo.errors import HallooError, UsageError

if TYPE_CHECKING:
    from halloo._server.tcp import Loop


BATCH = 64 * 1024  # bytes of answers collected before they are written

log = logging.getLogger("halloo")


Respond = Callable[[bytes], bytes | None]  # what is answered to a message; None is no answer
PeerName = (
    tuple[str, int] | tuple[str, int, int, int] | str
)  # as accept(2) reports it; of a Unix socket, its name or ""


class Handler(Protocol):
    """What answers instead of the echo; see `answering` and `pages`."""

    def opened(self, loop: "Loop", fd: int) -> None:
        """Take note of a connection just accepted."""

    def readable(self, loop: "Loop", fd: int) -> None:
        """Read what has come."""

    def writable(self, loop: "Loop", fd: int) -> None:
        """Go on, now that all that was owed has been repaid."""

    def closed(self, fd: int) -> None:
        """Forget a connection that is closed."""


class ConnectionObserver(Protocol):
    """Who is told of clients' coming and going, where somebody wants to know."""

    def opened(self, fd: int, peer: PeerName) -> None:
        """Take note of a client."""

    def datagram_received(self, peer: PeerName) -> None:
        """Take note of somebody who sends datagrams."""

    def refused(self, peer: PeerName, reason: str) -> None:
        """Take note of a client that was turned away."""

    def closed(self, fd: int, reason: str) -> None:
        """Take note of an end; the reason is empty for the client's own."""


@dataclass(slots=True)
class Exchange:
    """One connection: its framing, the messages not yet answered, and whether the client has finished."""

    framing: Framer
    messages: Iterator[bytes] = field(default_factory=lambda: iter(()))
    finished: bool = False
    failure: str | None = None

    def fail(self, failure: str) -> None:
        """Answer nothing more; what is answered already is sent."""
        self.messages, self.failure = iter(()), failure


class RespondHandler:
    """A handler for the loop: `greeting` first, then `respond(message)` for each message, None for no answer."""

    def __init__(self, respond: Respond | None, framing: str, greeting: bytes) -> None:
        """Answer with the message itself where `respond` is None. Raises UsageError for an unknown framing."""
        if framing not in FRAMERS:
            raise UsageError(f"{framing!r} is no framing", f"use one of {', '.join(FRAMERS)}")
        self.plain = respond is None and not greeting
        """Whether this would answer like the echo itself, which is quicker at it."""
        self.respond = respond
        self._framing = FRAMERS[framing]
        self.greeting = greeting
        self._talks: dict[int, Exchange] = {}

    def opened(self, loop: "Loop", fd: int) -> None:
        """Greet."""
        self._talks[fd] = Exchange(self._framing())
        if self.greeting:
            loop.send(fd, self.greeting)

    def readable(self, loop: "Loop", fd: int) -> None:
        """Read, and answer what the reading completed."""
        piece = loop.receive(fd)
        if piece is None:
            return
        data = bytes(piece)
        talk = self._talks[fd]
        talk.finished = not data
        talk.messages = talk.framing.feed(data) if data else talk.framing.finish()
        self.writable(loop, fd)

    def writable(self, loop: "Loop", fd: int) -> None:
        """Go on answering until there is nothing left or the client does not take it; close after the last."""
        talk = self._talks[fd]
        while answers := self._answers(talk):
            if not loop.send(fd, answers):
                return
        if talk.failure:
            loop.table.count(talk.failure)
            loop.closer.linger(fd, talk.failure)
        elif talk.finished:
            loop.closer.close_after_flush(fd)
        else:
            loop.limiter.throttle_if_overdrawn(fd)

    def closed(self, fd: int) -> None:
        """Forget the connection."""
        self._talks.pop(fd, None)

    def _answers(self, talk: Exchange) -> bytes:
        """Answer the next messages, about a BATCH of bytes; empty when all are answered."""
        answers, collected = [], 0
        try:
            for frame in talk.messages:
                answer = self._answer(talk, frame)
                if answer is not None:
                    answers.append(answer)
                    collected += len(answer)
                if talk.failure or collected >= BATCH:
                    break
        except HallooError as error:  # the client's framing
            talk.fail(type(error).__name__)
        return b"".join(answers)

    def _answer(self, talk: Exchange, frame: bytes) -> bytes | None:
        try:
            body = talk.framing.body(frame)
            answer = self.respond(body) if self.respond else body
            return None if answer is None else talk.framing.like(frame, answer)
        except Exception:
            log.exception("respond failed; its connection is closed, the others go on")
            talk.fail("respond")
            return None
