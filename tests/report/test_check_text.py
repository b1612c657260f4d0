import pytest

from halloo.report.check_text import LONGEST, check_text, line
from halloo.report.summary import summary
from tests.report.invented import (
    ALL,
    FAILED,
    FIVE,
    GOOD,
    HALF_CLOSE,
    MISTAKE,
    RESULTS,
    SHORT,
    each_form,
    report,
    result,
)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (result(HALF_CLOSE, "PASS"), "PASS tcp/T09 half-close  12 ms"),
        (FAILED, "FAIL tcp/T09 half-close  3.1 s  the end came after 34 of 84 bytes"),
        (result(FIVE, "BLOCKED", "needs T14", seconds=0), "BLOCKED tcp/T13 five  needs T14"),
        (result(SHORT, "PASS", "a\nb"), "PASS tcp/T01 short  12 ms  a"),
        (RESULTS[3], "ERROR tcp/T14 head-of-line  12 ms  halloo.errors.Oops: <b>ours</b>"),
    ],
    ids=["pass", "fail", "blocked", "long", "ours"],
)
def test_a_result_is_a_line(told: object, text: str) -> None:
    assert line(told) == text  # type: ignore[arg-type] # parametrize knows no types


def test_a_line_does_not_run_on() -> None:
    assert line(result(SHORT, "FAIL", "x" * 1000)).endswith(f"  {'x' * (LONGEST - 3)}...")


def test_what_failed_is_told_then_what_was_not_asked_then_the_sum() -> None:
    paragraphs = check_text(report()).split("\n\n")
    assert [paragraph.partition(" (")[0] for paragraph in paragraphs[:-1]] == [
        "FAIL tcp/T09 half-close",
        "FAIL tcp/T35 next",
        "ERROR tcp/T14 head-of-line",
        "WARN tcp/T24 burst-500",
    ]
    assert paragraphs[-1].splitlines() == ["BLOCKED 1: needs T14 (T13)", "SKIP 1: needs Linux (T16)", summary(report())]


def test_where_all_is_well_there_is_only_the_sum() -> None:
    assert check_text(GOOD) == summary(GOOD)


def test_a_cause_is_explained_once() -> None:
    text = check_text(report((FAILED, result(SHORT, "FAIL", "short", causes=(MISTAKE,)))))
    assert text.count(MISTAKE.why) == 1
    assert text.count("(see above)") == 1


def test_hints_are_obeyed() -> None:
    assert MISTAKE.name in check_text(report(), hints="cause")
    assert MISTAKE.name not in check_text(report(), hints="none")


def test_a_terminal_is_given_nothing_to_obey() -> None:
    for text in [*each_form(check_text), *(line(each) for told in ALL for each in told.results)]:
        assert all(character.isprintable() or character == "\n" for character in text)
