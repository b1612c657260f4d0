from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo._core.units import (
    DSCP_NAMES,
    MAX_DSCP,
    NS,
    UNITS,
    Unit,
    count,
    dscp,
    duration,
    rate,
    show_column,
    show_dscp,
    show_duration,
    show_size,
    show_time,
    size,
)
from halloo.errors import UnitError, UsageError

Read = Callable[[str], int | None]

HOUR = NS["h"]
DURATIONS = {
    "10ns": 10,
    "250us": 250_000,
    "250µs": 250_000,
    "300ms": 300_000_000,
    "1.5s": 1_500_000_000,
    ".5s": 500_000_000,
    "2.s": 2_000_000_000,
    "5m": 300_000_000_000,
    "1h30m": 5_400_000_000_000,
    "1m1ms": 60_001_000_000,
    "3": 3_000_000_000,
    "0.25": 250_000_000,
    "0": 0,
    " 3s ": 3_000_000_000,
}
SIZES = {
    "500": 500,
    "10k": 10_000,
    "10K": 10_000,
    "10kB": 10_000,
    "10KB": 10_000,
    "64KiB": 65_536,
    "64kiB": 65_536,
    "1.5MB": 1_500_000,
    "1.5MiB": 1_572_864,
    "2G": 2_000_000_000,
    "2GiB": 2_147_483_648,
    "7B": 7,
    "64 KiB": 65_536,
    "max": None,
}
COUNTS = {"0": 0, "500": 500, "10k": 10_000, "1.5k": 1_500, "2M": 2_000_000, "max": None}
RATES = {"500/s": 500, "500": 500, "10k/s": 10_000, "64KiB/s": 65_536, "max": None, "max/s": None}

NO_NUMBERS = ["", " ", ".", "-1", "+1", "1e3", "1_000", "\u0661", "nan", "inf", "0x10", "1,5", "x", "1 1", "9" * 5000]
NO_DURATIONS = [
    *NO_NUMBERS,
    "5 s",
    "5x",
    "s",
    "1s,2s",
    "1s 2s",
    "1s2",
    "1S",
    "max",
    "9" * 5000 + "s",
    "1s" * 101,
    "1s" * 100 + "x",
]
NO_SIZES = [*NO_NUMBERS, "1.5", "1.5B", "5s", "k", "1kk", "1kib", "1T", "maximum", "9" * 5000 + "k"]
NO_COUNTS = [*NO_NUMBERS, "1.5", "64KiB", "5B", "5/s"]
NO_RATES = [*NO_NUMBERS, "1.5", "500/m", "500/s/s", "/s"]


@pytest.mark.parametrize(("text", "ns"), DURATIONS.items())
def test_a_duration_is_parsed(text: str, ns: int) -> None:
    assert duration(text) == ns


@pytest.mark.parametrize(("text", "octets"), SIZES.items())
def test_a_size_is_parsed(text: str, octets: int | None) -> None:
    assert size(text) == octets


@pytest.mark.parametrize(("text", "number"), COUNTS.items())
def test_a_count_is_parsed(text: str, number: int | None) -> None:
    assert count(text) == number


@pytest.mark.parametrize(("text", "number"), RATES.items())
def test_a_rate_is_parsed(text: str, number: int | None) -> None:
    assert rate(text) == number


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((duration, text) for text in NO_DURATIONS),
        *((size, text) for text in NO_SIZES),
        *((count, text) for text in NO_COUNTS),
        *((rate, text) for text in NO_RATES),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else value.__name__,
)
def test_an_invalid_text_is_refused_with_a_remedy(read: Read, text: str) -> None:
    with pytest.raises(UnitError) as caught:
        read(text)
    assert caught.value.remedy


@pytest.mark.parametrize("read", [duration, size, count, rate])
@given(text=st.one_of(st.text(), st.from_regex(r"\s*\d*\.?\d*\s?[a-zA-Zµ]{0,3}(/s)?", fullmatch=True)))
def test_any_text_is_a_number_or_a_unit_error(read: Read, text: str) -> None:
    try:
        value = read(text)
    except UnitError:
        return
    assert value is None or value >= 0


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0ns"),
        (999, "999ns"),
        (1_000, "1us"),
        (1_500_000, "1.5ms"),
        (100_000_000, "100ms"),
        (1_234_567_890, "1.23s"),
        (90_000_000_000, "1.5m"),
        (HOUR, "1h"),
        (-1_500_000, "-1.5ms"),
    ],
)
def test_a_duration_is_formatted_in_a_suitable_unit(ns: int, text: str) -> None:
    assert show_duration(ns) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (102400, "100KiB"),
        (5 << 20, "5MiB"),
        (1 << 40, "1024GiB"),
    ],
)
def test_a_size_is_formatted_in_a_suitable_unit(octets: int, text: str) -> None:
    assert show_size(octets) == text


@given(st.integers(0, 999 * HOUR))
def test_a_formatted_duration_parses_back_within_its_rounding(ns: int) -> None:
    unit = max(factor for factor in NS.values() if factor <= max(ns, 1))
    assert abs(duration(show_duration(ns)) - ns) <= 0.005 * unit + 1


@given(st.integers(0, 1 << 40))
def test_a_formatted_size_parses_back_within_its_rounding(octets: int) -> None:
    unit = max(factor for factor in (1, 1 << 10, 1 << 20, 1 << 30) if factor <= max(octets, 1))
    assert abs((size(show_size(octets)) or 0) - octets) <= 0.005 * unit + 1


@given(st.integers(0, HOUR - 1))
@example(999_999_999)
def test_a_duration_has_at_most_three_digits_before_its_point(ns: int) -> None:
    assert Decimal(show_duration(ns).rstrip("hmsun")) < 1000


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("EF", 46), ("ef", 46), (" Af11 ", 10), ("AF13", 14), ("AF21", 18), ("AF43", 38), ("CS0", 0), ("CS7", 56)),
        *(("BE", 0), ("LE", 1), ("VA", 44), ("0", 0), ("63", 63), ("08", 8)),
    ],
)
def test_a_dscp_name_or_number_is_parsed(text: str, number: int) -> None:
    assert dscp(text) == number


@pytest.mark.parametrize(
    "text", ["64", "-1", "AF44", "AF50", "CS8", "", "0x2e", "\N{ARABIC-INDIC DIGIT ONE}", "EF AF11", "4" * 5000]
)
def test_an_invalid_dscp_is_refused_with_the_valid_ones(text: str) -> None:
    with pytest.raises(UsageError, match="is not a DSCP; write EF, AF11 to AF43"):
        dscp(text)


@pytest.mark.parametrize("number", range(MAX_DSCP + 1))
def test_a_formatted_dscp_parses_back(number: int) -> None:
    assert dscp(show_dscp(number)) == number


@pytest.mark.parametrize(("number", "name"), [(0, "BE"), (1, "LE"), (10, "AF11"), (46, "EF"), (48, "CS6"), (47, "47")])
def test_a_dscp_is_formatted_by_its_commonest_name(number: int, name: str) -> None:
    assert show_dscp(number) == name


def test_each_dscp_fits_into_six_bits() -> None:
    assert all(0 <= number <= MAX_DSCP for number in DSCP_NAMES.values())


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
def test_a_time_has_three_digits_in_its_natural_unit(ns: int, text: str) -> None:
    assert show_time(ns) == text


@pytest.mark.parametrize(
    ("unit", "text"), [("ns", "12345678ns"), ("us", "12346us"), ("ms", "12.3ms"), ("s", "0.0123s")]
)
def test_a_unit_may_be_fixed(unit: Unit, text: str) -> None:
    assert show_time(12_345_678, unit) == text


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
    assert show_column(values) == texts


def test_a_column_s_unit_may_be_fixed() -> None:
    assert show_column([80_100, 12_100_000, None], "us") == ["80.1us", "12100.0us", "-"]
    assert show_column([80_100, 12_100_000], "s") == ["0.0000801s", "0.0121000s"]


@given(st.lists(st.integers(0, YEAR), min_size=1), st.sampled_from([None, *UNITS]))
def test_no_positive_time_is_formatted_as_zero(values: list[int], unit: Unit | None) -> None:
    for value, text in zip(values, show_column(values, unit), strict=True):
        assert (float(text.rstrip("nums")) == 0) == (value == 0)
    for value in values:
        assert (float(show_time(value, unit).rstrip("nums")) == 0) == (value == 0)
