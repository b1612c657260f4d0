"""Log the events of a server: text for people, JSON for programs. Lines may be dropped, and never wait.

`write` takes each line and must not block, because a log must not stop the server: see `_output.lines`.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from halloo._output.background import FLUSH, Background
from halloo._server import events
from halloo._server.events import Event, json_line
from halloo._server.failures import MAX_WAITING, format_traceback
from halloo._server.handlers import PeerName
from halloo._server.poller import Poller

Form = Literal["text", "json"]
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


@contextmanager
def failures_reported(report: Report) -> Iterator[Callable[[BaseException], None]]:
    """Give a function that reports an exception of `respond` as an event, in another thread: its text takes time."""

    def do(problem: BaseException | int) -> None:
        if isinstance(problem, int):
            report(events.dropped(problem))
        else:
            report(events.respond_error(type(problem).__name__, format_traceback(problem)))

    reports: Background[BaseException | int] = Background(do, dropped=int, max_waiting=MAX_WAITING)
    try:
        yield reports.add
    finally:
        reports.close(FLUSH)


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
        self._report(events.connected(peer, listener))

    def datagram_received(self, peer: PeerName, listener: str) -> None:
        self._report(events.datagram_received(peer, listener))

    def refused(self, peer: PeerName, listener: str, reason: str, count: int = 1) -> None:
        self._report(events.refused(peer, listener, reason, count))

    def closed(self, fd: int, reason: str) -> None:
        peer, listener, began = self._open.pop(fd)
        received, sent = self._traffic.take(fd) if self._traffic else (0, 0)
        self._report(events.closed(peer, listener, reason, self._clock() - began, received, sent))


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
