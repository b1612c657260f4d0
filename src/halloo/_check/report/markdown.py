"""A check as Markdown, for documents, comments and CI summaries: a table with findings, or a matrix.

Writes GitHub's Markdown. Text from a target is put in code spans and blocks, where markup and @names have no effect.
"""

import re
from collections.abc import Iterator, Sequence

from halloo._check.report.finding import Cause, Finding, Hints, findings, headline, one_line
from halloo._check.report.summary import LEGEND, SYMBOLS, columns, format_seconds, not_run, rows, summary
from halloo._check.results import CheckReport, Result
from halloo._core.escape import printable

_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@$])")
_MAX_CELL = 120  # characters of text in a cell


def check_markdown(reports: Sequence[CheckReport], *, hints: Hints = "fix") -> str:
    """Write one report with its findings, or several as a matrix of cases and targets."""
    lines = _one_report(reports[0], hints) if len(reports) == 1 else _matrix(reports)
    return "\n".join(lines) + "\n"


def _one_report(report: CheckReport, hints: Hints) -> Iterator[str]:
    yield from (f"## halloo check: {_code(report.target)}", "", _summary_text(report), "")
    yield from (f"- {_code(line)}" for line in not_run(report))
    yield from ("", "| case | | time | |", "|---|---|---:|---|")
    for result in report.results:
        verdict = f"**{result.verdict}**" if result.verdict in ("FAIL", "ERROR") else result.verdict
        seconds = format_seconds(result.seconds) if result.seconds else ""
        yield f"| {_case(result)} | {verdict} | {seconds} | {_found_cell(result)} |"
    for _, found in findings(report, hints=hints):
        yield ""
        yield from _finding(found)


def _summary_text(report: CheckReport) -> str:
    return _code(summary(report)) if report.trouble else _text(summary(report))


def _case(result: Result) -> str:
    return _text(f"{result.case.path} {result.case.name}")


def _found_cell(result: Result) -> str:
    text = headline(result.text)
    return _code(text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 3]}...", cell=True) if text else ""


def _finding(found: Finding) -> Iterator[str]:
    yield from (f"### {_text(found.title)}", "")
    for label, text in found.facts:
        if label == "found":
            yield from (f"- {label}:", "", *_block(text, "text", indent="  "), "")
        else:
            yield f"- {label}: {_text(one_line(text))}"
    if found.dump:
        yield from ("", *_block(found.dump, "text"))
    for cause in found.causes:
        yield from ("", *_cause(cause))
    if found.repeat:
        yield from ("", f"Repeat: {_code(found.repeat)}")


def _cause(cause: Cause) -> Iterator[str]:
    yield f"**Likely: {_text(cause.name)}.** {_text(cause.why)}"
    for language, code in cause.fixes:
        yield from ("", *_block(code, language.lower()))


def _matrix(reports: Sequence[CheckReport]) -> Iterator[str]:
    yield from (_text(LEGEND), "")
    yield f"| case | | {' | '.join(_code(name, cell=True) for name in columns(reports))} |"
    yield f"|---|---|{'---|' * len(reports)}"
    for case, results in rows(reports):
        cells = " | ".join(map(_mark, results))
        yield f"| {_text(f'{case.path} {case.name}')} | {case.severity} | {cells} |"


def _mark(result: Result | None) -> str:
    if result is None:
        return ""
    mark = SYMBOLS[result.verdict]
    return f"**{mark}**" if result.verdict in ("FAIL", "ERROR") else mark


def _text(text: str) -> str:
    return _MARKUP.sub(r"\\\1", one_line(text))


def _code(text: str, *, cell: bool = False) -> str:
    """Write a code span with a fence longer than any in the text; in a table `cell` bars are escaped.

    Parsers disagree about a bar after two backslashes, so a backslash before a bar is spelled out.
    """
    line = one_line(text)
    fence = _fence(line, 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    inside = line.replace(r"\|", r"\x5c|").replace("|", r"\|") if cell else line
    return f"{fence}{pad}{inside}{pad}{fence}"


def _block(text: str, language: str, *, indent: str = "") -> list[str]:
    fence = _fence(text, 3)
    return [f"{indent}{line}" for line in (f"{fence}{language}", *printable(text).splitlines(), fence)]


def _fence(text: str, minimum: int) -> str:
    runs = re.findall("`+", text)
    return "`" * max(minimum, *(len(run) + 1 for run in runs), 0)
