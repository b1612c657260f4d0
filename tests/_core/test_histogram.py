"""Round trips and how they are distributed, beside lists that keep every value."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo._core.histogram import ABOVE, PERCENTILES, Histogram, Summary

HOUR = 3_600_000_000_000
PART = 32_768  # a percentile is off by one part in so many
values = st.lists(st.one_of(st.integers(0, HOUR), st.integers(0, 100_000)), min_size=1, max_size=300)


def spread(*numbers: int) -> Summary:
    found = Histogram(numbers).summary()
    assert found
    return found


def exact(numbers: list[int], percent: float) -> int:
    """Find the value that so many percent do not exceed, as one would by hand."""
    rank = math.ceil(len(numbers) * Fraction(str(percent)) / 100)
    return sorted(numbers)[max(rank, 1) - 1]


def near(found: int | None, wanted: int) -> bool:
    return found is not None and abs(found - wanted) * PART <= wanted


# Percentiles.


@given(values, st.sampled_from([0.0, 0.1, 1.0, 33.3, 100.0, *PERCENTILES]))
@example([1] * 1000, 99.9)
@example(list(range(1000)), 99.9)
def test_a_percentile_is_that_of_the_list_within_its_part(numbers: list[int], percent: float) -> None:
    assert near(Histogram(numbers).percentiles([percent])[percent], exact(numbers, percent))


@given(st.lists(st.integers(0, (1 << 15) - 1), min_size=1))
def test_small_values_are_kept_as_they_are(numbers: list[int]) -> None:
    assert Histogram(numbers).percentiles([50.0])[50.0] == exact(numbers, 50)


@given(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=2500))
def test_a_spread_tells_those_percentiles_alone_that_have_values_beyond(numbers: list[int]) -> None:
    found = spread(*numbers)
    told = [percent for percent in PERCENTILES if len(numbers) * (100 - Fraction(str(percent))) / 100 >= ABOVE]
    assert list(found.percentiles) == told
    assert all(near(found.at(percent), exact(numbers, percent)) for percent in told)
    assert near(found.median_ns, exact(numbers, 50))


@pytest.mark.parametrize(
    ("count", "told"), [(19, []), (20, [50.0]), (999, [50.0, 75.0, 90.0, 95.0]), (10_000, [*PERCENTILES[:-1]])]
)
def test_of_few_values_few_percentiles_are_told(count: int, told: list[float]) -> None:
    assert list(spread(*range(count)).percentiles) == told


def test_no_percentile_is_beyond_the_least_or_the_greatest() -> None:
    latency = Histogram([1_000_000_001] * 3)
    assert [*latency.percentiles([0.0, 50.0, 100.0]).values()] == [1_000_000_001] * 3


# The rest of a spread.


@given(values)
def test_count_least_greatest_and_mean_are_exact(numbers: list[int]) -> None:
    found = spread(*numbers)
    assert (found.count, found.min_ns, found.max_ns) == (len(numbers), min(numbers), max(numbers))
    assert abs(found.mean_ns - Fraction(sum(numbers), len(numbers))) <= Fraction(501, 1000)


@given(values)
@example([HOUR, HOUR + 1, HOUR + 2])
@example([HOUR] * 7)
def test_the_deviation_is_exact(numbers: list[int]) -> None:
    mean = Fraction(sum(numbers), len(numbers))
    variance = sum((number - mean) ** 2 for number in numbers) / len(numbers)
    assert abs(spread(*numbers).mdev_ns - math.sqrt(variance)) <= 0.501


def test_a_deviation_of_nanoseconds_is_not_lost_in_hours() -> None:
    assert spread(HOUR - 10, HOUR + 10).mdev_ns == 10


def test_of_no_values_nothing_is_said() -> None:
    latency = Histogram()
    assert latency.summary() is None
    assert latency.percentiles([50.0]) == {}
    assert latency.buckets() == []


def test_a_time_before_zero_is_zero() -> None:
    assert (spread(-5, 3).min_ns, spread(-5, 3).mean_ns) == (0, 2)


@given(values)
def test_the_buckets_have_all_values_in_order(numbers: list[int]) -> None:
    buckets = Histogram(numbers).buckets()
    assert sum(count for _, count in buckets) == len(numbers)
    assert buckets == sorted(buckets)
    flat = [middle for middle, count in buckets for _ in range(count)]
    assert all(near(found, wanted) for found, wanted in zip(flat, sorted(numbers), strict=True))


def test_memory_is_bounded_by_the_digits_kept() -> None:
    assert len(Histogram(range(0, 1 << 30, 9973)).buckets()) <= (1 << 14) * 16 + (1 << 15)
    assert len(Histogram(range(1 << 20, (1 << 20) + 10_000)).buckets()) <= 10_000 // 64 + 1


# From one to the next.


@given(st.lists(st.tuples(st.integers(0, HOUR), st.integers(1, 2)), min_size=1))
def test_steps_are_between_a_value_and_its_direct_successor(gaps: list[tuple[int, int]]) -> None:
    latency, number, numbered = Histogram(), 0, []
    for value, gap in gaps:
        number += gap
        latency.record(value, number)
        numbered.append((number, value))
    steps = [abs(b - a) for (one, a), (other, b) in pairwise(numbered) if other == one + 1]
    jitter = 0.0
    for step in steps:
        jitter += (step - jitter) / 16
    found = latency.summary()
    assert found
    assert found.ipdv_ns == (round(sum(steps) / len(steps)) if steps else None)
    assert found.jitter_rfc3550_ns == (round(jitter) if steps else None)


def test_values_without_numbers_make_no_steps() -> None:
    found = spread(1, 2, 3)
    assert (found.ipdv_ns, found.jitter_rfc3550_ns) == (None, None)


def test_one_that_comes_out_of_order_makes_no_step() -> None:
    latency = Histogram()
    for number, value in ((0, 100), (2, 900), (1, 100), (3, 100)):
        latency.record(value, number)
    found = latency.summary()
    assert found
    assert found.ipdv_ns is None
