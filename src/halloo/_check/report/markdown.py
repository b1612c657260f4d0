"""A check as Markdown, for documents, comments and CI summaries: a table with findings, or a matrix.

Writes GitHub's Markdown. Text from a target is put in code spans and blocks, where markup and @names have no effect.
"""

import re
from collections.abc import Iterator, Sequence

from halloo._check.report import view
from halloo._check.results import FAILING, CheckReport
from halloo._core.escape import printable

_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@$])")
_MAX_CELL = 120  # characters of text in a cell


def check_markdown(reports: Sequence[CheckReport], *, hints: view.Hints = "fix") -> str:
    """Write one report with its findings, or several as a matrix of cases and targets."""
    lines = _one_report(reports[0], hints) if len(reports) == 1 else _matrix(reports)
    return "\n".join(lines) + "\n"


def _one_report(report: CheckReport, hints: view.Hints) -> Iterator[str]:
    text = _code(view.summary(report)) if report.trouble else _text(view.summary(report))
    yield from (f"## halloo check: {_code(report.target)}", "", text, "")
    if report.trouble:
        yield from (view.PRINTED, "", *_block(words, "text")) if (words := view.words(report)) else ()
        return
    yield from (f"- {_code(line)}" for line in view.not_run(report))
    yield from ("", "| case | | time | |", "|---|---|---:|---|")
    everything = view.findings(report, hints=hints)
    yield from (_row(each, _bold(each.verdict, each.verdict)) for each in everything if not view.is_observation(each))
    if observed := [*filter(view.is_observation, everything)]:
        yield from ("", "### Observations", "", "| case | time | |", "|---|---:|---|", *map(_row, observed))
    explained, rest = view.by_cause(everything)
    for each in explained:
        yield from ("", f"### {_text(each.cause.name)}", "", f"{_text(each.cause.why)}")
        for language, code in each.cause.fixes:
            yield from ("", *_block(code, language.lower()))
        yield from ("", f"It explains {_text(each.cases)}; the first of them:", "")
        yield from _finding(each.findings[0])
    for found in rest:
        yield ""
        yield from _finding(found)
    yield from ("", *(f"- {_text(line)}" for line in view.abilities(report)))


def _row(found: view.Finding, *cells: str) -> str:
    text = view.shortened(found.headline or (found.passes if view.is_observation(found) else ""), _MAX_CELL)
    cells = (_text(f"{found.path} {found.name}"), *cells, found.time, _code(text, cell=True) if text else "")
    return f"| {' | '.join(cells)} |"


def _finding(found: view.Finding) -> Iterator[str]:
    yield from (f"### {_text(found.title)}", "")
    for label, text in found.facts:
        if label == "found":
            yield from (f"- {label}:", "", *_block(text, "text", indent="  "), "")
        else:
            yield f"- {label}: {_text(view.one_line(text))}"
    if found.dump:
        yield from ("", *_block(found.dump, "text"))
    if found.repeat:
        several = "\n" in found.repeat
        yield from (
            "",
            *(("Repeat:", "", *_block(found.repeat, "sh")) if several else [f"Repeat: {_code(found.repeat)}"]),
        )


def _matrix(reports: Sequence[CheckReport]) -> Iterator[str]:
    yield from (_text(view.LEGEND), "")
    yield f"| case | | {' | '.join(_code(name, cell=True) for name in view.columns(reports))} |"
    yield f"|---|---|{'---|' * len(reports)}"
    for case, results in view.rows(reports):
        cells = " | ".join(_bold(each.verdict, view.SYMBOLS[each.verdict]) if each else "" for each in results)
        yield f"| {_text(f'{case.path} {case.name}')} | {case.severity} | {cells} |"


def _bold(verdict: str, text: str) -> str:
    return f"**{text}**" if verdict in FAILING else text


def _text(text: str) -> str:
    return _MARKUP.sub(r"\\\1", view.one_line(text))


def _code(text: str, *, cell: bool = False) -> str:
    """Write a code span with a fence longer than any in the text; in a table `cell` bars are escaped.

    Parsers disagree about a bar after two backslashes, so a backslash before a bar is spelled out.
    """
    line = view.one_line(text)
    fence = _fence(line, 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    inside = line.replace(r"\|", r"\x5c|").replace("|", r"\|") if cell else line
    return f"{fence}{pad}{inside}{pad}{fence}"


def _block(text: str, language: str, *, indent: str = "") -> list[str]:
    fence = _fence(text, 3)
    return [f"{indent}{line}" for line in (f"{fence}{language}", *printable(text).splitlines(), fence)]


def _fence(text: str, minimum: int) -> str:
    return "`" * max(minimum, *(len(run) + 1 for run in re.findall("`+", text)), 0)
