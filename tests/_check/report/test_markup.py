"""A report as HTML and as Markdown: complete, well-formed, and safe whatever a target's texts are."""

import re
from html.parser import HTMLParser
from typing import get_args

import pytest

from halloo._check.grading import Weights
from halloo._check.report.exports import gradescope, junit
from halloo._check.report.html import check_html
from halloo._check.report.markdown import check_markdown
from halloo._check.report.view import Hints
from halloo._check.results import CheckReport
from tests._check.report.invented import (
    ALL,
    DIAGNOSIS,
    FAILED,
    GOOD,
    HOSTILE,
    HOSTILE_REPORT,
    NOT_STARTED,
    SHORT,
    report,
    result,
)

SETS = [[report()], [GOOD], [HOSTILE_REPORT], [NOT_STARTED], list(ALL)]
each_set = pytest.mark.parametrize("reports", SETS, ids=["all", "good", "hostile", "stuck", "matrix"])


class Page(HTMLParser):
    """A parsed page: elements and text; asserts that all elements are closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, tag: str, name: str) -> list[str]:
        return [
            attributes[name] or "" for found, attributes in self.elements if tag in (found, "") and name in attributes
        ]


@each_set
def test_a_page_is_well_formed_and_self_contained(reports: list[CheckReport]) -> None:
    text = check_html(reports, weights=Weights())
    page = Page(text)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "img", "iframe", "object", "base", "form"})
    for name in ("src", "style", "onclick", "onload"):
        assert page.values("", name) == []
    assert "url(" not in text
    assert "@import" not in text
    assert re.fullmatch(r"[\n\t\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]*", text)
    assert page.values("meta", "content")[0] == "default-src 'none'; style-src 'unsafe-inline'"


def test_ids_are_unique_and_every_link_has_its_target() -> None:
    page = Page(check_html(ALL))
    ids, links = page.values("", "id"), set(page.values("a", "href"))
    assert len(set(ids)) == len(ids)
    assert links <= {f"#{each}" for each in ids}
    assert len(links) == sum(len(each.results) + 1 for each in ALL)


def test_a_failure_has_facts_cause_and_fix_and_is_open() -> None:
    page = Page(check_html([report()]))
    parts = ("after 34 of 84 bytes", "(end of received data)", DIAGNOSIS.why, "write_eof()", "--only T09")
    assert [part for part in parts if part not in page.text] == []
    opened = [each["id"] for tag, each in page.elements if tag == "details" and "open" in each]
    assert opened == ["r0-T09", "r0-T14", "r0-T35"]


def test_hints_select_cause_and_fix() -> None:
    for write in (check_html, check_markdown, gradescope, junit):
        shown: dict[Hints, str] = {hints: write([report()], hints=hints) for hints in get_args(Hints)}
        assert {hints: (DIAGNOSIS.name in text, "write_eof" in text) for hints, text in shown.items()} == {
            "none": (False, False),
            "cause": (True, False),
            "fix": (True, True),
        }


def test_observations_are_rows_of_a_table() -> None:
    assert "<td>12 ms</td><td>still works after 4 s</td></tr>" in check_html([report()])
    table = "\n### Observations\n\n| case | time | |\n|---|---:|---|\n| tcp/T25 idle | 12 ms | `still"
    assert table in check_markdown([report()])


def test_only_several_reports_have_a_matrix() -> None:
    assert 'class="matrix"' not in check_html([report()])
    cells = Page(check_html(ALL)).values("td", "class")
    assert (cells.count("FAIL"), cells.count("PASS")) == (4, 4)
    assert check_markdown([report(), GOOD]).splitlines()[2:6] == [
        "| case | | `python echo.py PORT` | `./good {port}` |",
        "|---|---|---|---|",
        "| tcp/T01 short | MUST | . | . |",
        "| tcp/T09 half-close | MUST | **F** | . |",
    ]


def test_points_are_shown_only_with_weights() -> None:
    assert "100 of 100 points" in check_html([GOOD], weights=Weights())
    assert "points" not in Page(check_html([GOOD])).text
    assert "points" in Page(check_html([GOOD, report()], weights=Weights())).text


def test_text_of_a_target_is_escaped() -> None:
    page = Page(check_html([HOSTILE_REPORT, GOOD]))
    assert "<script>alert(1)</script> ]]> & \"'` | =cmd()\\x1b[31m\\x00\\x07" in page.text
    text = check_html([report(target=f"</title>{{style}}{HOSTILE}")])
    assert text.count("</title>") == 1
    assert Page(text).text.count("{style}") == 2


def test_one_report_in_markdown_is_a_table_with_findings() -> None:
    text = check_markdown([report()])
    assert text.startswith("## halloo check: `python echo.py PORT`\n\n8 cases of a tcp server: 1 PASS,")
    for part in (
        "| tcp/T09 half-close | **FAIL** | 3.1 s | `the end came after 34 of 84 bytes` |",
        "| tcp/T01 short | PASS | 12 ms |  |",
        "\n### FAIL tcp/T09 half-close \\(MUST, level 1\\)\n",
        "\n```python\nif not data:\n    writer.write_eof()\n```\n",
        "\nRepeat: `halloo check server --only T09 --seed 7 -- python echo.py PORT`\n",
    ):
        assert part in text


def outside_code(text: str) -> str:
    """Remove code blocks, then code spans."""
    lines, fence = [], ""
    for line in text.splitlines():
        found = re.match(r"^ *(`{3,})", line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif found:
            fence = found[1]
        else:
            lines.append(line)
    assert not fence
    return re.sub(r"(`+).+?(?<!`)\1(?!`)", "", "\n".join(lines))


@each_set
def test_text_of_a_target_is_in_code_and_its_tables_are_whole(reports: list[CheckReport]) -> None:
    text = check_markdown(reports)
    for part in ("script", "http", "**x**", "alert"):
        assert part not in outside_code(text)
    for table in re.findall(r"(?m)(?:^\|.*\n)+", text):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_backticks_do_not_end_the_code() -> None:
    for text in ("`", "``", "a ``` b", "````\n```", "`a`"):
        shown = check_markdown([report((result(SHORT, "FAIL", f"{text} <script>"),), target=f"{text} <script>")])
        assert "script" not in outside_code(shown)


def test_a_cell_is_short_and_ends_at_no_bar_of_its_text() -> None:
    for text, cell in {"a|b": r"`a\|b`", r"a\|b": r"`a\x5c\|b`", "x" * 999: "xxx...`"}.items():
        assert f"{cell} |" in check_markdown([report((result(SHORT, "PASS", text), FAILED))])
