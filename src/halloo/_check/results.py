"""What came of a check: a result for each case, and the report of all of them.

Knows cases and mistakes. Knows no socket and no process; how a report is written is for `halloo._output` to know.
"""

from collections import Counter
from dataclasses import dataclass, field

from halloo._check.case import Case, Evidence, Verdict
from halloo._check.diagnoses import Diagnosis

BAD = ("FAIL", "ERROR")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case."""

    case: Case
    verdict: Verdict
    text: str = ""
    """What was found, or why it was not asked; a note of interest when it passed."""
    seconds: float = 0.0
    evidence: Evidence | None = None
    pattern: str = ""
    """How it failed: see `Failed.pattern`."""
    causes: tuple[Diagnosis, ...] = ()
    """What is likely to be behind it, the likeliest first."""
    repeat: str = ""
    """The command that asks this one again."""

    @property
    def counts(self) -> bool:
        """Whether it is failed and MUST not be."""
        return self.verdict in BAD and self.case.severity == "MUST"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All results of one target."""

    target: str
    """The command, or the address."""
    kind: str
    """server or client."""
    scheme: str
    seed: int
    level: int
    strict: bool
    seconds: float
    results: tuple[Result, ...]
    started: str = ""
    """When, in UTC, as RFC 3339 has it."""
    trouble: str = ""
    """Why nothing could be asked at all: it never began to listen."""
    supplied: dict[str, object] = field(default_factory=dict)
    """What the user has said."""

    @property
    def counts(self) -> dict[str, int]:
        """How many results there are of each verdict."""
        return dict(Counter(result.verdict for result in self.results))

    @property
    def failures(self) -> tuple[Result, ...]:
        """Those that decide about the exit code: failed MUSTs of the level, with `strict` failed SHOULDs too."""
        severities = ("MUST", "SHOULD") if self.strict else ("MUST",)
        return tuple(
            result
            for result in self.results
            if result.verdict in BAD and result.case.severity in severities and result.case.level <= self.level
        )

    @property
    def exit_code(self) -> int:
        """0 when nothing that matters has failed, otherwise 1."""
        return int(bool(self.trouble or self.failures))
