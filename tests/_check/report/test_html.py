import re
from html.parser import HTMLParser

import pytest

from halloo._check.grading import Weights
from halloo._check.report.html import check_html
from tests._check.report.invented import ALL, DIAGNOSIS, GOOD, HOSTILE, HOSTILE_REPORT, NOT_STARTED, report

VOID = {"meta"}


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
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def ids(self) -> list[str | None]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


PAGES = [[report()], [GOOD], [HOSTILE_REPORT], [NOT_STARTED], list(ALL)]


@pytest.mark.parametrize("reports", PAGES, ids=["all", "good", "hostile", "stuck", "matrix"])
def test_a_page_is_well_formed_and_self_contained(reports: list[object]) -> None:
    text = check_html(reports, weights=Weights())  # type: ignore[arg-type] # parametrize is untyped
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "base", "form"})
    for _, attributes in page.elements:
        assert {"src", "style", "onclick", "onload"}.isdisjoint(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in text
    assert "@import" not in text


def test_the_policy_forbids_scripts_and_fetches() -> None:
    policies = [each["content"] for each in Page(check_html([GOOD])).all("meta") if "http-equiv" in each]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_ids_are_unique_and_every_link_has_its_target() -> None:
    page = Page(check_html(ALL))
    assert len(set(page.ids)) == len(page.ids)
    links = {(each["href"] or "").removeprefix("#") for each in page.all("a")}
    assert links <= set(page.ids)
    assert len(links) == sum(len(each.results) + 1 for each in ALL)


def test_a_failure_has_facts_cause_and_fix() -> None:
    text = Page(check_html([report()])).text
    for part in (
        "the end came after 34 of 84 bytes",
        "(end of received data)",
        DIAGNOSIS.why,
        "write_eof()",
        "--only T09",
    ):
        assert part in text


def test_hints_select_cause_and_fix() -> None:
    assert "write_eof" not in check_html([report()], hints="cause")
    assert DIAGNOSIS.name not in check_html([report()], hints="none")


def test_details_of_failures_are_open() -> None:
    opened = [each["id"] for each in Page(check_html([report()])).all("details") if "open" in each]
    assert opened == ["r0-T09", "r0-T14", "r0-T35"]


def test_only_several_reports_have_a_matrix() -> None:
    assert "table" not in {tag for tag, _ in Page(check_html([report()])).elements}
    page = Page(check_html(ALL))
    cells = [each.get("class") for each in page.all("td") if each.get("class")]
    assert cells.count("FAIL") == 4
    assert cells.count("PASS") == 4


def test_points_are_shown_only_with_weights() -> None:
    assert "100 of 100 points" in check_html([GOOD], weights=Weights())
    assert "points" not in Page(check_html([GOOD])).text
    assert "points" in Page(check_html([GOOD, report()], weights=Weights())).text


def test_text_of_a_target_is_escaped() -> None:
    page = Page(check_html([HOSTILE_REPORT, GOOD]))
    assert "<script>alert(1)</script> ]]> & \"'` | =cmd()\\x1b[31m\\x00\\x07" in page.text
    assert re.fullmatch(r"[\n\t\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]*", check_html(ALL))


def test_a_title_is_escaped() -> None:
    text = check_html([report(target=f"</title>{{style}}{HOSTILE}")])
    assert text.count("</title>") == 1
    assert Page(text).text.count("{style}") == 2
