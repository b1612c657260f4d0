"""The view of a report that all formats share: each result as a finding in words, the summary, the rows of a matrix.

Its texts contain no control characters; each format escapes them further in its own way.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from halloo._check.case import KINDS, AnyCase, Evidence, Verdict
from halloo._check.fixes import Fixes
from halloo._check.language import LANGUAGES, Language
from halloo._check.results import LOCAL_LIMIT, NOT_PASSED, CheckReport, Result
from halloo._core.escape import printable

Hints = Literal["none", "cause", "fix"]

REPORTED = ("FAIL", "ERROR", "WARN")
INTERNAL_ERROR = "internal error of halloo, unrelated to the program under test: please report it with these lines"
LOCAL_ERROR = "the case was not run: this machine lacks what it needs, whatever the program under test does"
PRINTED = "it printed:"
ROW_SIZE = 16
SYMBOLS = {"PASS": ".", "WARN": "w", "INFO": "i", "FAIL": "F", "ERROR": "E", "BLOCKED": "b", "SKIP": "-"}
LEGEND = ". pass, F fail, w warning, i information, b blocked by another failure, - skipped, E not the program's error"
ABILITIES = {  # by level, from 1 on
    "server": ("echo every byte", "serve one client after another", "serve many clients at once", "run as a service"),
    "client": ("send, show each reply and report each failure", "", "", "run unattended"),
}
LEVEL_NAMES = ("", "echo", "one client after another", "many clients at once", "long-running service")


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause: its name, why it matters, and the fix as pairs of language and code."""

    name: str
    why: str
    fixes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A result in words, each on one line except for `facts`, pairs of label and text, the dump and the causes."""

    verdict: Verdict
    kind: str
    id: str
    name: str
    severity: str
    level: int
    description: str
    passes: str
    headline: str
    time: str
    """How long it took; empty if it was not run."""
    facts: tuple[tuple[str, str], ...]
    dump: str
    causes: tuple[Cause, ...]
    repeat: str
    """For a shell, so that the newlines in its words are kept."""

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.id}"

    @property
    def title(self) -> str:
        return f"{self.verdict} {self.path} {self.name} ({self.severity}, level {self.level})"


def findings(report: CheckReport, *, hints: Hints = "fix") -> tuple[Finding, ...]:
    """Put all results into words."""
    return tuple(finding(result, hints=hints, language=report.language) for result in report.results)


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    """Select what is reported: failures before warnings, MUST before SHOULD, lower levels first."""

    def rank(each: Finding) -> tuple[int, int, int]:
        return REPORTED.index(each.verdict), ("MUST", "SHOULD", "INFO").index(each.severity), each.level

    return sorted((each for each in found if each.verdict in REPORTED), key=rank)


@dataclass(frozen=True, slots=True)
class Explained:
    """A cause, and the findings that it explains, worst first."""

    cause: Cause
    findings: tuple[Finding, ...]

    @property
    def cases(self) -> str:
        return ", ".join(f"{each.id} {each.name}" for each in self.findings)


def by_cause(found: Iterable[Finding]) -> tuple[list[Explained], list[Finding]]:
    """Group what is reported by its cause, most cases first; also return the findings without a cause."""
    groups: dict[str, list[Finding]] = {}
    rest = []
    for each in worst_first(found):
        groups.setdefault(each.causes[0].name, []).append(each) if each.causes else rest.append(each)
    explained = [Explained(group[0].causes[0], tuple(group)) for group in groups.values()]
    return sorted(explained, key=lambda each: -len(each.findings)), rest


def is_observation(found: Finding) -> bool:
    """Whether it describes a server and sets no mark; what is wrong with a server is among the findings."""
    return found.verdict == "INFO" and found.kind != "client"


def finding(result: Result, *, hints: Hints = "fix", language: Language | None = None) -> Finding:
    """Put a result into words, with fixes in the `language` of the program."""
    case = result.case
    facts = [
        ("done", case.description),
        ("expected", case.passes),
        ("found", result.text.strip() or "nothing to report"),
        ("rule", f"{case.severity}: {case.source}"),
    ]
    if result.verdict == "ERROR":
        facts.append(("note", LOCAL_ERROR if result.pattern == LOCAL_LIMIT else INTERNAL_ERROR))
    return Finding(
        verdict=result.verdict,
        kind=KINDS[case.id[0]],
        id=one_line(case.id),
        name=one_line(case.name),
        severity=case.severity,
        level=case.level,
        description=one_line(case.description),
        passes=one_line(case.passes),
        headline=headline(result.text),
        time=format_seconds(result.seconds) if result.seconds else "",
        facts=tuple((label, printable(text)) for label, text in facts),
        dump=dump(result.evidence) if result.evidence else "",
        causes=() if hints == "none" else tuple(_causes(result, hints, language)),
        repeat=printable(result.repeat),
    )


def _causes(result: Result, hints: Hints, language: Language | None) -> Iterator[Cause]:
    for each in result.causes:
        shown = _shown_languages(each.fixes, language) if hints == "fix" else ()
        fixes = tuple((LANGUAGES[one], printable(each.fixes[one]).strip("\n")) for one in shown)
        yield Cause(printable(each.name), printable(each.why), fixes)


def _shown_languages(fixes: Fixes, language: Language | None) -> tuple[Language, ...]:
    """Choose the program's language, or Python if there is no fix in it; Python and C if it is unknown."""
    if language and language in fixes:
        return (language,)
    usual: tuple[Language, ...] = ("python",) if language else ("python", "c")
    return tuple(each for each in usual if each in fixes)


def one_line(text: str) -> str:
    """Escape a text to one printable line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def headline(text: str) -> str:
    """Return the first line of a text, or the last of a traceback, which names the exception."""
    lines = printable(text).strip().splitlines() or [""]
    return " ".join((lines[-1] if lines[0].startswith("Traceback") else lines[0]).split())


def shortened(text: str, limit: int) -> str:
    """Cut a text off at `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def dump(evidence: Evidence) -> str:
    """Write both sides as hex, with ^^ below the first difference or a note where one side ends."""
    pairs = zip(evidence.expected, evidence.received, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    start, width = evidence.offset - same, len(str(evidence.offset + ROW_SIZE))
    lines = [f"at offset {evidence.offset:,}"]
    for name, data in (("expected", evidence.expected), ("received", evidence.received)):
        lines.append(f"{name}:")
        for index in range(0, len(data), ROW_SIZE):
            row = data[index : index + ROW_SIZE]
            text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
            lines.append(f"{start + index:>{width}}  {row.hex(' '):<{3 * ROW_SIZE - 1}} |{text}|")
            if index <= same < index + len(row):
                lines.append(" " * (width + 2 + 3 * (same - index)) + "^^")
        if same == len(data):
            lines.append(f"{start + same:>{width}}  (end of {name} data)")
    return "\n".join(lines)


def reasons(report: CheckReport, verdict: str) -> dict[str, list[str]]:
    """Group the case ids of a verdict by the first line of their text."""
    groups: dict[str, list[str]] = {}
    for result in report.results:
        if result.verdict == verdict:
            groups.setdefault(headline(result.text), []).append(result.case.id)
    return groups


@dataclass(frozen=True, slots=True)
class LevelResult:
    """The level reached, the highest level run, and the `missed` level with the ids that failed it."""

    reached: int
    highest: int
    missed: int | None
    needs: tuple[str, ...]

    def __str__(self) -> str:
        needs = f"; {self.missed} needs {' '.join(self.needs)}" if self.missed else ""
        level = f"level {self.reached} of {self.highest}" if self.reached else f"no level of {self.highest} reached"
        return f"{level} ({LEVEL_NAMES[self.reached or 1]}{needs})"


def level_result(report: CheckReport) -> LevelResult | None:
    """Compute the level reached; None when too few cases ran to tell."""
    levels = {result.case.level for result in report.results if result.case.level <= report.level}
    if report.trouble or 1 not in levels or report.supplied.get("only"):
        return None
    cases = [result.case for result in report.missed(*NOT_PASSED)]
    missed = min((case.level for case in cases), default=None)
    reached = max((number for number in levels if missed is None or number < missed), default=0)
    return LevelResult(reached, max(levels), missed, tuple(case.id for case in cases if case.level == missed))


def format_seconds(seconds: float) -> str:
    """Format a duration for tables: `12 ms`, `3.1 s`, `48 s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def summary(report: CheckReport) -> str:
    """Summarize a report in one line."""
    ending = f"{format_seconds(report.seconds)}, seed {report.seed}"
    if report.trouble:
        return f"no case could run: {headline(report.trouble)}; {ending}"
    count, level = len(report.results), level_result(report)
    cases = f"{'1 case' if count == 1 else f'{count} cases'} of a {one_line(report.scheme)} {one_line(report.kind)}"
    verdicts = ", ".join(f"{report.counts[word]} {word}" for word in SYMBOLS if word in report.counts)
    return "; ".join([f"{cases}: {verdicts}", *([str(level)] if level else []), ending])


def abilities(report: CheckReport) -> Iterator[str]:
    """Say in words what works and what does not: a sentence for each level of which anything was checked."""
    if report.trouble or report.supplied.get("only"):
        return
    subject = f"the {one_line(report.kind)}"
    for level, ability in enumerate(ABILITIES.get(report.kind, ())[: report.level], start=1):
        counted = [each for each in report.results if each.case.level == level and each.case.severity == "MUST"]
        failed = sum(each.verdict == "FAIL" for each in counted)
        passed = sum(each.verdict in ("PASS", "WARN") for each in counted)
        if failed:
            yield f"{subject} does not {ability}: {failed} of {len(counted)} checks fail"
        elif passed and passed == len(counted):
            yield f"{subject} can {ability}"
        elif counted:
            known = f"{passed} of {len(counted)} checks pass, the others did not run"
            yield f"whether {subject} can {ability} is not known: {known}"


def words(report: CheckReport) -> str:
    """Return what follows the first line of `trouble`: the program's own words, such as a traceback."""
    return printable(report.trouble).strip().partition("\n")[2].strip("\n")


def not_run(report: CheckReport) -> list[str]:
    """List the reasons why cases did not run, a line each: `SKIP 2: needs Linux (T33 T45)`; none if no case could."""
    if report.trouble:
        return []
    return [
        f"{verdict} {len(ids)}: {why or 'no reason given'} ({' '.join(ids)})"
        for verdict in ("BLOCKED", "SKIP")
        for why, ids in reasons(report, verdict).items()
    ]


def rows(reports: Sequence[CheckReport]) -> list[tuple[AnyCase, list[Result | None]]]:
    """Return each case with its result for every report, None where it did not run."""
    found = [{result.case.id: result for result in report.results} for report in reports]
    known = {result.case.id: result.case for report in reports for result in report.results}
    ordered = sorted(known.values(), key=lambda case: (list(KINDS).index(case.id[0]), case.id))
    return [(case, [results.get(case.id) for results in found]) for case in ordered]


def columns(reports: Sequence[CheckReport]) -> list[str]:
    """Name the columns by target, and by scheme too if there are several."""
    several = len({report.scheme for report in reports}) > 1
    return [one_line(f"{report.target} ({report.scheme})" if several else report.target) for report in reports]
