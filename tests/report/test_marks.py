import csv

import pytest

from halloo.check.grading import read_weights
from halloo.report.marks import COLUMNS, marks
from tests.report.invented import ALL, FAILED, GOOD, HOSTILE, SHORT, STUCK, report, result


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines(), strict=True))


def test_a_submission_is_a_row() -> None:
    assert rows(marks([report((result(SHORT, "PASS"), FAILED), target="subs/anna"), GOOD])) == [
        [*COLUMNS],
        ["subs/anna", "50", "1", "1", "T09 half-close: the end came after 34 of 84 bytes", "12.3"],
        ["./good {port}", "100", "3", "0", "", "12.3"],
    ]


def test_what_was_blocked_has_failed() -> None:
    assert rows(marks([report()]))[1][2:4] == ["3", "3"]


def test_reports_of_one_target_are_one_row() -> None:
    found = rows(marks([report((result(SHORT, "PASS"),)), report((FAILED,), scheme="udp")]))
    assert [row[1:4] for row in found[1:]] == [["50", "1", "1"]]


def test_weights_are_obeyed() -> None:
    text = marks([report((result(SHORT, "PASS"), FAILED))], weights=read_weights("points = 30\n[weights]\nT09 = 2"))
    assert rows(text)[1][1] == "10"


def test_why_it_did_not_start_is_its_first_failure() -> None:
    found = rows(marks([STUCK]))[1]
    assert found[1] == "0"
    assert found[4].startswith("it ended with code 1")


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@SUM(A1)", " =cmd()", "\N{FULLWIDTH EQUALS SIGN}1"])
def test_a_name_is_never_a_formula(name: str) -> None:
    assert rows(marks([report(target=name)]))[1][0] == f"'{name}"


@pytest.mark.parametrize("name", ["\t=1", "\r=1", "\n=1", "\0=1"])
def test_a_name_cannot_begin_in_another_way(name: str) -> None:
    assert rows(marks([report(target=name)]))[1][0] == repr(name)[1:-1]


def test_a_reason_is_never_a_formula() -> None:
    assert rows(marks([report((), trouble="=cmd()")]))[1][4] == "'=cmd()"


def test_whatever_a_target_says_stays_in_its_row() -> None:
    assert [len(row) for row in rows(marks(ALL))] == [len(COLUMNS)] * 4  # the first and the last are of one target
    assert len(marks([report(target=f'a\n"{HOSTILE}\n')]).splitlines()) == 2
