"""The classic mistakes of echo programs, and the signs by which each is recognised.

Reads the texts in the TOML files of this package; opens nothing else. A mistake is named only where one of its signs
was seen. A sign is a list of words, all of which have to hold:

    T33            case T33 failed
    T33:gap        it failed, and `gap` is among the words of its pattern (see `Outcome.pattern`)
    T23:served-N   it failed, and so is a word such as `served-100`
    *:ended        any case failed in this way
    +T09           case T09 was run and did not fail
    -T09           case T09 did not fail, or was not run
    closes-early   a fact about the program that a probe has seen (see `halloo._check.server.probe`)
    !closes-early  this fact was not seen
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from halloo._check.case import Verdict
from halloo._check.fixes import Fixes, fixes

FILES = ("tcp.toml", "udp.toml", "client.toml")
Sign = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One mistake, as a teacher would explain it, and the lines that mend it, by language."""

    id: str
    name: str
    why: str
    fixes: Fixes = field(default_factory=dict, hash=False)
    signs: tuple[Sign, ...] = ()
    explains: frozenset[str] = frozenset()
    """The cases that it may fail, as `T09`, or as `T28:short` if it fails them only in this way."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The verdict of a case, and the words of its pattern."""

    verdict: Verdict
    words: frozenset[str] = frozenset()


@cache
def diagnoses() -> tuple[Diagnosis, ...]:
    """Read all diagnoses, the more specific ones first."""
    folder = resources.files(__name__)
    tables = (tomllib.loads(folder.joinpath(name).read_text(encoding="utf-8"))["mistake"] for name in FILES)
    return tuple(
        Diagnosis(
            id=each["id"],
            name=each["name"],
            why=" ".join(each["why"].split()),
            fixes=fixes(each["id"]),
            signs=tuple(tuple(sign.split()) for sign in each["signs"]),
            explains=frozenset(each["explains"].split()),
        )
        for table in tables
        for each in table
    )


def diagnose(
    seen: Mapping[str, Seen], facts: Collection[str], known: Collection[Diagnosis] | None = None
) -> dict[str, Diagnosis]:
    """Return the mistake that explains each failed case, by id; cases without evidence for one are left out.

    Mistakes are tried in the order of their files: the first whose sign holds claims those failed cases that it
    explains and that none before it has claimed.
    """
    causes = dict[str, Diagnosis]()
    failed = {case: each for case, each in seen.items() if each.verdict == "FAIL"}
    forms = {case: {case, *(f"{case}:{word}" for word in each.words)} for case, each in failed.items()}
    for mistake in diagnoses() if known is None else known:
        claimed = {case for case in failed if forms[case] & mistake.explains} - causes.keys()
        if claimed and any(all(holds(word, seen, facts) for word in sign) for sign in mistake.signs):
            causes |= dict.fromkeys(claimed, mistake)
    return causes


def holds(word: str, seen: Mapping[str, Seen], facts: Collection[str]) -> bool:
    """Whether a word of a sign holds."""
    if word[0] == "!":
        return word[1:] not in facts
    if word[0] in "+-":
        verdict = seen[word[1:]].verdict if word[1:] in seen else None
        passed = verdict in ("PASS", "WARN", "INFO")
        return passed if word[0] == "+" else verdict != "FAIL"
    case, _, way = word.partition(":")
    if not (case.isupper() or case == "*"):
        return word in facts
    failed = [each for name, each in seen.items() if case in (name, "*") and each.verdict == "FAIL"]
    return any(not way or any(_is(word, way) for word in each.words) for each in failed)


def _is(word: str, way: str) -> bool:
    return word.startswith(way[:-1]) if way.endswith("-N") else word == way
