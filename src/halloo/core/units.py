"""Read and write durations, sizes, counts and rates: `300ms`, `64KiB`, `10k`, `500/s`.

Knows numbers and their units. Inside halloo a duration is an integer of nanoseconds and a size one of bytes;
these functions stand at the rim, where a person reads or writes.
"""

import re
from decimal import Decimal

from halloo.errors import UnitError

NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # the micro sign
    "μs": 1_000,  # and the Greek letter, which looks the same
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
SECOND = NS["s"]
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
_LONGEST = 20  # characters of a number that a person means
_LONGEST_TEXT = 200  # and of all that is looked at


def duration(text: str) -> int:
    """Read a duration into nanoseconds: `300ms`, `1.5s`, `1h30m`; a bare number is seconds. Raises UnitError."""
    words = text.strip()[:_LONGEST_TEXT]
    if re.fullmatch(_NUMBER, words, re.ASCII) and len(words) <= _LONGEST:
        return int(Decimal(words) * SECOND)
    parts = list(_PART.finditer(words))
    if not parts or "".join(part[0] for part in parts) != words or max(len(part[1]) for part in parts) > _LONGEST:
        raise UnitError(f"{text!r} is not a duration", "write 300ms, 1.5s, 1h30m, or seconds as a bare number")
    return int(sum(Decimal(part[1]) * NS[part[2]] for part in parts))


def size(text: str) -> int | None:
    """Read a size into bytes: `64KiB` is 65536, `10k` 10000; `max` is None, no limit. Raises UnitError."""
    return _scaled(text, _BYTES, "a size", "write 500, 10k, 64KiB, 1.5MB or max")


def count(text: str) -> int | None:
    """Read a count: `10k` is 10000; `max` is None, no limit. Raises UnitError."""
    return _scaled(text, _DECIMAL, "a count", "write 500, 10k, 2M or max")


def rate(text: str) -> int | None:
    """Read so much a second: `500/s`, `64KiB/s`, `10k`; `max` is None, no limit. Raises UnitError."""
    return _scaled(text.strip().removesuffix("/s"), _BYTES, "a rate", "write 500/s, 64KiB/s or max")


def _scaled(text: str, units: dict[str, int], kind: str, remedy: str) -> int | None:
    words = text.strip()
    if words == "max":
        return None
    found = _SCALED.fullmatch(words)
    if not found or found[2] not in units or len(found[1]) > _LONGEST:
        raise UnitError(f"{text!r} is not {kind}", remedy)
    value = Decimal(found[1]) * units[found[2]]
    if value != int(value) and units[found[2]] == 1:
        raise UnitError(f"{text!r} is not a whole number", remedy)
    return round(value)


def show_duration(ns: int) -> str:
    """Write nanoseconds in the unit that leaves one to three digits before the point.

    >>> show_duration(1_500_000)
    '1.5ms'
    """
    for unit, larger in (("ns", "us"), ("us", "ms"), ("ms", "s"), ("s", "m"), ("m", "h")):
        shown = _short(ns / NS[unit])
        if abs(float(shown)) < NS[larger] // NS[unit]:
            return f"{shown}{unit}"
    return f"{_short(ns / NS['h'])}h"


def show_size(octets: float) -> str:
    """Write bytes in the binary unit that leaves one to three digits before the point.

    >>> show_size(65536)
    '64KiB'
    """
    for unit in ("B", "KiB", "MiB"):
        shown = _short(octets / _BYTES[unit])
        if abs(float(shown)) < _BYTES["KiB"]:
            return f"{shown}{unit}"
    return f"{_short(octets / _BYTES['GiB'])}GiB"


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
