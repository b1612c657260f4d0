"""A check as one self-contained HTML page: a list of cases for one report, a matrix for several.

All text from elsewhere is escaped; the page's content security policy forbids scripts and fetches. Each cell of the
matrix links to the details of its result on the same page.
"""

import html
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources

from halloo._check.grading import Weights, grade
from halloo._check.report import view
from halloo._check.results import FAILING, CheckReport, Result
from halloo._core.escape import printable

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<h1>{title}</h1>
"""


def check_html(reports: Sequence[CheckReport], *, hints: view.Hints = "fix", weights: Weights | None = None) -> str:
    """Write the page, with points if weights are given."""
    title = f"halloo check: {reports[0].target if len(reports) == 1 else f'{len(reports)} targets'}"
    style = resources.files("halloo._check.report").joinpath("style.css").read_text(encoding="utf-8")
    parts = [_HEAD.format(title=_safe(view.one_line(title)), style=style)]
    if len(reports) > 1:
        parts += _matrix(reports, weights)
    for number, report in enumerate(reports):
        parts += _section(report, number, hints, weights, alone=len(reports) == 1)
    return "".join([*parts, "</body>\n</html>\n"])


def _safe(text: object) -> str:
    return html.escape(printable(str(text)))


def _anchor(number: int, id: str) -> str:  # noqa: A002 - a case id
    return _safe(f"r{number}-{id}")


# Several reports.


def _matrix(reports: Sequence[CheckReport], weights: Weights | None) -> Iterator[str]:
    yield f'<p>{_safe(view.LEGEND)}</p>\n<div class="matrix">\n<table>\n<thead><tr><th scope="col">case</th>'
    for number, name in enumerate(view.columns(reports)):
        yield f'<th scope="col"><a href="#r{number}">{_safe(name)}</a></th>'
    yield "</tr></thead>\n<tbody>\n"
    if weights:
        yield _row("points", (f"{grade([report], weights).points:g}" for report in reports))
    yield _row(
        "level reached", (str(level.reached) if (level := view.level_result(report)) else "" for report in reports)
    )
    for case, results in view.rows(reports):
        cells = "".join(_cell(result, number) for number, result in enumerate(results))
        name = f"{_safe(case.path)} {_safe(case.name)} <small>{_safe(case.severity)} {case.level}</small>"
        yield f'<tr><th scope="row" title="{_safe(case.description)}">{name}</th>{cells}</tr>\n'
    yield "</tbody>\n</table>\n</div>\n"


def _row(name: str, texts: Iterable[str]) -> str:
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{_safe(text)}</td>" for text in texts)}</tr>\n'


def _cell(result: Result | None, number: int) -> str:
    if result is None:
        return "<td></td>"
    tooltip = _safe(f"{result.verdict} {view.headline(result.text)}")
    link = f'<a href="#{_anchor(number, result.case.id)}" title="{tooltip}">{view.SYMBOLS[result.verdict]}</a>'
    return f'<td class="{result.verdict}">{link}</td>'


# One report.


def _section(
    report: CheckReport, number: int, hints: view.Hints, weights: Weights | None, *, alone: bool
) -> Iterator[str]:
    name = "" if alone else f"<h2>{_safe(view.one_line(report.target))}</h2>\n"
    yield f'<section id="r{number}">\n{name}<p>{_safe(view.summary(report))}</p>\n'
    if weights:
        graded = grade([report], weights)
        yield f"<p><b>{graded.points:g} of {graded.max_points:g} points</b></p>\n"
    if report.started:
        yield f"<p>Started {_safe(view.one_line(report.started))}.</p>\n"
    if words := view.words(report):
        yield f"<p>{view.PRINTED}</p>\n<pre>{_safe(words)}</pre>\n"
    yield from (f"<p>{_safe(line)}</p>\n" for line in view.not_run(report))
    yield from (f"<p>{_safe(line)}</p>\n" for line in view.abilities(report))
    everything = view.findings(report, hints=hints) if not (alone and report.trouble) else ()
    for explained in view.by_cause(everything)[0]:
        yield from _cause(explained, number)
    for found in everything:
        if not view.is_observation(found):
            yield from _details(found, number)
    if observed := [*filter(view.is_observation, everything)]:
        yield "<h3>Observations</h3>\n<table>\n"
        for found in observed:
            title = f'<th scope="row" title="{_safe(found.description)}">{_safe(found.path)} {_safe(found.name)}</th>'
            text = f"<td>{found.time}</td><td>{_safe(found.headline or found.passes)}</td>"
            yield f'<tr id="{_anchor(number, found.id)}">{title}{text}</tr>\n'
        yield "</table>\n"
    yield "</section>\n"


def _cause(explained: view.Explained, number: int) -> Iterator[str]:
    cause = explained.cause
    links = (
        f'<a href="#{_anchor(number, each.id)}">{_safe(each.id)} {_safe(each.name)}</a>' for each in explained.findings
    )
    yield f"<h3>{_safe(cause.name)}</h3>\n<p>{_safe(cause.why)}</p>\n"
    yield from (f"<p>In {_safe(language)}:</p>\n<pre>{_safe(code)}</pre>\n" for language, code in cause.fixes)
    yield f"<p>Explains {', '.join(links)}.</p>\n"


def _details(found: view.Finding, number: int) -> Iterator[str]:
    seconds = f" · {found.time}" if found.time else ""
    text = _safe(found.headline) if found.verdict not in view.REPORTED else ""
    yield f'<details id="{_anchor(number, found.id)}"{" open" if found.verdict in FAILING else ""}>\n<summary>'
    yield f'<span class="{found.verdict}">{found.verdict}</span> {_safe(found.path)} <b>{_safe(found.name)}</b> '
    yield f"<small>{found.severity} · level {found.level}{seconds}</small> {text}</summary>\n<dl>"
    yield from (f"<dt>{label}</dt><dd>{_safe(text)}</dd>" for label, text in found.facts)
    yield "</dl>\n"
    if found.dump:
        yield f"<pre>{_safe(found.dump)}</pre>\n"
    yield from (f"<p>Cause: {_safe(cause.name)}</p>\n" for cause in found.causes)
    if found.repeat:
        yield f"<p>Repeat:</p>\n<pre>{_safe(found.repeat)}</pre>\n"
    yield "</details>\n"
