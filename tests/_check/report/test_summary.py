import pytest

from halloo._check.case import Verdict
from halloo._check.report.summary import (
    columns,
    format_seconds,
    level_result,
    level_text,
    not_run,
    rows,
    summary,
)
from tests._check.report.invented import (
    BURST,
    EMPTY,
    FIVE,
    GOOD,
    HALF_CLOSE,
    HEAD_OF_LINE,
    NEXT,
    NOT_STARTED,
    SHORT,
    report,
    result,
)


def test_a_summary_is_one_line() -> None:
    assert summary(report()) == (
        "8 cases of a tcp server: 1 PASS, 1 WARN, 1 INFO, 2 FAIL, 1 ERROR, 1 BLOCKED, 1 SKIP; "
        "level 0 of 4 (no correct echo; 1 needs T09); 12 s, seed 7"
    )


def test_one_case_is_singular() -> None:
    assert summary(report((result(SHORT, "PASS"),))).startswith("1 case of a tcp server: 1 PASS; level 1 of 1 (echo);")


def test_the_summary_of_a_program_that_never_listened_is_the_reason() -> None:
    assert summary(NOT_STARTED).startswith("no case could run: it ended with code 1")


def test_reasons_for_cases_that_did_not_run_are_grouped() -> None:
    results = (
        result(SHORT, "SKIP", "needs Linux"),
        result(FIVE, "BLOCKED", "needs T14"),
        result(NEXT, "SKIP", "needs Linux"),
        result(BURST, "SKIP", "is asked of a pure echo only"),
    )
    assert not_run(report(results)) == [
        "BLOCKED 1: needs T14 (T13)",
        "SKIP 2: needs Linux (T01 T35)",
        "SKIP 1: is asked of a pure echo only (T24)",
    ]


@pytest.mark.parametrize(
    ("half_close", "after", "head", "text"),
    [
        ("PASS", "PASS", "PASS", "level 3 of 3 (many clients at once)"),
        ("PASS", "PASS", "FAIL", "level 2 of 3 (one client after another; 3 needs T14)"),
        ("PASS", "BLOCKED", "FAIL", "level 1 of 3 (echo; 2 needs T35)"),
        ("FAIL", "PASS", "PASS", "level 0 of 3 (no correct echo; 1 needs T09)"),
    ],
)
def test_the_level_reached_is_below_the_lowest_failed_one(
    half_close: Verdict, after: Verdict, head: Verdict, text: str
) -> None:
    results = (result(HALF_CLOSE, half_close), result(NEXT, after), result(HEAD_OF_LINE, head))
    assert level_text(report(results)) == text


def test_a_failed_should_limits_the_level_only_with_strict() -> None:
    results = (result(SHORT, "PASS"), result(BURST, "FAIL"))
    assert level_text(report(results)) == "level 3 of 3 (many clients at once)"
    assert level_text(report(results, strict=True)) == "level 1 of 3 (echo; 3 needs T24)"


def test_levels_without_udp_cases_do_not_count() -> None:
    assert level_text(report((result(EMPTY, "PASS"),), scheme="udp", level=3)) == "level 1 of 1 (echo)"


def test_no_level_is_named_when_too_few_cases_ran() -> None:
    assert level_result(report((result(HEAD_OF_LINE, "FAIL"),))) is None
    assert level_result(report((result(SHORT, "PASS"),), supplied={"only": ["T01"]})) is None
    assert level_result(NOT_STARTED) is None
    assert "level" not in summary(report((result(HEAD_OF_LINE, "FAIL"),)))
    assert level_result(GOOD) is not None


@pytest.mark.parametrize(("seconds", "text"), [(0.0123, "12 ms"), (0, "0 ms"), (3.14, "3.1 s"), (47.9, "48 s")])
def test_seconds_are_written_briefly(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_matrix_row_has_the_result_of_each_target() -> None:
    short, burst, empty = result(SHORT, "PASS"), result(BURST, "FAIL"), result(EMPTY, "WARN")
    reports = [report((empty,), scheme="udp"), report((burst, short))]
    assert [(case.id, results) for case, results in rows(reports)] == [
        ("T01", [None, short]),
        ("T24", [None, burst]),
        ("U03", [empty, None]),
    ]


def test_columns_are_named_by_their_targets() -> None:
    assert columns([report(target="a\n"), report(target="b")]) == ["a\\n", "b"]


def test_columns_include_schemes_when_they_differ() -> None:
    assert columns([report(target="a"), report(target="a", scheme="udp")]) == ["a (tcp)", "a (udp)"]
