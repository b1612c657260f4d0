"""Counters of a server in the text format of Prometheus (prometheus_client); docs/monitoring.md lists them."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from halloo._output.json import system, version
from halloo._server import connections as states
from halloo._server.connections import Snapshot
from halloo.errors import Unsupported

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:
    raise Unsupported("needs prometheus_client", "pip install prometheus-client", argument="metrics") from None

Family = TypeVar("Family", GaugeMetricFamily, CounterMetricFamily)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Name, help text and field of the snapshot.
GAUGES = (
    ("halloo_pending_write_bytes", "Bytes in pending writes to clients that do not read.", "pending_write_bytes"),
    ("halloo_oldest_pending_write_seconds", "Time since its last progress.", "oldest_pending_write_seconds"),
    ("halloo_uptime_seconds", "Seconds since the start of the server.", "uptime_seconds"),
)
COUNTERS = (
    ("halloo_datagrams", "Datagrams received.", "datagrams"),
    ("halloo_dropped_datagrams", "Datagrams dropped by the kernel: full buffer, or an echo loop.", "dropped"),
    ("halloo_received_bytes", "Bytes received.", "received_bytes"),
    ("halloo_sent_bytes", "Bytes sent.", "sent_bytes"),
    ("halloo_messages", "Messages echoed.", "messages"),
    ("halloo_lost_bytes", "Bytes pending or unread when the server cut a connection off.", "lost_bytes"),
    ("halloo_worker_exits", "Worker processes that ended by themselves; each is started again.", "worker_exits"),
)
Labelled = tuple[tuple[str, str, tuple[str, ...], str, str], ...]
# Those with a label, its values, which are all exported from the start, and the field: a count for each value.
LABELLED_GAUGES: Labelled = (
    ("halloo_open_connections", "scheme", states.SCHEMES, "Open connections.", "open_by_scheme"),
)
LABELLED_COUNTERS: Labelled = (
    ("halloo_accepted_connections", "scheme", states.SCHEMES, "Connections accepted.", "accepted_by_scheme"),
    ("halloo_refused", "reason", states.REFUSALS, "Connections refused, and datagrams not answered.", "refused"),
    ("halloo_ended", "reason", states.CLOSE_REASONS, "Connections closed by the server.", "ended"),
    ("halloo_errors", "name", states.ERRORS, "Errors of connections, datagrams and accept.", "errors"),
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
        build = GaugeMetricFamily(
            "halloo_build_info", "The versions of the server, always 1.", labels=["version", "python"]
        )
        build.add_metric([version() or "unknown", system()["python"]], 1)
        yield build
        for name, text, field in GAUGES:
            yield GaugeMetricFamily(name, text, getattr(self._snapshot, field))
        for name, text, field in COUNTERS:
            yield CounterMetricFamily(name, text, getattr(self._snapshot, field))
        for name, label, values, text, field in LABELLED_GAUGES:
            yield self._by_value(GaugeMetricFamily(name, text, labels=[label]), values, field)
        for name, label, values, text, field in LABELLED_COUNTERS:
            yield self._by_value(CounterMetricFamily(name, text, labels=[label]), values, field)

    def _by_value(self, family: Family, values: Sequence[str], field: str) -> Family:
        counts: dict[str, int] = getattr(self._snapshot, field)
        for value in values:
            family.add_metric([value], counts.get(value, 0))
        return family
