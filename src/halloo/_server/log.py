"""Log the events of a server: text for people, JSON for programs. Lines may be dropped, and never wait.

`write` takes each line and must not block, because a log must not stop the server: see `_output.lines`.
docs/monitoring.md lists the events and their data.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal

from halloo._core.units import show_duration, show_size
from halloo._net.unix import name_text
from halloo._output.background import FLUSH, Background
from halloo._output.json import plain_json
from halloo._output.lines import MAX_LINE
from halloo._server.counters import Snapshot
from halloo._server.handlers import PeerName
from halloo._server.poller import Poller
from halloo._server.responder import MAX_WAITING, format_traceback
from halloo.errors import one_line

Form = Literal["text", "json"]

SECOND = 1_000_000_000  # ns
_RATES = ("accepted", "datagrams", "messages", "received_bytes", "sent_bytes")


class Event:
    """A name, a line for people, which a traceback follows, and data; no line where another one says it."""

    def __init__(self, name: str, text: str | None = None, /, **data: object) -> None:
        self.name, self.text, self.data = name, text, data


Report = Callable[[Event], object]


class Log:
    """Writes each event as a line; a worker sets its number."""

    def __init__(
        self,
        write: Callable[[str], object],
        form: Form = "text",
        *,
        replace: Callable[[str], object] | None = None,
        flush: Callable[[], object] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Pass lines to `write`; the text of counts to `replace`, which may put it in place of the last one."""
        self._write, self._form, self._replace, self._now = write, form, replace or write, now
        self.flush = flush
        self.worker: int | None = None

    def __call__(self, event: Event) -> None:
        if self._form == "json":
            self._write(json_line(event, self._now(), self.worker))
        elif event.text is not None:
            write = self._replace if event.name == "stats" else self._write
            write(event.text)
            for line in str(event.data.get("traceback", "")).splitlines():
                write(line)


def json_line(event: Event, time: float, worker: int | None = None) -> str:
    """Format an object on one line, shorter than MAX_LINE; `time` is seconds since the epoch."""
    moment = datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    whole = {"time": moment, "event": event.name, "worker": worker, "data": event.data}
    line, limit = json.dumps(whole), MAX_LINE
    if "\\ud" in line:  # perhaps a lone surrogate
        line = json.dumps(plain_json(whole))
    while len(line) >= MAX_LINE and limit > 1:
        limit //= 2  # characters of a text, whose end is kept: that of a traceback says what it is about
        data = {
            name: f"...{value[-limit:]}" if isinstance(value, str) and len(value) > limit else value
            for name, value in event.data.items()
        }
        line = json.dumps(plain_json(whole | {"data": data}))
    return line


@contextmanager
def failures_reported(report: Report) -> Iterator[Callable[[BaseException], None]]:
    """Give a function that reports an exception of `respond` as an event, in another thread: its text takes time."""

    def do(problem: BaseException | int) -> None:
        if isinstance(problem, int):
            report(Event("dropped", lines=problem))
        else:
            report(Event("respond_error", error=type(problem).__name__, traceback=format_traceback(problem)))

    reports: Background[BaseException | int] = Background(do, dropped=int, max_waiting=MAX_WAITING)
    try:
        yield reports.add
    finally:
        reports.close(FLUSH)


def certificate_made(fingerprint: str) -> Event:
    """Report the fingerprint of a certificate that was made for this process."""
    text = f"halloo: made a certificate; clients trust it by its fingerprint: {fingerprint}"
    return Event("certificate_made", text, fingerprint=fingerprint)


# Clients.


class ClientLog:
    """Reports clients as they connect, send datagrams, are refused, and disconnect: a ConnectionObserver."""

    def __init__(self, report: Report, *, measure: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Count the bytes of each connection if `measure`, which costs a little for each message."""
        self._report, self._measure, self._clock = report, measure, clock
        self._traffic: TrafficPoller | None = None
        self._open: dict[int, tuple[PeerName, str, float]] = {}

    def measured(self, poller: Poller) -> Poller:
        """Return the poller for a loop, which counts if the bytes are reported."""
        if self._measure:
            poller = self._traffic = TrafficPoller(poller)
        return poller

    def opened(self, fd: int, peer: PeerName, listener: str) -> None:
        self._open[fd] = peer, listener, self._clock()
        self._report(Event("connected", f"Connected by {format_peer(peer)}", peer=_named(peer), listener=listener))

    def datagram_received(self, peer: PeerName, listener: str) -> None:
        text = f"Datagrams from {format_peer(peer)}"
        self._report(Event("datagram_received", text, peer=_named(peer), listener=listener))

    def refused(self, peer: PeerName, listener: str, reason: str, count: int = 1) -> None:
        several = f", {count} datagrams" if count > 1 else ""
        text = f"Refused {format_peer(peer)}: {reason.replace('_', ' ')}{several}"
        self._report(Event("refused", text, peer=_named(peer), listener=listener, reason=reason, count=count))

    def closed(self, fd: int, reason: str) -> None:
        peer, listener, began = self._open.pop(fd)
        received, sent = self._traffic.take(fd) if self._traffic else (0, 0)
        self._report(
            Event(
                "closed",
                peer=_named(peer),
                listener=listener,
                reason=reason or None,
                duration_ns=int((self._clock() - began) * SECOND),
                received_bytes=received,
                sent_bytes=sent,
            )
        )


def _named(peer: PeerName) -> object:
    return list(peer[:2]) if isinstance(peer, tuple) else name_text(peer)


def format_peer(peer: PeerName) -> str:
    """Format an address as Python does; a client of a Unix socket usually has none."""
    return str(peer[:2]) if isinstance(peer, tuple) else one_line(name_text(peer)) or "a local process"


class TrafficPoller:
    """A poller that counts the bytes that are read and written on each descriptor."""

    def __init__(self, inner: Poller) -> None:
        self._inner = inner
        self._received: defaultdict[int, int] = defaultdict(int)
        self._sent: defaultdict[int, int] = defaultdict(int)
        self._ended: dict[int, tuple[int, int]] = {}  # by the server; what it reads after that is discarded
        self.prefers_read, self.min_read = inner.prefers_read, inner.min_read
        self.poll, self.watch, self.change, self.unwatch = inner.poll, inner.watch, inner.change, inner.unwatch
        self.adopt, self.close_notify, self.queued_bytes = inner.adopt, inner.close_notify, inner.queued_bytes
        self.close_fd, self.release_fd, self.close = inner.close_fd, inner.release_fd, inner.close

    def read(self, fd: int, size: int) -> bytes:
        data = self._inner.read(fd, size)
        self._received[fd] += len(data)
        return data

    def readv(self, fd: int, buffers: Sequence[memoryview]) -> int:
        received = self._inner.readv(fd, buffers)
        self._received[fd] += received
        return received

    def write(self, fd: int, data: memoryview | bytes) -> int:
        sent = self._inner.write(fd, data)
        self._sent[fd] += sent
        return sent

    def shutdown_write(self, fd: int) -> None:
        """Shut down the sending side, and keep the counts as they are."""
        self._ended[fd] = self._counts(fd)
        self._inner.shutdown_write(fd)

    def take(self, fd: int) -> tuple[int, int]:
        """Return the bytes read and written, and start again at 0 for the next connection of that number."""
        counts = self._counts(fd)
        return self._ended.pop(fd, counts)

    def _counts(self, fd: int) -> tuple[int, int]:
        return self._received.pop(fd, 0), self._sent.pop(fd, 0)


# Counts.


def stats_event(now: Snapshot, before: Snapshot) -> Event:
    """Report the counts, and those since the previous snapshot."""
    interval = {name: getattr(now, name) - getattr(before, name) for name in _RATES}
    interval["duration_ns"] = int((now.uptime_seconds - before.uptime_seconds) * SECOND)
    return Event("stats", format_interval(now, before), interval=interval, total=totals(now))


def totals(snapshot: Snapshot) -> dict[str, object]:
    """Return the counts of a snapshot by name, without those of each worker; times are in ns."""
    counts = asdict(snapshot)
    del counts["workers"]
    for name in ("oldest_pending_write", "uptime"):
        counts[f"{name}_ns"] = int(counts.pop(f"{name}_seconds") * SECOND)
    return counts


def format_interval(now: Snapshot, before: Snapshot) -> str:
    """Format the present state, and the rates since the previous snapshot."""
    seconds = max(now.uptime_seconds - before.uptime_seconds, 1e-9)
    rates = {name: (getattr(now, name) - getattr(before, name)) / seconds for name in _RATES}
    parts = [f"{now.open} open", f"{rates['accepted']:.0f} clients/s"]
    if now.datagrams:
        parts.append(f"{rates['datagrams']:.0f} datagrams/s")
    parts.append(f"{rates['messages']:.0f} echoes/s")
    parts += [f"{show_size(rates['received_bytes'])}/s in", f"{show_size(rates['sent_bytes'])}/s out"]
    return ", ".join(parts + _problems(now))


def format_totals(snapshot: Snapshot) -> str:
    """Format what a server has done in all."""
    received = [counted(snapshot.accepted, "client")] if snapshot.accepted or not snapshot.datagrams else []
    if snapshot.datagrams:
        received.append(counted(snapshot.datagrams, "datagram"))
    parts = [
        f"{' and '.join(received)} in {show_duration(int(snapshot.uptime_seconds * SECOND))}",
        f"{snapshot.received_bytes} bytes in",
        f"{snapshot.sent_bytes} bytes out",
    ]
    if snapshot.lost_bytes:
        parts.append(f"{snapshot.lost_bytes} bytes cut off")
    return ", ".join(parts + _problems(snapshot))


def counted(number: int, word: str) -> str:
    """Format a number of things."""
    return f"{number} {word}{'s' * (number != 1)}"


def _problems(snapshot: Snapshot) -> list[str]:
    parts = []
    if snapshot.dropped:
        parts.append(f"{snapshot.dropped} datagrams dropped by the kernel")
    if snapshot.pending_write_bytes:
        waiting = show_duration(int(snapshot.oldest_pending_write_seconds * SECOND))
        parts.append(f"{show_size(snapshot.pending_write_bytes)} pending for {waiting}")
    for word, counts in (("refused", snapshot.refused), ("ended", snapshot.ended), ("errors", snapshot.errors)):
        if counts:
            parts.append(f"{word}: " + " ".join(f"{name} {count}" for name, count in counts.items()))
    return parts
