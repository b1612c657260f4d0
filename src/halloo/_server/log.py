"""Tell of clients' coming and going, a line each: as text for a person, as JSON for a program.

Knows what a line looks like. Each is handed to `write`, which must not block: a reader who has stopped reading is no
reason to stop serving.
"""

import json
import sys
from collections.abc import Callable

from halloo._core.escape import printable
from halloo._core.units import show_duration, show_size
from halloo._net.listener import Listener
from halloo._server.connections import Snapshot
from halloo._server.handlers import PeerName

Write = Callable[[str], object]


class TextLog:
    """`Connected by ('127.0.0.1', 51234)`, as in the tutorial; and why somebody was turned away or sent home."""

    def __init__(self, write: Write) -> None:
        """Write lines to `write`."""
        self._write = write

    def opened(self, fd: int, peer: PeerName) -> None:  # noqa: ARG002 - the shape is Witness's
        """Say who has come."""
        self._write(f"Connected by {shown(peer)}")

    def datagram_received(self, peer: PeerName) -> None:
        """Say who sends datagrams."""
        self._write(f"Heard from {shown(peer)}")

    def refused(self, peer: PeerName, reason: str) -> None:
        """Say who was turned away."""
        self._write(f"Refused {shown(peer)}: {reason.replace('_', ' ')}")

    def closed(self, fd: int, reason: str) -> None:
        """Say nothing: that a client leaves is no news."""


class JsonLog:
    """An object a line: {"event": "connected" | "datagram_received" | "refused" | "closed", "data": {...}}."""

    def __init__(self, write: Write) -> None:
        """Write lines to `write`."""
        self._write = write
        self._peers: dict[int, PeerName] = {}

    def opened(self, fd: int, peer: PeerName) -> None:
        """Say who has come."""
        self._peers[fd] = peer
        self._line("connected", peer, None)

    def datagram_received(self, peer: PeerName) -> None:
        """Say who sends datagrams."""
        self._line("datagram_received", peer, None)

    def refused(self, peer: PeerName, reason: str) -> None:
        """Say who was turned away."""
        self._line("refused", peer, reason)

    def closed(self, fd: int, reason: str) -> None:
        """Say who has gone; the reason is null when it was the client's own wish."""
        self._line("closed", self._peers.pop(fd, ""), reason or None)

    def _line(self, event: str, peer: PeerName, reason: str | None) -> None:
        data = {"peer": list(peer[:2]) if isinstance(peer, tuple) else peer, "reason": reason}
        self._write(json.dumps({"event": event, "data": data}))


def shown(peer: PeerName) -> str:
    """Write an address as Python shows it; a Unix socket's client usually has none."""
    return str(peer[:2]) if isinstance(peer, tuple) else printable(peer) or "a local process"


def line(now: Snapshot, before: Snapshot) -> str:
    """Say how things stand, and how fast they went since the snapshot before."""
    seconds = max(now.uptime_seconds - before.uptime_seconds, 1e-9)
    parts = [
        f"{now.open} open",
        f"{(now.accepted - before.accepted) / seconds:.0f} clients/s",
        *([f"{(now.datagrams - before.datagrams) / seconds:.0f} datagrams/s"] if now.datagrams else []),
        f"{(now.messages - before.messages) / seconds:.0f} echoes/s",
        f"{show_size((now.received_bytes - before.received_bytes) / seconds)}/s in",
        f"{show_size((now.sent_bytes - before.sent_bytes) / seconds)}/s out",
    ]
    return ", ".join(parts + _troubles(now))


def totals(seen: Snapshot) -> str:
    """Say what a server has done in all."""
    came = [f"{seen.accepted} clients"] if seen.accepted or not seen.datagrams else []
    if seen.datagrams:
        came.append(f"{seen.datagrams} datagrams")
    parts = [
        f"{' and '.join(came)} in {show_duration(int(seen.uptime_seconds * 1e9))}",
        f"{seen.received_bytes} bytes in",
        f"{seen.sent_bytes} bytes out",
    ]
    if seen.lost_bytes:
        parts.append(f"{seen.lost_bytes} bytes cut off")
    return ", ".join(parts + _troubles(seen))


def _troubles(seen: Snapshot) -> list[str]:
    parts = []
    if seen.dropped:
        parts.append(f"{seen.dropped} datagrams dropped by the kernel")
    if seen.pending_write_bytes:
        parts.append(
            f"{show_size(seen.pending_write_bytes)} pending for "
            f"{show_duration(int(seen.oldest_pending_write_seconds * 1e9))}"
        )
    for word, counts in (("refused", seen.refused), ("ended", seen.ended), ("errors", seen.errors)):
        if counts:
            parts.append(f"{word}: " + " ".join(f"{name} {count}" for name, count in counts.items()))
    return parts


def tell_certificate(listener: Listener) -> None:
    """Say how clients can know the certificate that was made, if one was."""
    if listener.made:
        print(f"halloo: made a certificate; clients add: --fingerprint {listener.made}", file=sys.stderr, flush=True)
