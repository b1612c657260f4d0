"""The counters of a snapshot as Prometheus reads them."""

import platform
import re
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

import halloo
from halloo._server.counters import CLOSE_REASONS, ERRORS, REFUSALS, Snapshot
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
    worker_exits=6,
    accepted_by_scheme={"tcp": 3, "tls": 2},
    open_by_scheme={"tls": 2},
)


PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"


def families(snapshot: Snapshot) -> list[Metric]:
    return list(text_string_to_metric_families(prometheus(snapshot).decode()))


def samples(snapshot: Snapshot) -> dict[tuple[str, str], float]:
    """Parse the text as Prometheus does: values by name and label."""
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in families(snapshot)
        for sample in family.samples
    }


def test_every_counter_is_exported_and_nothing_else_is_counted() -> None:
    counted = {key: value for key, value in samples(SEEN).items() if value and key[0] != "halloo_build_info"}
    assert counted == {
        ("halloo_open_connections", "tls"): 2,
        ("halloo_pending_write_bytes", ""): 10,
        ("halloo_oldest_pending_write_seconds", ""): 1.5,
        ("halloo_uptime_seconds", ""): 60.25,
        ("halloo_accepted_connections_total", "tcp"): 3,
        ("halloo_accepted_connections_total", "tls"): 2,
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
        ("halloo_worker_exits_total", ""): 6,
    }


def test_a_new_server_has_every_series() -> None:
    new = samples(Snapshot())
    assert new.keys() == samples(SEEN).keys()
    assert {value for (name, _), value in new.items() if name != "halloo_build_info"} == {0}
    for name, values in (
        ("halloo_accepted_connections_total", ("tcp", "tls", "unix")),
        ("halloo_refused_total", REFUSALS),
        ("halloo_ended_total", CLOSE_REASONS),
        ("halloo_errors_total", ERRORS),
    ):
        assert {label for each, label in new if each == name} == set(values)


def test_every_metric_is_documented_with_its_labels_and_no_other() -> None:
    rows = re.findall(r"^\| `(halloo_\w+)` \| (.*?) ?\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    exported = {sample.name: set(sample.labels) for family in families(Snapshot()) for sample in family.samples}
    assert documented == exported


def test_every_metric_has_a_help_text_and_a_conventional_name_and_one_has_the_versions() -> None:
    for family in families(SEEN):
        assert family.documentation
        assert family.type in {"gauge", "counter"}
        assert all((family.type == "counter") == sample.name.endswith("_total") for sample in family.samples)
    [build] = [family for family in families(SEEN) if family.name == "halloo_build_info"]
    versions = {"version": halloo.__version__, "python": platform.python_version()}
    assert [sample.labels for sample in build.samples] == [versions]
