"""A check as text for a person: a line a result while it runs, then what was found, and the sum of it.

Knows results and words. Knows no terminal: `check_live` shows this in colours where there is one.
"""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from halloo._check.case import LEVELS, Case
from halloo._check.report.finding import Hints, findings, headline, one_line, plain
from halloo._check.report.summary import MARKS, summary, took, unasked
from halloo._check.results import CheckReport, Result

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


QUIET = ("PASS", "INFO", "SKIP")  # seen in the table alone
PENDING = "dim"
STYLES = {
    "PASS": "green",
    "WARN": "yellow",
    "INFO": "cyan",
    "FAIL": "bold red",
    "ERROR": "bold magenta",
    "BLOCKED": "magenta",
    "SKIP": "dim",
}


class Progress(Protocol):
    """Whoever tells results as they come; a context manager."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End, so that the text below can be written."""

    def update(self, result: Result) -> None:
        """Tell a result."""


def progress(cases: Sequence[Case], stream: TextIO) -> Progress:
    """Choose how these cases are told: as a table on a terminal that can draw one, otherwise as lines."""
    return LiveTable(cases, stream) if draws(stream) else LineProgress(stream)


def draws(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can do more than print."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def say(text: str, stream: TextIO) -> None:
    """Write a check's text, in colours on a terminal unless NO_COLOR is set."""
    if draws(stream):
        _console(stream).print(_Colours()(Text(text)), soft_wrap=True)
    else:
        stream.write(f"{text}\n")
    stream.flush()


class LineProgress:
    """A line a result, each written at once."""

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream."""
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is open."""

    def update(self, result: Result) -> None:
        """Write a result."""
        self._stream.write(f"{line(result)}\n")
        self._stream.flush()


class LiveTable:
    """A table of all cases by level, each with its mark as soon as there is one; what is not well goes by above it."""

    def __init__(self, cases: Sequence[Case], stream: TextIO) -> None:
        """Draw on a terminal."""
        self._cases = cases
        self._results: dict[str, Result] = {}
        self._console = _console(stream)
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> Self:
        self._live.start()
        self._live.update(self._table(), refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave the table as it is."""
        self._live.stop()

    def update(self, result: Result) -> None:
        """Mark a result in the table."""
        self._results[result.case.id] = result
        if result.verdict not in QUIET:
            self._console.print(_Colours()(Text(line(result))), soft_wrap=True)
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        for level in (*LEVELS, max(LEVELS) + 1):
            cases = [case for case in self._cases if case.level == level]
            if cases:
                grid.add_row(Text(f"level {level}"), Text(" ").join(map(self._cell, cases)))
        grid.add_row(Text(f"{len(self._results)}/{len(self._cases)}"), Text(self._counted()))
        return grid

    def _cell(self, case: Case) -> Text:
        """Write an id and its mark."""
        result = self._results.get(case.id)
        if result is None:
            return Text(f"{one_line(case.id)}  ", PENDING)
        return Text(f"{one_line(case.id)}:{MARKS[result.verdict]}", STYLES[result.verdict])

    def _counted(self) -> str:
        found = [result.verdict for result in self._results.values()]
        return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in MARKS if verdict in found)


class _Colours(RegexHighlighter):
    """Verdicts and words in front of what they announce."""

    base_style = "check."
    highlights = (
        *(rf"(?m)^(?P<{verdict}>{verdict})\b" for verdict in STYLES),
        *(rf"\b\d+ (?P<{verdict}>{verdict})\b" for verdict in STYLES),
        r"(?m)^  (?P<word>done|expected|found|rule|note|likely|repeat)\b",
        r"(?m)^ +(?P<FAIL>\^\^)$",
    )


def _console(stream: TextIO) -> Console:
    """Make a console that obeys NO_COLOR, and no markup in what it is given."""
    theme = Theme({f"check.{verdict}": style for verdict, style in STYLES.items()} | {"check.word": "bold"})
    return Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False, theme=theme)
