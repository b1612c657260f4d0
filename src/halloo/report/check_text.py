"""A check as text for a person: a line a result while it runs, then what was found, and the sum of it.

Knows results and words. Knows no terminal: `check_live` shows this in colours where there is one.
"""

from halloo.check.results import CheckReport, Result
from halloo.report.finding import Hints, findings, headline, one_line, plain
from halloo.report.summary import summary, took, unasked

LONGEST = 160  # characters of what was found, in the one line of a result


def line(result: Result) -> str:
    """Tell a result in a line: `PASS tcp/T09 half-close  12 ms`."""
    parts = [one_line(f"{result.verdict} {result.case.path} {result.case.name}")]
    if result.seconds:
        parts.append(took(result.seconds))
    text = headline(result.text)
    if text:
        parts.append(text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}...")
    return "  ".join(parts)


def check_text(report: CheckReport, *, hints: Hints = "fix") -> str:
    """Tell what failed and what to do about it, the gravest first, then the sum. A cause is explained once."""
    known: set[str] = set()
    paragraphs = []
    for _, found in findings(report, hints=hints):
        paragraphs.append(plain(found, known=known))
        known.update(cause.name for cause in found.causes)
    paragraphs.append("\n".join([*unasked(report), summary(report)]))
    return "\n\n".join(paragraphs)
