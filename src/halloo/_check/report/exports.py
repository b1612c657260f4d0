"""A check as graders and CI systems read it: CSV, Gradescope's results.json, and JUnit XML.

In CSV a text that a spreadsheet would take for a formula gets a leading apostrophe. JUnit follows Jenkins' schema
(junit-10.xsd): FAIL is a failure, ERROR an error; BLOCKED and SKIP are skipped; the others pass, with their text.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from halloo._check.grading import FULL_MARKS, NO_MARKS, Mark, Weights, grade
from halloo._check.language import Language
from halloo._check.report import view
from halloo._check.report.text import explained_text, finding_text
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
        verdicts = [result.verdict for report in group for result in report.results]
        passed, failed = (sum(verdict in of for verdict in verdicts) for of in (FULL_MARKS, NO_MARKS))
        points, seconds = grade(group, weights).points, sum(report.seconds for report in group)
        first = _escape_formula(_first_failure(group))
        writer.writerow([_escape_formula(target), f"{points:g}", passed, failed, first, f"{seconds:.1f}"])
    return text.getvalue()


def _first_failure(reports: Sequence[CheckReport]) -> str:
    for report in reports:
        if report.trouble:
            return view.headline(report.trouble)
        for found in view.worst_first(view.findings(report)):
            if found.verdict == "FAIL":
                return f"{found.id} {found.name}: {found.headline}"
    return ""


def _escape_formula(text: str) -> str:
    line = view.one_line(text)
    return f"'{line}" if line.lstrip().startswith(FORMULAS) else line


def gradescope(reports: Sequence[CheckReport], *, hints: view.Hints = "fix", weights: Weights | None = None) -> str:
    """Write the reports of one submission. Skipped cases are listed above the tests and carry no points."""
    graded = grade(reports, weights)
    languages = {report.language for report in reports}
    language = languages.pop() if len(languages) == 1 else None
    document = {
        "score": graded.points,
        "execution_time": round(sum(report.seconds for report in reports)),
        "output": "\n\n".join(_heading(report, hints) for report in reports),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": [_test(mark, hints, language) for mark in graded.marks],
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _heading(report: CheckReport, hints: view.Hints) -> str:
    errors = [result.case.id for result in report.results if result.verdict == "ERROR"]
    note = f"ERROR {len(errors)}: error of halloo or of this machine, not counted ({' '.join(errors)})"
    words = f"{view.PRINTED}\n{words}" if (words := view.words(report)) else ""
    lines = [view.summary(report), words, *view.abilities(report), *view.not_run(report)]
    return "\n\n".join(["\n".join(filter(None, [*lines, note if errors else ""])), *_explanations(report, hints)])


def _explanations(report: CheckReport, hints: view.Hints) -> list[str]:
    return [*map(explained_text, view.by_cause(view.findings(report, hints=hints))[0])]


def _test(mark: Mark, hints: view.Hints, language: Language | None) -> dict[str, Any]:
    found = view.finding(mark.result, hints=hints, language=language)
    if found.verdict in ("FAIL", "WARN"):
        output = finding_text(found)
    elif found.verdict == "BLOCKED":
        output = f"BLOCKED: {found.headline}. It runs once that passes. {found.description}"
    else:
        output = f"{found.description} Expected: {found.passes}. {found.headline}".rstrip()
    return {
        "score": round(mark.points, 4),
        "max_score": round(mark.max_points, 4),
        "status": "passed" if found.verdict in FULL_MARKS else "failed",
        "name": found.name,
        "number": found.id,
        "output": output,
        "tags": [found.kind, found.severity, f"level {found.level}"],
        "visibility": "visible",
    }


_ELEMENTS = {"FAIL": "failure", "ERROR": "error", "BLOCKED": "skipped", "SKIP": "skipped"}
_TIMESTAMP_LENGTH = len("2026-01-01T00:00:00")  # the schema allows no fraction and no time zone


def junit(reports: Sequence[CheckReport], *, hints: view.Hints = "fix", weights: Weights | None = None) -> str:
    """Write all reports as one document, with points if weights are given."""
    suites = ET.Element("testsuites", name="halloo check")
    for report in reports:
        suites.append(_suite(report, hints, weights))
    for name in ("tests", "failures", "errors"):
        suites.set(name, str(sum(int(suite.get(name, 0)) for suite in suites)))
    suites.set("time", f"{sum(report.seconds for report in reports):.3f}")
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _suite(report: CheckReport, hints: view.Hints, weights: Weights | None) -> ET.Element:
    suite = ET.Element("testsuite", name=view.one_line(report.target), time=f"{report.seconds:.3f}")
    if report.started:
        suite.set("timestamp", view.one_line(report.started)[:_TIMESTAMP_LENGTH])
    values = {name: str(getattr(report, name)) for name in ("kind", "scheme", "seed", "level")}
    values["level reached"] = str(view.level_result(report) or "")
    if weights:
        graded = grade([report], weights)
        values |= {"points": f"{graded.points:g}", "points of": f"{graded.max_points:g}"}
    properties = ET.SubElement(suite, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", name=name, value=view.one_line(value))
    if report.trouble:
        test = _element(suite, report.scheme, "start", "0")
        failure = ET.SubElement(test, "failure", type="MUST", message=view.headline(report.trouble))
        failure.text = printable(report.trouble)
    for result in report.results:
        _add_case(suite, result, view.finding(result, hints=hints, language=report.language))
    for name, element in (("tests", ""), ("failures", "/failure"), ("errors", "/error"), ("skipped", "/skipped")):
        suite.set(name, str(len(suite.findall(f"testcase{element}"))))
    ET.SubElement(suite, "system-out").text = "\n\n".join([view.summary(report), *_explanations(report, hints)])
    return suite


def _element(suite: ET.Element, kind: str, name: str, time: str) -> ET.Element:
    return ET.SubElement(
        suite, "testcase", classname=f"halloo.check.{view.one_line(kind)}", name=view.one_line(name), time=time
    )


def _add_case(suite: ET.Element, result: Result, found: view.Finding) -> None:
    test = _element(suite, found.kind, f"{found.id} {found.name}", f"{result.seconds:.3f}")
    element = _ELEMENTS.get(found.verdict)
    if element == "skipped":
        ET.SubElement(test, element, type=found.verdict, message=found.headline)
    elif element or found.verdict == "WARN":
        attributes = {"type": found.severity, "message": found.headline} if element else {}
        ET.SubElement(test, element or "system-out", attributes).text = finding_text(found)
    elif result.text:
        ET.SubElement(test, "system-out").text = printable(result.text)
