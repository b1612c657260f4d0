"""The results of a check: one for each case, and the report of all of them.

Uses no sockets and no processes. `halloo._check.report` writes the report.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from halloo._check.case import AnyCase, Evidence, Verdict
from halloo._check.diagnoses import Diagnosis
from halloo._check.language import Language

FAILING = ("FAIL", "ERROR")
NOT_PASSED = (*FAILING, "BLOCKED")
INTERRUPTION = "the check was interrupted"  # why the remaining cases were not run
INTERRUPTED = 130  # exit code, as a shell reports SIGINT
_EXIT_CODES = (0, 2, 1, INTERRUPTED)  # of several reports the one that comes last here decides
LOCAL_LIMIT = "local"  # the pattern of an ERROR that is due to this machine, and not to halloo


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one case: what was found, or why the case was not run; a note if it passed."""

    case: AnyCase
    verdict: Verdict
    text: str = ""
    seconds: float = 0.0
    evidence: Evidence | None = None
    pattern: str = ""
    """How it failed: see `Outcome`."""
    causes: tuple[Diagnosis, ...] = ()
    """Likely causes, the likeliest first."""
    repeat: str = ""
    """The command that runs this case again."""
    words: str = ""
    """Lines that the program has printed; part of no report by themselves."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All results of one target, a command or an address."""

    target: str
    kind: str
    """"server" or "client"."""
    scheme: str
    seed: int
    level: int
    strict: bool
    seconds: float
    results: tuple[Result, ...]
    started: str = ""
    """Start time in UTC, as in RFC 3339."""
    trouble: str = ""
    """Why no case could be run: the program never started to listen."""
    facts: tuple[str, ...] = ()
    """What a probe has seen of a server that failed, by name (see `halloo._check.server.probe`)."""
    supplied: dict[str, object] = field(default_factory=dict)
    """The options given by the user."""
    language: Language | None = None
    """That of the program, as far as its command tells."""
    interrupted: bool = False
    """Whether a signal ended it; the cases that had not ended are BLOCKED."""
    error: BaseException | None = field(default=None, compare=False)
    """What else ended it, to be raised once the report is written; the cases that had not ended are BLOCKED."""

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(result.verdict for result in self.results))

    def missed(self, *verdicts: str) -> tuple[Result, ...]:
        """Return what counts of the results with a verdict: MUSTs of the level, with `strict` SHOULDs too."""
        severities = ("MUST", "SHOULD") if self.strict else ("MUST",)
        counted = (each for each in self.results if each.case.level <= self.level and each.verdict in verdicts)
        return tuple(each for each in counted if each.case.severity in severities)

    @property
    def exit_code(self) -> int:
        """130 if interrupted, 1 if the target failed or did not start, 2 if halloo or this machine failed, else 0."""
        if self.interrupted:
            return INTERRUPTED
        if self.error:
            return 2
        if self.trouble or self.missed("FAIL"):
            return 1
        return 2 if self.missed("ERROR") else 0


def exit_code_of_all(reports: Iterable[CheckReport]) -> int:
    """Return the exit code of several reports: interrupted, else failed, else not run, else passed."""
    return max((report.exit_code for report in reports), key=_EXIT_CODES.index)
