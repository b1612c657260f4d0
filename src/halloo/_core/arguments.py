"""Check the arguments of public functions where they enter. Pure: no I/O, no clock, no randomness.

Each function takes the argument's name and value, and raises a UsageError that names the argument.
"""

import math
from typing import Literal

from halloo.errors import UsageError

Family = Literal[4, 6]
ReadableBuffer = bytes | bytearray | memoryview


def seconds(name: str, value: object, *, none: bool = True, positive: bool = False) -> None:
    """Check a duration in seconds: finite, not negative, and more than 0 where it has to be `positive`."""
    if value is None and none:
        return
    number = _number(name, value, "a number of seconds" + (" or None" if none else ""))
    if math.isinf(number) and number > 0:
        raise UsageError(f"must be finite, not {_short(value)}", "None means for ever" if none else "", argument=name)
    if number < 0 or (positive and not number):
        low = "more than 0" if positive else "at least 0"
        raise UsageError(f"must be {low} seconds, not {_short(value)}", argument=name)


def whole(name: str, value: object, low: int, high: int | None = None, *, none: bool = False) -> None:
    """Check a whole number between `low` and `high`, both included."""
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"must be a whole number{' or None' if none else ''}, not {_short(value)}", argument=name)
    if value < low or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"{low} to {high}"
        raise UsageError(f"must be {bounds}, not {value}", argument=name)


def amount(name: str, value: object, *, low: float = 0) -> None:
    """Check a limit: a finite number above `low`, or None for no limit."""
    if value is None:
        return
    number = _number(name, value, "a number or None")
    if not low < number < math.inf:
        fact = f"must be more than {low:g} and finite, not {_short(value)}"
        raise UsageError(fact, "None means no limit", argument=name)


def family(value: object) -> None:
    """Check an address family: 4, 6, or None for either."""
    if value is not None and (value not in (4, 6) or type(value) is not int):
        fact = f"must be 4, 6 or None, not {_short(value)}"
        raise UsageError(fact, "4 is IPv4, 6 is IPv6, None either", argument="family")


def payload(name: str, value: object) -> memoryview:
    """Check that an argument holds bytes, and view it as such: `bytes(5)` would be five zero bytes."""
    if type(value) is bytes:
        return memoryview(value)
    if isinstance(value, str):
        raise UsageError(f"must be bytes, not the str {_short(value)}", f"encode it: {name}.encode()", argument=name)
    try:
        return memoryview(value).cast("B")  # type: ignore[arg-type]  # what is no buffer is a TypeError
    except TypeError:
        raise UsageError(f"must be bytes, not {_short(value)}", argument=name) from None


def text(name: str, value: object, *allowed: str) -> None:
    """Check that an argument is one of some words."""
    if not isinstance(value, str) or value not in allowed:
        words = " or ".join([", ".join(map(repr, allowed[:-1])), repr(allowed[-1])])
        raise UsageError(f"must be {words}, not {_short(value)}", argument=name)


def instance(name: str, value: object, *kinds: type, what: str) -> None:
    """Check the type of an argument; `what` names the types for the message."""
    if not isinstance(value, kinds):
        raise UsageError(f"must be {what}, not {_short(value)}", argument=name)


def _number(name: str, value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        raise UsageError(f"must be {what}, not {_short(value)}", argument=name)
    try:
        return float(value)
    except OverflowError:
        raise UsageError("is too large a number", argument=name) from None


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."  # noqa: PLR2004 - what fits beside a sentence
