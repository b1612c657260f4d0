"""One result in words: what was done and found, the rule, the likely cause and the fix.

The texts of a finding contain no control characters; each report format escapes them further in its own way.
"""

import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePath
from typing import Literal

from halloo._check.case import Evidence
from halloo._check.results import LOCAL_LIMIT, CheckReport, Result
from halloo._core.escape import printable

Hints = Literal["none", "cause", "fix"]

WIDTH = 79
INDENT = 12  # columns of the labels
WHOLE = " " * 4  # before lines that are not wrapped: bytes, code
REPORTED = ("FAIL", "ERROR", "WARN")
INTERNAL_ERROR = "internal error of halloo, unrelated to the program under test: please report it with these lines"
LOCAL_ERROR = "the case was not run: this machine lacks what it needs, whatever the program under test does"
_RANKS = {"MUST": 0, "SHOULD": 1, "INFO": 2}


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause: its name, why it matters, and the fix as pairs of language and code."""

    name: str
    why: str
    fixes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A result in words, in report order; `facts` are pairs of label and text."""

    title: str
    facts: tuple[tuple[str, str], ...]
    dump: str
    causes: tuple[Cause, ...]
    repeat: str


def findings(report: CheckReport, *, hints: Hints = "fix") -> tuple[tuple[Result, Finding], ...]:
    """Return the reportable results with their findings, worst first."""
    return tuple((result, finding(result, hints=hints, target=report.target)) for result in worst_first(report))


def worst_first(report: CheckReport) -> list[Result]:
    """Sort the reportable results: failures before warnings, MUST before SHOULD, lower levels first."""

    def rank(result: Result) -> tuple[int, int, int]:
        return REPORTED.index(result.verdict), _RANKS[result.case.severity], result.case.level

    return sorted((result for result in report.results if result.verdict in REPORTED), key=rank)


def finding(result: Result, *, hints: Hints = "fix", target: str = "") -> Finding:
    """Put a result into words; `target`, a command, decides the languages of the fixes."""
    case = result.case
    facts = [
        ("done", case.description),
        ("expected", case.passes),
        ("found", result.text.strip() or "nothing to report"),
    ]
    facts.append(("rule", f"{case.severity}: {case.source}"))
    if result.verdict == "ERROR":
        facts.append(("note", LOCAL_ERROR if result.pattern == LOCAL_LIMIT else INTERNAL_ERROR))
    return Finding(
        title=printable(f"{result.verdict} {case.path} {case.name} ({case.severity}, level {case.level})"),
        facts=tuple((label, printable(text)) for label, text in facts),
        dump=dump(result.evidence) if result.evidence else "",
        causes=() if hints == "none" else tuple(_causes(result, hints, target)),
        repeat=one_line(result.repeat),
    )


def _causes(result: Result, hints: Hints, target: str) -> Iterator[Cause]:
    for diagnosis in result.causes:
        codes = [("Python", diagnosis.python), *([] if is_python(target) else [("C", diagnosis.c)])]
        fixes = tuple((language, printable(code).strip("\n")) for language, code in codes if code)
        yield Cause(printable(diagnosis.name), printable(diagnosis.why), fixes if hints == "fix" else ())


def is_python(target: str) -> bool:
    """Whether a command runs a Python program; when unclear, C fixes are included too."""
    names = [PurePath(word).name.lower() for word in target.split()]
    return any(name.startswith(("python", "pypy")) or name.endswith((".py", ".pyw")) for name in names)


def one_line(text: str) -> str:
    """Escape a text to one printable line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def headline(text: str) -> str:
    """Return the first line of a text, or the last of a traceback, which names the exception."""
    lines = printable(text).strip().splitlines() or [""]
    return " ".join((lines[-1] if lines[0].startswith("Traceback") else lines[0]).split())


def finding_text(found: Finding, *, known: Collection[str] = ()) -> str:
    """Write a finding as text; a cause in `known` was explained before and is only named."""
    facts = dict(found.facts)
    lines = [found.title]
    for label in ("done", "expected", "found"):
        lines += _wrap_fact(label, facts[label])
    if found.dump:
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
    wrapped = [
        piece
        for line in text.splitlines() or [""]
        for piece in textwrap.wrap(
            line,
            WIDTH - INDENT,
            subsequent_indent=line[: len(line) - len(line.lstrip())],
            break_long_words=False,
            break_on_hyphens=False,
        )
        or [""]
    ]
    first, *rest = wrapped
    return [f"  {label:<{INDENT - 2}}{first}", *(f"{'':{INDENT}}{line}".rstrip() for line in rest)]


ROW_SIZE = 16


def dump(evidence: Evidence) -> str:
    """Write both sides as hex, with ^^ below the first difference or a note where one side ends."""
    pairs = zip(evidence.expected, evidence.received, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    start = evidence.offset - same
    width = len(str(evidence.offset + ROW_SIZE))
    sides = (
        ("expected", evidence.expected, "(end of expected data)"),
        ("received", evidence.received, "(end of received data)"),
    )
    lines = [f"at offset {evidence.offset:,}"]
    for name, data, end in sides:
        lines += [f"{name}:", *_dump_rows(data, start, width, same, end)]
    return "\n".join(lines)


def _dump_rows(data: bytes, start: int, width: int, same: int, end: str) -> Iterator[str]:
    for index in range(0, len(data), ROW_SIZE):
        row = data[index : index + ROW_SIZE]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{start + index:>{width}}  {row.hex(' '):<{3 * ROW_SIZE - 1}} |{text}|"
        if index <= same < index + len(row):
            yield " " * (width + 2 + 3 * (same - index)) + "^^"
    if same == len(data):
        yield f"{start + same:>{width}}  {end}"
