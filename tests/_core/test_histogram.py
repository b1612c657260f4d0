"""Durations and their distribution, compared with lists that keep every value."""

import math
from fractions import Fraction
from statistics import NormalDist

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo._core.histogram import MIN_ABOVE, PERCENTILES, Histogram, Summary

HOUR = 3_600_000_000_000
PRECISION = 32_768  # maximum relative error of a percentile: one part in this
values = st.lists(st.one_of(st.integers(0, HOUR), st.integers(0, 100_000)), min_size=1, max_size=300)


def summary_of(*numbers: int) -> Summary:
    found = Histogram(numbers).summary()
    assert found
    return found


def exact(numbers: list[int], percent: float) -> int:
    """Find the value at a percentile of a sorted list."""
    rank = math.ceil(len(numbers) * Fraction(str(percent)) / 100)
    return sorted(numbers)[max(rank, 1) - 1]


def is_close(found: int | None, wanted: int) -> bool:
    return found is not None and abs(found - wanted) * PRECISION <= wanted


# Percentiles.


@given(values, st.sampled_from([0.0, 0.1, 1.0, 33.3, 100.0, *PERCENTILES]))
@example([1] * 1000, 99.9)
@example(list(range(1000)), 99.9)
def test_a_percentile_equals_that_of_the_list_within_its_precision(numbers: list[int], percent: float) -> None:
    assert is_close(Histogram(numbers).percentiles([percent])[percent], exact(numbers, percent))


@given(st.lists(st.integers(0, (1 << 15) - 1), min_size=1))
def test_small_values_are_exact(numbers: list[int]) -> None:
    assert Histogram(numbers).percentiles([50.0])[50.0] == exact(numbers, 50)


@given(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=2500))
def test_a_summary_has_only_percentiles_with_values_above(numbers: list[int]) -> None:
    found = summary_of(*numbers)
    reportable = [
        percent for percent in PERCENTILES if len(numbers) * (100 - Fraction(str(percent))) / 100 >= MIN_ABOVE
    ]
    assert list(found.percentiles) == reportable
    assert all(is_close(found.at(percent), exact(numbers, percent)) for percent in reportable)
    assert is_close(found.median_ns, exact(numbers, 50))


@pytest.mark.parametrize(
    ("count", "reportable"), [(19, []), (20, [50.0]), (999, [50.0, 75.0, 90.0, 95.0]), (10_000, [*PERCENTILES[:-1]])]
)
def test_few_values_have_few_percentiles(count: int, reportable: list[float]) -> None:
    assert list(summary_of(*range(count)).percentiles) == reportable


@given(st.lists(st.integers(0, 1 << 14), min_size=1, max_size=1200), st.integers(0, 300))
def test_missing_values_count_as_greater_than_any(numbers: list[int], missing: int) -> None:
    found = Histogram(numbers).summary(missing=missing)
    assert found
    counted, infinite = [*numbers, *[1 << 60] * missing], 1 << 60
    reportable = [p for p in PERCENTILES if len(counted) * (100 - Fraction(str(p))) / 100 >= MIN_ABOVE]
    expected = {p: value if (value := exact(counted, p)) < infinite else None for p in (50.0, *reportable)}
    assert found.with_missing == expected
    assert found.percentiles == summary_of(*numbers).percentiles


def test_no_percentile_is_outside_the_range() -> None:
    latency = Histogram([1_000_000_001] * 3)
    assert [*latency.percentiles([0.0, 50.0, 100.0]).values()] == [1_000_000_001] * 3
    assert summary_of(HOUR - 10, HOUR + 10).mdev_ns == 10
    assert (summary_of(-5, 3).min_ns, summary_of(-5, 3).mean_ns) == (0, 2)


# The rest of a summary.


@given(values)
def test_count_minimum_maximum_and_mean_are_exact(numbers: list[int]) -> None:
    found = summary_of(*numbers)
    assert (found.count, found.min_ns, found.max_ns) == (len(numbers), min(numbers), max(numbers))
    assert abs(found.mean_ns - Fraction(sum(numbers), len(numbers))) <= Fraction(501, 1000)


@given(values)
@example([HOUR, HOUR + 1, HOUR + 2])
@example([HOUR] * 7)
def test_the_deviation_is_exact(numbers: list[int]) -> None:
    mean = Fraction(sum(numbers), len(numbers))
    variance = sum((number - mean) ** 2 for number in numbers) / len(numbers)
    assert abs(summary_of(*numbers).mdev_ns - math.sqrt(variance)) <= 0.501


def test_without_values_there_is_no_summary() -> None:
    latency = Histogram()
    assert latency.summary() is None
    assert latency.percentiles([50.0]) == {}
    assert [*latency.buckets()] == []


@given(values)
def test_the_buckets_have_all_values_in_order(numbers: list[int]) -> None:
    buckets = [*Histogram(numbers).buckets()]
    assert sum(count for _, count in buckets) == len(numbers)
    assert buckets == sorted(buckets)
    flat = [middle for middle, count in buckets for _ in range(count)]
    assert all(is_close(found, wanted) for found, wanted in zip(flat, sorted(numbers), strict=True))


def test_memory_is_bounded_by_the_significant_bits() -> None:
    assert len([*Histogram(range(1 << 20, (1 << 20) + 10_000)).buckets()]) <= 10_000 // 64 + 1


def test_memory_is_bounded_up_to_an_hour_and_small_for_few_values() -> None:
    assert Histogram(round(1.001**power) for power in range(28_900)).memory <= 4 << 20  # up to an hour
    assert Histogram(range(0, HOUR, HOUR // 10)).memory <= 11 * 2048


def test_memory_ceases_to_grow_early() -> None:
    spread = NormalDist(12, 0.5)  # of the logarithm: round trips around 160 us
    times = [round(math.exp(spread.inv_cdf((number * 0.618034 + 0.5) % 1 or 0.5))) for number in range(200_000)]
    latency = Histogram(times[:100_000])
    early, buckets = latency.memory, len([*latency.buckets()])
    for time in times[100_000:]:
        latency.record(time)
    assert len([*latency.buckets()]) > buckets + 5_000  # each would be a new entry of a dict
    assert latency.memory <= 1.05 * early
