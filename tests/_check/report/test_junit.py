import re
from xml.etree import ElementTree as ET

import pytest

from halloo._check.grading import Weights
from halloo._check.report.junit import junit
from tests._check.report.invented import ALL, DIAGNOSIS, GOOD, HOSTILE, HOSTILE_REPORT, NOT_STARTED, report

# Jenkins' junit-10.xsd: for each element its allowed attributes, required attributes and children.
SHAPE: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "skipped", "timestamp", "hostname", "id", "package"},
        {"name", "tests", "failures", "errors"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, {"name", "value"}, set()),
    "testcase": (
        {"name", "time", "classname", "group"},
        {"name"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"type", "message"}, set(), set()),
    "error": ({"type", "message"}, set(), set()),
    "skipped": ({"type", "message"}, set(), set()),
    "system-out": (set(), set(), set()),
}
SUREFIRE_TIME = r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?"
ANT_TIMESTAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text.encode())  # noqa: S314 - it is what we have just written


def by_name(text: str) -> dict[str, ET.Element]:
    return {test.get("name", ""): test for test in parsed(text).iter("testcase")}


def test_the_document_follows_the_jenkins_schema() -> None:
    root = parsed(junit(ALL, weights=Weights()))
    assert root.tag == "testsuites"
    for element in root.iter():
        allowed, needed, inside = SHAPE[element.tag]
        assert needed <= set(element.attrib) <= allowed
        assert {child.tag for child in element} <= inside
    for suite in root:
        assert re.fullmatch(SUREFIRE_TIME, suite.get("time", ""))
        assert re.fullmatch(ANT_TIMESTAMP, suite.get("timestamp", ""))


def test_counts_match_the_elements() -> None:
    root = parsed(junit(ALL))
    for suite in root:
        for name, path in (("tests", "*"), ("failures", "*/failure"), ("errors", "*/error"), ("skipped", "*/skipped")):
            found = [each for each in suite.findall(path) if path != "*" or each.tag == "testcase"]
            assert suite.get(name) == str(len(found))
    assert root.get("tests") == str(len(root.findall("*/testcase")))
    assert (root.get("failures"), root.get("errors")) == ("5", "2")


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


def test_a_failure_has_facts_cause_and_fix() -> None:
    test = by_name(junit([report()]))["T09 half-close"]
    failure = test[0]
    assert (test.get("classname"), test.get("time")) == ("halloo.check.tcp", "3.100")
    assert (failure.get("type"), failure.get("message")) == ("MUST", "the end came after 34 of 84 bytes")
    assert DIAGNOSIS.why in (failure.text or "")
    assert DIAGNOSIS.why not in junit([report()], hints="none")


def test_a_skipped_case_has_its_reason_as_message() -> None:
    found = by_name(junit([report()]))
    assert [found[name][0].get("message") for name in ("T13 five", "T16 backpressure")] == ["needs T14", "needs Linux"]


def test_each_report_is_a_suite() -> None:
    assert [suite.get("name") for suite in parsed(junit([report(), GOOD]))] == ["python echo.py PORT", "./good {port}"]


def test_points_are_a_property() -> None:
    properties = {
        each.get("name"): each.get("value") for each in parsed(junit([GOOD], weights=Weights())).iter("property")
    }
    assert (properties["points"], properties["points of"], properties["seed"]) == ("100", "100", "7")


def test_a_program_that_did_not_start_is_a_failed_test() -> None:
    (test,) = by_name(junit([NOT_STARTED])).values()
    assert test.get("name") == "start"
    assert (test[0].get("message") or "").startswith("it ended with code 1")


def test_characters_that_xml_forbids_are_escaped() -> None:
    text = junit([HOSTILE_REPORT])
    assert re.fullmatch(r"[\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*", text)
    assert "]]>" not in text
    assert "<script>" not in text
    (suite,) = parsed(text)
    assert (suite.get("name") or "").startswith("<script>alert(1)</script> ]]> & \"'` | =cmd()\\x1b[31m\\x00")


@pytest.mark.parametrize(
    "character", [chr(code) for code in (*range(0x20), 0x7F, 0x85, 0x2028, 0xFFFE, 0xFFFF, 0xDC80)]
)
def test_every_control_character_is_escaped(character: str) -> None:
    text = junit([report((), trouble=f"a{character}b")])
    assert parsed(text).find("*/testcase/failure") is not None


def test_the_document_declares_utf_8() -> None:
    assert junit([GOOD]).startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    assert "é🙂" in HOSTILE
    assert "é🙂" in junit([HOSTILE_REPORT])
