"""A check on the terminal: a line per result; on a terminal that can, a live table in colour instead."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from halloo._check.case import MAX_LEVEL, AnyCase
from halloo._check.report.text import result_line
from halloo._check.report.view import SYMBOLS, one_line
from halloo._check.results import Result
from halloo._output.terminal import folded, width_of

TABLE_ONLY = ("PASS", "INFO", "SKIP")  # shown in the table only
STYLES = {
    "PASS": "green",
    "WARN": "yellow",
    "INFO": "cyan",
    "FAIL": "bold red",
    "ERROR": "bold magenta",
    "BLOCKED": "magenta",
    "SKIP": "dim",
}


@contextmanager
def progress(cases: Sequence[AnyCase], stream: TextIO) -> Iterator[Callable[[Result], None]]:
    """Yield a function that shows a result: in a live table on a capable terminal, otherwise on a line."""
    if supports_live(stream):
        table = LiveTable(cases, stream)
        with table.live:
            yield table.update
        return

    def show(result: Result) -> None:
        stream.write(f"{folded(result_line(result), width_of(stream))}\n")
        stream.flush()

    yield show


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


class LiveTable:
    """A live table of all cases by level; results other than PASS, INFO and SKIP are also printed above it."""

    def __init__(self, cases: Sequence[AnyCase], stream: TextIO) -> None:
        self._cases = cases
        self._results: dict[str, Result] = {}
        self._console = _console(stream)
        self.live = Live(
            self._table(), console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    def update(self, result: Result) -> None:
        self._results[result.case.id] = result
        if result.verdict not in TABLE_ONLY:
            line = folded(result_line(result), width_of(self._console.file))
            self._console.print(_Highlighter()(Text(line)), soft_wrap=True)
        self.live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        for level in range(1, MAX_LEVEL + 1):
            if cases := [case for case in self._cases if case.level == level]:
                grid.add_row(Text(f"level {level}"), Text(" ").join(map(self._cell, cases)))
        found = [result.verdict for result in self._results.values()]
        counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in SYMBOLS if verdict in found)
        grid.add_row(Text(f"{len(found)}/{len(self._cases)}"), Text(counts))
        return grid

    def _cell(self, case: AnyCase) -> Text:
        if (result := self._results.get(case.id)) is None:
            return Text(f"{one_line(case.id)}  ", "dim")
        return Text(f"{one_line(case.id)}:{SYMBOLS[result.verdict]}", STYLES[result.verdict])


class _Highlighter(RegexHighlighter):
    """Highlights verdicts and labels."""

    base_style = "check."
    highlights = (
        *(rf"(?m)^(?P<{verdict}>{verdict})\b" for verdict in STYLES),
        *(rf"\b\d+ (?P<{verdict}>{verdict})\b" for verdict in STYLES),
        r"(?m)^  (?P<label>done|expected|found|rule|note|cause|why|seen|also|repeat)\b",
        r"(?m)^(?P<label>observations)$",
        r"(?m)^ +(?P<FAIL>\^\^)$",
    )


def _console(stream: TextIO) -> Console:
    """Make a console that honours NO_COLOR and interprets no markup."""
    theme = Theme({f"check.{verdict}": style for verdict, style in STYLES.items()} | {"check.label": "bold"})
    return Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False, theme=theme)
