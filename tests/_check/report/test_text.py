"""A finding in words, the summary, the text of a report, and its display on a terminal."""

import html
import io
import os
import re
from dataclasses import replace
from typing import get_args

import pytest

from halloo._check.case import Evidence, Verdict
from halloo._check.language import Language
from halloo._check.report import view
from halloo._check.report.html import check_html
from halloo._check.report.markdown import check_markdown
from halloo._check.report.progress import print_text, progress, supports_live
from halloo._check.report.text import MAX_TEXT, WIDTH, check_text, finding_text, result_line
from halloo._check.report.view import Hints, dump, finding, headline, level_result, summary
from halloo._check.results import LOCAL_LIMIT, Result
from tests._check.report.invented import (
    ALL,
    BURST,
    DIAGNOSIS,
    EMPTY,
    FAILED,
    FIVE,
    GOOD,
    HALF_CLOSE,
    HEAD_OF_LINE,
    HOSTILE,
    HOSTILE_REPORT,
    NEXT,
    NOT_STARTED,
    RESULTS,
    SHORT,
    TRACE,
    report,
    result,
)

# A finding.


def test_a_finding_states_its_facts_and_names_its_cause() -> None:
    assert finding_text(finding(FAILED)) == (
        "FAIL tcp/T09 half-close (MUST, level 1)\n"
        "  done      Send 4 bytes, then half-close.\n"
        "  expected  the reply, then the end within 3 s\n"
        "  found     the end came after 34 of 84 bytes\n"
        "    at offset 34\n"
        "    expected:\n"
        "     2  41 41 41 41 41 41 41 41 41 41 41 41 41 41 41 41 |AAAAAAAAAAAAAAAA|\n"
        "    18  41 41 41 41 41 41 41 41 41 41 41 41 41 41 41 41 |AAAAAAAAAAAAAAAA|\n"
        "    34  1b 5b 33 31 6d 3c 62 3e 26 7c 5a 5a 5a 5a 5a 5a |.[31m<b>&|ZZZZZZ|\n"
        "        ^^\n"
        "    50  5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a |ZZZZZZZZZZZZZZZZ|\n"
        "    received:\n"
        "     2  41 41 41 41 41 41 41 41 41 41 41 41 41 41 41 41 |AAAAAAAAAAAAAAAA|\n"
        "    18  41 41 41 41 41 41 41 41 41 41 41 41 41 41 41 41 |AAAAAAAAAAAAAAAA|\n"
        "    34  (end of received data)\n"
        "  rule      MUST: RFC 9293 3.6; nmap#962\n"
        "  cause     the connection is closed before everything was sent\n"
        "  repeat    halloo check server --only T09 --seed 7 -- python echo.py PORT"
    )


def test_a_cause_is_explained_once_with_its_fix_and_all_its_cases() -> None:
    text = check_text(report((result(SHORT, "FAIL", "short", causes=(DIAGNOSIS,)), FAILED)))
    assert text.split("\n\n")[0] == (
        "FAIL the connection is closed before everything was sent\n"
        "  why       The client's end means only that it has finished sending.\n"
        "            In Python:\n"
        "    if not data:\n"
        "        writer.write_eof()\n"
        "            In C:\n"
        "    shutdown(fd, SHUT_WR);\n"
        "  seen      T01 short: Send 4 bytes, then half-close.\n"
        "            short\n"
        "  also      T09 half-close\n"
        "  repeat    halloo check server --only T01 --seed 7 -- python echo.py PORT"
    )
    assert text.count(DIAGNOSIS.name) == 1


def test_hints_select_cause_and_fix() -> None:
    shown = {hints: check_text(report((FAILED,)), hints=hints) for hints in get_args(Hints)}
    assert {hints: (DIAGNOSIS.why in text, "write_eof" in text) for hints, text in shown.items()} == {
        "none": (False, False),
        "cause": (True, False),
        "fix": (True, True),
    }
    assert all("halloo check server --only T09" in text for text in shown.values())


def test_a_fix_is_in_the_language_of_the_program_or_else_in_python() -> None:
    languages: dict[Language | None, list[str]] = {
        "python": ["Python"],
        "c": ["C"],
        "go": ["Go"],
        "java": ["Python"],
        None: ["Python", "C"],
    }
    for language, shown in languages.items():
        (cause,) = finding(FAILED, language=language).causes
        assert [name for name, _ in cause.fixes] == shown
    only_go = replace(FAILED, causes=(replace(DIAGNOSIS, fixes={"go": "conn.Close()"}),))
    assert finding(only_go, language="c").causes[0].fixes == ()


def test_an_error_of_this_machine_is_not_an_internal_error() -> None:
    errors = [replace(result(SHORT, "ERROR", TRACE), pattern=pattern) for pattern in (LOCAL_LIMIT, "")]
    assert [finding(error).facts[-1][1] for error in errors] == [view.LOCAL_ERROR, view.INTERNAL_ERROR]
    assert '              File "x.py", line 1\n' in finding_text(finding(errors[0]))


def test_results_are_sorted_worst_and_simplest_first() -> None:
    found = [(each.verdict, each.id) for each in view.worst_first(view.findings(report()))]
    assert found == [("FAIL", "T09"), ("FAIL", "T35"), ("ERROR", "T14"), ("WARN", "T24")]
    assert view.worst_first(view.findings(report((result(SHORT, "PASS"), result(HALF_CLOSE, "SKIP", "no"))))) == []


def test_long_texts_are_wrapped_but_commands_are_not() -> None:
    text = finding_text(finding(result(SHORT, "FAIL", "word " * 60)))
    assert max(map(len, text.splitlines()[:-1])) <= WIDTH


def test_a_headline_is_the_most_informative_line() -> None:
    lines = {"one\ntwo": "one", "": "", TRACE: "halloo.errors.Oops: <b>ours</b>", " a \t b\x1b": "a b\\x1b"}
    assert {text: headline(text) for text in lines} == lines


def test_a_dump_marks_the_first_difference_on_both_sides() -> None:
    assert dump(Evidence.at(18, b"abcdefghijklmnopqrst", b"abcdefghijklmnopqrXt")) == (
        "at offset 18\n"
        "expected:\n"
        " 0  61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f 70 |abcdefghijklmnop|\n"
        "16  71 72 73 74                                     |qrst|\n"
        "          ^^\n"
        "received:\n"
        " 0  61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f 70 |abcdefghijklmnop|\n"
        "16  71 72 58 74                                     |qrXt|\n"
        "          ^^"
    )


def test_a_dump_notes_where_a_side_ends() -> None:
    assert "|hi|\n 2  (end of expected data)\nreceived:" in dump(Evidence.at(2, b"hi", b"hi!\n"))
    assert dump(Evidence.at(0, b"hi", b"")).endswith("received:\n 0  (end of received data)")
    assert "1000002  (end of received data)" in dump(Evidence.at(2, b"hi!", b"hi", base=1_000_000))


def test_a_dump_has_32_printable_bytes_before_and_after_the_difference() -> None:
    shown = dump(Evidence.at(100, bytes(200), bytes(100) + b"\1" * 100))
    assert [row.split()[0] for row in shown.splitlines() if "|" in row] == ["68", "84", "100", "116"] * 2
    wide = dump(Evidence(32 << 20, bytes(range(64)), b"\x1b[31m\x9b"))
    assert wide.replace("\n", "").isprintable()
    assert max(map(len, wide.splitlines())) <= 76


# The summary.


def test_a_summary_is_one_line() -> None:
    assert summary(report()) == (
        "8 cases of a tcp server: 1 PASS, 1 WARN, 1 INFO, 2 FAIL, 1 ERROR, 1 BLOCKED, 1 SKIP; "
        "no level of 4 reached (echo; 1 needs T09); 12 s, seed 7"
    )
    assert summary(report((result(SHORT, "PASS"),))).startswith("1 case of a tcp server: 1 PASS; level 1 of 1 (echo);")
    assert summary(NOT_STARTED).startswith("no case could run: it ended with code 1")


def test_reasons_for_cases_that_did_not_run_are_grouped() -> None:
    skipped = (result(SHORT, "SKIP", "needs Linux"), result(NEXT, "SKIP", "needs Linux"), result(BURST, "SKIP", "x"))
    assert view.not_run(report((*skipped, result(FIVE, "BLOCKED", "needs T14")))) == [
        "BLOCKED 1: needs T14 (T13)",
        "SKIP 2: needs Linux (T01 T35)",
        "SKIP 1: x (T24)",
    ]


def level_of(half_close: Verdict, after: Verdict, head: Verdict) -> str:
    return str(level_result(report((result(HALF_CLOSE, half_close), result(NEXT, after), result(HEAD_OF_LINE, head)))))


def test_the_level_reached_is_below_the_lowest_failed_one() -> None:
    assert level_of("PASS", "PASS", "PASS") == "level 3 of 3 (many clients at once)"
    assert level_of("PASS", "PASS", "FAIL") == "level 2 of 3 (one client after another; 3 needs T14)"
    assert level_of("PASS", "BLOCKED", "FAIL") == "level 1 of 3 (echo; 2 needs T35)"
    assert level_of("FAIL", "PASS", "PASS") == "no level of 3 reached (echo; 1 needs T09)"


def test_a_failed_should_limits_the_level_only_with_strict() -> None:
    results = (result(SHORT, "PASS"), result(BURST, "FAIL"))
    assert str(level_result(report(results))) == "level 3 of 3 (many clients at once)"
    assert str(level_result(report(results, strict=True))) == "level 1 of 3 (echo; 3 needs T24)"


def test_no_level_is_named_when_too_few_cases_ran() -> None:
    too_few = report((result(HEAD_OF_LINE, "FAIL"),))
    for each in (too_few, report((result(SHORT, "PASS"),), supplied={"only": ["T01"]}), NOT_STARTED):
        assert level_result(each) is None
    assert "level" not in summary(too_few)


def test_seconds_are_written_briefly() -> None:
    assert [*map(view.format_seconds, (0.0123, 0, 3.14, 47.9))] == ["12 ms", "0 ms", "3.1 s", "48 s"]


def test_a_matrix_row_has_the_result_of_each_target() -> None:
    short, burst, empty = result(SHORT, "PASS"), result(BURST, "FAIL"), result(EMPTY, "WARN")
    reports = [report((empty,), target="a\n", scheme="udp"), report((burst, short), target="b")]
    assert [(case.id, results) for case, results in view.rows(reports)] == [
        ("T01", [None, short]),
        ("T24", [None, burst]),
        ("U03", [empty, None]),
    ]
    assert view.columns(reports) == ["a\\n (udp)", "b (tcp)"]
    assert view.columns(reports[:1]) == ["a\\n"]


# The text.


def test_a_result_is_a_line() -> None:
    for shown, line in (
        (result(HALF_CLOSE, "PASS"), "PASS tcp/T09 half-close  12 ms"),
        (FAILED, "FAIL tcp/T09 half-close  3.1 s  the end came after 34 of 84 bytes"),
        (result(FIVE, "BLOCKED", "needs T14", seconds=0), "BLOCKED tcp/T13 five  needs T14"),
        (result(SHORT, "PASS", "x" * 1000), f"PASS tcp/T01 short  12 ms  {'x' * (MAX_TEXT - 3)}..."),
        (RESULTS[3], "ERROR tcp/T14 head-of-line  12 ms  halloo.errors.Oops: <b>ours</b>"),
    ):
        assert result_line(shown) == line


def test_causes_precede_findings_observations_cases_not_run_and_what_the_server_can_do() -> None:
    paragraphs = check_text(report()).split("\n\n")
    assert [paragraph.splitlines()[0].partition(" (")[0] for paragraph in paragraphs[:-2]] == [
        "FAIL the connection is closed before everything was sent",
        "FAIL tcp/T35 next",
        "ERROR tcp/T14 head-of-line",
        "WARN tcp/T24 burst-500",
    ]
    assert paragraphs[-2] == "observations\n  T25 idle  still works after 4 s"
    assert paragraphs[-1].splitlines() == [
        "BLOCKED 1: needs T14 (T13)",
        "SKIP 1: needs Linux (T16)",
        "the server does not echo every byte: 1 of 2 checks fail",
        "the server does not serve one client after another: 1 of 1 checks fail",
        "whether the server can serve many clients at once is not known: 0 of 2 checks pass, the others did not run",
        summary(report()),
    ]
    assert check_text(GOOD) == f"observations\n  T25 idle  60 s\n\nthe server can echo every byte\n{summary(GOOD)}"


def test_text_has_no_control_characters() -> None:
    for text in [*map(check_text, ALL), *(result_line(each) for one in ALL for each in one.results)]:
        assert text.replace("\n", "").isprintable()
    assert "\\x1b[31m" in check_text(HOSTILE_REPORT)
    assert view.one_line(f"a\nb\tc{HOSTILE}").startswith("a\\nb\\tc<script>")


# On a terminal.


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


def progress_output(stream: io.StringIO, results: tuple[Result, ...] = RESULTS) -> str:
    with progress([each.case for each in results], stream) as show:
        for each in results:
            show(each)
    return stream.getvalue()


def printed(text: str, stream: io.StringIO) -> str:
    print_text(text, stream)
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
        with progress([each.case for each in RESULTS], stream) as show:
            show(result(SHORT, "FAIL", "at offset 0 bytes were received that were never sent"))
        text = os.read(keyboard, 65536).decode()
    os.close(keyboard)
    assert re.search(r" tcp/T01 short  12 ms  at offset 0 bytes were received\r\n  that were never sent\r\n", text)


def test_the_last_lines_of_a_check_fit_into_the_terminal() -> None:
    for number in (-1, -2):
        last = check_text(report(), width=40).split("\n\n")[number]
        assert max(map(len, last.splitlines())) <= 40
        assert last.split() == check_text(report()).split("\n\n")[number].split()


@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal_a_table_fills_with_results(no_color: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    shown = progress_output(Terminal())
    assert "the end came after 34 of 84 bytes" in shown  # above the table
    assert "still works after 4 s" not in shown
    last = shown.rpartition("level 1")[2]
    marks = ("T01:.", "T09:F", "T35:F", "T13:b", "T14:E", "T24:w", "T16:-", "T25:i")
    assert [text for text in (*marks, "8/8", summary(report()).partition("; ")[0][28:]) if text not in last] == []


def test_an_interrupt_restores_the_cursor() -> None:
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), progress([SHORT], stream):
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\x1b[?25h")


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not supports_live(Terminal())
    assert progress_output(Terminal()).count("\n") == len(RESULTS)


def test_colours_are_used_on_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed("FAIL tcp/T09", Terminal()) == "\x1b[1;31mFAIL\x1b[0m tcp/T09\n"
    assert printed("FAIL tcp/T09", io.StringIO()) == "FAIL tcp/T09\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31" not in printed("FAIL tcp/T09", Terminal())


def test_text_of_a_target_is_neither_wrapped_nor_markup_nor_terminal_codes() -> None:
    text = f"[red]:smile:[/red] {'x' * 200}"
    assert printed(text, Terminal()) == f"{text}\n"
    shown = printed(check_text(HOSTILE_REPORT), Terminal()) + progress_output(Terminal(), HOSTILE_REPORT.results)
    assert "\\x1b[31m\\x00" in shown
    assert "\x07" not in shown
    assert "\x1b[31m\x00" not in shown


def test_a_command_of_several_lines_stays_one_command() -> None:
    repeat = "halloo check server --only T01 -- python -c 'import x\nx.serve()' PORT"
    report_ = replace(GOOD, results=(Result(SHORT, "FAIL", "cut", repeat=repeat),))
    (found,) = view.findings(report_)
    assert found.repeat == repeat
    assert f"  repeat    {repeat}\n" in f"{finding_text(found)}\n"
    assert f"```sh\n{repeat}\n```" in check_markdown([report_])
    assert f"<pre>{html.escape(repeat)}</pre>" in check_html([report_])
