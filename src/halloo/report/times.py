"""Write nanoseconds so that they can be compared: three digits each, and in a column one unit and the points aligned.

Knows numbers and units.
"""

import math
from collections.abc import Sequence
from typing import Literal

from halloo.core.units import NS

Unit = Literal["ns", "us", "ms", "s"]
UNITS: tuple[Unit, ...] = ("ns", "us", "ms", "s")
DIGITS = 3
NONE = "-"
LEAST = 0.01  # of a unit: below, a smaller unit says it in fewer digits
_ROUNDED = 0.9995  # from here on three digits would show as four


def time(ns: int, unit: Unit | None = None) -> str:
    """Write one time, in a unit of its own unless one is given.

    >>> time(84_123), time(84_123, "ms")
    ('84.1us', '0.0841ms')
    """
    unit = unit or _own(ns)
    return _written(ns, unit, _decimals(ns, unit))


def column(values: Sequence[int | None], unit: Unit | None = None) -> list[str]:
    """Write times that stand below one another; None is a dash.

    >>> column([84_100, 1_200_000, None])
    ['0.084ms', '1.200ms', '-']
    """
    known = [value for value in values if value]
    least, most = min(known, default=0), max(known, default=0)
    if unit:
        decimals = _decimals(least, unit)
    else:
        unit = _own(most)
        while known and unit != UNITS[0] and least < NS[unit] * LEAST:
            unit = UNITS[UNITS.index(unit) - 1]
        decimals = min(_decimals(least, unit), DIGITS)
    return [NONE if value is None else _written(value, unit, decimals) for value in values]


def _own(ns: int) -> Unit:
    """Choose the unit that leaves one to three digits before the point."""
    return next((unit for unit in UNITS[:-1] if ns < _ROUNDED * 1000 * NS[unit]), UNITS[-1])


def _decimals(ns: int, unit: Unit) -> int:
    """Say how many digits behind the point leave three in all, or all that there are."""
    if unit == "ns" or not ns:
        return 0
    before = math.floor(math.log10(ns / NS[unit] / _ROUNDED)) + 1
    return min(max(DIGITS - before, 0), UNITS.index(unit) * DIGITS)


def _written(ns: int, unit: Unit, decimals: int) -> str:
    return f"{ns / NS[unit]:.{decimals}f}{unit}"
