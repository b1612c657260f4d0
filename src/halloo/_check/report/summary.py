"""Summaries of a report: verdict counts, the level reached, and the cases that did not run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from halloo._check.case import KINDS, Case
from halloo._check.report.finding import headline, one_line
from halloo._check.results import FAILING, CheckReport, Result

SYMBOLS = {"PASS": ".", "WARN": "w", "INFO": "i", "FAIL": "F", "ERROR": "E", "BLOCKED": "b", "SKIP": "-"}
LEGEND = ". pass, F fail, w warning, i information, b blocked by another failure, - skipped, E not the program's error"
LEVEL_NAMES = ("no correct echo", "echo", "one client after another", "many clients at once", "long-running service")


def verdicts(report: CheckReport) -> str:
    """Count the results of each verdict: `50 PASS, 1 FAIL`."""
    return ", ".join(f"{report.counts[word]} {word}" for word in SYMBOLS if word in report.counts)


def reasons(report: CheckReport, verdict: str) -> dict[str, list[str]]:
    """Group the case ids of a verdict by the first line of their text."""
    groups: dict[str, list[str]] = {}
    for result in report.results:
        if result.verdict == verdict:
            groups.setdefault(headline(result.text), []).append(result.case.id)
    return groups


@dataclass(frozen=True, slots=True)
class LevelResult:
    """The level reached, the highest level run, and the `missed` level with the ids that failed it."""

    reached: int
    highest: int
    missed: int | None = None
    needs: tuple[str, ...] = ()


def level_result(report: CheckReport) -> LevelResult | None:
    """Compute the level reached; None when too few cases ran to tell."""
    counted = [result for result in report.results if result.case.level <= report.level]
    levels = {result.case.level for result in counted}
    if report.trouble or 1 not in levels or report.supplied.get("only"):
        return None
    severities = ("MUST", "SHOULD") if report.strict else ("MUST",)
    missed_results = [
        each for each in counted if each.verdict in (*FAILING, "BLOCKED") and each.case.severity in severities
    ]
    missed = min((each.case.level for each in missed_results), default=None)
    reached = max((number for number in levels if missed is None or number < missed), default=0)
    return LevelResult(
        reached, max(levels), missed, tuple(each.case.id for each in missed_results if each.case.level == missed)
    )


def level_text(report: CheckReport) -> str:
    """Describe the level: `level 2 of 3 (one client after another; 3 needs T14)`; empty when unknown."""
    level = level_result(report)
    if level is None:
        return ""
    needs = f"; {level.missed} needs {' '.join(level.needs)}" if level.missed else ""
    return f"level {level.reached} of {level.highest} ({LEVEL_NAMES[level.reached]}{needs})"


def format_seconds(seconds: float) -> str:
    """Format a duration for tables: `12 ms`, `3.1 s`, `48 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def summary(report: CheckReport) -> str:
    """Summarize a report in one line."""
    ending = f"{format_seconds(report.seconds)}, seed {report.seed}"
    if report.trouble:
        return f"no case could run: {headline(report.trouble)}; {ending}"
    count = len(report.results)
    cases = "1 case" if count == 1 else f"{count} cases"
    parts = [f"{cases} of a {one_line(report.scheme)} {one_line(report.kind)}: {verdicts(report)}", level_text(report)]
    return "; ".join([*filter(None, parts), ending])


def not_run(report: CheckReport) -> list[str]:
    """List the reasons why cases did not run, a line each: `SKIP 2: needs Linux (T33 T45)`."""
    return [
        f"{verdict} {len(ids)}: {why or 'no reason given'} ({' '.join(ids)})"
        for verdict in ("BLOCKED", "SKIP")
        for why, ids in reasons(report, verdict).items()
    ]


def rows(reports: Sequence[CheckReport]) -> list[tuple[Case, list[Result | None]]]:
    """Return each case with its result for every report, None where it did not run."""
    found = [{result.case.id: result for result in report.results} for report in reports]
    return [(case, [results.get(case.id) for results in found]) for case in _cases(reports)]


def _cases(reports: Iterable[CheckReport]) -> list[Case]:
    known = {result.case.id: result.case for report in reports for result in report.results}
    return sorted(known.values(), key=lambda case: (list(KINDS).index(case.id[0]), case.id))


def columns(reports: Sequence[CheckReport]) -> list[str]:
    """Name the columns by target, and by scheme too if there are several."""
    several = len({report.scheme for report in reports}) > 1
    return [one_line(f"{report.target} ({report.scheme})" if several else report.target) for report in reports]
