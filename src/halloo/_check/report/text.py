"""A check as text: a line per result while it runs, then the findings and the summary.

On a terminal a live table, in colour, replaces the lines.
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
from halloo._check.report.finding import Hints, finding_text, findings, headline, one_line
from halloo._check.report.summary import SYMBOLS, format_seconds, not_run, summary
from halloo._check.results import CheckReport, Result
from halloo._output.terminal import folded, width_of

MAX_TEXT = 160  # characters of a result's text on its line


def result_line(result: Result) -> str:
    """Format a result as a line: `PASS tcp/T09 half-close  12 ms`."""
    parts = [one_line(f"{result.verdict} {result.case.path} {result.case.name}")]
    if result.seconds:
        parts.append(format_seconds(result.seconds))
    text = headline(result.text)
    if text:
        parts.append(text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}...")
    return "  ".join(parts)


def check_text(report: CheckReport, *, hints: Hints = "fix", width: int | None = None) -> str:
    """Write the findings, worst first, then the summary, for a terminal of `width`. Each cause is explained once."""
    known: set[str] = set()
    paragraphs = []
    for _, found in findings(report, hints=hints):
        paragraphs.append(finding_text(found, known=known))
        known.update(cause.name for cause in found.causes)
    paragraphs.append("\n".join(folded(line, width) for line in [*not_run(report), summary(report)]))
    return "\n\n".join(paragraphs)


TABLE_ONLY = ("PASS", "INFO", "SKIP")  # shown in the table only
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
    """Shows results as they arrive; a context manager."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Finish, so that text can follow."""

    def update(self, result: Result) -> None:
        """Show a result."""


def progress(cases: Sequence[Case], stream: TextIO) -> Progress:
    """Choose the display: a live table on a capable terminal, otherwise lines."""
    return LiveTable(cases, stream) if supports_live(stream) else LineProgress(stream)


def supports_live(stream: TextIO) -> bool:
    """Whether the stream is a terminal with cursor movement and colours."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def print_text(text: str, stream: TextIO) -> None:
    """Write a report's text, in colour on a terminal unless NO_COLOR is set."""
    if supports_live(stream):
        _console(stream).print(_Highlighter()(Text(text)), soft_wrap=True)
    else:
        stream.write(f"{text}\n")
    stream.flush()


class LineProgress:
    """One line per result, flushed immediately."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Do nothing."""

    def update(self, result: Result) -> None:
        self._stream.write(f"{folded(result_line(result), width_of(self._stream))}\n")
        self._stream.flush()


class LiveTable:
    """A live table of all cases by level; results other than PASS, INFO and SKIP are also printed above it."""

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
        self._live.stop()

    def update(self, result: Result) -> None:
        self._results[result.case.id] = result
        if result.verdict not in TABLE_ONLY:
            line = folded(result_line(result), width_of(self._console.file))
            self._console.print(_Highlighter()(Text(line)), soft_wrap=True)
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        for level in (*LEVELS, max(LEVELS) + 1):
            cases = [case for case in self._cases if case.level == level]
            if cases:
                grid.add_row(Text(f"level {level}"), Text(" ").join(map(self._cell, cases)))
        grid.add_row(Text(f"{len(self._results)}/{len(self._cases)}"), Text(self._counts()))
        return grid

    def _cell(self, case: Case) -> Text:
        result = self._results.get(case.id)
        if result is None:
            return Text(f"{one_line(case.id)}  ", PENDING)
        return Text(f"{one_line(case.id)}:{SYMBOLS[result.verdict]}", STYLES[result.verdict])

    def _counts(self) -> str:
        found = [result.verdict for result in self._results.values()]
        return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in SYMBOLS if verdict in found)


class _Highlighter(RegexHighlighter):
    """Highlights verdicts and labels."""

    base_style = "check."
    highlights = (
        *(rf"(?m)^(?P<{verdict}>{verdict})\b" for verdict in STYLES),
        *(rf"\b\d+ (?P<{verdict}>{verdict})\b" for verdict in STYLES),
        r"(?m)^  (?P<label>done|expected|found|rule|note|likely|repeat)\b",
        r"(?m)^ +(?P<FAIL>\^\^)$",
    )


def _console(stream: TextIO) -> Console:
    """Make a console that honours NO_COLOR and interprets no markup."""
    theme = Theme({f"check.{verdict}": style for verdict, style in STYLES.items()} | {"check.label": "bold"})
    return Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False, theme=theme)
