import math
import socket
from array import array
from collections.abc import Callable

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


def refused(message: str, call: Callable[..., object], *values: object, **options: object) -> None:
    with pytest.raises(UsageError, match=f"^{message}") as caught:
        call(*values, **options)
    assert len(str(caught.value)) < 200


def test_seconds_name_what_is_wrong() -> None:
    for value in (0, 5, 1.5, 10**9, None):
        arguments.seconds("timeout", value)
    refused("timeout is too large a number", arguments.seconds, "timeout", 10**400)
    refused("timeout must be finite, not inf; None means for ever", arguments.seconds, "timeout", math.inf)
    refused("drain must be a number of seconds, not None", arguments.seconds, "drain", None, none=False)
    refused("stats must be more than 0 seconds, not 0", arguments.seconds, "stats", 0, positive=True)
    for wrong in (0, -1, math.nan, math.inf, "9", True):
        refused("idle_timeout must be", arguments.seconds, "idle_timeout", wrong, positive=True)


def test_whole_numbers_name_what_is_wrong() -> None:
    arguments.whole("max_bytes", 2**63 - 1, 1)
    refused("max_bytes is too large a number$", arguments.whole, "max_bytes", 2**63, 1)
    for value in (10**5000, Unshowable()):  # without a repr
        refused(f"size must be .*, not <{type(value).__name__}>$", arguments.whole, "size", value, 1, 9)


def test_a_family_is_4_6_or_none() -> None:
    for value in (4, 6, None):
        arguments.family(value)
    for wrong in (socket.AF_INET, socket.AF_INET6, 5, 4.0, "4", True, "x" * 1000):
        refused("family must be 4, 6 or None", arguments.family, wrong)


def test_whatever_holds_bytes_is_a_payload() -> None:
    for value in (b"ab", bytearray(b"ab"), memoryview(b"ab"), array("b", b"ab")):
        assert bytes(arguments.payload("data", value)) == b"ab"
    for wrong in (5, None, 1.5, ["a"], "text"):
        refused("data must be bytes, not", arguments.payload, "data", wrong)


def test_words_switches_and_paths_name_what_is_wrong() -> None:
    arguments.text("log", "json", "text", "json")
    refused("log must be 'text' or 'json', not 'xml'", arguments.text, "log", "xml", "text", "json")
    arguments.switches(quiet=True, df=False)
    refused("df must be True or False, not 1$", arguments.switches, quiet=True, df=1)
    arguments.path("cert", "a\nb\udc80")  # any bytes can name a file, but for NUL
    for wrong in ("", "a\0b", "\ud800", b"a", None):
        refused("cert must be a path, not", arguments.path, "cert", wrong)
