"""Serve a few pages over HTTP from the loop: as much of RFC 9112 as a scraper or a health check needs.

GET and HEAD, one request a connection; for more, put a proxy in front.
"""

from collections.abc import Callable, Iterator, Mapping

from halloo._server.connections import Snapshot
from halloo._server.tcp import Loop
from halloo.errors import Unsupported

MAX_HEAD = 16 * 1024  # bytes of a request's headers
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 431: "Headers Too Large"}

Page = Callable[[], tuple[str, bytes]]  # returns the media type and the content


class HttpHandler:
    """A handler for the loop: pages by path."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._heads: dict[int, bytes] = {}

    def opened(self, loop: Loop, fd: int) -> None:  # noqa: ARG002 - Handler's signature
        """Start with an empty request."""
        self._heads[fd] = b""

    def readable(self, loop: Loop, fd: int) -> None:
        """Read the request headers, and answer once they are complete."""
        chunk = loop.receive(fd)
        if chunk is None:
            return
        head = self._heads[fd] = self._heads[fd] + bytes(chunk)
        if b"\r\n\r\n" in head:
            self._answer(loop, fd, *self._page(head))
        elif len(head) > MAX_HEAD:
            self._answer(loop, fd, 431, "text/plain", b"", head_only=False)
        elif not chunk:
            loop.closer.close_after_flush(fd)

    def writable(self, loop: Loop, fd: int) -> None:
        """Close the connection: the answer is sent."""
        loop.closer.linger(fd, "answered")

    def closed(self, fd: int) -> None:
        """Drop the request."""
        self._heads.pop(fd, None)

    def _page(self, head: bytes) -> tuple[int, str, bytes, bool]:
        method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1.") or " " in version:
            return 400, "text/plain", b"not an HTTP/1.1 request\n", False
        if method not in ("GET", "HEAD"):
            return 405, "text/plain", b"only GET and HEAD are supported\n", False
        page = self._pages.get(target.partition("?")[0])
        if page is None:
            return 404, "text/plain", f"available: {', '.join(self._pages)}\n".encode(), method == "HEAD"
        return 200, *page(), method == "HEAD"

    def _answer(self, loop: Loop, fd: int, code: int, content_type: str, body: bytes, head_only: bool) -> None:  # noqa: PLR0917 - what `_page` returns
        head = (
            f"HTTP/1.1 {code} {REASONS[code]}\r\n"
            f"Content-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        ).encode()
        if loop.send(fd, head if head_only else head + body):
            self.writable(loop, fd)


try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:
    raise Unsupported("needs prometheus_client", "pip install prometheus-client", argument="metrics") from None

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Name, help text and field of the snapshot.
GAUGES = (
    ("halloo_open_connections", "Open connections.", "open"),
    ("halloo_pending_write_bytes", "Bytes in pending writes to clients that do not read.", "pending_write_bytes"),
    ("halloo_oldest_pending_write_seconds", "Time since its last progress.", "oldest_pending_write_seconds"),
    ("halloo_uptime_seconds", "Seconds since the start of the server.", "uptime_seconds"),
)
COUNTERS = (
    ("halloo_accepted_connections", "Connections accepted.", "accepted"),
    ("halloo_datagrams", "Datagrams received.", "datagrams"),
    ("halloo_dropped_datagrams", "Datagrams dropped by the kernel: full buffer, or an echo loop.", "dropped"),
    ("halloo_received_bytes", "Bytes received.", "received_bytes"),
    ("halloo_sent_bytes", "Bytes sent.", "sent_bytes"),
    ("halloo_messages", "Messages echoed.", "messages"),
    ("halloo_lost_bytes", "Bytes pending or unread when the server cut a connection off.", "lost_bytes"),
)
LABELLED_COUNTERS = (
    ("halloo_refused", "reason", "Connections refused, and datagrams not answered.", "refused"),
    ("halloo_ended", "reason", "Connections closed by the server.", "ended"),
    ("halloo_errors", "name", "Errors of connections, datagrams and accept.", "errors"),
)


def prometheus(snapshot: Snapshot) -> bytes:
    """Format a snapshot in the Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    """Gives prometheus_client the metrics of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for name, text, field in GAUGES:
            yield GaugeMetricFamily(name, text, getattr(self._snapshot, field))
        for name, text, field in COUNTERS:
            yield CounterMetricFamily(name, text, getattr(self._snapshot, field))
        for name, label, text, field in LABELLED_COUNTERS:
            yield _labelled_counter(name, label, text, getattr(self._snapshot, field))


def _labelled_counter(name: str, label: str, text: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
