"""Log clients as they connect and disconnect, one line each: text for people, JSON for programs.

`write` takes each line and must not block, because a log must not stop the server: see `_output.lines`.
"""

import json
from collections.abc import Callable

from halloo._core.units import show_duration, show_size
from halloo._net.listener import Listener
from halloo._net.unix import name_text
from halloo._server.connections import Snapshot
from halloo._server.handlers import PeerName
from halloo.errors import one_line

Write = Callable[[str], object]


class TextLog:
    """`Connected by ('127.0.0.1', 51234)`, as in the tutorial, and the clients that were refused, with the reason."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def opened(self, fd: int, peer: PeerName) -> None:  # noqa: ARG002 - ConnectionObserver's signature
        self._write(f"Connected by {format_peer(peer)}")

    def datagram_received(self, peer: PeerName) -> None:
        self._write(f"Datagrams from {format_peer(peer)}")

    def refused(self, peer: PeerName, reason: str, count: int = 1) -> None:
        several = f", {count} datagrams" if count > 1 else ""
        self._write(f"Refused {format_peer(peer)}: {reason.replace('_', ' ')}{several}")

    def closed(self, fd: int, reason: str) -> None:
        """Log nothing."""


class JsonLog:
    """An object a line: {"event": "connected" | "datagram_received" | "refused" | "closed", "data": {...}}."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._peers: dict[int, PeerName] = {}

    def opened(self, fd: int, peer: PeerName) -> None:
        self._peers[fd] = peer
        self._line("connected", peer, None)

    def datagram_received(self, peer: PeerName) -> None:
        self._line("datagram_received", peer, None)

    def refused(self, peer: PeerName, reason: str, count: int = 1) -> None:
        self._line("refused", peer, reason, count=count)

    def closed(self, fd: int, reason: str) -> None:
        """Log a closed connection; the reason is null if the client closed."""
        self._line("closed", self._peers.pop(fd, ""), reason or None)

    def _line(self, event: str, peer: PeerName, reason: str | None, **others: int) -> None:
        data = {"peer": list(peer[:2]) if isinstance(peer, tuple) else name_text(peer), "reason": reason, **others}
        self._write(json.dumps({"event": event, "data": data}))


def format_peer(peer: PeerName) -> str:
    """Format an address as Python does; a client of a Unix socket usually has none."""
    return str(peer[:2]) if isinstance(peer, tuple) else one_line(name_text(peer)) or "a local process"


def format_interval(now: Snapshot, before: Snapshot) -> str:
    """Format the present state, and the rates since the previous snapshot."""
    seconds = max(now.uptime_seconds - before.uptime_seconds, 1e-9)
    parts = [
        f"{now.open} open",
        f"{(now.accepted - before.accepted) / seconds:.0f} clients/s",
        *([f"{(now.datagrams - before.datagrams) / seconds:.0f} datagrams/s"] if now.datagrams else []),
        f"{(now.messages - before.messages) / seconds:.0f} echoes/s",
        f"{show_size((now.received_bytes - before.received_bytes) / seconds)}/s in",
        f"{show_size((now.sent_bytes - before.sent_bytes) / seconds)}/s out",
    ]
    return ", ".join(parts + _problems(now))


def format_totals(snapshot: Snapshot) -> str:
    """Format what a server has done in all."""
    received = [_counted(snapshot.accepted, "client")] if snapshot.accepted or not snapshot.datagrams else []
    if snapshot.datagrams:
        received.append(_counted(snapshot.datagrams, "datagram"))
    parts = [
        f"{' and '.join(received)} in {show_duration(int(snapshot.uptime_seconds * 1e9))}",
        f"{snapshot.received_bytes} bytes in",
        f"{snapshot.sent_bytes} bytes out",
    ]
    if snapshot.lost_bytes:
        parts.append(f"{snapshot.lost_bytes} bytes cut off")
    return ", ".join(parts + _problems(snapshot))


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _problems(snapshot: Snapshot) -> list[str]:
    parts = []
    if snapshot.dropped:
        parts.append(f"{snapshot.dropped} datagrams dropped by the kernel")
    if snapshot.pending_write_bytes:
        parts.append(
            f"{show_size(snapshot.pending_write_bytes)} pending for "
            f"{show_duration(int(snapshot.oldest_pending_write_seconds * 1e9))}"
        )
    for word, counts in (("refused", snapshot.refused), ("ended", snapshot.ended), ("errors", snapshot.errors)):
        if counts:
            parts.append(f"{word}: " + " ".join(f"{name} {count}" for name, count in counts.items()))
    return parts


def format_fingerprint(listener: Listener) -> str | None:
    """Format the fingerprint of the certificate that was generated, if one was."""
    if not listener.made_fingerprint:
        return None
    return f"halloo: made a certificate; clients add: --fingerprint {listener.made_fingerprint}"


def dropped_json(count: int) -> str:
    """Format how many lines of the log were dropped."""
    return json.dumps({"event": "dropped", "data": {"lines": count}})
