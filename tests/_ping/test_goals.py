from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._ping.goals import COUNTS, RUN_COUNTS, TIMES, Goal, goal, missed
from halloo._ping.report import DirectionalLoss, Generator, Kernel, Outage, TargetReport, TimestampReport
from halloo.errors import UnitError, UsageError
from tests._ping.sample_reports import report, summary_of

MS = 1_000_000


TARGET = TargetReport(
    label="host:8888",
    address="host",
    peer="10.0.0.1:8888",
    local=None,
    sent=1000,
    received=990,
    lost=5,
    late=5,
    duplicate=3,
    reordered=2,
    corrupt=1,
    stray=7,
    round_trip=summary_of(*([MS] * 980), *([7 * MS] * 20)),
    phases={
        "resolve": summary_of(2 * MS),
        "connect": summary_of(MS, 50 * MS, 60 * MS),
        "tls": summary_of(9 * MS),
        "first": summary_of(5),
    },
    timestamps=TimestampReport(summary_of(3 * MS), None),
    longest_outage=Outage(0, 2 * 10**9, 40),
)
LOST = DirectionalLoss(forward=1, reverse=2, refused=3, unknown=4)
FULL = replace(TARGET, kernel=Kernel(retransmits=5, lost=6), timestamps=TimestampReport(summary_of(3 * MS), LOST))
SILENT = TargetReport("host", "host", None, None, sent=10, lost=10)


def judge(goal: Goal, *targets: TargetReport, skipped: int = 0) -> str | None:
    """Return the sentence of a missed goal."""
    sentences = [*missed(goal, report(*targets, generator=Generator(skipped_waiting=skipped)))]
    assert len(sentences) <= 1
    return sentences[0] if sentences else None


@pytest.mark.parametrize(
    ("text", "name", "comparison", "bound"),
    [
        ("p99>5ms", "p99", ">", 5 * MS),
        (" P99.9 >= 1m30s ", "p99.9", ">=", 90 * 10**9),
        ("mean>2", "mean", ">", 2 * 10**9),
        ("min<1us", "min", "<", 1000),
        ("loss>0.1%", "loss", ">", 0.1),
        ("loss <= .5 %", "loss", "<=", 0.5),
        ("loss>100", "loss", ">", 100),
        ("corrupt>0", "corrupt", ">", 0),
        ("lost>10k", "lost", ">", 10_000),
    ],
)
def test_a_goal_is_parsed(text: str, name: str, comparison: str, bound: float) -> None:
    read = goal(text)
    assert (read.text, read.name, read.comparison, read.bound) == (text.strip(), name, comparison, bound)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a goal; write it like p99>5ms, loss>0.1% or corrupt>0"),
        ("p99", "'p99' is not a goal; write it like p99>5ms, loss>0.1% or corrupt>0"),
        ("p99=5ms", "'p99=5ms' is not a goal; write it like p99>5ms, loss>0.1% or corrupt>0"),
        ("p99>", "'p99>' is not a goal; write it like p99>5ms, loss>0.1% or corrupt>0"),
        ("p99>5 parsecs", "'5 parsecs' is not a duration; write 300ms, 1.5s, 1h30m, or seconds as a bare number"),
        ("p99>>5ms", "'>5ms' is not a duration; write 300ms, 1.5s, 1h30m, or seconds as a bare number"),
        ("loss>5ms", "'5ms' is not a percentage; write loss>0.1%"),
        ("lost>1%", "'1%' is not a count; write 500, 10k, 2M or max"),
        ("lost>max", "'max' can never be exceeded; write lost>0, or omit it"),
        ("speed>5ms", "'speed>5ms': unknown value 'speed'; use one of loss, lost, late, "),
    ],
)
def test_an_invalid_goal_is_refused_with_a_remedy(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        goal(text)
    assert str(raised.value).startswith(message)


def test_an_invalid_bound_is_a_unit_error() -> None:
    with pytest.raises(UnitError):
        goal("p99>soon")


@given(st.text(max_size=30))
def test_any_text_is_a_goal_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert goal(text).bound >= 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p99>5ms", "p99 of host:8888 is 7ms (fail if p99>5ms)"),
        ("p50>=1ms", "p50 of host:8888 is 1ms (fail if p50>=1ms)"),
        ("min<2ms", "min of host:8888 is 1ms (fail if min<2ms)"),
        ("max>5ms", "max of host:8888 is 7ms (fail if max>5ms)"),
        ("connect>49ms", "connect of host:8888 is 50ms (fail if connect>49ms)"),
        ("server>1ms", "server of host:8888 is 3ms (fail if server>1ms)"),
        ("outage>1s", "outage of host:8888 is 2s (fail if outage>1s)"),
        ("loss>0.1%", "loss of host:8888 is 0.5 % (fail if loss>0.1%)"),
        ("corrupt>0", "corrupt of host:8888 is 1 (fail if corrupt>0)"),
        ("late>4", "late of host:8888 is 5 (fail if late>4)"),
        ("stray>0", "stray of host:8888 is 7 (fail if stray>0)"),
    ],
)
def test_a_missed_goal_names_the_value(text: str, message: str) -> None:
    assert judge(goal(text), TARGET) == message


@pytest.mark.parametrize(
    "text",
    [
        *("p99>7ms", "p50>2ms", "p95<1ms", "max>7ms", "mean<=1ms", "mdev>1ms", "ipdv>1s", "jitter>1s", "first>1us"),
        *("resolve>2ms", "connect>51ms", "tls>9ms", "server>3ms", "outage>2s", "loss>0.5%", "lost>5", "duplicate>3"),
    ],
)
def test_a_reached_goal_gives_none(text: str) -> None:
    assert judge(goal(text), TARGET) is None


def test_every_value_can_be_a_goal() -> None:
    target = replace(FULL, round_trip=summary_of(*([MS, 3 * MS] * 50_000)), late=0)
    for name in (*TIMES, *COUNTS, *RUN_COUNTS):
        assert judge(goal(f"{name}>=0"), target), name
        assert not judge(goal(f"{name}<0"), target), name


def test_every_count_of_the_report_can_be_a_goal() -> None:
    summary = report(replace(FULL, errors={"Refused": 2, "Reset": 5})).to_dict()["summary"]
    generator = {f"generator.{name}" for name in count_names(summary["generator"])}
    (target,) = summary["targets"]
    assert {*RUN_COUNTS} == generator
    assert {*COUNTS} == {*count_names(target)} - SIZES
    assert judge(goal("errors>6"), replace(FULL, errors={"Refused": 2, "Reset": 5}))


SIZES = {"dscp", "ttl", "largest_bytes", "path_mtu", "kernel.window_segments", "kernel.mss"}


def count_names(found: dict[str, Any]) -> Iterator[str]:
    """Yield the paths of the counts: integers that are no times; errors are one count, distributions have none."""
    for name, value in found.items():
        if name == "errors":
            yield name
        elif isinstance(value, dict) and "p50_ns" not in value and name != "longest_outage":
            yield from (f"{name}.{each}" for each in count_names(value))
        elif not name.endswith(("_ns", "_percent")) and (type(value) is int or name in SIZES):
            yield name


def test_a_count_of_the_whole_run_is_judged_once() -> None:
    sentence = "generator.skipped_waiting is 3 (fail if generator.skipped_waiting>2)"
    assert judge(goal("generator.skipped_waiting>2"), TARGET, TARGET, skipped=3) == sentence


@pytest.mark.parametrize(
    ("text", "target", "why"),
    [
        ("p99>5ms", replace(TARGET, round_trip=summary_of(*[1] * 20)), "it needs 1000 probes, and there are 20"),
        ("p99.99>5ms", TARGET, "it needs 100000 probes, and there are 1000"),
        ("p75>5ms", replace(TARGET, round_trip=summary_of(1)), "it needs 40 probes, and there is 1"),
        ("p50>5ms", SILENT, "no reply in time"),
        ("jitter>5ms", replace(TARGET, round_trip=summary_of(1)), "it needs two replies"),
        ("ipdv>5ms", replace(TARGET, round_trip=summary_of(1)), "it needs replies to two consecutive probes"),
        ("tls>5ms", SILENT, "there is no such phase"),
        ("kernel.lost>0", TARGET, "this kernel has no data on the connection, as it has for TCP on Linux"),
        ("timestamps.lost.forward>0", TARGET, "the server's counts do not cover the whole run"),
        (
            "timestamps.lost.forward>0",
            replace(TARGET, timestamps=None),
            "no server timestamps; start the server with: halloo serve --timestamps",
        ),
        ("server>5ms", SILENT, "no server timestamps; start the server with: halloo serve --timestamps"),
        ("loss>0", replace(SILENT, sent=0, lost=0), "nothing was sent"),
    ],
)
def test_an_unknown_value_misses_its_goal_and_says_why(text: str, target: TargetReport, why: str) -> None:
    name = text.partition(">")[0]
    assert judge(goal(text), target) == f"{name} of {target.label} is unknown ({why}), so {text} cannot be ruled out"


def test_the_median_is_known_from_one_round_trip() -> None:
    assert judge(goal("p50>5ms"), replace(TARGET, round_trip=summary_of(1))) is None


def test_without_an_outage_its_length_is_zero() -> None:
    assert judge(goal("outage>0s"), replace(TARGET, longest_outage=None)) is None
    assert judge(goal("outage>=0s"), replace(TARGET, longest_outage=None))


def test_a_loss_equal_to_the_bound_is_not_above_it() -> None:
    assert judge(goal("loss>0.1%"), replace(TARGET, sent=1000, lost=1)) is None
    assert judge(goal("loss>0.3%"), replace(TARGET, sent=1000, lost=3)) is None


# Lost probes in percentiles.


def with_lost(answered: int, lost: int, *, slow: int = 0) -> TargetReport:
    times = summary_of(*([MS] * (answered - slow)), *([9 * MS] * slow), missing=lost)
    return replace(SILENT, sent=answered + lost, received=answered, lost=lost, round_trip=times)


@pytest.mark.parametrize("lost", [0, 1, 10])
def test_a_percentile_below_the_lost_share_is_known(lost: int) -> None:
    """The README's own gate: `-c 1000 --fail-if 'p99>5ms'`."""
    assert judge(goal("p99>5ms"), with_lost(1000 - lost, lost)) is None
    assert judge(goal("p99>=1ms"), with_lost(1000 - lost, lost))


def test_a_lost_probe_is_slower_than_any_goal() -> None:
    sentence = "p99 of host is infinite, counting 11 of 1000 probes (lost, late or corrupt) as slower"
    assert judge(goal("p99>1h"), with_lost(989, 11)) == f"{sentence} (fail if p99>1h)"
    assert judge(goal("p99<1h"), with_lost(989, 11)) is None
    assert judge(goal("p50>5ms"), with_lost(4, 6))


def test_a_sentence_says_that_lost_probes_are_compared() -> None:
    sentence = "p99 of host is 9ms, counting 3 of 1000 probes (lost, late or corrupt) as slower (fail if p99>5ms)"
    assert judge(goal("p99>5ms"), with_lost(997, 3, slow=8)) == sentence
