"""The marks of a class as CSV: a row a submission, to be opened in a spreadsheet.

Knows what a spreadsheet would take for a formula: such a text gets an apostrophe in front, which makes it text.
"""

import csv
import io
from collections.abc import Iterable, Sequence

from halloo.check.grading import FULL, NOTHING, Weights, grade
from halloo.check.results import CheckReport
from halloo.report.finding import headline, one_line, worst_first

COLUMNS = ("target", "points", "passed", "failed", "first failure", "seconds")
FORMULAS = tuple(
    "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)


def marks(reports: Iterable[CheckReport], *, weights: Weights | None = None) -> str:
    """Write a row for each target, whose reports count together. What was blocked has failed; warnings have passed."""
    submissions: dict[str, list[CheckReport]] = {}
    for report in reports:
        submissions.setdefault(report.target, []).append(report)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for target, of_it in submissions.items():
        writer.writerow(_row(target, of_it, weights))
    return text.getvalue()


def _row(target: str, reports: Sequence[CheckReport], weights: Weights | None) -> list[str]:
    verdicts = [result.verdict for report in reports for result in report.results]
    return [
        _inert(target),
        f"{grade(reports, weights).points:g}",
        str(sum(verdict in FULL for verdict in verdicts)),
        str(sum(verdict in NOTHING for verdict in verdicts)),
        _inert(_first(reports)),
        f"{sum(report.seconds for report in reports):.1f}",
    ]


def _first(reports: Sequence[CheckReport]) -> str:
    for report in reports:
        if report.trouble:
            return headline(report.trouble)
        for result in worst_first(report):
            if result.verdict == "FAIL":
                return f"{result.case.id} {result.case.name}: {headline(result.text)}"
    return ""


def _inert(text: str) -> str:
    shown = one_line(text)
    return f"'{shown}" if shown.lstrip().startswith(FORMULAS) else shown
