import io

import pytest

from halloo.report.check_live import Lines, LiveTable, draws, progress, say
from halloo.report.check_text import check_text, line
from tests.report.invented import HOSTILE_REPORT, RESULTS, report

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
    assert isinstance(progress(CASES, Terminal()), Lines)


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
