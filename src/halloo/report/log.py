"""Tell of clients' coming and going, a line each: as text for a person, as JSON for a program.

Knows what a line looks like. Each is handed to `write`, which must not block: a reader who has stopped reading is no
reason to stop serving.
"""

import json
from collections.abc import Callable

from halloo.core.escape import printable
from halloo.net.serving.roles import Peer

Write = Callable[[str], object]


class TextLog:
    """`Connected by ('127.0.0.1', 51234)`, as in the tutorial; and why somebody was turned away or sent home."""

    def __init__(self, write: Write) -> None:
        """Write lines to `write`."""
        self._write = write

    def opened(self, fd: int, peer: Peer) -> None:  # noqa: ARG002 - the shape is Witness's
        """Say who has come."""
        self._write(f"Connected by {shown(peer)}")

    def heard(self, peer: Peer) -> None:
        """Say who sends datagrams."""
        self._write(f"Heard from {shown(peer)}")

    def refused(self, peer: Peer, reason: str) -> None:
        """Say who was turned away."""
        self._write(f"Refused {shown(peer)}: {reason.replace('_', ' ')}")

    def closed(self, fd: int, reason: str) -> None:
        """Say nothing: that a client leaves is no news."""


class JsonLog:
    """An object a line: {"event": "connected" | "heard" | "refused" | "closed", "data": {...}}."""

    def __init__(self, write: Write) -> None:
        """Write lines to `write`."""
        self._write = write
        self._peers: dict[int, Peer] = {}

    def opened(self, fd: int, peer: Peer) -> None:
        """Say who has come."""
        self._peers[fd] = peer
        self._line("connected", peer, None)

    def heard(self, peer: Peer) -> None:
        """Say who sends datagrams."""
        self._line("heard", peer, None)

    def refused(self, peer: Peer, reason: str) -> None:
        """Say who was turned away."""
        self._line("refused", peer, reason)

    def closed(self, fd: int, reason: str) -> None:
        """Say who has gone; the reason is null when it was the client's own wish."""
        self._line("closed", self._peers.pop(fd, ""), reason or None)

    def _line(self, event: str, peer: Peer, reason: str | None) -> None:
        data = {"peer": list(peer[:2]) if isinstance(peer, tuple) else peer, "reason": reason}
        self._write(json.dumps({"event": event, "data": data}))


def shown(peer: Peer) -> str:
    """Write an address as Python shows it; a Unix socket's client usually has none."""
    return str(peer[:2]) if isinstance(peer, tuple) else printable(peer) or "a local process"
