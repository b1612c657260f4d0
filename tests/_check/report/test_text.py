import io

import pytest

from halloo._check.report.summary import summary
from halloo._check.report.text import LONGEST, LineProgress, LiveTable, check_text, draws, line, progress, say
from tests._check.report.invented import (
    ALL,
    FAILED,
    FIVE,
    GOOD,
    HALF_CLOSE,
    HOSTILE_REPORT,
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


CASES = [each.case for each in RESULTS]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Watched(io.StringIO):
    """A stream that tells what was in it each time it was flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[str] = []

    def flush(self) -> None:
        self.flushed.append(self.getvalue())


@pytest.fixture(autouse=True)
def _a_usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)


def told(stream: io.StringIO) -> str:
    with progress(CASES, stream) as live:
        for each in RESULTS:
            live.update(each)
    return stream.getvalue()


def test_a_pipe_gets_a_line_a_result_each_at_once() -> None:
    stream = Watched()
    told(stream)
    lines = [f"{line(each)}\n" for each in RESULTS]
    assert stream.flushed == ["".join(lines[: count + 1]) for count in range(len(lines))]


def test_a_terminal_gets_a_table_that_fills() -> None:
    shown = told(Terminal())
    assert "8/8" in shown
    last = shown.rpartition("level 1")[2]
    for mark in ("T01:.", "T09:F", "T35:F", "T13:b", "T14:E", "T24:w", "T16:-", "T25:i"):
        assert mark in last
    assert "1 PASS, 1 WARN, 1 INFO, 2 FAIL, 1 ERROR, 1 BLOCKED, 1 SKIP" in last


def test_the_cursor_comes_back_when_it_is_interrupted() -> None:
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), progress(CASES, stream):
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\x1b[?25h")


def test_what_failed_goes_by_above_the_table() -> None:
    shown = told(Terminal())
    assert "the end came after 34 of 84 bytes" in shown
    assert "still works after 4 s" not in shown


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not draws(Terminal())
    assert isinstance(progress(CASES, Terminal()), LineProgress)


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, pipe = Terminal(), io.StringIO()
    say("FAIL tcp/T09", terminal)
    say("FAIL tcp/T09", pipe)
    assert terminal.getvalue() == "\x1b[1;31mFAIL\x1b[0m tcp/T09\n"
    assert pipe.getvalue() == "FAIL tcp/T09\n"
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    say("FAIL tcp/T09", plain)
    assert "31" not in plain.getvalue()


def test_no_colours_leave_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "T09:F" in told(Terminal())


def test_long_lines_are_the_terminal_s_to_break() -> None:
    stream = Terminal()
    say(f"repeat {'x' * 200}", stream)
    assert stream.getvalue() == f"repeat {'x' * 200}\n"


def test_markup_of_a_target_means_nothing() -> None:
    stream = io.StringIO()
    say("[red]:smile:[/red]", stream)
    terminal = Terminal()
    say("[red]:smile:[/red]", terminal)
    assert stream.getvalue() == terminal.getvalue() == "[red]:smile:[/red]\n"


def test_what_a_target_said_cannot_move_the_cursor() -> None:
    stream = Terminal()
    say(check_text(HOSTILE_REPORT), stream)
    with LiveTable([each.case for each in HOSTILE_REPORT.results], stream) as live:
        for each in HOSTILE_REPORT.results:
            live.update(each)
    assert "\\x1b[31m\\x00" in stream.getvalue()
    assert "\x07" not in stream.getvalue()
    assert "\x1b[31m\x00" not in stream.getvalue()


def test_the_text_is_the_same_with_and_without_a_terminal() -> None:
    terminal = Terminal()
    say(check_text(report()), terminal)
    words = terminal.getvalue()
    for code in ("\x1b[1;31m", "\x1b[1;35m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"):
        words = words.replace(code, "")
    for code in ("\x1b[35m", "\x1b[36m", "\x1b[0m"):
        words = words.replace(code, "")
    assert words == f"{check_text(report())}\n"
