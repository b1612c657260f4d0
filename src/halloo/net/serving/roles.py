"""The shapes of what others bring to a loop: what answers instead of the echo, and who is told of clients.

Knows names only.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from halloo.net.serving.tcp import Loop

Respond = Callable[[bytes], bytes | None]  # what is answered to a message; None is no answer
Peer = tuple[str, int] | tuple[str, int, int, int] | str  # as accept(2) reports it; of a Unix socket, its name or ""


class Conversation(Protocol):
    """What answers instead of the echo; see `answering` and `pages`."""

    def begin(self, loop: "Loop", fd: int) -> None:
        """Take note of a connection just accepted."""

    def hear(self, loop: "Loop", fd: int) -> None:
        """Read what has come."""

    def resume(self, loop: "Loop", fd: int) -> None:
        """Go on, now that all that was owed has been repaid."""

    def end(self, fd: int) -> None:
        """Forget a connection that is closed."""


class Witness(Protocol):
    """Who is told of clients' coming and going, where somebody wants to know."""

    def opened(self, fd: int, peer: Peer) -> None:
        """Take note of a client."""

    def heard(self, peer: Peer) -> None:
        """Take note of somebody who sends datagrams."""

    def refused(self, peer: Peer, reason: str) -> None:
        """Take note of a client that was turned away."""

    def closed(self, fd: int, reason: str) -> None:
        """Take note of an end; the reason is empty for the client's own."""
