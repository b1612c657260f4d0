"""How many points a submission gets: a weight for each case, and the share of them that passed.

Knows results, and what stands in a weights file. Knows no file system.

    points = 100    # for a submission that passes everything
    [weights]
    MUST = 1        # a severity: without a word MUST weighs 1, INFO 0, and SHOULD 0, or 1 where it is `strict`
    tcp = 2         # a kind (tcp, udp, client): what its cases weigh, if by their severity they weigh anything
    level-3 = 4     # the cases of one level, on the same condition
    T14 = 5         # one case, also "tcp/T14", whatever its severity and level

What is named most closely counts: case, level, kind, severity. Cases above the report's level weigh nothing unless they
are named. PASS, WARN and INFO are full, FAIL and BLOCKED nothing; SKIP and ERROR, which is our own fault, are left out,
so that the others weigh more.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from halloo._check.case import HIGHEST, KINDS, Case
from halloo._check.results import CheckReport, Result
from halloo.errors import UsageError

POINTS = 100.0
FULL = ("PASS", "WARN", "INFO")
NOTHING = ("FAIL", "BLOCKED")
_SEVERITIES = {"must": 1.0, "should": 0.0, "info": 0.0}
_GROUPS = frozenset({*_SEVERITIES, *KINDS.values(), *(f"level-{number}" for number in range(1, HIGHEST + 1))})
_CASE = re.compile(rf"(?:(?:{'|'.join(KINDS.values())})/)?[{''.join(KINDS).lower()}]\d\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a case weighs, by the lower-case names of the file; and how many points all of them are worth."""

    points: float = POINTS
    named: Mapping[str, float] = field(default_factory=dict)

    def of(self, case: Case, *, level: int = HIGHEST, strict: bool = False) -> float:
        """Say what a case weighs where this level is asked for."""
        for name in (case.id.lower(), case.path.lower()):
            if name in self.named:
                return self.named[name]
        severity = case.severity.lower()
        usual = 1.0 if strict and severity == "should" else _SEVERITIES[severity]
        weight = self.named.get(severity, usual)
        if case.level > level or not weight:
            return 0.0
        return self.named.get(f"level-{case.level}", self.named.get(KINDS[case.id[0]], weight))


@dataclass(frozen=True, slots=True)
class Mark:
    """What one result brings, of how much."""

    result: Result
    points: float
    most: float


@dataclass(frozen=True, slots=True)
class Grade:
    """What a submission gets, of how much, and the share of each result; SKIP and ERROR have none."""

    points: float
    most: float
    marks: tuple[Mark, ...]


def grade(reports: Sequence[CheckReport], weights: Weights | None = None) -> Grade:
    """Give points for all reports of one submission together; one that could not be asked has none."""
    weights = weights or Weights()
    weighed = [
        (result, weights.of(result.case, level=report.level, strict=report.strict))
        for report in reports
        for result in report.results
        if result.verdict in (*FULL, *NOTHING)
    ]
    total = sum(weight for _, weight in weighed)
    share = weights.points / total if total else 0.0
    stuck = any(report.trouble for report in reports)
    marks = tuple(
        Mark(result, weight * share if result.verdict in FULL and not stuck else 0.0, weight * share)
        for result, weight in weighed
    )
    return Grade(round(math.fsum(mark.points for mark in marks), 2), weights.points, marks)


def read_weights(text: str, *, known: Iterable[Case] = ()) -> Weights:
    """Read a weights file. Raises UsageError for what is not in it, and for cases that are not `known`, if any are."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the weights are no TOML: {error}", "write a name = number on each line") from error
    if strange := sorted(given.keys() - {"points", "weights"}):
        raise UsageError(f"{strange[0]!r} is not known beside the weights", "write points = 100, and [weights] above")
    points = _number("points", given.get("points", POINTS))
    if not points:
        raise UsageError("points is 0", "say how many a perfect submission gets: points = 100")
    weights = given.get("weights", {})
    if not isinstance(weights, dict):
        raise UsageError("weights is no table", "write [weights], and the names below it")
    ids = {case.id.lower() for case in known}
    return Weights(points=points, named={_name(name, ids): _number(name, value) for name, value in weights.items()})


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
