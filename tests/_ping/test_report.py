"""The report: its exit code, its derived numbers, and its JSON form."""

import dataclasses
import json
from collections.abc import Mapping

import pytest

from halloo._core.histogram import Histogram, Summary
from halloo._ping.report import (
    PHASES,
    DelayVariation,
    DirectionalLoss,
    Generator,
    Kernel,
    Outage,
    PingReport,
    ProbeEvent,
    TargetReport,
    TimestampReport,
    event_dict,
    summary_dict,
)

OUTAGE = Outage(start_ns=100, end_ns=350, probes=3, over=False)


def summary_of(*values: int) -> Summary:
    found = Histogram(values).summary()
    assert found
    return found


def target(**known: object) -> TargetReport:
    plain = {"label": "one", "address": "one", "peer": None, "local": None, "sent": 10, "received": 10}
    return TargetReport(**plain | known)  # type: ignore[arg-type] # each test gives what Target has


def report(*targets: TargetReport, **known: object) -> PingReport:
    return PingReport(targets, started_ns=1, duration_ns=2, **known)  # type: ignore[arg-type] # as above


def keys(value: object) -> set[str]:
    """List the names in a JSON value, at every depth."""
    if isinstance(value, Mapping):
        return {str(key) for key in value} | {key for each in value.values() for key in keys(each)}
    return {key for each in value for key in keys(each)} if isinstance(value, list) else set()


FULL = target(
    sent=12,
    lost=2,
    errors={"ECONNREFUSED": 2},
    round_trip=summary_of(*range(1000, 1100)),
    phases={name: summary_of(5, 6) for name in PHASES},
    kernel=Kernel(min_rtt_ns=900, rtt_ns=1000),
    floor_ns=900,
    timestamps=TimestampReport(
        summary_of(50),
        DirectionalLoss(1, 1, 0, 0),
        forward=summary_of(7),
        withheld="clocks",
        reverse_variation=DelayVariation(5, 6),
    ),
    outages=(OUTAGE,),
    outage_count=1,
    longest_outage=OUTAGE,
)


# The exit code.


@pytest.mark.parametrize(
    ("targets", "missed", "code"),
    [
        ([target()], (), 0),
        ([target(received=1, lost=9)], (), 0),
        ([target(duplicate=3, reordered=2, late=1, unmatched=4)], (), 0),
        ([target(received=0, lost=10)], (), 1),
        ([target(), target(received=0)], (), 1),
        ([target(corrupt=1)], (), 1),
        ([target(stray=1)], (), 1),
        ([target()], ("p99 is 7 ms",), 3),
        ([target(corrupt=1)], ("corrupt is 1",), 3),
        ([target(received=0)], ("loss is 100 %",), 1),
        ([target(received=0, errors={"AddressNotAvailable": 9, "LocalError": 1})], (), 2),
        ([target(received=0, errors={"LocalError": 9}, timed_out=1)], (), 1),
        ([target(received=0, errors={"LocalError": 9, "Refused": 1})], (), 1),
        ([target(received=0, errors={"LocalError": 9}), target(received=0)], (), 1),
        ([target(received=0, errors={"LocalError": 9}), target()], (), 2),
    ],
)
def test_the_exit_code_depends_on_replies_goals_and_corruption(
    targets: list[TargetReport], missed: tuple[str, ...], code: int
) -> None:
    assert report(*targets, missed=missed).exit_code == code


# Derived numbers.


def test_loss_is_relative_to_sent_probes() -> None:
    assert target(sent=8, lost=2).loss_percent == 25.0
    assert target(sent=0).loss_percent == 0.0


def test_time_above_the_kernel_minimum_is_from_the_median_and_not_negative() -> None:
    assert target(round_trip=summary_of(500, 700, 900), floor_ns=200).above_floor_ns == 500
    assert target(round_trip=summary_of(500), floor_ns=600).above_floor_ns == 0
    assert target(round_trip=summary_of(500)).above_floor_ns is None
    assert target(floor_ns=600).above_floor_ns is None


def test_a_client_is_limited_if_more_than_one_in_twenty_fell_behind() -> None:
    for behind, limited in ((0, False), (5, False), (6, True)):
        assert Generator(planned=100, late=50, behind=behind).limited == limited
    assert Generator(planned=80, late=20).late_percent == 25.0
    assert (Generator().late_percent, Generator().limited) == (0.0, False)


# JSON.


@pytest.mark.parametrize("one", [target(), FULL], ids=["bare", "full"])
def test_a_report_is_json_without_nan(one: TargetReport) -> None:
    found = report(one, system={"python": "3"}, effective={"count": 10}).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_all_times_are_integers_all_shares_are_floats_and_all_names_are_snake_case() -> None:
    found = report(FULL, generator=Generator(planned=10, late=1, lateness=summary_of(5), cpu_percent=12.5)).to_dict()

    def check(value: object) -> None:
        for key, each in value.items() if isinstance(value, Mapping) else ():
            if key.endswith("_ns"):
                assert each is None or type(each) is int, key
            if key.endswith("_percent"):
                assert each is None or type(each) is float, key
            check(each)
        for each in value if isinstance(value, list) else ():
            check(each)

    check(found)
    names = keys(found) - {"ECONNREFUSED"}
    assert all(name.replace("_", "").isalnum() and name == name.lower() for name in names)


def test_a_target_has_all_fields_in_json() -> None:
    (found,) = report(FULL).to_dict()["summary"]["targets"]
    assert {field.name for field in dataclasses.fields(TargetReport)} - found.keys() <= {"histogram"}
    assert found["timestamps"]["lost"] == {"forward": 1, "reverse": 1, "refused": 0, "unknown": 0}
    assert found["timestamps"]["one_way_if_clocks_agree"]["forward"]["p50_ns"] == 7
    assert found["timestamps"]["one_way_withheld"] == "clocks"
    assert found["timestamps"]["one_way_variation"] == {
        "forward": {"ipdv_ns": None, "jitter_rfc3550_ns": None},
        "reverse": {"ipdv_ns": 5, "jitter_rfc3550_ns": 6},
    }
    assert found["longest_outage"] == {"start_ns": 100, "end_ns": 350, "length_ns": 250, "probes": 3, "over": False}
    assert found["kernel"]["min_rtt_ns"] == 900
    assert list(found["phases"]) == list(PHASES)


def test_errors_are_summed_by_name() -> None:
    found = report(target(errors={"a": 1, "b": 2}), target(errors={"b": 3}), target()).to_dict()
    assert found["errors"] == {"a": 1, "b": 5}


def test_percentiles_have_the_documented_names_and_only_the_median_needs_no_values_beyond_it() -> None:
    found = summary_dict(summary_of(1, 2, 3))
    assert found
    names = ["p50_ns", "p75_ns", "p90_ns", "p95_ns", "p99_ns", "p99_9_ns", "p99_99_ns"]
    assert [name for name in found if name.startswith("p")] == names
    assert [found[name] for name in names] == [2, *[None] * 6]
    assert (found["ipdv_ns"], summary_dict(None)) == (None, None)


def test_an_event_is_json_with_all_its_fields() -> None:
    found = event_dict(ProbeEvent(0, "corrupt", wall_ns=5, number=3, offset=17, phases={"connect": 9}))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["outcome"], found["offset"], found["phases"], found["text"]) == ("corrupt", 17, {"connect": 9}, None)
    assert found.keys() == {field.name for field in dataclasses.fields(ProbeEvent)}
