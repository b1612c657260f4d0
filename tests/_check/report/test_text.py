import io
import os
import re

import pytest

from halloo._check.report.summary import summary
from halloo._check.report.text import (
    MAX_TEXT,
    LineProgress,
    LiveTable,
    check_text,
    print_text,
    progress,
    result_line,
    supports_live,
)
from tests._check.report.invented import (
    ALL,
    DIAGNOSIS,
    FAILED,
    FIVE,
    GOOD,
    HALF_CLOSE,
    HOSTILE_REPORT,
    RESULTS,
    SHORT,
    each_form,
    report,
    result,
)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (result(HALF_CLOSE, "PASS"), "PASS tcp/T09 half-close  12 ms"),
        (FAILED, "FAIL tcp/T09 half-close  3.1 s  the end came after 34 of 84 bytes"),
        (result(FIVE, "BLOCKED", "needs T14", seconds=0), "BLOCKED tcp/T13 five  needs T14"),
        (result(SHORT, "PASS", "a\nb"), "PASS tcp/T01 short  12 ms  a"),
        (RESULTS[3], "ERROR tcp/T14 head-of-line  12 ms  halloo.errors.Oops: <b>ours</b>"),
    ],
    ids=["pass", "fail", "blocked", "long", "ours"],
)
def test_a_result_is_a_line(shown: object, text: str) -> None:
    assert result_line(shown) == text  # type: ignore[arg-type] # parametrize is untyped


def test_a_long_line_is_truncated() -> None:
    assert result_line(result(SHORT, "FAIL", "x" * 1000)).endswith(f"  {'x' * (MAX_TEXT - 3)}...")


def test_findings_precede_cases_not_run_and_the_summary() -> None:
    paragraphs = check_text(report()).split("\n\n")
    assert [paragraph.partition(" (")[0] for paragraph in paragraphs[:-1]] == [
        "FAIL tcp/T09 half-close",
        "FAIL tcp/T35 next",
        "ERROR tcp/T14 head-of-line",
        "WARN tcp/T24 burst-500",
    ]
    assert paragraphs[-1].splitlines() == ["BLOCKED 1: needs T14 (T13)", "SKIP 1: needs Linux (T16)", summary(report())]


def test_a_report_without_failures_is_only_the_summary() -> None:
    assert check_text(GOOD) == summary(GOOD)


def test_a_cause_is_explained_once() -> None:
    text = check_text(report((FAILED, result(SHORT, "FAIL", "short", causes=(DIAGNOSIS,)))))
    assert text.count(DIAGNOSIS.why) == 1
    assert text.count("(see above)") == 1


def test_hints_select_cause_and_fix() -> None:
    assert DIAGNOSIS.name in check_text(report(), hints="cause")
    assert DIAGNOSIS.name not in check_text(report(), hints="none")


def test_text_has_no_control_characters() -> None:
    for text in [*each_form(check_text), *(result_line(each) for one in ALL for each in one.results)]:
        assert all(character.isprintable() or character == "\n" for character in text)


CASES = [each.case for each in RESULTS]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FlushRecorder(io.StringIO):
    """A stream that records its content at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[str] = []

    def flush(self) -> None:
        self.flushed.append(self.getvalue())


@pytest.fixture(autouse=True)
def _usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)


def progress_output(stream: io.StringIO) -> str:
    with progress(CASES, stream) as live:
        for each in RESULTS:
            live.update(each)
    return stream.getvalue()


def test_on_a_pipe_each_result_is_a_line_flushed_immediately() -> None:
    stream = FlushRecorder()
    progress_output(stream)
    lines = [f"{result_line(each)}\n" for each in RESULTS]
    assert stream.flushed == ["".join(lines[: count + 1]) for count in range(len(lines))]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize("kind", ["dumb", "xterm"])
def test_no_result_is_longer_than_the_terminal_is_wide(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setenv("COLUMNS", "60")
    keyboard, screen = os.openpty()
    with open(screen, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a terminal
        with progress(CASES, stream) as live:
            live.update(result(SHORT, "FAIL", "at offset 0 bytes were received that were never sent"))
        text = os.read(keyboard, 65536).decode()
    os.close(keyboard)
    assert re.search(r" tcp/T01 short  12 ms  at offset 0 bytes were received\r\n  that were never sent\r\n", text)


def test_the_last_lines_of_a_check_fit_into_the_terminal() -> None:
    last = check_text(report(), width=40).rpartition("\n\n")[2]
    assert max(map(len, last.splitlines())) <= 40
    assert last.split() == check_text(report()).rpartition("\n\n")[2].split()


def test_on_a_terminal_a_table_fills_with_results() -> None:
    shown = progress_output(Terminal())
    assert "8/8" in shown
    last = shown.rpartition("level 1")[2]
    for mark in ("T01:.", "T09:F", "T35:F", "T13:b", "T14:E", "T24:w", "T16:-", "T25:i"):
        assert mark in last
    assert "1 PASS, 1 WARN, 1 INFO, 2 FAIL, 1 ERROR, 1 BLOCKED, 1 SKIP" in last


def test_an_interrupt_restores_the_cursor() -> None:
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), progress(CASES, stream):
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\x1b[?25h")


def test_failures_are_printed_above_the_table() -> None:
    shown = progress_output(Terminal())
    assert "the end came after 34 of 84 bytes" in shown
    assert "still works after 4 s" not in shown


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not supports_live(Terminal())
    assert isinstance(progress(CASES, Terminal()), LineProgress)


def test_colours_are_used_on_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, pipe = Terminal(), io.StringIO()
    print_text("FAIL tcp/T09", terminal)
    print_text("FAIL tcp/T09", pipe)
    assert terminal.getvalue() == "\x1b[1;31mFAIL\x1b[0m tcp/T09\n"
    assert pipe.getvalue() == "FAIL tcp/T09\n"
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    print_text("FAIL tcp/T09", plain)
    assert "31" not in plain.getvalue()


def test_no_color_keeps_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "T09:F" in progress_output(Terminal())


def test_long_lines_are_not_wrapped() -> None:
    stream = Terminal()
    print_text(f"repeat {'x' * 200}", stream)
    assert stream.getvalue() == f"repeat {'x' * 200}\n"


def test_markup_of_a_target_has_no_effect() -> None:
    stream = io.StringIO()
    print_text("[red]:smile:[/red]", stream)
    terminal = Terminal()
    print_text("[red]:smile:[/red]", terminal)
    assert stream.getvalue() == terminal.getvalue() == "[red]:smile:[/red]\n"


def test_text_of_a_target_cannot_move_the_cursor() -> None:
    stream = Terminal()
    print_text(check_text(HOSTILE_REPORT), stream)
    with LiveTable([each.case for each in HOSTILE_REPORT.results], stream) as live:
        for each in HOSTILE_REPORT.results:
            live.update(each)
    assert "\\x1b[31m\\x00" in stream.getvalue()
    assert "\x07" not in stream.getvalue()
    assert "\x1b[31m\x00" not in stream.getvalue()


def test_the_text_is_the_same_with_and_without_a_terminal() -> None:
    terminal = Terminal()
    print_text(check_text(report()), terminal)
    words = terminal.getvalue()
    for code in ("\x1b[1;31m", "\x1b[1;35m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"):
        words = words.replace(code, "")
    for code in ("\x1b[35m", "\x1b[36m", "\x1b[0m"):
        words = words.replace(code, "")
    assert words == f"{check_text(report())}\n"
