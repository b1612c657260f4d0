"""Parse goals such as `p99>5ms` or `loss>0.1%`, and judge them. Pure: no I/O, no clock, no randomness.

A value that could not be measured counts as a miss, because nothing was proved. In a percentile of the round trips, a
probe without a correct reply in time counts as slower than any bound; the table of the report leaves it out.
"""

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import inf

from halloo._core.histogram import MIN_ABOVE, PERCENTILES, Summary
from halloo._core.units import count, duration, show_duration
from halloo._ping.report import PHASES, DirectionalLoss, PingReport, TargetReport
from halloo.errors import UnitError, UsageError

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
PERCENTS = {f"p{percent:g}": percent for percent in PERCENTILES}
SERVER, OUTAGE, LOSS, ERRORS, JITTER = "server", "outage", "loss", "errors", "jitter"
ROUND_TRIP = {name: f"round_trip.{name}_ns" for name in ("min", "mean", "max", "mdev", "ipdv")}
# Where a TargetReport has a time, if not under its name.
PATHS = {**ROUND_TRIP, JITTER: "round_trip.jitter_rfc3550_ns", SERVER: "timestamps.server.median_ns"}
# Every count of a target, and of the whole run, under its path in the JSON report and in PingReport.
COUNTS = (
    *("lost", "late", "duplicate", "reordered", "corrupt", "unmatched", "stray", "timed_out", "rate_limited"),
    *("sent", "received", "outage_count", ERRORS, "kernel.retransmits", "kernel.lost"),
    *(f"timestamps.lost.{name}" for name in DirectionalLoss.__slots__),
)
RUN_COUNTS = ("generator.skipped_waiting",)
TIMES = (*ROUND_TRIP, JITTER, *PERCENTS, *PHASES, SERVER, OUTAGE)
NAMES = (LOSS, *COUNTS, *RUN_COUNTS, *TIMES)

_FORM = re.compile(r"\s*([a-z][a-z0-9._]*)\s*(>=|<=|>|<)\s*(\S.*?)\s*", re.ASCII | re.IGNORECASE)
_PERCENTAGE = re.compile(r"(\d{1,3}(?:\.\d{0,9})?|\.\d{1,9})\s?%?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Goal:
    """A failure condition: a value's name, the comparison, and the bound in nanoseconds, percent or as a count."""

    text: str
    name: str
    comparison: str
    bound: float

    def exceeded_by(self, value: float) -> bool:
        return COMPARISONS[self.comparison](value, self.bound)


def goal(text: str) -> Goal:
    """Parse a goal. Raises UsageError, and UnitError for an invalid bound.

    >>> goal("p99 > 5ms")
    Goal(text='p99 > 5ms', name='p99', comparison='>', bound=5000000)
    """
    form = _FORM.fullmatch(text)
    if not form:
        raise UsageError(f"{text!r} is not a goal", "write it like p99>5ms, loss>0.1% or corrupt>0")
    name, comparison, bound = form[1].lower(), form[2], form[3]
    if name not in NAMES:
        raise UsageError(f"{text!r}: unknown value {name!r}", f"use one of {', '.join(NAMES)}")
    return Goal(text.strip(), name, comparison, _bound(name, bound))


def missed(goal: Goal, report: PingReport) -> Iterator[str]:
    """Yield why a goal is missed, as a sentence for each target that misses it, or one for the whole run."""
    name = goal.name
    if name in RUN_COUNTS:
        number = _at(report, name)
        if number is not None and goal.exceeded_by(number):
            yield f"{name} is {number} (fail if {goal.text})"
        return
    for target in report.targets:
        value = _value(name, target) if target.sent else None
        if value is None:
            why = _why(name, target)
            yield f"{name} of {target.label} is unknown ({why}), so {goal.text} cannot be ruled out"
        elif goal.exceeded_by(value):
            counted = _counted(target.round_trip) if name in PERCENTS and target.round_trip else ""
            yield f"{name} of {target.label} is {_format(name, value)}{counted} (fail if {goal.text})"


def _counted(summary: Summary) -> str:
    """Say which probes a percentile counts beside the round trips."""
    if not summary.missing:
        return ""
    return f", counting {summary.missing} of {summary.count + summary.missing} probes (lost, late or corrupt) as slower"


def _bound(name: str, text: str) -> float:
    if name == LOSS:
        if not (percentage := _PERCENTAGE.fullmatch(text)):
            raise UnitError(f"{text!r} is not a percentage", "write loss>0.1%")
        return float(Decimal(percentage[1]))
    if name in TIMES:
        return duration(text)
    if (number := count(text)) is None:
        raise UnitError(f"{text!r} can never be exceeded", f"write {name}>0, or omit it")
    return number


def _value(name: str, target: TargetReport) -> float | None:
    if name in PERCENTS:
        return _percentile(PERCENTS[name], target.round_trip)
    if name in PHASES:
        return _at(target.phases.get(name), "median_ns")
    if name == LOSS:
        return target.loss_percent
    if name == ERRORS:
        return sum(target.errors.values())
    if name == OUTAGE:
        return target.longest_outage.length_ns if target.longest_outage else 0
    return _at(target, PATHS.get(name, name))


def _percentile(percent: float, summary: Summary | None) -> float | None:
    """Return a percentile of all probes: infinite if it is one without a round trip, None if there are too few."""
    if summary is None or percent not in summary.with_missing:
        return None
    value = summary.with_missing[percent]
    return inf if value is None else value


def _at(owner: object, path: str) -> int | None:
    """Return the number at a path of attributes; None if it ends before."""
    for name in path.split("."):
        owner = getattr(owner, name, None)
    return owner if isinstance(owner, int) else None


def _why(name: str, target: TargetReport) -> str:
    if not target.sent:
        return "nothing was sent"
    if name.startswith("kernel."):
        return "this kernel has no data on the connection, as it has for TCP on Linux"
    if name in COUNTS or name == SERVER:
        if target.timestamps:
            return "the server's counts do not cover the whole run"
        return "no server timestamps; start the server with: halloo serve --timestamps"
    return "there is no such phase" if name in PHASES else _why_too_few(name, target.round_trip)


def _why_too_few(name: str, summary: Summary | None) -> str:
    if summary is None:
        return "no reply in time"
    if name in PERCENTS:
        measured = summary.count + summary.missing
        verb = "is" if measured == 1 else "are"
        needed = round(MIN_ABOVE * 100 / (100 - PERCENTS[name]))
        return f"it needs {needed} probes, and there {verb} {measured}"
    return "it needs two replies" if name == JITTER else "it needs replies to two consecutive probes"


def _format(name: str, value: float) -> str:
    if name == LOSS:
        return f"{value:.3g} %"
    if value == inf:
        return "infinite"
    return show_duration(round(value)) if name in TIMES else str(value)
