"""A check as text: a line per result while it runs, then the findings, the observations and the summary."""

import textwrap

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
    """Write the causes, the findings without a cause, worst first, the observations, then the summary.

    Lines that have no layout of their own are folded at `width`.
    """
    everything = view.findings(report, hints=hints)
    explained, rest = view.by_cause(everything)
    paragraphs = [*map(explained_text, explained), *map(finding_text, rest)]
    if observed := {f"{each.id} {each.name}": each for each in filter(view.is_observation, everything)}:
        column = max(map(len, observed))
        texts = {name: view.shortened(each.headline or each.passes, MAX_TEXT) for name, each in observed.items()}
        lines = (f"  {name:<{column}}  {text}".rstrip() for name, text in texts.items())
        paragraphs.append("\n".join(["observations", *(folded(line, width) for line in lines)]))
    if words := view.words(report):
        paragraphs.append(f"{view.PRINTED}\n{textwrap.indent(words, WHOLE)}")
    ending = [*view.not_run(report), *view.abilities(report), view.summary(report)]
    paragraphs.append("\n".join(folded(line, width) for line in ending))
    return "\n\n".join(paragraphs)


def explained_text(explained: view.Explained) -> str:
    """Write a cause, the first of its findings as evidence, and the names of the others."""
    first, *others = explained.findings
    found = dict(first.facts)["found"]
    lines = [f"FAIL {explained.cause.name}", *_wrap_fact("why", explained.cause.why)]
    for language, code in explained.cause.fixes:
        lines += [f"{'':{INDENT}}In {language}:", *textwrap.indent(code, WHOLE).splitlines()]
    lines += _wrap_fact("seen", f"{first.id} {first.name}: {first.description}\n{found}")
    lines += textwrap.indent(first.dump, WHOLE).splitlines()
    lines += _wrap_fact("also", ", ".join(f"{each.id} {each.name}" for each in others)) if others else []
    lines += [f"  {'repeat':<{INDENT - 2}}{first.repeat}"] if first.repeat else []
    return "\n".join(lines)


def finding_text(found: view.Finding) -> str:
    """Write a finding as text; its cause is only named, since `explained_text` explains it for all its cases."""
    facts = dict(found.facts)
    lines = [found.title]
    for label in ("done", "expected", "found"):
        lines += _wrap_fact(label, facts[label])
    lines += textwrap.indent(found.dump, WHOLE).splitlines()
    for label in ("rule", "note"):
        lines += _wrap_fact(label, facts[label]) if label in facts else []
    lines += [line for cause in found.causes for line in _wrap_fact("cause", cause.name)]
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
