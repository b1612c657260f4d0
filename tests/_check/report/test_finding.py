from dataclasses import replace

import pytest

from halloo._check.case import Evidence
from halloo._check.report.finding import (
    INTERNAL_ERROR,
    LOCAL_ERROR,
    WIDTH,
    Hints,
    dump,
    finding,
    finding_text,
    findings,
    headline,
    is_python,
    one_line,
    worst_first,
)
from halloo._check.results import LOCAL_LIMIT
from tests._check.report.invented import (
    DIAGNOSIS,
    FAILED,
    HALF_CLOSE,
    HOSTILE,
    HOSTILE_REPORT,
    RESULTS,
    SHORT,
    TRACE,
    report,
    result,
)


def test_a_finding_states_facts_cause_and_fix() -> None:
    assert finding_text(finding(FAILED, target="./echo")) == (
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
        "  likely    the connection is closed before everything was sent\n"
        "            The client's end means only that it has finished sending.\n"
        "            In Python:\n"
        "    if not data:\n"
        "        writer.write_eof()\n"
        "            In C:\n"
        "    shutdown(fd, SHUT_WR);\n"
        "  repeat    halloo check server --only T09 --seed 7 -- python echo.py PORT"
    )


@pytest.mark.parametrize(
    ("hints", "present"), [("none", (False, False)), ("cause", (True, False)), ("fix", (True, True))]
)
def test_hints_select_cause_and_fix(hints: Hints, present: tuple[bool, bool]) -> None:
    text = finding_text(finding(FAILED, hints=hints))
    assert (DIAGNOSIS.why in text, "write_eof" in text) == present
    assert "halloo check server --only T09" in text


@pytest.mark.parametrize(
    ("target", "python"),
    [
        ("python echoserver.py PORT", True),
        ("/usr/bin/python3.12 -m echo {port}", True),
        ("./server.py {port}", True),
        ("pypy3 x 8888", True),
        ("./echo {port}", False),
        ("/home/python/echo {port}", False),
        ("java -cp out EchoServer PORT", False),
        ("tcp://127.0.0.1:8888", False),
        ("", False),
    ],
)
def test_a_python_program_is_recognized_by_its_command(target: str, *, python: bool) -> None:
    assert is_python(target) is python
    assert ("In C:" in finding_text(finding(FAILED, target=target))) is not python


def test_a_cause_explained_before_is_only_named() -> None:
    text = finding_text(finding(FAILED), known={DIAGNOSIS.name})
    assert f"likely    {DIAGNOSIS.name} (see above)" in text
    assert DIAGNOSIS.why not in text


def test_an_error_of_this_machine_is_not_an_internal_error() -> None:
    errors = [replace(result(SHORT, "ERROR", TRACE), pattern=pattern) for pattern in (LOCAL_LIMIT, "")]
    notes = [finding(error).facts[-1][1] for error in errors]
    assert notes == [LOCAL_ERROR, INTERNAL_ERROR]


def test_results_are_sorted_worst_and_simplest_first() -> None:
    found = [(each.verdict, each.case.id) for each in worst_first(report())]
    assert found == [("FAIL", "T09"), ("FAIL", "T35"), ("ERROR", "T14"), ("WARN", "T24")]


def test_passed_and_skipped_results_have_no_finding() -> None:
    assert findings(report((result(SHORT, "PASS"), result(HALF_CLOSE, "SKIP", "no")))) == ()


def test_an_error_is_described_as_internal() -> None:
    text = finding_text(finding(RESULTS[3]))
    assert "internal error of halloo" in text
    assert '              File "x.py", line 1\n' in text


def test_long_texts_are_wrapped_but_commands_are_not() -> None:
    text = finding_text(finding(result(SHORT, "FAIL", "word " * 60)))
    assert max(map(len, text.splitlines()[:-1])) <= WIDTH


def test_control_characters_from_a_target_are_escaped() -> None:
    for _, found in findings(HOSTILE_REPORT):
        text = finding_text(found)
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "\\x1b[31m" in text


@pytest.mark.parametrize(
    ("text", "line"),
    [("one\ntwo", "one"), ("", ""), (TRACE, "halloo.errors.Oops: <b>ours</b>"), (" a \t b\x1b", "a b\\x1b")],
)
def test_a_headline_is_the_most_informative_line(text: str, line: str) -> None:
    assert headline(text) == line


def test_one_line_escapes_newlines_and_control_characters() -> None:
    assert one_line("a\nb\tc") == "a\\nb\\tc"
    assert one_line(HOSTILE).isprintable()


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


def test_a_dump_notes_where_one_side_ends() -> None:
    assert dump(Evidence.at(2, b"hi!\n", b"hi")).endswith("|hi|\n 2  (end of received data)")
    assert "|hi|\n 2  (end of expected data)\nreceived:" in dump(Evidence.at(2, b"hi", b"hi!\n"))


def test_a_dump_notes_an_empty_side() -> None:
    assert dump(Evidence.at(0, b"hi", b"")).endswith("received:\n 0  (end of received data)")


def test_a_dump_has_32_bytes_before_and_after_the_difference() -> None:
    shown = dump(Evidence.at(3_959_954, b"", b"", base=0))
    assert shown.startswith("at offset 3,959,954\n")
    rows = dump(Evidence.at(100, bytes(200), bytes(100) + b"\1" * 100)).splitlines()
    assert [row.split()[0] for row in rows if "|" in row] == ["68", "84", "100", "116"] * 2


def test_a_dump_has_stream_offsets() -> None:
    assert "1000002  (end of received data)" in dump(Evidence.at(2, b"hi!", b"hi", base=1_000_000))


def test_a_dump_is_printable_ascii() -> None:
    shown = dump(Evidence(0, bytes(range(256)), b"\x1b[31m\x9b"))
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert shown.isascii()


def test_a_dump_fits_into_76_columns() -> None:
    wide = dump(Evidence.at(32 << 20, b"", b"", base=0)) + dump(Evidence(32 << 20, bytes(64), bytes(63)))
    assert max(map(len, wide.splitlines())) <= 76
