import re

import pytest

from halloo._check.report.markdown import check_markdown
from tests._check.report.invented import (
    ALL,
    DIAGNOSIS,
    FAILED,
    GOOD,
    HOSTILE_REPORT,
    NOT_STARTED,
    SHORT,
    report,
    result,
)

FENCE = re.compile(r"^ *(`{3,})")


def outside_code(text: str) -> str:
    """Remove code blocks, then code spans."""
    lines, fence = [], ""
    for line in text.splitlines():
        found = FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif found:
            fence = found[1]
        else:
            lines.append(line)
    assert not fence
    return re.sub(r"(`+).+?(?<!`)\1(?!`)", "", "\n".join(lines))


def test_one_report_is_a_table_with_findings() -> None:
    text = check_markdown([report()])
    assert text.startswith("## halloo check: `python echo.py PORT`\n\n8 cases of a tcp server: 1 PASS,")
    assert "| tcp/T09 half-close | **FAIL** | 3.1 s | `the end came after 34 of 84 bytes` |" in text
    assert "| tcp/T01 short | PASS | 12 ms |  |" in text
    assert "\n### FAIL tcp/T09 half-close \\(MUST, level 1\\)\n" in text
    assert "\n```python\nif not data:\n    writer.write_eof()\n```\n" in text
    assert "\nRepeat: `halloo check server --only T09 --seed 7 -- python echo.py PORT`\n" in text


def test_several_reports_are_a_matrix() -> None:
    lines = check_markdown([report(), GOOD]).splitlines()
    assert lines[2:6] == [
        "| case | | `python echo.py PORT` | `./good {port}` |",
        "|---|---|---|---|",
        "| tcp/T01 short | MUST | . | . |",
        "| tcp/T09 half-close | MUST | **F** | . |",
    ]
    assert "| tcp/T24 burst\\-500 |" not in "\n".join(lines)
    assert "| tcp/T24 burst-500 | SHOULD | w |  |" in lines


def test_hints_select_cause_and_fix() -> None:
    assert "write_eof" not in check_markdown([report()], hints="cause")
    assert DIAGNOSIS.name not in check_markdown([report()], hints="none")


@pytest.mark.parametrize("reports", [[HOSTILE_REPORT], [NOT_STARTED], list(ALL)], ids=["hostile", "stuck", "matrix"])
def test_text_of_a_target_is_in_code(reports: list[object]) -> None:
    rest = outside_code(check_markdown(reports))  # type: ignore[arg-type] # parametrize is untyped
    for part in ("script", "http", "**x**", "alert"):
        assert part not in rest


@pytest.mark.parametrize("text", ["`", "``", "a ``` b", "````\n```", "`a`"])
def test_backticks_do_not_end_the_code(text: str) -> None:
    shown = check_markdown([report((result(SHORT, "FAIL", f"{text} <script>"),), target=f"{text} <script>")])
    assert "script" not in outside_code(shown)


def test_a_bar_does_not_end_a_cell() -> None:
    text = check_markdown([report((result(SHORT, "PASS", "a|b"),), target="a|b")])
    assert "| `a\\|b` |" in text
    assert "`a|b`" in text


def test_a_bar_after_a_backslash_does_not_end_a_cell() -> None:
    assert r"| `a\x5c\|b` |" in check_markdown([report((result(SHORT, "PASS", r"a\|b"),))])


def test_a_long_cell_is_truncated() -> None:
    row = next(
        line for line in check_markdown([report((result(SHORT, "PASS", "x" * 999),))]).splitlines() if "T01" in line
    )
    assert len(row) < 200


def test_a_table_s_rows_have_the_same_number_of_cells() -> None:
    for text in (check_markdown([HOSTILE_REPORT]), check_markdown(ALL), check_markdown([report((FAILED,))])):
        rows = [line for line in text.splitlines() if line.startswith(("| ", "|-"))]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
