"""Counters of a server in the text format of Prometheus (prometheus_client)."""

from collections.abc import Iterator

from halloo._server.connections import Snapshot
from halloo.errors import Unsupported

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
