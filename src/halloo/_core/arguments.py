"""Check the arguments of public functions where they enter. Pure: no I/O, no clock, no randomness.

Each function takes the argument's name and value, and raises a UsageError that names the argument.
"""

import math
from contextlib import suppress
from typing import Literal

from halloo.errors import UsageError

Family = Literal[4, 6]
ReadableBuffer = bytes | bytearray | memoryview
_NANOSECOND = 1e-9  # inside halloo a duration is a whole number of them
_HIGHEST = (1 << 63) - 1  # counters and the kernel's sizes have 64 bits


def seconds(name: str, value: object, *, none: bool = True, positive: bool = False, remedy: str = "") -> None:
    """Check a duration in seconds: finite, not negative, and a nanosecond at least where it has to be `positive`."""
    if value is None and none:
        return
    number = _number(name, value, "a number of seconds" + (" or None" if none else ""))
    if math.isinf(number) and number > 0:
        raise UsageError(f"must be finite, not {shown(value)}", "None means for ever" if none else "", argument=name)
    if number < (_NANOSECOND if positive else 0):
        low = "more than 0" if positive else "at least 0"
        raise UsageError(f"must be {low} seconds, not {number:g}", remedy, argument=name)


def whole(
    name: str, value: object, low: int, high: int | None = None, *, none: bool = False, unit: str = "", remedy: str = ""
) -> None:
    """Check a whole number between `low` and `high`, both included; without `high`, one of at most 64 bits."""
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"must be a whole number{' or None' if none else ''}, not {shown(value)}", argument=name)
    if high is None and value > _HIGHEST:
        raise UsageError("is too large a number", remedy, argument=name)
    if value < low or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"{low} to {high}"
        raise UsageError(f"must be {bounds}{unit}, not {shown(value)}", remedy, argument=name)


def family(value: object) -> None:
    """Check an address family: 4, 6, or None for either."""
    if value is not None and (type(value) is not int or value not in (4, 6)):
        fact = f"must be 4, 6 or None, not {shown(value)}"
        raise UsageError(fact, "4 is IPv4, 6 is IPv6, None either", argument="family")


def payload(name: str, value: object) -> memoryview:
    """Check that an argument holds bytes, and view it as such: `bytes(5)` would be five zero bytes."""
    if type(value) is bytes:
        return memoryview(value)
    if isinstance(value, str):
        raise UsageError(f"must be bytes, not the str {shown(value)}", f"encode it: {name}.encode()", argument=name)
    try:
        return memoryview(value).cast("B")  # type: ignore[arg-type]  # what is no buffer is a TypeError
    except TypeError:
        raise UsageError(f"must be bytes, not {shown(value)}", argument=name) from None


def text(name: str, value: object, *allowed: str) -> None:
    """Check that an argument is one of some words."""
    if not isinstance(value, str) or value not in allowed:
        words = " or ".join([", ".join(map(repr, allowed[:-1])), repr(allowed[-1])])
        raise UsageError(f"must be {words}, not {shown(value)}", argument=name)


def instance(name: str, value: object, *kinds: type, what: str) -> None:
    """Check the type of an argument; `what` names the types for the message."""
    if not isinstance(value, kinds):
        raise UsageError(f"must be {what}, not {shown(value)}", argument=name)


def switches(**values: object) -> None:
    """Check that each of some arguments, by their names, is True or False."""
    for name, value in values.items():
        instance(name, value, bool, what="True or False")


def path(name: str, value: object) -> None:
    """Check that an argument is text that can name a file: without NUL, and of characters that a file name can have."""
    if isinstance(value, str) and value and "\0" not in value:
        with suppress(UnicodeEncodeError):  # half of a surrogate pair that stands for no byte (PEP 383)
            value.encode("utf-8", "surrogateescape")
            return
    raise UsageError(f"must be a path, not {shown(value)}", argument=name)


def shown(value: object) -> str:
    """Show a value in a message: its repr, shortened; its type where it has none, as a number of 5000 digits."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - of the value's own class
        return f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - what fits beside a sentence


def _number(name: str, value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        raise UsageError(f"must be {what}, not {shown(value)}", argument=name)
    try:
        return float(value)
    except OverflowError:
        raise UsageError("is too large a number", argument=name) from None
