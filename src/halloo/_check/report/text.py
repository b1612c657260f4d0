"""A check as text: a line per result while it runs, then the findings, the observations and the summary."""

import textwrap
from collections.abc import Collection

from halloo._check.report import view
from halloo._check.results import CheckReport, Result
from halloo._output.terminal import folded

MAX_TEXT = 160  # characters of a result's text on its line
WIDTH = 79
INDENT = 12  # columns of the labels
WHOLE = " " * 4  # before lines that are not wrapped: bytes, code


def result_line(result: Result) -> str:
    """Format a result as a line: `PASS tcp/T09 half-close  12 ms`."""
    found = view.finding(result)
    parts = (f"{found.verdict} {found.path} {found.name}", found.time, view.shortened(found.headline, MAX_TEXT))
    return "  ".join(filter(None, parts))


def check_text(report: CheckReport, *, hints: view.Hints = "fix", width: int | None = None) -> str:
    """Write the findings, worst first, the observations, then the summary, for a terminal of `width`.

    Each cause is explained once.
    """
    known: set[str] = set()
    paragraphs, everything = [], view.findings(report, hints=hints)
    for found in view.worst_first(everything):
        paragraphs.append(finding_text(found, known=known))
        known.update(cause.name for cause in found.causes)
    if observed := {f"{each.id} {each.name}": each for each in filter(view.is_observation, everything)}:
        column = max(map(len, observed))
        texts = {name: view.shortened(each.headline or each.passes, MAX_TEXT) for name, each in observed.items()}
        lines = (f"  {name:<{column}}  {text}".rstrip() for name, text in texts.items())
        paragraphs.append("\n".join(["observations", *(folded(line, width) for line in lines)]))
    paragraphs.append("\n".join(folded(line, width) for line in [*view.not_run(report), view.summary(report)]))
    return "\n\n".join(paragraphs)


def finding_text(found: view.Finding, *, known: Collection[str] = ()) -> str:
    """Write a finding as text; a cause in `known` was explained before and is only named."""
    facts = dict(found.facts)
    lines = [found.title]
    for label in ("done", "expected", "found"):
        lines += _wrap_fact(label, facts[label])
    lines += textwrap.indent(found.dump, WHOLE).splitlines()
    for label in ("rule", "note"):
        lines += _wrap_fact(label, facts[label]) if label in facts else []
    for cause in found.causes:
        lines += _wrap_fact("likely", f"{cause.name} (see above)" if cause.name in known else cause.name)
        if cause.name not in known:
            lines += _wrap_fact("", cause.why)
            for language, code in cause.fixes:
                lines += [f"{'':{INDENT}}In {language}:", *textwrap.indent(code, WHOLE).splitlines()]
    lines += [f"  {'repeat':<{INDENT - 2}}{found.repeat}"] if found.repeat else []
    return "\n".join(lines)


def _wrap_fact(label: str, text: str) -> list[str]:
    """Wrap a text beside its label; long words are not broken, so that commands can be copied."""
    wrapped: list[str] = []
    for line in text.splitlines() or [""]:
        start = line[: len(line) - len(line.lstrip())]
        wrapped += textwrap.wrap(
            line, WIDTH - INDENT, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
        ) or [""]
    first, *rest = wrapped
    return [f"  {label:<{INDENT - 2}}{first}", *(f"{'':{INDENT}}{line}".rstrip() for line in rest)]
