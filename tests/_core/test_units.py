from collections.abc import Callable, Mapping
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


@pytest.mark.parametrize(
    ("read", "texts", "invalid"),
    [
        (duration, DURATIONS, NO_DURATIONS),
        (size, SIZES, NO_SIZES),
        (count, COUNTS, NO_COUNTS),
        (rate, RATES, NO_RATES),
    ],
    ids=["duration", "size", "count", "rate"],
)
def test_a_text_is_parsed_or_refused_with_a_remedy(
    read: Read, texts: Mapping[str, int | None], invalid: list[str]
) -> None:
    assert {text: read(text) for text in texts} == texts
    for text in invalid:
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


def test_durations_and_sizes_are_formatted_in_a_suitable_unit() -> None:
    durations = {
        0: "0ns",
        999: "999ns",
        1_000: "1us",
        1_500_000: "1.5ms",
        100_000_000: "100ms",
        1_234_567_890: "1.23s",
        90_000_000_000: "1.5m",
        HOUR: "1h",
        -1_500_000: "-1.5ms",
    }
    assert {ns: show_duration(ns) for ns in durations} == durations
    sizes = {0: "0B", 999: "999B", 1024: "1KiB", 1536: "1.5KiB", 102400: "100KiB", 5 << 20: "5MiB", 1 << 40: "1024GiB"}
    assert {octets: show_size(octets) for octets in sizes} == sizes


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


def test_a_dscp_name_or_number_is_parsed_and_formatted() -> None:
    named = {"EF": 46, "ef": 46, " Af11 ": 10, "AF13": 14, "AF21": 18, "AF43": 38, "CS0": 0, "CS7": 56}
    named |= {"BE": 0, "LE": 1, "VA": 44, "0": 0, "63": 63, "08": 8}
    assert {text: dscp(text) for text in named} == named
    assert all(0 <= number <= MAX_DSCP for number in DSCP_NAMES.values())
    assert [dscp(show_dscp(number)) for number in range(MAX_DSCP + 1)] == [*range(MAX_DSCP + 1)]
    assert [show_dscp(number) for number in (0, 1, 10, 46, 48, 47)] == ["BE", "LE", "AF11", "EF", "CS6", "47"]
    arabic = "\N{ARABIC-INDIC DIGIT ONE}"
    for text in ("64", "-1", "AF44", "AF50", "CS8", "", "0x2e", arabic, "EF AF11", "4" * 5000):
        with pytest.raises(UsageError, match="is not a DSCP; write EF, AF11 to AF43"):
            dscp(text)


YEAR = 365 * 24 * 3600 * 10**9


def test_a_time_has_three_digits_in_its_natural_unit() -> None:
    times = {
        0: "0ns",
        999: "999ns",
        1000: "1.00us",
        9_999: "10.0us",
        84_123: "84.1us",
        999_600: "1.00ms",
        12_345_678: "12.3ms",
        5_000_000_000: "5.00s",
        123_456_789_012: "123s",
    }
    assert {ns: show_time(ns) for ns in times} == times
    assert [show_time(12_345_678, unit) for unit in UNITS] == ["12345678ns", "12346us", "12.3ms", "0.0123s"]


def test_a_column_has_one_unit_and_its_points_aligned() -> None:
    columns: list[tuple[list[int | None], list[str]]] = [
        ([80_100, 84_200, 130_000], ["80.1us", "84.2us", "130.0us"]),
        ([80_100, 84_200, 12_100_000], ["0.080ms", "0.084ms", "12.100ms"]),
        ([41_000, 1_200_000_000], ["0.041ms", "1200.000ms"]),
        ([250, 7_000_000_000], ["0.250us", "7000000.000us"]),
        ([None, 5_000], ["-", "5.00us"]),
        ([0, 5_000], ["0.00us", "5.00us"]),
        ([0], ["0ns"]),
        ([None], ["-"]),
        ([], []),
    ]
    for values, texts in columns:
        assert show_column(values) == texts
    assert show_column([80_100, 12_100_000, None], "us") == ["80.1us", "12100.0us", "-"]
    assert show_column([80_100, 12_100_000], "s") == ["0.0000801s", "0.0121000s"]


@given(st.lists(st.integers(0, YEAR), min_size=1), st.sampled_from([None, *UNITS]))
def test_no_positive_time_is_formatted_as_zero(values: list[int], unit: Unit | None) -> None:
    for value, text in zip(values, show_column(values, unit), strict=True):
        assert (float(text.rstrip("nums")) == 0) == (value == 0)
    for value in values:
        assert (float(show_time(value, unit).rstrip("nums")) == 0) == (value == 0)
