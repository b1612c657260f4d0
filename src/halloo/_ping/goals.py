"""Parse goals such as `p99>5ms` or `loss>0.1%`, and judge them. Pure: no I/O, no clock, no randomness.

A value that could not be measured counts as a miss, because nothing was proved. In a percentile of the round trips, a
probe without a correct reply in time counts as slower than any bound; the table of the report leaves it out.
"""

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from math import inf
from operator import attrgetter

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
SUMMARY_FIELDS: dict[str, Callable[[Summary], int | None]] = {
    "min": lambda summary: summary.min_ns,
    "mean": lambda summary: summary.mean_ns,
    "max": lambda summary: summary.max_ns,
    "mdev": lambda summary: summary.mdev_ns,
    "ipdv": lambda summary: summary.ipdv_ns,
    "jitter": lambda summary: summary.jitter_rfc3550_ns,
}


def _kernel_count(name: str, target: TargetReport) -> int | None:
    return getattr(target.kernel, name, None)


def _lost_by_direction(name: str, target: TargetReport) -> int | None:
    return getattr(target.timestamps and target.timestamps.lost, name, None)


# Every count of a target, under its path in the JSON report.
COUNTS: dict[str, Callable[[TargetReport], int | None]] = {
    **{name: attrgetter(name) for name in ("lost", "late", "duplicate", "reordered", "corrupt")},
    **{name: attrgetter(name) for name in ("unmatched", "stray", "timed_out", "rate_limited")},
    **{name: attrgetter(name) for name in ("sent", "received", "outage_count")},
    "errors": lambda target: sum(target.errors.values()),
    **{f"kernel.{name}": partial(_kernel_count, name) for name in ("retransmits", "lost")},
    **{f"timestamps.lost.{name}": partial(_lost_by_direction, name) for name in DirectionalLoss.__slots__},
}
# Every count of the whole run, under its path there.
RUN_COUNTS: dict[str, Callable[[PingReport], int]] = {
    "generator.skipped_waiting": lambda report: report.generator.skipped_waiting,
}
SERVER, OUTAGE, LOSS = "server", "outage", "loss"
TIMES = (*SUMMARY_FIELDS, *PERCENTS, *PHASES, SERVER, OUTAGE)

_FORM = re.compile(r"\s*([a-z][a-z0-9._]*)\s*(>=|<=|>|<)\s*(\S.*?)\s*", re.ASCII | re.IGNORECASE)
_PERCENTAGE = re.compile(r"(\d{1,3}(?:\.\d{0,9})?|\.\d{1,9})\s?%?", re.ASCII)
_FORMS = "write it like p99>5ms, loss>0.1% or corrupt>0"
_NAMES = f"use one of {', '.join(('loss', *COUNTS, *RUN_COUNTS, *TIMES))}"


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
    if name not in (LOSS, *COUNTS, *RUN_COUNTS, *TIMES):
        raise UsageError(f"{text!r}: unknown value {name!r}", _NAMES)
    return Goal(text.strip(), name, comparison, _bound(name, bound))


def missed(goal: Goal, report: PingReport) -> Iterator[str]:
    """Yield why a goal is missed, as a sentence for each target that misses it, or one for the whole run."""
    if goal.name in RUN_COUNTS:
        if _exceeds(goal, value := RUN_COUNTS[goal.name](report)):
            yield f"{goal.name} is {value} (fail if {goal.text})"
        return
    for target in report.targets:
        if sentence := _missed_by(goal, target):
            yield sentence


def _missed_by(goal: Goal, target: TargetReport) -> str | None:
    value = _value(goal.name, target)
    if value is None:
        why = _why(goal.name, target)
        return f"{goal.name} of {target.label} is unknown ({why}), so {goal.text} cannot be ruled out"
    if not _exceeds(goal, value):
        return None
    return f"{goal.name} of {target.label} is {_format(goal.name, value)}{_counted(goal, target)} (fail if {goal.text})"


def _counted(goal: Goal, target: TargetReport) -> str:
    """Say which probes a percentile counts beside the round trips."""
    summary = target.round_trip
    if goal.name not in PERCENTS or not summary or not summary.missing:
        return ""
    return f", counting {summary.missing} of {summary.count + summary.missing} probes (lost, late or corrupt) as slower"


def _exceeds(goal: Goal, value: float) -> bool:
    return COMPARISONS[goal.comparison](value, goal.bound)


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
    if not target.sent:
        return None
    if name in TIMES:
        return _time(name, target)
    return target.loss_percent if name == LOSS else COUNTS[name](target)


def _time(name: str, target: TargetReport) -> float | None:
    if name == OUTAGE:
        return target.longest_outage.length_ns if target.longest_outage else 0
    summary = _summary(name, target)
    if summary is None:
        return None
    if name in SUMMARY_FIELDS:
        return SUMMARY_FIELDS[name](summary)
    return _percentile(PERCENTS[name], summary) if name in PERCENTS else summary.median_ns


def _percentile(percent: float, summary: Summary) -> float | None:
    """Return a percentile of all probes: infinite if it is one without a round trip, None if there are too few."""
    if percent not in summary.with_missing:
        return None
    value = summary.with_missing[percent]
    return inf if value is None else value


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
    if name in COUNTS or name == SERVER:
        return _why_without_data(name, target)
    return "there is no such phase" if name in PHASES else _why_without_replies(name, target)


def _why_without_data(name: str, target: TargetReport) -> str:
    if name.startswith("kernel."):
        return "this kernel has no data on the connection, as it has for TCP on Linux"
    if target.timestamps:
        return "the server's counts do not cover the whole run"
    return "no server timestamps; start the server with: halloo serve --timestamps"


def _why_without_replies(name: str, target: TargetReport) -> str:
    if target.round_trip is None:
        return "no reply in time"
    if name in PERCENTS:
        measured = target.round_trip.count + target.round_trip.missing
        verb = "is" if measured == 1 else "are"
        needed = round(MIN_ABOVE * 100 / (100 - PERCENTS[name]))
        return f"it needs {needed} probes, and there {verb} {measured}"
    if name == "jitter":
        return "it needs two replies"
    return "it needs replies to two consecutive probes"


def _format(name: str, value: float) -> str:
    if name == LOSS:
        return f"{value:.3g} %"
    if value == inf:
        return "infinite"
    return show_duration(round(value)) if name in TIMES else str(value)
