"""Counters of a server in the text format of Prometheus (prometheus_client); docs/monitoring.md lists them."""

from collections.abc import Iterator

from halloo._output.json import system, version
from halloo._server.counters import CLOSE_REASONS, ERRORS, REFUSALS, SCHEMES, Snapshot
from halloo.errors import Unsupported

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily as Counter
    from prometheus_client.core import GaugeMetricFamily as Gauge
    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector
except ImportError:
    raise Unsupported("needs prometheus_client", "pip install prometheus-client", argument="metrics") from None

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# The kind, name, help text and field of the snapshot.
PLAIN = (
    (Gauge, "pending_write_bytes", "Bytes in pending writes to clients that do not read.", "pending_write_bytes"),
    (Gauge, "oldest_pending_write_seconds", "Time since its last progress.", "oldest_pending_write_seconds"),
    (Gauge, "uptime_seconds", "Seconds since the start of the server.", "uptime_seconds"),
    (Counter, "datagrams", "Datagrams received.", "datagrams"),
    (Counter, "dropped_datagrams", "Datagrams dropped by the kernel: full buffer, or an echo loop.", "dropped"),
    (Counter, "received_bytes", "Bytes received.", "received_bytes"),
    (Counter, "sent_bytes", "Bytes sent.", "sent_bytes"),
    (Counter, "messages", "Messages echoed.", "messages"),
    (Counter, "lost_bytes", "Bytes pending or unread when the server cut a connection off.", "lost_bytes"),
    (Counter, "worker_exits", "Worker processes that ended by themselves; each is started again.", "worker_exits"),
)
# Those with a label, its values, which are all exported from the start, and the field: a count for each value.
LABELLED = (
    (Gauge, "open_connections", "scheme", SCHEMES, "Open connections.", "open_by_scheme"),
    (Counter, "accepted_connections", "scheme", SCHEMES, "Connections accepted.", "accepted_by_scheme"),
    (Counter, "refused", "reason", REFUSALS, "Connections refused, and datagrams not answered.", "refused"),
    (Counter, "ended", "reason", CLOSE_REASONS, "Connections closed by the server.", "ended"),
    (Counter, "errors", "name", ERRORS, "Errors of connections, datagrams and accept.", "errors"),
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
        labels = {"version": version() or "unknown", "python": system()["python"]}
        build = Gauge("halloo_build_info", "The versions of the server, always 1.", labels=[*labels])
        build.add_metric([*labels.values()], 1)
        yield build
        for family, name, text, field in PLAIN:
            yield family(f"halloo_{name}", text, getattr(self._snapshot, field))
        for family, name, label, values, text, field in LABELLED:
            metric, counts = family(f"halloo_{name}", text, labels=[label]), getattr(self._snapshot, field)
            for value in values:
                metric.add_metric([value], counts.get(value, 0))
            yield metric
