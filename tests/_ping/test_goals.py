from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.histogram import Histogram, Summary
from halloo._ping.counters import Outage
from halloo._ping.goals import COUNTS, TIMES, goal, missed
from halloo._ping.report import TargetReport, TimestampReport
from halloo.errors import UnitError, UsageError

MS = 1_000_000


def spread(*values: int) -> Summary:
    latency = Histogram()
    for number, value in enumerate(values):
        latency.record(value, number)
    found = latency.summary()
    assert found
    return found


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
    round_trip=spread(*([MS] * 980), *([7 * MS] * 20)),
    phases={
        "resolve": spread(2 * MS),
        "connect": spread(MS, 50 * MS, 60 * MS),
        "tls": spread(9 * MS),
        "first": spread(5),
    },
    timestamps=TimestampReport(spread(3 * MS), None),
    longest_outage=Outage(0, 2 * 10**9, 40),
)
SILENT = TargetReport("host", "host", None, None, sent=10, lost=10)


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
def test_a_goal_is_read(text: str, name: str, comparison: str, bound: float) -> None:
    read = goal(text)
    assert (read.text, read.name, read.comparison, read.bound) == (text.strip(), name, comparison, bound)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no goal; write it like p99>5ms, loss>0.1% or corrupt>0"),
        ("p99", "'p99' is no goal; write it like p99>5ms, loss>0.1% or corrupt>0"),
        ("p99=5ms", "'p99=5ms' is no goal; write it like p99>5ms, loss>0.1% or corrupt>0"),
        ("p99>", "'p99>' is no goal; write it like p99>5ms, loss>0.1% or corrupt>0"),
        ("p99>5 parsecs", "'5 parsecs' is not a duration; write 300ms, 1.5s, 1h30m, or seconds as a bare number"),
        ("p99>>5ms", "'>5ms' is not a duration; write 300ms, 1.5s, 1h30m, or seconds as a bare number"),
        ("loss>5ms", "'5ms' is not a percentage; write loss>0.1%"),
        ("lost>1%", "'1%' is not a count; write 500, 10k, 2M or max"),
        ("lost>max", "'max' is never exceeded; write lost>0, or leave it out"),
        ("speed>5ms", "'speed>5ms': nothing that is called 'speed' is measured; there are loss, lost, late, "),
    ],
)
def test_what_is_no_goal_is_refused_with_the_next_step(text: str, said: str) -> None:
    with pytest.raises(UsageError) as met:
        goal(text)
    assert str(met.value).startswith(said)


def test_a_bound_that_is_none_is_an_error_of_units() -> None:
    with pytest.raises(UnitError):
        goal("p99>soon")


@given(st.text(max_size=30))
def test_any_text_is_a_goal_or_an_error_of_usage(text: str) -> None:
    with suppress(UsageError):
        assert goal(text).bound >= 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p99>5ms", "p99 of host:8888 was 7ms, and p99>5ms is a failure"),
        ("p50>=1ms", "p50 of host:8888 was 1ms, and p50>=1ms is a failure"),
        ("min<2ms", "min of host:8888 was 1ms, and min<2ms is a failure"),
        ("max>5ms", "max of host:8888 was 7ms, and max>5ms is a failure"),
        ("connect>49ms", "connect of host:8888 was 50ms, and connect>49ms is a failure"),
        ("server>1ms", "server of host:8888 was 3ms, and server>1ms is a failure"),
        ("outage>1s", "outage of host:8888 was 2s, and outage>1s is a failure"),
        ("loss>0.1%", "loss of host:8888 was 0.5 %, and loss>0.1% is a failure"),
        ("corrupt>0", "corrupt of host:8888 was 1, and corrupt>0 is a failure"),
        ("late>4", "late of host:8888 was 5, and late>4 is a failure"),
    ],
)
def test_a_goal_that_is_missed_says_by_which_value(text: str, said: str) -> None:
    assert missed(goal(text), TARGET) == said


@pytest.mark.parametrize(
    "text",
    [
        *("p99>7ms", "p50>2ms", "p95<1ms", "max>7ms", "mean<=1ms", "mdev>1ms", "ipdv>1s", "jitter>1s", "first>1us"),
        *("resolve>2ms", "connect>51ms", "tls>9ms", "server>3ms", "outage>2s", "loss>0.5%", "lost>5", "duplicate>3"),
    ],
)
def test_a_goal_that_is_reached_says_nothing(text: str) -> None:
    assert missed(goal(text), TARGET) is None


@pytest.mark.parametrize("name", [*TIMES, *COUNTS])
def test_every_value_can_be_a_goal(name: str) -> None:
    target = replace(TARGET, round_trip=spread(*([MS, 3 * MS] * 50_000)), late=0)
    assert missed(goal(f"{name}>=0"), target)
    assert not missed(goal(f"{name}<0"), target)


@pytest.mark.parametrize(
    ("text", "target", "why"),
    [
        ("p99>5ms", replace(TARGET, round_trip=spread(*[1] * 20)), "it needs 1000 round trips and 20 were measured"),
        ("p99.99>5ms", TARGET, "it needs 100000 round trips and 1000 were measured"),
        ("p75>5ms", replace(TARGET, round_trip=spread(1)), "it needs 40 round trips and 1 were measured"),
        ("p50>5ms", SILENT, "nothing came back in time"),
        ("jitter>5ms", replace(TARGET, round_trip=spread(1)), "it needs two answers to one probe and the next"),
        ("tls>5ms", SILENT, "there was no such phase"),
        ("server>5ms", SILENT, "the server stamps nothing, as it does when started with: halloo serve --timestamps"),
        ("loss>0", replace(SILENT, sent=0, lost=0), "nothing was sent"),
    ],
)
def test_what_could_not_be_measured_is_missed_and_says_why(text: str, target: TargetReport, why: str) -> None:
    name = text.partition(">")[0]
    assert (
        missed(goal(text), target) == f"{name} of {target.label} is unknown ({why}), so that {text} cannot be ruled out"
    )


def test_the_median_is_known_from_one_round_trip() -> None:
    assert missed(goal("p50>5ms"), replace(TARGET, round_trip=spread(1))) is None


def test_no_outage_is_one_of_no_length() -> None:
    assert missed(goal("outage>0s"), replace(TARGET, longest_outage=None)) is None
    assert missed(goal("outage>=0s"), replace(TARGET, longest_outage=None))


def test_a_loss_that_is_exactly_the_bound_is_not_above_it() -> None:
    assert missed(goal("loss>0.1%"), replace(TARGET, sent=1000, lost=1)) is None
    assert missed(goal("loss>0.3%"), replace(TARGET, sent=1000, lost=3)) is None
