"""Serve a few pages over HTTP from the loop: as much of RFC 9112 as a scraper or a health check needs.

Knows GET and HEAD. A connection is one request and its answer; whoever wants more puts a proxy before it.
"""

from collections.abc import Callable, Iterator, Mapping

from halloo._server.connections import Snapshot
from halloo._server.tcp import Loop
from halloo.errors import Unsupported

LONGEST = 16 * 1024  # bytes of a request's head
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 431: "Headers Too Large"}

Page = Callable[[], tuple[str, bytes]]  # gives the media type and the content


class HttpHandler:
    """A handler for the loop: pages by path."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        """Serve `pages`, each made anew for each request."""
        self._pages = pages
        self._heads: dict[int, bytes] = {}

    def opened(self, loop: Loop, fd: int) -> None:  # noqa: ARG002 - the shape is Conversation's
        """Start with nothing read."""
        self._heads[fd] = b""

    def readable(self, loop: Loop, fd: int) -> None:
        """Read the head of the request, and answer it when it is whole."""
        piece = loop.receive(fd)
        if piece is None:
            return
        head = self._heads[fd] = self._heads[fd] + bytes(piece)
        if b"\r\n\r\n" in head:
            self._answer(loop, fd, *self._page(head))
        elif len(head) > LONGEST:
            self._answer(loop, fd, 431, "text/plain", b"", bodiless=False)
        elif not piece:
            loop.closer.close_after_flush(fd)

    def writable(self, loop: Loop, fd: int) -> None:
        """End the connection: the answer is sent."""
        loop.closer.linger(fd, "answered")

    def closed(self, fd: int) -> None:
        """Forget the connection."""
        self._heads.pop(fd, None)

    def _page(self, head: bytes) -> tuple[int, str, bytes, bool]:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, target and version
            return 400, "text/plain", b"this is HTTP/1.1\n", False
        if words[0] not in ("GET", "HEAD"):
            return 405, "text/plain", b"only GET and HEAD\n", False
        page = self._pages.get(words[1].partition("?")[0])
        if page is None:
            return 404, "text/plain", f"here are {' and '.join(self._pages)}\n".encode(), words[0] == "HEAD"
        return 200, *page(), words[0] == "HEAD"

    def _answer(self, loop: Loop, fd: int, code: int, kind: str, body: bytes, bodiless: bool) -> None:  # noqa: PLR0917
        head = (
            f"HTTP/1.1 {code} {REASONS[code]}\r\n"
            f"Content-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        ).encode()
        if loop.send(fd, head if bodiless else head + body):
            self.writable(loop, fd)


try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:
    raise Unsupported("--metrics needs prometheus_client", "pip install 'halloo[metrics]'") from None

KIND = "text/plain; version=0.0.4; charset=utf-8"


def prometheus(snapshot: Snapshot) -> bytes:
    """Write a snapshot in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Given(snapshot))
    return generate_latest(registry)


class _Given(Collector):
    """What prometheus_client asks for its metrics; it gives those of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        seen = self._snapshot
        yield GaugeMetricFamily("halloo_open_connections", "Connections now.", seen.open)
        yield GaugeMetricFamily(
            "halloo_owed_bytes", "Bytes owed to clients that do not read.", seen.pending_write_bytes
        )
        yield GaugeMetricFamily(
            "halloo_slowest_debt_seconds", "How long the oldest debt has not shrunk.", seen.oldest_pending_write_seconds
        )
        yield GaugeMetricFamily("halloo_uptime_seconds", "Since the server began.", seen.uptime_seconds)
        yield CounterMetricFamily("halloo_accepted_connections", "Connections since the server began.", seen.accepted)
        yield CounterMetricFamily("halloo_datagrams", "Datagrams received.", seen.datagrams)
        yield CounterMetricFamily(
            "halloo_dropped_datagrams", "Datagrams that the kernel dropped: no room, or a loop.", seen.dropped
        )
        yield CounterMetricFamily("halloo_received_bytes", "Bytes received.", seen.received_bytes)
        yield CounterMetricFamily("halloo_sent_bytes", "Bytes sent.", seen.sent_bytes)
        yield CounterMetricFamily("halloo_messages", "Echoes: reads that were answered.", seen.messages)
        yield CounterMetricFamily("halloo_lost_bytes", "Bytes that the end of the server cut off.", seen.lost_bytes)
        yield _by("halloo_refused", "reason", "Connections turned away, and datagrams not answered.", seen.refused)
        yield _by("halloo_ended", "reason", "Connections that the server ended.", seen.ended)
        yield _by("halloo_errors", "name", "Errors of connections and of accepting them.", seen.errors)


def _by(name: str, label: str, text: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
