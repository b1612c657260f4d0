"""A check as JUnit XML for CI systems: one suite per report, one test case per case.

Follows Jenkins' schema (junit-10.xsd). FAIL is a failure, ERROR an error; BLOCKED and SKIP are skipped; PASS, WARN and
INFO pass, with their text as output.
"""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from halloo._check.case import KINDS
from halloo._check.grading import Weights, grade
from halloo._check.report.finding import Hints, finding, finding_text, headline, one_line
from halloo._check.report.summary import level_text, summary
from halloo._check.results import CheckReport, Result
from halloo._core.escape import printable

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
        suite.append(_test(result, hints, report.target))
    for name, element in (("tests", "."), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall("testcase" if element == "." else f"testcase/{element}"))))
    ET.SubElement(suite, "system-out").text = summary(report)
    return suite


def _unstarted(report: CheckReport) -> ET.Element:
    """Report a program that did not start as a failed test."""
    test = ET.Element("testcase", classname=f"halloo.check.{one_line(report.scheme)}", name="start", time="0")
    failure = ET.SubElement(test, "failure", type="MUST", message=headline(report.trouble))
    failure.text = printable(report.trouble)
    return test


def _test(result: Result, hints: Hints, target: str) -> ET.Element:
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
