import math
import socket
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core import arguments
from halloo.errors import UsageError


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("not now")


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers(), max_size=2)
)


@given(ANYTHING)
def test_seconds_are_finite_and_not_negative_or_refused(value: object) -> None:
    try:
        arguments.seconds("timeout", value)
    except UsageError as error:
        assert str(error).startswith("timeout must be ")  # noqa: PT017 - one of two outcomes
    else:
        assert value is None or (isinstance(value, int | float) and 0 <= value < math.inf)


@given(ANYTHING)
def test_a_whole_number_is_within_its_bounds_or_refused(value: object) -> None:
    try:
        arguments.whole("size", value, 1, 9)
    except UsageError as error:
        assert str(error).startswith("size must be ")  # noqa: PT017 - as above
    else:
        assert value in range(1, 10)
        assert type(value) is int


@pytest.mark.parametrize("value", [0, 5, 1.5, 10**9])
def test_a_number_of_seconds_is_taken(value: float) -> None:
    arguments.seconds("timeout", value)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(UsageError, match="timeout is too large a number"):
        arguments.seconds("timeout", 10**400)


def test_none_is_for_ever_only_where_it_may_be() -> None:
    arguments.seconds("timeout", None)
    with pytest.raises(UsageError, match="drain must be a number of seconds, not None"):
        arguments.seconds("drain", None, none=False)


def test_zero_is_refused_where_a_duration_has_to_be_positive() -> None:
    with pytest.raises(UsageError, match="stats must be more than 0 seconds, not 0"):
        arguments.seconds("stats", 0, positive=True)


def test_infinity_is_named() -> None:
    with pytest.raises(UsageError, match="timeout must be finite, not inf; None means for ever"):
        arguments.seconds("timeout", math.inf)


@pytest.mark.parametrize("value", [4, 6, None])
def test_a_family_is_4_6_or_none(value: int | None) -> None:
    arguments.family(value)


@pytest.mark.parametrize("value", [socket.AF_INET, socket.AF_INET6, 5, 4.0, "4", True])
def test_another_family_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="family must be 4, 6 or None"):
        arguments.family(value)


@pytest.mark.parametrize("value", [b"ab", bytearray(b"ab"), memoryview(b"ab"), array("b", b"ab")])
def test_whatever_holds_bytes_is_a_payload(value: object) -> None:
    assert bytes(arguments.payload("data", value)) == b"ab"


@pytest.mark.parametrize("value", [5, None, 1.5, ["a"], "text"])
def test_what_holds_no_bytes_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="data must be bytes, not"):
        arguments.payload("data", value)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "9", True])
def test_a_positive_duration_is_above_0_and_finite(value: object) -> None:
    with pytest.raises(UsageError, match="idle_timeout must be"):
        arguments.seconds("idle_timeout", value, positive=True)


def test_a_word_is_one_of_those_allowed() -> None:
    arguments.text("log", "json", "text", "json")
    with pytest.raises(UsageError, match="log must be 'text' or 'json', not 'xml'"):
        arguments.text("log", "xml", "text", "json")


def test_a_number_of_more_than_64_bits_is_refused_where_there_is_no_other_bound() -> None:
    arguments.whole("max_bytes", 2**63 - 1, 1)
    with pytest.raises(UsageError, match=r"^max_bytes is too large a number$"):
        arguments.whole("max_bytes", 2**63, 1)


@pytest.mark.parametrize("value", [10**5000, Unshowable()], ids=["digits", "class"])
def test_a_value_without_a_repr_is_shown_by_its_type(value: object) -> None:
    with pytest.raises(UsageError, match=f"^size must be .*, not <{type(value).__name__}>$"):
        arguments.whole("size", value, 1, 9)


@pytest.mark.parametrize("value", ["", "a\0b", "\ud800", b"a", None])
def test_what_cannot_name_a_file_is_no_path(value: object) -> None:
    arguments.path("cert", "a\nb\udc80")  # any bytes can, but for NUL
    with pytest.raises(UsageError, match=r"^cert must be a path, not"):
        arguments.path("cert", value)


def test_a_switch_is_true_or_false() -> None:
    arguments.switches(quiet=True, df=False)
    with pytest.raises(UsageError, match=r"^df must be True or False, not 1$"):
        arguments.switches(quiet=True, df=1)


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(UsageError) as caught:
        arguments.family("x" * 1000)
    assert len(str(caught.value)) < 200
