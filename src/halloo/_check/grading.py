"""Points of a submission: each case has a weight; the points are the passed share of all weights.

Reads results and the text of a weights file; opens no files.

    points = 100    # of a submission that passes every case
    [weights]
    MUST = 1        # a severity: by default MUST weighs 1, INFO 0, and SHOULD 0, or 1 if `strict`
    tcp = 2         # a kind (tcp, udp, client): the weight of its cases, unless their severity weighs 0
    level-3 = 4     # the cases of one level, on the same condition
    T14 = 5         # one case, also "tcp/T14", whatever its severity and level

The most specific entry applies: case, level, kind, severity. Cases above the report's level weigh 0 unless they are
named. PASS, WARN and INFO get full points, FAIL and BLOCKED none. SKIP and ERROR, a fault of the checker, are left out,
so that the others weigh more.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from halloo._check.case import KINDS, MAX_LEVEL, AnyCase
from halloo._check.results import CheckReport, Result
from halloo.errors import UsageError

DEFAULT_POINTS = 100.0
FULL_MARKS = ("PASS", "WARN", "INFO")
NO_MARKS = ("FAIL", "BLOCKED")
_SEVERITIES = {"must": 1.0, "should": 0.0, "info": 0.0}
_GROUPS = frozenset({*_SEVERITIES, *KINDS.values(), *(f"level-{number}" for number in range(1, MAX_LEVEL + 1))})
_CASE = re.compile(rf"(?:(?:{'|'.join(KINDS.values())})/)?[{''.join(KINDS).lower()}]\d\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weights, by lower-case name in the file, and the maximum points."""

    points: float = DEFAULT_POINTS
    by_name: Mapping[str, float] = field(default_factory=dict)

    def weight_of(self, case: AnyCase, *, level: int = MAX_LEVEL, strict: bool = False) -> float:
        for name in (case.id.lower(), case.path.lower()):
            if name in self.by_name:
                return self.by_name[name]
        severity = case.severity.lower()
        usual = 1.0 if strict and severity == "should" else _SEVERITIES[severity]
        weight = self.by_name.get(severity, usual)
        if case.level > level or not weight:
            return 0.0
        return self.by_name.get(f"level-{case.level}", self.by_name.get(KINDS[case.id[0]], weight))


@dataclass(frozen=True, slots=True)
class Mark:
    """The points of one result, and its maximum."""

    result: Result
    points: float
    max_points: float


@dataclass(frozen=True, slots=True)
class Grade:
    """The points of a submission, the maximum, and the mark of each result other than SKIP and ERROR."""

    points: float
    max_points: float
    marks: tuple[Mark, ...]


def grade(reports: Sequence[CheckReport], weights: Weights | None = None) -> Grade:
    """Grade all reports of one submission together; there are no points if a program did not start."""
    weights = weights or Weights()
    weighted = [
        (result, weights.weight_of(result.case, level=report.level, strict=report.strict))
        for report in reports
        for result in report.results
        if result.verdict in (*FULL_MARKS, *NO_MARKS)
    ]
    total = sum(weight for _, weight in weighted)
    share = weights.points / total if total else 0.0
    failed_to_start = any(report.trouble for report in reports)
    marks = tuple(
        Mark(result, weight * share if result.verdict in FULL_MARKS and not failed_to_start else 0.0, weight * share)
        for result, weight in weighted
    )
    return Grade(round(math.fsum(mark.points for mark in marks), 2), weights.points, marks)


def read_weights(text: str, *, known: Iterable[AnyCase] = ()) -> Weights:
    """Parse a weights file. Raises UsageError for unknown names, and for cases not in `known` unless that is empty."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"the weights are not valid TOML: {error}", "write one name = number on each line") from error
    if unknown := sorted(table.keys() - {"points", "weights"}):
        raise UsageError(f"{unknown[0]!r} is not a known key", "write points = 100, and put weights below [weights]")
    points = _number("points", table.get("points", DEFAULT_POINTS))
    if not points:
        raise UsageError("points is 0", "give the points of a perfect submission: points = 100")
    weights = table.get("weights", {})
    if not isinstance(weights, dict):
        raise UsageError("weights is not a table", "write [weights], and the names below it")
    ids = {case.id.lower() for case in known}
    return Weights(points=points, by_name={_name(name, ids): _number(name, value) for name, value in weights.items()})


def _name(name: str, ids: set[str]) -> str:
    lower = name.lower()
    case = lower.rpartition("/")[2]
    if lower in _GROUPS or (_CASE.fullmatch(lower) and (not ids or case in ids)):
        return lower
    raise UsageError(f"{name!r} has no weight", 'name a case (T14 or "tcp/T14"), tcp, udp, client, level-3 or MUST')


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    raise UsageError(f"{name} is {value!r}", "give a number that is not negative")
