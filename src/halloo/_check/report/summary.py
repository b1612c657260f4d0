"""What a report amounts to, in a line: how many passed, which level was reached, and why some were not asked.

Knows results and words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from halloo._check.case import KINDS, Case
from halloo._check.report.finding import headline, one_line
from halloo._check.results import FAILING, CheckReport, Result

MARKS = {"PASS": ".", "WARN": "w", "INFO": "i", "FAIL": "F", "ERROR": "E", "BLOCKED": "b", "SKIP": "-"}
LEGEND = ". pass, F fail, w warning, i information, b blocked by another failure, - skipped, E halloo's own error"
LEVEL_NAMES = {0: "not yet an echo", 1: "an echo", 2: "serves the next one", 3: "serves many", 4: "a service"}


def verdicts(report: CheckReport) -> str:
    """Count the results of each verdict: `50 PASS, 1 FAIL`."""
    return ", ".join(f"{report.counts[word]} {word}" for word in MARKS if word in report.counts)


def reasons(report: CheckReport, verdict: str) -> dict[str, list[str]]:
    """Group the ids of a verdict by what is said of them."""
    groups: dict[str, list[str]] = {}
    for result in report.results:
        if result.verdict == verdict:
            groups.setdefault(headline(result.text), []).append(result.case.id)
    return groups


@dataclass(frozen=True, slots=True)
class Standing:
    """The level that was `reached`, the `highest` that was asked for, and the ids that the `lacking` one needs."""

    reached: int
    highest: int
    lacking: int | None = None
    needs: tuple[str, ...] = ()


def standing(report: CheckReport) -> Standing | None:
    """Say which level was reached; None when too little was asked to tell."""
    asked = [result for result in report.results if result.case.level <= report.level]
    levels = {result.case.level for result in asked}
    if report.trouble or 1 not in levels or report.supplied.get("only"):
        return None
    severities = ("MUST", "SHOULD") if report.strict else ("MUST",)
    poor = [each for each in asked if each.verdict in (*FAILING, "BLOCKED") and each.case.severity in severities]
    lacking = min((each.case.level for each in poor), default=None)
    reached = max((number for number in levels if lacking is None or number < lacking), default=0)
    return Standing(reached, max(levels), lacking, tuple(each.case.id for each in poor if each.case.level == lacking))


def level_text(report: CheckReport) -> str:
    """Say which level was reached: `level 2 of 3 (serves the next one; 3 needs T14)`. Empty when nobody knows."""
    at = standing(report)
    if at is None:
        return ""
    needs = f"; {at.lacking} needs {' '.join(at.needs)}" if at.lacking else ""
    return f"level {at.reached} of {at.highest} ({LEVEL_NAMES[at.reached]}{needs})"


def took(seconds: float) -> str:
    """Write seconds as a reader of a table likes them: `12 ms`, `3.1 s`, `48 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def summary(report: CheckReport) -> str:
    """Say it all in a line."""
    ending = f"{took(report.seconds)}, seed {report.seed}"
    if report.trouble:
        return f"nothing could be asked: {headline(report.trouble)}; {ending}"
    count = len(report.results)
    cases = "1 case" if count == 1 else f"{count} cases"
    parts = [f"{cases} of a {one_line(report.scheme)} {one_line(report.kind)}: {verdicts(report)}", level_text(report)]
    return "; ".join([*filter(None, parts), ending])


def unasked(report: CheckReport) -> list[str]:
    """Say what was not asked and why, a line a reason: `SKIP 2: needs Linux (T33 T45)`."""
    return [
        f"{verdict} {len(ids)}: {why or 'no reason given'} ({' '.join(ids)})"
        for verdict in ("BLOCKED", "SKIP")
        for why, ids in reasons(report, verdict).items()
    ]


def rows(reports: Sequence[CheckReport]) -> list[tuple[Case, list[Result | None]]]:
    """Give every case that was asked of anybody, and what came of it with each; None where it was not asked."""
    found = [{result.case.id: result for result in report.results} for report in reports]
    return [(case, [results.get(case.id) for results in found]) for case in _cases(reports)]


def _cases(reports: Iterable[CheckReport]) -> list[Case]:
    known = {result.case.id: result.case for report in reports for result in report.results}
    return sorted(known.values(), key=lambda case: (list(KINDS).index(case.id[0]), case.id))


def columns(reports: Sequence[CheckReport]) -> list[str]:
    """Name the columns: by target, and by scheme too where there are several."""
    several = len({report.scheme for report in reports}) > 1
    return [one_line(f"{report.target} ({report.scheme})" if several else report.target) for report in reports]
