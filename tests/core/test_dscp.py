import pytest

from halloo.core.dscp import HIGHEST, NAMES, dscp, show_dscp
from halloo.errors import UsageError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("EF", 46), ("ef", 46), (" Af11 ", 10), ("AF13", 14), ("AF21", 18), ("AF43", 38), ("CS0", 0), ("CS7", 56)),
        *(("BE", 0), ("LE", 1), ("VA", 44), ("0", 0), ("63", 63), ("08", 8)),
    ],
)
def test_a_name_or_a_number_is_read(text: str, number: int) -> None:
    assert dscp(text) == number


@pytest.mark.parametrize(
    "text", ["64", "-1", "AF44", "AF50", "CS8", "", "0x2e", "\N{ARABIC-INDIC DIGIT ONE}", "EF AF11", "4" * 5000]
)
def test_what_is_none_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(UsageError, match="is no DSCP; write EF, AF11 to AF43"):
        dscp(text)


@pytest.mark.parametrize("number", range(HIGHEST + 1))
def test_what_is_written_can_be_read_again(number: int) -> None:
    assert dscp(show_dscp(number)) == number


@pytest.mark.parametrize(("number", "name"), [(0, "BE"), (1, "LE"), (10, "AF11"), (46, "EF"), (48, "CS6"), (47, "47")])
def test_the_commonest_name_is_written(number: int, name: str) -> None:
    assert show_dscp(number) == name


def test_each_number_fits_into_six_bits() -> None:
    assert all(0 <= number <= HIGHEST for number in NAMES.values())
