"""The files of `halloo check`: its reports in every format, and the weights that it reads.

Writes each report as a whole; knows no program and no case.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cyclopts import Parameter

from halloo._check.catalogue import cases as all_cases
from halloo._check.grading import Weights, read_weights
from halloo._check.report.exports import gradescope, junit, marks
from halloo._check.report.html import check_html
from halloo._check.report.json import check_json
from halloo._check.report.markdown import check_markdown
from halloo._check.report.view import Hints
from halloo._check.results import CheckReport
from halloo._cli.options import File
from halloo._output.files import check_writable, is_stream, write_file
from halloo.errors import LocalError

MAX_WEIGHTS = 1_000_000  # characters of a file of weights


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Options that select the reports."""

    hints: Hints = "fix"
    """Detail of hints about a failure: none, its likely cause, or also the fix in code."""
    json: File = None
    """File for a JSON report; - is standard output, also below."""
    junit: File = None
    """File for a JUnit XML report."""
    html: File = None
    """File for a report as a single HTML page."""
    markdown: File = None
    """File for a Markdown report."""
    gradescope: File = None
    """File for Gradescope's results.json."""
    csv: File = None
    """File for a CSV table of points, a row for each target."""
    grade: File = None
    """TOML file with the weights of the cases: see docs/how-to/mark-a-course.md."""

    @cached_property
    def weights(self) -> Weights | None:
        """The weights of the cases. Raises UsageError, LocalError."""
        if self.grade is None:
            return None
        try:
            with Path(self.grade).open(encoding="utf-8") as file:
                text = file.read(MAX_WEIGHTS)  # a device may be endless
            return read_weights(text, known=all_cases())
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "not text in UTF-8"
            raise LocalError(f"{self.grade}: {reason}", "name a TOML file of weights") from error

    @property
    def paths(self) -> list[str]:
        """The files that are written; standard output among them moves the text to standard error."""
        paths = (self.json, self.junit, self.html, self.markdown, self.gradescope, self.csv)
        return [path for path in paths if path]

    def validate(self) -> None:
        """Check the weights and the files before any case is run. Raises UsageError, LocalError."""
        _ = self.weights
        for path in self.paths:
            check_writable(path)

    def write(self, reports: Sequence[CheckReport], *, json: bool = True, streams: bool = True) -> None:
        """Write every requested report, or all but those to `streams`, where nothing can be replaced later.

        Each is written, whatever becomes of the others; one of their errors is raised then. Raises LocalError.
        """
        weights, hints = self.weights, self.hints
        texts: tuple[tuple[str | None, Callable[[], str]], ...] = (
            (self.json if json else None, lambda: "\n".join(check_json(each, hints=hints) for each in reports)),
            (self.junit, lambda: junit(reports, hints=hints, weights=weights)),
            (self.html, lambda: check_html(reports, hints=hints, weights=weights)),
            (self.markdown, lambda: check_markdown(reports, hints=hints)),
            (self.gradescope, lambda: gradescope(reports, hints=hints, weights=weights)),
            (self.csv, lambda: marks(reports, weights=weights)),
        )
        with ExitStack() as rest:  # the last one first; an exception does not stop the others
            for path, text in reversed(texts):
                if path and (streams or not is_stream(path)):
                    rest.callback(_write, path, text)

    def update(self, report: CheckReport) -> None:
        """Write the report of a check under way, so that it is there however the check ends; `write` names errors."""
        with suppress(Exception):
            self.write([report], streams=False)


def _write(path: str, text: Callable[[], str]) -> None:
    content = text().rstrip("\n")
    with suppress(BrokenPipeError):  # the reader of this one has left
        write_file(path, f"{content}\n")
