import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo.report.times import UNITS, Unit, column, time

YEAR = 365 * 24 * 3600 * 10**9


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0ns"),
        (999, "999ns"),
        (1000, "1.00us"),
        (9_999, "10.0us"),
        (84_123, "84.1us"),
        (999_600, "1.00ms"),
        (12_345_678, "12.3ms"),
        (5_000_000_000, "5.00s"),
        (123_456_789_012, "123s"),
    ],
)
def test_a_time_has_three_digits_in_a_unit_of_its_own(ns: int, text: str) -> None:
    assert time(ns) == text


@pytest.mark.parametrize(
    ("unit", "text"), [("ns", "12345678ns"), ("us", "12346us"), ("ms", "12.3ms"), ("s", "0.0123s")]
)
def test_a_unit_may_be_fixed(unit: Unit, text: str) -> None:
    assert time(12_345_678, unit) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([80_100, 84_200, 130_000], ["80.1us", "84.2us", "130.0us"]),
        ([80_100, 84_200, 12_100_000], ["0.080ms", "0.084ms", "12.100ms"]),
        ([41_000, 1_200_000_000], ["0.041ms", "1200.000ms"]),
        ([250, 7_000_000_000], ["0.250us", "7000000.000us"]),
        ([None, 5_000], ["-", "5.00us"]),
        ([0, 5_000], ["0.00us", "5.00us"]),
        ([0], ["0ns"]),
        ([None], ["-"]),
        ([], []),
    ],
)
def test_a_column_has_one_unit_and_its_points_aligned(values: list[int | None], texts: list[str]) -> None:
    assert column(values) == texts


def test_a_column_s_unit_may_be_fixed() -> None:
    assert column([80_100, 12_100_000, None], "us") == ["80.1us", "12100.0us", "-"]
    assert column([80_100, 12_100_000], "s") == ["0.0000801s", "0.0121000s"]


@given(st.lists(st.integers(0, YEAR), min_size=1), st.sampled_from([None, *UNITS]))
def test_nothing_that_took_time_is_shown_as_nothing(values: list[int], unit: Unit | None) -> None:
    for value, text in zip(values, column(values, unit), strict=True):
        assert (float(text.rstrip("nums")) == 0) == (value == 0)
    for value in values:
        assert (float(time(value, unit).rstrip("nums")) == 0) == (value == 0)
