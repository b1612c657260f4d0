"""A check as CSV, Gradescope's results.json and JUnit XML: in the documented shapes, whatever a target's texts are."""

import csv
import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from halloo._check.grading import Weights, read_weights
from halloo._check.report.exports import COLUMNS, gradescope, junit, marks
from tests._check.report.invented import (
    ALL,
    DIAGNOSIS,
    FAILED,
    GOOD,
    HOSTILE,
    HOSTILE_REPORT,
    NOT_STARTED,
    SHORT,
    report,
    result,
)

HALF = report((result(SHORT, "PASS"), FAILED), target="subs/anna")
THIRTY = read_weights("points = 30\n[weights]\nT09 = 2")


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines(), strict=True))


def test_each_submission_is_a_row() -> None:
    assert rows(marks([HALF, GOOD, report()])) == [
        [*COLUMNS],
        ["subs/anna", "50", "1", "1", "T09 half-close: the end came after 34 of 84 bytes", "12.3"],
        ["./good {port}", "100", "3", "0", "", "12.3"],
        ["python echo.py PORT", "25", "3", "3", "T09 half-close: the end came after 34 of 84 bytes", "12.3"],
    ]
    assert rows(marks([HALF], weights=THIRTY))[1][1] == "10"
    assert rows(marks([NOT_STARTED]))[1][1] == "0"
    assert rows(marks([NOT_STARTED]))[1][4].startswith("it ended with code 1")


def test_reports_of_one_target_are_one_row() -> None:
    found = rows(marks([report((result(SHORT, "PASS"),)), report((FAILED,), scheme="udp")]))
    assert [row[1:4] for row in found[1:]] == [["50", "1", "1"]]


def test_a_text_is_never_a_formula() -> None:
    for name in ("=cmd()", "+1", "-1", "@SUM(A1)", " =cmd()", "\N{FULLWIDTH EQUALS SIGN}1"):
        row = rows(marks([report((), target=name, trouble=name.strip())]))[1]
        assert (row[0], row[4]) == (f"'{name}", f"'{name.strip()}")


def test_text_of_a_target_stays_in_its_row() -> None:
    assert [len(row) for row in rows(marks(ALL))] == [len(COLUMNS)] * 4  # the first and the last have the same target
    for name in ("\t=1", "\r=1", "\n=1", "\0=1", f'a\n"{HOSTILE}\n'):
        assert len(marks([report(target=name)]).splitlines()) == 2
    assert rows(marks([report(target="\t=1")]))[1][0] == r"\t=1"


# Keys and types as in https://gradescope-autograders.readthedocs.io/en/latest/specs/.
STRINGS = ("output", "output_format", "test_output_format", "test_name_format", "visibility", "stdout_visibility")
TOP = {"score": float, "execution_time": int, "tests": list, **dict.fromkeys(STRINGS, str)}
TEST = {"score": float, "max_score": float, "tags": list}
TEST |= dict.fromkeys(("status", "name", "number", "output", "visibility"), str)


def document(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


def output(text: str, number: str) -> str:
    return next(str(test["output"]) for test in document(text)["tests"] if test["number"] == number)


def test_the_document_has_the_documented_shape() -> None:
    for reports in (*([each] for each in ALL), ALL):
        found = document(gradescope(reports))
        assert {name: type(value) for name, value in found.items()} == TOP
        assert {found[name] for name in STRINGS[1:4]} == {"text"}
        assert (found["visibility"], found["stdout_visibility"]) == ("visible", "hidden")
        for test in found["tests"]:
            assert {name: type(value) for name, value in test.items()} == TEST
            assert test["status"] in ("passed", "failed")
            assert test["visibility"] == "visible"
            assert 0 <= test["score"] <= test["max_score"]
            assert all(isinstance(tag, str) for tag in test["tags"])


def test_each_case_is_a_test_with_its_share_of_points() -> None:
    found = document(gradescope([HALF]))
    assert found["score"] == 50
    assert [(test["number"], test["name"], test["score"], test["max_score"]) for test in found["tests"]] == [
        ("T01", "short", 50, 50),
        ("T09", "half-close", 0, 50),
    ]
    assert found["tests"][1]["tags"] == ["tcp", "MUST", "level 1"]
    assert [test["max_score"] for test in document(gradescope([HALF], weights=THIRTY))["tests"]] == [10, 20]


def test_skipped_cases_are_listed_above_the_tests() -> None:
    found = document(gradescope([report()]))
    assert "SKIP 1: needs Linux (T16)" in found["output"]
    assert "ERROR 1: error of halloo or of this machine, not counted (T14)" in found["output"]
    assert {"T16", "T14"}.isdisjoint(test["number"] for test in found["tests"])
    assert "it ended with code 1 before it listened" in document(gradescope([NOT_STARTED]))["output"]


def test_a_test_says_what_was_found_or_expected() -> None:
    assert DIAGNOSIS.name in output(gradescope([report()]), "T09")
    assert DIAGNOSIS.why in json.loads(gradescope([report()]))["output"]
    assert output(gradescope([report()]), "T13").startswith("BLOCKED: needs T14. ")
    assert output(gradescope([GOOD]), "T01") == (
        "Send 4 bytes, then half-close. Expected: the reply, then the end within 3 s."
    )


# Jenkins' junit-10.xsd: for each element its required attributes, further allowed ones, and its children.
SHAPE = {
    "testsuites": ("", "name time tests failures errors", "testsuite"),
    "testsuite": (
        "name tests failures errors",
        "time skipped timestamp hostname id package",
        "properties testcase system-out system-err",
    ),
    "properties": ("", "", "property"),
    "property": ("name value", "", ""),
    "testcase": ("name", "time classname group", "skipped error failure system-out system-err"),
    **dict.fromkeys(("failure", "error", "skipped"), ("", "type message", "")),
    "system-out": ("", "", ""),
}
SUREFIRE_TIME = r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?"
ANT_TIMESTAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text.encode())  # noqa: S314 - it is what we have just written


def by_name(text: str) -> dict[str, ET.Element]:
    return {test.get("name", ""): test for test in parsed(text).iter("testcase")}


def test_the_document_follows_the_jenkins_schema_and_its_counts_match() -> None:
    root = parsed(junit(ALL, weights=Weights()))
    assert root.tag == "testsuites"
    for element in root.iter():
        needed, allowed, inside = (set(words.split()) for words in SHAPE[element.tag])
        assert needed <= set(element.attrib) <= needed | allowed
        assert {child.tag for child in element} <= inside
    for suite in root:
        assert re.fullmatch(SUREFIRE_TIME, suite.get("time", ""))
        assert re.fullmatch(ANT_TIMESTAMP, suite.get("timestamp", ""))
        for name, path in (("tests", ""), ("failures", "/failure"), ("errors", "/error"), ("skipped", "/skipped")):
            assert suite.get(name) == str(len(suite.findall(f"testcase{path}")))
    assert root.get("tests") == str(len(root.findall("*/testcase")))
    assert (root.get("failures"), root.get("errors")) == ("5", "2")
    assert [suite.get("name") for suite in root][:2] == ["python echo.py PORT", "./good {port}"]


def test_each_verdict_has_its_element() -> None:
    found = {name: [child.tag for child in test] for name, test in by_name(junit([report()])).items()}
    assert found == {
        "T01 short": [],
        "T09 half-close": ["failure"],
        "T13 five": ["skipped"],
        "T14 head-of-line": ["error"],
        "T16 backpressure": ["skipped"],
        "T24 burst-500": ["system-out"],
        "T25 idle": ["system-out"],
        "T35 next": ["failure"],
    }


def test_a_failure_has_facts_cause_and_fix_and_a_skipped_case_its_reason() -> None:
    found = by_name(junit([report()]))
    test = found["T09 half-close"]
    assert (test.get("classname"), test.get("time")) == ("halloo.check.tcp", "3.100")
    assert (test[0].get("type"), test[0].get("message")) == ("MUST", "the end came after 34 of 84 bytes")
    assert DIAGNOSIS.name in (test[0].text or "")
    assert DIAGNOSIS.why in (parsed(junit([report()])).findtext("testsuite/system-out") or "")
    assert [found[name][0].get("message") for name in ("T13 five", "T16 backpressure")] == ["needs T14", "needs Linux"]


def test_points_are_a_property_and_a_program_that_did_not_start_is_a_failed_test() -> None:
    found = parsed(junit([GOOD], weights=Weights())).iter("property")
    properties = {each.get("name"): each.get("value") for each in found}
    assert (properties["points"], properties["points of"], properties["seed"]) == ("100", "100", "7")
    (test,) = by_name(junit([NOT_STARTED])).values()
    assert test.get("name") == "start"
    assert (test[0].get("message") or "").startswith("it ended with code 1")


def test_characters_that_xml_forbids_are_escaped() -> None:
    text = junit([HOSTILE_REPORT])
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    assert re.fullmatch(r"[\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*", text)
    assert "]]>" not in text
    assert "<script>" not in text
    assert "é🙂" in text
    (suite,) = parsed(text)
    assert (suite.get("name") or "").startswith("<script>alert(1)</script> ]]> & \"'` | =cmd()\\x1b[31m\\x00")
    for code in (*range(0x20), 0x7F, 0x85, 0x2028, 0xFFFE, 0xFFFF, 0xDC80):
        assert parsed(junit([report((), trouble=f"a{chr(code)}b")])).find("*/testcase/failure") is not None
