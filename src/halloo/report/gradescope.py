"""A check as Gradescope's autograder wants it, `results.json`: points, and an explanation for each case.

Knows the format of https://gradescope-autograders.readthedocs.io/en/latest/specs/. What a case is worth is for
`halloo.check.grading` to say. All texts are marked as text: Gradescope shows some other formats as HTML.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal

from halloo.check.case import KINDS
from halloo.check.grading import Mark, Weights, grade
from halloo.check.results import CheckReport
from halloo.report.finding import Hints, finding, headline, one_line, plain
from halloo.report.summary import summary, unasked

Visibility = Literal["visible", "hidden", "after_due_date", "after_published"]


def gradescope(
    reports: Sequence[CheckReport],
    *,
    hints: Hints = "fix",
    weights: Weights | None = None,
    visibility: Visibility = "visible",
) -> str:
    """Write the reports of one submission. What was skipped is told above the tests; it is neither won nor lost."""
    graded = grade(reports, weights)
    target = " ".join(dict.fromkeys(report.target for report in reports))
    told = {
        "score": graded.points,
        "execution_time": round(sum(report.seconds for report in reports)),
        "output": "\n\n".join("\n".join([summary(report), *_notes(report)]) for report in reports),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "visibility": visibility,
        "stdout_visibility": "hidden",
        "tests": [_test(mark, hints, target, visibility) for mark in graded.marks],
    }
    return json.dumps(told, indent=2, allow_nan=False)


def _notes(report: CheckReport) -> list[str]:
    faults = [result.case.id for result in report.results if result.verdict == "ERROR"]
    lines = unasked(report)
    if faults:
        lines.append(f"ERROR {len(faults)}: halloo's own fault, not counted ({' '.join(faults)})")
    return lines


def _test(mark: Mark, hints: Hints, target: str, visibility: Visibility) -> dict[str, Any]:
    case, passed = mark.result.case, mark.result.verdict in ("PASS", "WARN", "INFO")
    return {
        "score": round(mark.points, 4),
        "max_score": round(mark.most, 4),
        "status": "passed" if passed else "failed",
        "name": one_line(case.name),
        "number": one_line(case.id),
        "output": _output(mark, hints, target),
        "tags": [KINDS[case.id[0]], case.severity, f"level {case.level}"],
        "visibility": visibility,
    }


def _output(mark: Mark, hints: Hints, target: str) -> str:
    result, case = mark.result, mark.result.case
    if result.verdict in ("FAIL", "WARN"):
        return plain(finding(result, hints=hints, target=target))
    told = headline(result.text)
    if result.verdict == "BLOCKED":
        return one_line(f"BLOCKED: {told}. It is asked when that has been mended. {case.does}")
    return one_line(f"{case.does} Expected: {case.passes}.{f' {told}' if told else ''}")
