from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.histogram import PERCENTILES
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


PARSED = [
    ("p99>5ms", "p99", ">", 5 * MS),
    (" P99.9 >= 1m30s ", "p99.9", ">=", 90 * 10**9),
    ("mean>2", "mean", ">", 2 * 10**9),
    ("min<1us", "min", "<", 1000),
    ("loss>0.1%", "loss", ">", 0.1),
    ("loss <= .5 %", "loss", "<=", 0.5),
    ("loss>100", "loss", ">", 100),
    ("corrupt>0", "corrupt", ">", 0),
    ("lost>10k", "lost", ">", 10_000),
]
FORM = "is not a goal; write it like p99>5ms, loss>0.1% or corrupt>0"
INVALID = [
    ("", f"'' {FORM}"),
    ("p99", f"'p99' {FORM}"),
    ("p99=5ms", f"'p99=5ms' {FORM}"),
    ("p99>", f"'p99>' {FORM}"),
    ("p99>5 parsecs", "'5 parsecs' is not a duration; write 300ms, 1.5s, 1h30m, or seconds as a bare number"),
    ("p99>>5ms", "'>5ms' is not a duration; write 300ms, 1.5s, 1h30m, or seconds as a bare number"),
    ("loss>5ms", "'5ms' is not a percentage; write loss>0.1%"),
    ("lost>1%", "'1%' is not a count; write 500, 10k, 2M or max"),
    ("lost>max", "'max' can never be exceeded; write lost>0, or omit it"),
    ("speed>5ms", "'speed>5ms': unknown value 'speed'; use one of loss, lost, late, "),
]


def test_a_goal_is_parsed_and_an_invalid_one_is_refused_with_a_remedy() -> None:
    for text, name, comparison, bound in PARSED:
        assert goal(text) == Goal(text.strip(), name, comparison, bound)
    for text, message in INVALID:
        with pytest.raises(UsageError) as raised:
            goal(text)
        assert str(raised.value).startswith(message)
        assert isinstance(raised.value, UnitError) == (FORM not in message and "unknown value" not in message)


@given(st.text(max_size=30))
def test_any_text_is_a_goal_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert goal(text).bound >= 0


MISSED = {
    "p99>5ms": "7ms",
    "p50>=1ms": "1ms",
    "min<2ms": "1ms",
    "max>5ms": "7ms",
    "connect>49ms": "50ms",
    "server>1ms": "3ms",
    "outage>1s": "2s",
    "loss>0.1%": "0.5 %",
    "corrupt>0": "1",
    "late>4": "5",
    "stray>0": "7",
}
REACHED = (
    *("p99>7ms", "p50>2ms", "p95<1ms", "max>7ms", "mean<=1ms", "mdev>1ms", "ipdv>1s", "jitter>1s", "first>1us"),
    *("resolve>2ms", "connect>51ms", "tls>9ms", "server>3ms", "outage>2s", "loss>0.5%", "lost>5", "duplicate>3"),
)


def test_a_missed_goal_names_the_value_and_a_reached_one_gives_none() -> None:
    for text, value in MISSED.items():
        name = goal(text).name
        assert judge(goal(text), TARGET) == f"{name} of host:8888 is {value} (fail if {text})"
    for text in REACHED:
        assert judge(goal(text), TARGET) is None


EXACT = replace(
    summary_of(MS, 3 * MS), percentiles=dict.fromkeys(PERCENTILES, MS), with_missing=dict.fromkeys(PERCENTILES, MS)
)


def test_every_value_can_be_a_goal() -> None:
    target = replace(FULL, round_trip=EXACT, late=0)
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


NO_TIMESTAMPS = "no server timestamps; start the server with: halloo serve --timestamps"
ONE_REPLY = replace(TARGET, round_trip=summary_of(1))
UNKNOWN = [
    ("p99>5ms", replace(TARGET, round_trip=summary_of(*[1] * 20)), "it needs 1000 probes, and there are 20"),
    ("p99.99>5ms", TARGET, "it needs 100000 probes, and there are 1000"),
    ("p75>5ms", ONE_REPLY, "it needs 40 probes, and there is 1"),
    ("p50>5ms", SILENT, "no reply in time"),
    ("jitter>5ms", ONE_REPLY, "it needs two replies"),
    ("ipdv>5ms", ONE_REPLY, "it needs replies to two consecutive probes"),
    ("tls>5ms", SILENT, "there is no such phase"),
    ("kernel.lost>0", TARGET, "this kernel has no data on the connection, as it has for TCP on Linux"),
    ("timestamps.lost.forward>0", TARGET, "the server's counts do not cover the whole run"),
    ("timestamps.lost.forward>0", replace(TARGET, timestamps=None), NO_TIMESTAMPS),
    ("server>5ms", SILENT, NO_TIMESTAMPS),
    ("loss>0", replace(SILENT, sent=0, lost=0), "nothing was sent"),
]


def test_an_unknown_value_misses_its_goal_and_says_why() -> None:
    for text, target, why in UNKNOWN:
        sentence = f"{goal(text).name} of {target.label} is unknown ({why}), so {text} cannot be ruled out"
        assert judge(goal(text), target) == sentence


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


def test_a_percentile_below_the_lost_share_is_known() -> None:
    """The README's own gate: `-c 1000 --fail-if 'p99>5ms'`."""
    for lost in (0, 1, 10):
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
