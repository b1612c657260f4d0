"""A check as graders and CI systems read it: CSV, Gradescope's results.json, and JUnit XML.

In CSV a text that a spreadsheet would take for a formula gets a leading apostrophe. JUnit follows Jenkins' schema
(junit-10.xsd): FAIL is a failure, ERROR an error; BLOCKED and SKIP are skipped; the others pass, with their text.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal
from xml.etree import ElementTree as ET

from halloo._check.case import KINDS
from halloo._check.grading import FULL_MARKS, NO_MARKS, Mark, Weights, grade
from halloo._check.report.finding import Hints, finding, finding_text, headline, one_line, worst_first
from halloo._check.report.summary import level_text, not_run, summary
from halloo._check.results import CheckReport, Result
from halloo._core.escape import printable

COLUMNS = ("target", "points", "passed", "failed", "first failure", "seconds")
FORMULAS = tuple(
    "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)


def marks(reports: Iterable[CheckReport], *, weights: Weights | None = None) -> str:
    """Write a row for each target; its reports count together. BLOCKED counts as failed, WARN as passed."""
    submissions: dict[str, list[CheckReport]] = {}
    for report in reports:
        submissions.setdefault(report.target, []).append(report)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for target, group in submissions.items():
        writer.writerow(_row(target, group, weights))
    return text.getvalue()


def _row(target: str, reports: Sequence[CheckReport], weights: Weights | None) -> list[str]:
    verdicts = [result.verdict for report in reports for result in report.results]
    return [
        _escape_formula(target),
        f"{grade(reports, weights).points:g}",
        str(sum(verdict in FULL_MARKS for verdict in verdicts)),
        str(sum(verdict in NO_MARKS for verdict in verdicts)),
        _escape_formula(_first_failure(reports)),
        f"{sum(report.seconds for report in reports):.1f}",
    ]


def _first_failure(reports: Sequence[CheckReport]) -> str:
    for report in reports:
        if report.trouble:
            return headline(report.trouble)
        for result in worst_first(report):
            if result.verdict == "FAIL":
                return f"{result.case.id} {result.case.name}: {headline(result.text)}"
    return ""


def _escape_formula(text: str) -> str:
    line = one_line(text)
    return f"'{line}" if line.lstrip().startswith(FORMULAS) else line


Visibility = Literal["visible", "hidden", "after_due_date", "after_published"]


def gradescope(
    reports: Sequence[CheckReport],
    *,
    hints: Hints = "fix",
    weights: Weights | None = None,
    visibility: Visibility = "visible",
) -> str:
    """Write the reports of one submission. Skipped cases are listed above the tests and carry no points."""
    graded = grade(reports, weights)
    target = " ".join(dict.fromkeys(report.target for report in reports))
    document = {
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
    return json.dumps(document, indent=2, allow_nan=False)


def _notes(report: CheckReport) -> list[str]:
    errors = [result.case.id for result in report.results if result.verdict == "ERROR"]
    lines = not_run(report)
    if errors:
        lines.append(f"ERROR {len(errors)}: error of halloo or of this machine, not counted ({' '.join(errors)})")
    return lines


def _test(mark: Mark, hints: Hints, target: str, visibility: Visibility) -> dict[str, Any]:
    case, passed = mark.result.case, mark.result.verdict in ("PASS", "WARN", "INFO")
    return {
        "score": round(mark.points, 4),
        "max_score": round(mark.max_points, 4),
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
        return finding_text(finding(result, hints=hints, target=target))
    text = headline(result.text)
    if result.verdict == "BLOCKED":
        return one_line(f"BLOCKED: {text}. It runs once that passes. {case.description}")
    return one_line(f"{case.description} Expected: {case.passes}.{f' {text}' if text else ''}")


_ELEMENTS = {"FAIL": "failure", "ERROR": "error", "BLOCKED": "skipped", "SKIP": "skipped"}
_TIMESTAMP_LENGTH = len("2026-01-01T00:00:00")  # the schema allows no fraction and no time zone


def junit(reports: Sequence[CheckReport], *, hints: Hints = "fix", weights: Weights | None = None) -> str:
    """Write all reports as one document, with points if weights are given."""
    suites = ET.Element("testsuites", name="halloo check")
    for report in reports:
        suites.append(_suite(report, hints, weights))
    for name in ("tests", "failures", "errors"):
        suites.set(name, str(sum(int(suite.get(name, 0)) for suite in suites)))
    suites.set("time", _time(sum(report.seconds for report in reports)))
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _suite(report: CheckReport, hints: Hints, weights: Weights | None) -> ET.Element:
    suite = ET.Element("testsuite", name=one_line(report.target), time=_time(report.seconds))
    if report.started:
        suite.set("timestamp", one_line(report.started)[:_TIMESTAMP_LENGTH])
    values = {"kind": report.kind, "scheme": report.scheme, "seed": report.seed, "level": report.level}
    values |= {"level reached": level_text(report)}
    if weights:
        graded = grade([report], weights)
        values |= {"points": f"{graded.points:g}", "points of": f"{graded.max_points:g}"}
    properties = ET.SubElement(suite, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", name=name, value=one_line(str(value)))
    if report.trouble:
        suite.append(_unstarted(report))
    for result in report.results:
        suite.append(_junit_case(result, hints, report.target))
    for name, element in (("tests", "."), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall("testcase" if element == "." else f"testcase/{element}"))))
    ET.SubElement(suite, "system-out").text = summary(report)
    return suite


def _unstarted(report: CheckReport) -> ET.Element:
    test = ET.Element("testcase", classname=f"halloo.check.{one_line(report.scheme)}", name="start", time="0")
    failure = ET.SubElement(test, "failure", type="MUST", message=headline(report.trouble))
    failure.text = printable(report.trouble)
    return test


def _junit_case(result: Result, hints: Hints, target: str) -> ET.Element:
    case = result.case
    test = ET.Element(
        "testcase",
        classname=f"halloo.check.{KINDS[case.id[0]]}",
        name=one_line(f"{case.id} {case.name}"),
        time=_time(result.seconds),
    )
    element = _ELEMENTS.get(result.verdict)
    if element == "skipped":
        ET.SubElement(test, element, type=result.verdict, message=headline(result.text))
    elif element:
        problem = ET.SubElement(test, element, type=case.severity, message=headline(result.text))
        problem.text = finding_text(finding(result, hints=hints, target=target))
    elif result.verdict == "WARN":
        ET.SubElement(test, "system-out").text = finding_text(finding(result, hints=hints, target=target))
    elif result.text:
        ET.SubElement(test, "system-out").text = printable(result.text)
    return test


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"
