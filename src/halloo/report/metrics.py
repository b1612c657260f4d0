"""A Snapshot as Prometheus text.

Knows the names under which a server's counts are published; prometheus_client knows how they are written.
"""

from collections.abc import Iterator

from halloo.errors import Unsupported
from halloo.net.serving.table import Snapshot

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
        yield GaugeMetricFamily("halloo_owed_bytes", "Bytes owed to clients that do not read.", seen.owed_bytes)
        yield GaugeMetricFamily(
            "halloo_slowest_debt_seconds", "How long the oldest debt has not shrunk.", seen.slowest_debt_seconds
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
