import pytest

from halloo._check.case import Verdict
from halloo._check.report.summary import columns, level_text, rows, standing, summary, took, unasked
from tests._check.report.invented import (
    BURST,
    EMPTY,
    FIVE,
    GOOD,
    HALF_CLOSE,
    HEAD_OF_LINE,
    NEXT,
    SHORT,
    STUCK,
    report,
    result,
)


def test_a_summary_says_it_all_in_a_line() -> None:
    assert summary(report()) == (
        "8 cases of a tcp server: 1 PASS, 1 WARN, 1 INFO, 2 FAIL, 1 ERROR, 1 BLOCKED, 1 SKIP; "
        "level 0 of 4 (not yet an echo; 1 needs T09); 12 s, seed 7"
    )


def test_one_case_is_no_cases() -> None:
    assert summary(report((result(SHORT, "PASS"),))).startswith(
        "1 case of a tcp server: 1 PASS; level 1 of 1 (an echo);"
    )


def test_a_program_that_never_listened_says_why() -> None:
    assert summary(STUCK).startswith("nothing could be asked: it ended with code 1")


def test_why_cases_were_not_asked_is_grouped() -> None:
    results = (
        result(SHORT, "SKIP", "needs Linux"),
        result(FIVE, "BLOCKED", "needs T14"),
        result(NEXT, "SKIP", "needs Linux"),
        result(BURST, "SKIP", "is asked of a pure echo only"),
    )
    assert unasked(report(results)) == [
        "BLOCKED 1: needs T14 (T13)",
        "SKIP 2: needs Linux (T01 T35)",
        "SKIP 1: is asked of a pure echo only (T24)",
    ]


@pytest.mark.parametrize(
    ("half_close", "after", "head", "text"),
    [
        ("PASS", "PASS", "PASS", "level 3 of 3 (serves many)"),
        ("PASS", "PASS", "FAIL", "level 2 of 3 (serves the next one; 3 needs T14)"),
        ("PASS", "BLOCKED", "FAIL", "level 1 of 3 (an echo; 2 needs T35)"),
        ("FAIL", "PASS", "PASS", "level 0 of 3 (not yet an echo; 1 needs T09)"),
    ],
)
def test_the_level_is_the_highest_below_what_failed(
    half_close: Verdict, after: Verdict, head: Verdict, text: str
) -> None:
    results = (result(HALF_CLOSE, half_close), result(NEXT, after), result(HEAD_OF_LINE, head))
    assert level_text(report(results)) == text


def test_a_should_is_in_the_way_only_where_it_is_strict() -> None:
    results = (result(SHORT, "PASS"), result(BURST, "FAIL"))
    assert level_text(report(results)) == "level 3 of 3 (serves many)"
    assert level_text(report(results, strict=True)) == "level 1 of 3 (an echo; 3 needs T24)"


def test_what_was_not_asked_of_udp_is_not_missed() -> None:
    assert level_text(report((result(EMPTY, "PASS"),), scheme="udp", level=3)) == "level 1 of 1 (an echo)"


def test_no_level_is_named_where_too_little_was_asked() -> None:
    assert standing(report((result(HEAD_OF_LINE, "FAIL"),))) is None
    assert standing(report((result(SHORT, "PASS"),), supplied={"only": ["T01"]})) is None
    assert standing(STUCK) is None
    assert "level" not in summary(report((result(HEAD_OF_LINE, "FAIL"),)))
    assert standing(GOOD) is not None


@pytest.mark.parametrize(("seconds", "text"), [(0.0123, "12 ms"), (0, "0 ms"), (3.14, "3.1 s"), (47.9, "48 s")])
def test_seconds_are_written_briefly(seconds: float, text: str) -> None:
    assert took(seconds) == text


def test_a_row_has_what_came_of_a_case_with_each_target() -> None:
    short, burst, empty = result(SHORT, "PASS"), result(BURST, "FAIL"), result(EMPTY, "WARN")
    reports = [report((empty,), scheme="udp"), report((burst, short))]
    assert [(case.id, results) for case, results in rows(reports)] == [
        ("T01", [None, short]),
        ("T24", [None, burst]),
        ("U03", [empty, None]),
    ]


def test_columns_are_named_by_their_targets() -> None:
    assert columns([report(target="a\n"), report(target="b")]) == ["a\\n", "b"]


def test_columns_have_their_schemes_where_they_differ() -> None:
    assert columns([report(target="a"), report(target="a", scheme="udp")]) == ["a (tcp)", "a (udp)"]
