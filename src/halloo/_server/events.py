"""What a server reports: each event with its text for people and its data for programs, and the line of each form.

docs/monitoring.md lists the events and their data.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from halloo._core.units import show_duration, show_size
from halloo._net.unix import name_text
from halloo._output.json import plain_json
from halloo._output.lines import MAX_LINE, dropped_text
from halloo._server.connections import Snapshot
from halloo._server.handlers import PeerName
from halloo.errors import one_line

_SECOND = 1_000_000_000  # ns
_RATES = ("accepted", "datagrams", "messages", "received_bytes", "sent_bytes")


@dataclass(frozen=True, slots=True)
class Event:
    """A name, its data, and a line for people, which a traceback follows; None where another line says it."""

    name: str
    data: dict[str, object]
    text: str | None = None


def json_line(event: Event, time: float, worker: int | None = None) -> str:
    """Format an object on one line, shorter than MAX_LINE; `time` is seconds since the epoch."""
    moment = datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    whole = {"time": moment, "event": event.name, "worker": worker, "data": event.data}
    line, limit = json.dumps(whole), MAX_LINE
    if "\\ud" in line:  # perhaps a lone surrogate
        line = json.dumps(plain_json(whole))
    while len(line) >= MAX_LINE and limit > 1:
        limit //= 2  # characters of a text, whose end is kept: that of a traceback says what it is about
        line = json.dumps(
            plain_json(whole | {"data": {name: _end_of(value, limit) for name, value in event.data.items()}})
        )
    return line


def _end_of(value: object, limit: int) -> object:
    return f"...{value[-limit:]}" if isinstance(value, str) and len(value) > limit else value


# The server.


def listening(address: str) -> Event:
    """Report an address where clients can connect; standard output has the line."""
    return Event("listening", {"address": address})


def publishing(address: str, url: str) -> Event:
    """Report where the metrics are."""
    return Event("publishing", {"address": address, "url": url}, f"halloo: metrics at {url}")


def certificate_made(fingerprint: str) -> Event:
    """Report the fingerprint of a certificate that was made for this process."""
    text = f"halloo: made a certificate; clients trust it by its fingerprint: {fingerprint}"
    return Event("certificate_made", {"fingerprint": fingerprint}, text)


def hint(message: str) -> Event:
    """Report what the operator may have overlooked."""
    return Event("hint", {"message": message}, f"halloo: {message}")


def stats(now: Snapshot, before: Snapshot) -> Event:
    """Report the counts, and those since the previous snapshot."""
    interval = {name: getattr(now, name) - getattr(before, name) for name in _RATES}
    interval["duration_ns"] = int((now.uptime_seconds - before.uptime_seconds) * _SECOND)
    return Event("stats", {"interval": interval, "total": totals(now)}, format_interval(now, before))


def reloaded() -> Event:
    """Report that the certificate files have been read again."""
    return Event("reloaded", {})


def reload_failed(fact: str) -> Event:
    """Report that the certificate files cannot be used."""
    text = f"halloo: {fact}; the certificate in use stays; correct the file and send SIGHUP again"
    return Event("reload_failed", {"message": fact}, text)


def stopping(connections: int) -> Event:
    """Report a request to stop, and the connections that are drained."""
    return Event("stopping", {"open": connections})


def stopped(snapshot: Snapshot) -> Event:
    """Report what the server has done in all; the command prints the line."""
    return Event("stopped", {"total": totals(snapshot)})


def error(message: str) -> Event:
    """Report what has ended the server, or kept it from starting."""
    return Event("error", {"message": message}, f"halloo: {message}")


def dropped(lines: int) -> Event:
    """Report lines that were dropped because the log was not read."""
    return Event("dropped", {"lines": lines}, dropped_text(lines))


# Clients.


def connected(peer: PeerName, listener: str) -> Event:
    """Report a connection."""
    return Event("connected", {"peer": _peer(peer), "listener": listener}, f"Connected by {format_peer(peer)}")


def datagram_received(peer: PeerName, listener: str) -> Event:
    """Report a sender of datagrams that was not seen recently."""
    data: dict[str, object] = {"peer": _peer(peer), "listener": listener}
    return Event("datagram_received", data, f"Datagrams from {format_peer(peer)}")


def refused(peer: PeerName, listener: str, reason: str, count: int) -> Event:
    """Report a refused client, or that many of its datagrams."""
    several = f", {count} datagrams" if count > 1 else ""
    data = {"peer": _peer(peer), "listener": listener, "reason": reason, "count": count}
    return Event("refused", data, f"Refused {format_peer(peer)}: {reason.replace('_', ' ')}{several}")


def closed(peer: PeerName, listener: str, reason: str, seconds: float, received: int, sent: int) -> Event:  # noqa: PLR0917 - its data
    """Report the end of a connection; the reason is empty, and null in JSON, if the client closed."""
    data = {"peer": _peer(peer), "listener": listener, "reason": reason or None, "duration_ns": int(seconds * _SECOND)}
    return Event("closed", data | {"received_bytes": received, "sent_bytes": sent})


def respond_error(name: str, traceback: str) -> Event:
    """Report what `respond` has raised; its text is logged by `failures`."""
    return Event("respond_error", {"error": name, "traceback": traceback})


# Workers, by their numbers from 1.


def worker_started(worker: int, pid: int, *, again: bool) -> Event:
    """Report a worker, started `again` after an exit or for the first time."""
    text = f"halloo: worker {worker} is started again (pid {pid})" if again else None
    return Event("worker_started", {"number": worker, "pid": pid, "again": again}, text)


def worker_exited(worker: int, pid: int, reason: str, connections: int) -> Event:
    """Report a worker that has ended by itself; `reason` is a signal's name, or an exit code."""
    text = f"halloo: worker {worker} (pid {pid}) has ended: {reason}; {_counted(connections, 'connection')} lost"
    return Event("worker_exited", {"number": worker, "pid": pid, "reason": reason, "open": connections}, text)


def worker_start_failed(worker: int, reason: str, pause: float) -> Event:
    """Report that the system refuses another process; it is tried again after a pause in seconds."""
    text = f"halloo: cannot restart a worker: {reason}; trying again in {pause:g} s"
    return Event("worker_start_failed", {"number": worker, "message": reason, "pause_ns": int(pause * _SECOND)}, text)


def worker_error(traceback: str) -> Event:
    """Report the error that ends a worker."""
    return Event("worker_error", {"traceback": traceback}, "halloo: a worker has failed:")


# Their parts.


def _peer(peer: PeerName) -> object:
    return list(peer[:2]) if isinstance(peer, tuple) else name_text(peer)


def format_peer(peer: PeerName) -> str:
    """Format an address as Python does; a client of a Unix socket usually has none."""
    return str(peer[:2]) if isinstance(peer, tuple) else one_line(name_text(peer)) or "a local process"


def totals(snapshot: Snapshot) -> dict[str, object]:
    """Return the counts of a snapshot by name, without those of each worker; times are in ns."""
    counts = asdict(snapshot)
    del counts["workers"]
    for name in ("oldest_pending_write", "uptime"):
        counts[f"{name}_ns"] = int(counts.pop(f"{name}_seconds") * _SECOND)
    return counts


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
