"""Several reports side by side: a row a case, a column a target.

Knows results. How a cell looks is for the page or the Markdown to know.
"""

from collections.abc import Iterable, Sequence

from halloo.check.case import KINDS, Case
from halloo.check.results import CheckReport, Result
from halloo.report.finding import one_line


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
