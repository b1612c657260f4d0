"""Parse goals such as `p99>5ms` or `loss>0.1%`, and judge them. Pure: no I/O, no clock, no randomness.

Knows a target's numbers. A value that could not be measured is as bad as one that is too high: nothing was proved.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from halloo._core.histogram import ABOVE, PERCENTILES, Summary
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
SPREADS: dict[str, Callable[[Summary], int | None]] = {
    "min": lambda spread: spread.min_ns,
    "mean": lambda spread: spread.mean_ns,
    "max": lambda spread: spread.max_ns,
    "mdev": lambda spread: spread.mdev_ns,
    "ipdv": lambda spread: spread.ipdv_ns,
    "jitter": lambda spread: spread.jitter_rfc3550_ns,
}
COUNTS = ("lost", "late", "duplicate", "reordered", "corrupt")
SERVER, OUTAGE, LOSS = "server", "outage", "loss"
TIMES = (*SPREADS, *PERCENTS, *PHASES, SERVER, OUTAGE)

_FORM = re.compile(r"\s*([a-z][a-z0-9.]*)\s*(>=|<=|>|<)\s*(\S.*?)\s*", re.ASCII | re.IGNORECASE)
_PERCENTAGE = re.compile(r"(\d{1,3}(?:\.\d{0,9})?|\.\d{1,9})\s?%?", re.ASCII)
_FORMS = "write it like p99>5ms, loss>0.1% or corrupt>0"
_NAMES = f"there are {', '.join(('loss', *COUNTS, *TIMES))}"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is a failure: a value's name, how it is compared, and with what: nanoseconds, percent or a number."""

    text: str
    name: str
    comparison: str
    bound: float


def goal(text: str) -> Goal:
    """Read a goal. Raises UsageError, and UnitError for a bound that is none.

    >>> goal("p99 > 5ms")
    Goal(text='p99 > 5ms', name='p99', comparison='>', bound=5000000)
    """
    form = _FORM.fullmatch(text)
    if not form:
        raise UsageError(f"{text!r} is no goal", _FORMS)
    name, comparison, bound = form[1].lower(), form[2], form[3]
    if name not in (LOSS, *COUNTS, *TIMES):
        raise UsageError(f"{text!r}: nothing that is called {name!r} is measured", _NAMES)
    return Goal(text.strip(), name, comparison, _bound(name, bound))


def missed(goal: Goal, target: TargetReport) -> str | None:
    """Say in a sentence why a target does not reach a goal; None when it does."""
    value = _value(goal.name, target)
    if value is None:
        why = _why(goal.name, target)
        return f"{goal.name} of {target.label} is unknown ({why}), so that {goal.text} cannot be ruled out"
    if not COMPARISONS[goal.comparison](value, goal.bound):
        return None
    return f"{goal.name} of {target.label} was {_shown(goal.name, value)}, and {goal.text} is a failure"


def _bound(name: str, text: str) -> float:
    if name == LOSS:
        if not (percentage := _PERCENTAGE.fullmatch(text)):
            raise UnitError(f"{text!r} is not a percentage", "write loss>0.1%")
        return float(Decimal(percentage[1]))
    if name in COUNTS:
        if (number := count(text)) is None:
            raise UnitError(f"{text!r} is never exceeded", f"write {name}>0, or leave it out")
        return number
    return duration(text)


def _value(name: str, target: TargetReport) -> float | None:
    """Give what was measured; None where nothing was."""
    if not target.sent:
        return None
    if name in TIMES:
        return _time(name, target)
    return target.loss_percent if name == LOSS else getattr(target, name)


def _time(name: str, target: TargetReport) -> int | None:
    if name == OUTAGE:
        return target.longest_outage.length_ns if target.longest_outage else 0
    spread = _spread(name, target)
    if spread is None:
        return None
    if name in SPREADS:
        return SPREADS[name](spread)
    return spread.at(PERCENTS[name]) if name in PERCENTS and name != "p50" else spread.median_ns


def _spread(name: str, target: TargetReport) -> Summary | None:
    """Give the distribution that a time is of; of a phase and of the server it is the median that counts."""
    if name in PHASES:
        return target.phases.get(name)
    if name == SERVER:
        return target.timestamps.server if target.timestamps else None
    return target.round_trip


def _why(name: str, target: TargetReport) -> str:
    """Say why there is no such value."""
    if not target.sent:
        return "nothing was sent"
    if name == SERVER:
        return "the server stamps nothing, as it does when started with: halloo serve --timestamps"
    if name in PHASES:
        return "there was no such phase"
    if target.round_trip is None:
        return "nothing came back in time"
    if name in PERCENTS:
        needed = round(ABOVE * 100 / (100 - PERCENTS[name]))
        return f"it needs {needed} round trips and {target.round_trip.count} were measured"
    return "it needs two answers to one probe and the next"


def _shown(name: str, value: float) -> str:
    if name == LOSS:
        return f"{value:.3g} %"
    return str(value) if name in COUNTS else show_duration(round(value))
