"""Parse and format durations, sizes, counts, rates and DSCP values. Pure: no I/O, no clock, no randomness.

Inside halloo a duration is an integer of nanoseconds and a size an integer of bytes; text units are for input and
output only.
"""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from halloo._core.arguments import shown
from halloo.errors import UnitError, UsageError

NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # the micro sign
    "μs": 1_000,  # the Greek letter, which looks the same
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
SECOND = NS["s"]
FOR_EVER = 1e9  # seconds, 31 years, for code that needs a number where None means no limit
_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_DECIMAL["K"] = _DECIMAL["k"]
_BYTES = {
    **_DECIMAL,
    **{f"{letter}B": factor for letter, factor in _DECIMAL.items()},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMG", start=1)},
    "kiB": 1024,
}
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_PART = re.compile(_NUMBER + r"(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_SCALED = re.compile(_NUMBER + r"\s?([A-Za-z]*)", re.ASCII)
_MAX_NUMBER = 20  # characters; a longer number is an error
_MAX_TEXT = 200  # characters; a longer text is an error


def duration(text: str) -> int:
    """Parse a duration into nanoseconds: `300ms`, `1.5s`, `1h30m`; a bare number is seconds. Raises UnitError."""
    stripped = text.strip() if len(text) <= _MAX_TEXT else ""
    if re.fullmatch(_NUMBER, stripped, re.ASCII) and len(stripped) <= _MAX_NUMBER:
        return int(Decimal(stripped) * SECOND)
    parts = list(_PART.finditer(stripped))
    if not parts or "".join(part[0] for part in parts) != stripped or max(len(part[1]) for part in parts) > _MAX_NUMBER:
        raise UnitError(f"{shown(text)} is not a duration", "write 300ms, 1.5s, 1h30m, or seconds as a bare number")
    return int(sum(Decimal(part[1]) * NS[part[2]] for part in parts))


def size(text: str) -> int | None:
    """Parse a size into bytes: `64KiB` is 65536, `10k` 10000; `max` is None, no limit. Raises UnitError."""
    return _scaled(text, _BYTES, "a size", "write 500, 10k, 64KiB, 1.5MB or max")


def count(text: str) -> int | None:
    """Parse a count: `10k` is 10000; `max` is None, no limit. Raises UnitError."""
    return _scaled(text, _DECIMAL, "a count", "write 500, 10k, 2M or max")


def rate(text: str) -> int | None:
    """Parse a rate per second: `500/s`, `64KiB/s`, `10k`; `max` is None, no limit. Raises UnitError."""
    return _scaled(text.strip().removesuffix("/s"), _BYTES, "a rate", "write 500/s, 64KiB/s or max")


def _scaled(text: str, units: dict[str, int], kind: str, remedy: str) -> int | None:
    stripped = text.strip()
    if stripped == "max":
        return None
    found = _SCALED.fullmatch(stripped)
    if not found or found[2] not in units or len(found[1]) > _MAX_NUMBER:
        raise UnitError(f"{shown(text)} is not {kind}", remedy)
    value = Decimal(found[1]) * units[found[2]]
    if value != int(value) and units[found[2]] == 1:
        raise UnitError(f"{shown(text)} is not a whole number", remedy)
    return round(value)


def show_duration(ns: int) -> str:
    """Format nanoseconds in the unit that leaves one to three digits before the point.

    >>> show_duration(1_500_000)
    '1.5ms'
    """
    for unit, larger in (("ns", "us"), ("us", "ms"), ("ms", "s"), ("s", "m"), ("m", "h")):
        shown = _format_number(ns / NS[unit])
        if abs(float(shown)) < NS[larger] // NS[unit]:
            return f"{shown}{unit}"
    return f"{_format_number(ns / NS['h'])}h"


def show_size(octets: float) -> str:
    """Format bytes in the binary unit that leaves one to three digits before the point.

    >>> show_size(65536)
    '64KiB'
    """
    for unit in ("B", "KiB", "MiB"):
        shown = _format_number(octets / _BYTES[unit])
        if abs(float(shown)) < _BYTES["KiB"]:
            return f"{shown}{unit}"
    return f"{_format_number(octets / _BYTES['GiB'])}GiB"


def _format_number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


MAX_DSCP = 63  # six bits
DSCP_NAMES = {
    "BE": 0,  # best effort, the default: another name for CS0
    **{f"CS{precedence}": 8 * precedence for precedence in range(8)},
    "LE": 1,  # RFC 8622
    **{f"AF{kind}{drop}": 8 * kind + 2 * drop for kind in range(1, 5) for drop in range(1, 4)},  # RFC 2597
    "VA": 44,  # RFC 5865
    "EF": 46,  # RFC 3246
}
_BY_NUMBER = {number: name for name, number in reversed(DSCP_NAMES.items())}


def dscp(text: str) -> int:
    """Parse a DSCP name or number. Raises UsageError.

    >>> dscp("ef"), dscp("12")
    (46, 12)
    """
    stripped = text.strip()
    if stripped.upper() in DSCP_NAMES:
        return DSCP_NAMES[stripped.upper()]
    if stripped.isascii() and stripped.isdigit() and len(stripped) <= len(str(MAX_DSCP)) and int(stripped) <= MAX_DSCP:
        return int(stripped)
    raise UsageError(
        f"{shown(text)} is not a DSCP", f"write EF, AF11 to AF43, CS0 to CS7, VA, BE, LE, or 0 to {MAX_DSCP}"
    )


def show_dscp(number: int) -> str:
    """Format a DSCP by its name, or as a number if it has none.

    >>> show_dscp(46), show_dscp(47)
    ('EF', '47')
    """
    return _BY_NUMBER.get(number, str(number))


Unit = Literal["ns", "us", "ms", "s"]
UNITS: tuple[Unit, ...] = ("ns", "us", "ms", "s")
SIGNIFICANT_DIGITS = 3
NO_VALUE = "-"
MIN_IN_UNIT = 0.01  # of a unit: below it a smaller unit needs fewer digits
_ROUNDS_UP = 0.9995  # values from here on would round to four digits


def show_time(ns: int, unit: Unit | None = None) -> str:
    """Format one time, by default in the unit that suits it.

    >>> show_time(84_123), show_time(84_123, "ms")
    ('84.1us', '0.0841ms')
    """
    unit = unit or _natural_unit(ns)
    return _format_time(ns, unit, _decimals(ns, unit))


def show_column(values: Sequence[int | None], unit: Unit | None = None) -> list[str]:
    """Format the times of one column in one unit, with one number of decimals; None is a dash.

    >>> show_column([84_100, 1_200_000, None])
    ['0.084ms', '1.200ms', '-']
    """
    known = [value for value in values if value]
    least, most = min(known, default=0), max(known, default=0)
    if unit:
        decimals = _decimals(least, unit)
    else:
        unit = _natural_unit(most)
        while known and unit != UNITS[0] and least < NS[unit] * MIN_IN_UNIT:
            unit = UNITS[UNITS.index(unit) - 1]
        decimals = min(_decimals(least, unit), SIGNIFICANT_DIGITS)
    return [NO_VALUE if value is None else _format_time(value, unit, decimals) for value in values]


def _natural_unit(ns: int) -> Unit:
    return next((unit for unit in UNITS[:-1] if ns < _ROUNDS_UP * 1000 * NS[unit]), UNITS[-1])


def _decimals(ns: int, unit: Unit) -> int:
    """Return the number of decimals that makes three digits, or fewer if the unit has no more."""
    if unit == "ns" or not ns:
        return 0
    before = math.floor(math.log10(ns / NS[unit] / _ROUNDS_UP)) + 1
    return min(max(SIGNIFICANT_DIGITS - before, 0), UNITS.index(unit) * SIGNIFICANT_DIGITS)


def _format_time(ns: int, unit: Unit, decimals: int) -> str:
    return f"{ns / NS[unit]:.{decimals}f}{unit}"
