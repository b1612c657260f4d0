"""The counters of a snapshot as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from halloo._server.connections import Snapshot
from halloo._server.metrics import prometheus

SEEN = Snapshot(
    accepted=5,
    open=2,
    received_bytes=70,
    sent_bytes=60,
    messages=9,
    lost_bytes=3,
    datagrams=8,
    dropped=7,
    refused={"denied": 4, "max_per_host": 1},
    ended={"idle_timeout": 2},
    errors={"EPIPE": 1},
    pending_write_bytes=10,
    oldest_pending_write_seconds=1.5,
    uptime_seconds=60.25,
)


def read(snapshot: Snapshot) -> dict[tuple[str, str], float]:
    """Parse the text as Prometheus does: values by name and label."""
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(prometheus(snapshot).decode())
        for sample in family.samples
    }


def test_every_counter_is_exported() -> None:
    assert read(SEEN) == {
        ("halloo_open_connections", ""): 2,
        ("halloo_pending_write_bytes", ""): 10,
        ("halloo_oldest_pending_write_seconds", ""): 1.5,
        ("halloo_uptime_seconds", ""): 60.25,
        ("halloo_accepted_connections_total", ""): 5,
        ("halloo_received_bytes_total", ""): 70,
        ("halloo_sent_bytes_total", ""): 60,
        ("halloo_messages_total", ""): 9,
        ("halloo_lost_bytes_total", ""): 3,
        ("halloo_datagrams_total", ""): 8,
        ("halloo_dropped_datagrams_total", ""): 7,
        ("halloo_refused_total", "denied"): 4,
        ("halloo_refused_total", "max_per_host"): 1,
        ("halloo_ended_total", "idle_timeout"): 2,
        ("halloo_errors_total", "EPIPE"): 1,
    }


def test_snapshots_are_independent() -> None:
    prometheus(SEEN)
    assert read(Snapshot())["halloo_accepted_connections_total", ""] == 0
    assert ("halloo_refused_total", "denied") not in read(Snapshot())


def test_every_metric_has_a_help_text() -> None:
    families = list(text_string_to_metric_families(prometheus(SEEN).decode()))
    assert all(family.documentation for family in families)
    assert {family.type for family in families} == {"gauge", "counter"}
