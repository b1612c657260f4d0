"""Parse goals such as `p99>5ms` or `loss>0.1%`, and judge them. Pure: no I/O, no clock, no randomness.

A value that could not be measured counts as a miss, because nothing was proved.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from halloo._core.histogram import MIN_ABOVE, PERCENTILES, Summary
from halloo._core.units import count, duration, show_duration
from halloo._ping.report import PHASES, TargetReport
from halloo.errors import UnitError, UsageError

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
PERCENTS = {f"p{percent:g}": percent for percent in PERCENTILES}
SUMMARY_FIELDS: dict[str, Callable[[Summary], int | None]] = {
    "min": lambda summary: summary.min_ns,
    "mean": lambda summary: summary.mean_ns,
    "max": lambda summary: summary.max_ns,
    "mdev": lambda summary: summary.mdev_ns,
    "ipdv": lambda summary: summary.ipdv_ns,
    "jitter": lambda summary: summary.jitter_rfc3550_ns,
}
COUNTS = ("lost", "late", "duplicate", "reordered", "corrupt")
SERVER, OUTAGE, LOSS = "server", "outage", "loss"
TIMES = (*SUMMARY_FIELDS, *PERCENTS, *PHASES, SERVER, OUTAGE)

_FORM = re.compile(r"\s*([a-z][a-z0-9.]*)\s*(>=|<=|>|<)\s*(\S.*?)\s*", re.ASCII | re.IGNORECASE)
_PERCENTAGE = re.compile(r"(\d{1,3}(?:\.\d{0,9})?|\.\d{1,9})\s?%?", re.ASCII)
_FORMS = "write it like p99>5ms, loss>0.1% or corrupt>0"
_NAMES = f"use one of {', '.join(('loss', *COUNTS, *TIMES))}"


@dataclass(frozen=True, slots=True)
class Goal:
    """A failure condition: a value's name, the comparison, and the bound in nanoseconds, percent or as a count."""

    text: str
    name: str
    comparison: str
    bound: float


def goal(text: str) -> Goal:
    """Parse a goal. Raises UsageError, and UnitError for an invalid bound.

    >>> goal("p99 > 5ms")
    Goal(text='p99 > 5ms', name='p99', comparison='>', bound=5000000)
    """
    form = _FORM.fullmatch(text)
    if not form:
        raise UsageError(f"{text!r} is not a goal", _FORMS)
    name, comparison, bound = form[1].lower(), form[2], form[3]
    if name not in (LOSS, *COUNTS, *TIMES):
        raise UsageError(f"{text!r}: unknown value {name!r}", _NAMES)
    return Goal(text.strip(), name, comparison, _bound(name, bound))


def missed(goal: Goal, target: TargetReport) -> str | None:
    """Return why a target misses a goal, as a sentence; None if it does not."""
    value = _value(goal.name, target)
    if value is None:
        why = _why(goal.name, target)
        return f"{goal.name} of {target.label} is unknown ({why}), so {goal.text} cannot be ruled out"
    if not COMPARISONS[goal.comparison](value, goal.bound):
        return None
    return f"{goal.name} of {target.label} is {_format(goal.name, value)} (fail if {goal.text})"


def _bound(name: str, text: str) -> float:
    if name == LOSS:
        if not (percentage := _PERCENTAGE.fullmatch(text)):
            raise UnitError(f"{text!r} is not a percentage", "write loss>0.1%")
        return float(Decimal(percentage[1]))
    if name in COUNTS:
        if (number := count(text)) is None:
            raise UnitError(f"{text!r} can never be exceeded", f"write {name}>0, or omit it")
        return number
    return duration(text)


def _value(name: str, target: TargetReport) -> float | None:
    if not target.sent:
        return None
    if name in TIMES:
        return _time(name, target)
    return target.loss_percent if name == LOSS else getattr(target, name)


def _time(name: str, target: TargetReport) -> int | None:
    if name == OUTAGE:
        return target.longest_outage.length_ns if target.longest_outage else 0
    summary = _summary(name, target)
    if summary is None:
        return None
    if name in SUMMARY_FIELDS:
        return SUMMARY_FIELDS[name](summary)
    return summary.at(PERCENTS[name]) if name in PERCENTS and name != "p50" else summary.median_ns


def _summary(name: str, target: TargetReport) -> Summary | None:
    """Return the distribution that has the value; of phases and the server the median counts."""
    if name in PHASES:
        return target.phases.get(name)
    if name == SERVER:
        return target.timestamps.server if target.timestamps else None
    return target.round_trip


def _why(name: str, target: TargetReport) -> str:
    if not target.sent:
        return "nothing was sent"
    if name == SERVER:
        return "no server timestamps; start the server with: halloo serve --timestamps"
    if name in PHASES:
        return "there is no such phase"
    if target.round_trip is None:
        return "no reply in time"
    if name in PERCENTS:
        measured = target.round_trip.count
        verb = "is" if measured == 1 else "are"
        needed = round(MIN_ABOVE * 100 / (100 - PERCENTS[name]))
        return f"it needs {needed} round trips, and there {verb} {measured}"
    return "it needs replies to two consecutive probes"


def _format(name: str, value: float) -> str:
    if name == LOSS:
        return f"{value:.3g} %"
    return str(value) if name in COUNTS else show_duration(round(value))
