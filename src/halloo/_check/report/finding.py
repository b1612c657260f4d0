"""What is told of one result, whoever reads it: what was done, what came of it, the rule, the likely cause and the fix.

Knows results and words. A finding's texts hold nothing that a terminal would obey; each form escapes them once more in
its own way.
"""

import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePath
from typing import Literal

from halloo._check.case import Evidence
from halloo._check.results import CheckReport, Result
from halloo._core.escape import printable

Hints = Literal["none", "cause", "fix"]

WIDTH = 79
INDENT = 12  # columns of the words before what they announce
TOLD = ("FAIL", "ERROR", "WARN")
OURS = "this is a fault of halloo's own, and says nothing about what was checked: please report it with these lines"
_RANKS = {"MUST": 0, "SHOULD": 1, "INFO": 2}


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause: its name, why it matters, and the fix as pairs of language and code."""

    name: str
    why: str
    fixes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A result in words, in the order in which they are told; `facts` are pairs of a word and what it announces."""

    title: str
    facts: tuple[tuple[str, str], ...]
    dump: str
    causes: tuple[Cause, ...]
    repeat: str


def findings(report: CheckReport, *, hints: Hints = "fix") -> tuple[tuple[Result, Finding], ...]:
    """Give what has to be told, the gravest first and then the simplest."""
    return tuple((result, finding(result, hints=hints, target=report.target)) for result in worst_first(report))


def worst_first(report: CheckReport) -> list[Result]:
    """Sort what is not well: failures first and warnings last, MUST before SHOULD, lower levels before higher ones."""

    def rank(result: Result) -> tuple[int, int, int]:
        return TOLD.index(result.verdict), _RANKS[result.case.severity], result.case.level

    return sorted((result for result in report.results if result.verdict in TOLD), key=rank)


def finding(result: Result, *, hints: Hints = "fix", target: str = "") -> Finding:
    """Put a result into words; from `target`, its command, the language of the fix is known."""
    case = result.case
    facts = [("done", case.description), ("expected", case.passes), ("found", result.text.strip() or "nothing of note")]
    facts.append(("rule", f"{case.severity}: {case.source}"))
    if result.verdict == "ERROR":
        facts.append(("note", OURS))
    return Finding(
        title=printable(f"{result.verdict} {case.path} {case.name} ({case.severity}, level {case.level})"),
        facts=tuple((word, printable(text)) for word, text in facts),
        dump=dump(result.evidence) if result.evidence else "",
        causes=() if hints == "none" else tuple(_causes(result, hints, target)),
        repeat=one_line(result.repeat),
    )


def _causes(result: Result, hints: Hints, target: str) -> Iterator[Cause]:
    for mistake in result.causes:
        codes = [("Python", mistake.python), *([] if in_python(target) else [("C", mistake.c)])]
        fixes = tuple((language, printable(code).strip("\n")) for language, code in codes if code)
        yield Cause(printable(mistake.name), printable(mistake.why), fixes if hints == "fix" else ())


def in_python(target: str) -> bool:
    """Whether a command is plainly a Python program: what cannot be told may be C as well."""
    names = [PurePath(word).name.lower() for word in target.split()]
    return any(name.startswith(("python", "pypy")) or name.endswith((".py", ".pyw")) for name in names)


def one_line(text: str) -> str:
    """Keep a text on one line, whatever is in it."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def headline(text: str) -> str:
    """Give the first line of a text; of a traceback the last, which says what it was."""
    lines = printable(text).strip().splitlines() or [""]
    return " ".join((lines[-1] if lines[0].startswith("Traceback") else lines[0]).split())


def plain(found: Finding, *, known: Collection[str] = ()) -> str:
    """Write a finding as text; causes that are `known` by now, from another one, are only named."""
    facts = dict(found.facts)
    lines = [found.title]
    for word in ("done", "expected", "found"):
        lines += _told(word, facts[word])
    if found.dump:
        lines += textwrap.indent(found.dump, " " * 4).splitlines()
    for word in ("rule", "note"):
        lines += _told(word, facts[word]) if word in facts else []
    for cause in found.causes:
        lines += _told("likely", f"{cause.name} (see above)" if cause.name in known else cause.name)
        if cause.name not in known:
            lines += _told("", cause.why)
            for language, code in cause.fixes:
                lines += [f"{'':{INDENT}}In {language}:", *textwrap.indent(code, " " * (INDENT + 4)).splitlines()]
    lines += [f"  {'repeat':<{INDENT - 2}}{found.repeat}"] if found.repeat else []
    return "\n".join(lines)


def _told(word: str, text: str) -> list[str]:
    """Lay a text out beside its word; long words stay whole, so that they can be copied."""
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
    return [f"  {word:<{INDENT - 2}}{first}", *(f"{'':{INDENT}}{line}".rstrip() for line in rest)]


ROW = 16


def dump(evidence: Evidence) -> str:
    """Write both sides, with a mark at the first byte that differs, or where one of them ends."""
    pairs = zip(evidence.expected, evidence.received, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    start = evidence.offset - same
    width = len(str(evidence.offset + ROW))
    sides = (
        ("expected", evidence.expected, "(nothing more should come)"),
        ("came", evidence.received, "(nothing more came)"),
    )
    lines = [f"at offset {evidence.offset:,}"]
    for name, data, end in sides:
        lines += [f"{name}:", *_rows(data, start, width, same, end)]
    return "\n".join(lines)


def _rows(data: bytes, start: int, width: int, same: int, end: str) -> Iterator[str]:
    for place in range(0, len(data), ROW):
        row = data[place : place + ROW]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{start + place:>{width}}  {row.hex(' '):<{3 * ROW - 1}} |{text}|"
        if place <= same < place + len(row):
            yield " " * (width + 2 + 3 * (same - place)) + "^^"
    if same == len(data):
        yield f"{start + same:>{width}}  {end}"
