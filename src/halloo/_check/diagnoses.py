"""The classic mistakes of echo programs, and which of them may explain a failure.

Reads the texts in `diagnoses.toml`. They are ranked by the failed case, its pattern, and the other failed cases.
"""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from halloo._check.fixes import Fixes, fixes

MAX_CAUSES = 2  # causes reported for one failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One mistake, as a teacher would explain it: its cause and the lines that fix it, by language.

    `cases` are the ids of the cases that it fails, `patterns` the ways (see `Failed.pattern`; empty means any).
    """

    id: str = ""
    name: str
    why: str
    fixes: Fixes = field(default_factory=dict, hash=False)
    cases: frozenset[str]
    patterns: frozenset[str] = frozenset()


@cache
def diagnoses() -> tuple[Diagnosis, ...]:
    """Read all diagnoses."""
    text = resources.files("halloo._check").joinpath("diagnoses.toml").read_text(encoding="utf-8")
    return tuple(
        Diagnosis(
            id=each["id"],
            name=each["name"],
            why=" ".join(each["why"].split()),
            fixes=fixes(each["id"]),
            cases=frozenset(each["cases"].split()),
            patterns=frozenset(each.get("patterns", "").split()),
        )
        for each in tomllib.loads(text)["mistake"]
    )


def likely_causes(case: str, pattern: str, failed: Collection[str]) -> tuple[Diagnosis, ...]:
    """Return the mistakes that may explain a failed case, the likeliest first.

    Mistakes with another `pattern` are returned only if none matches. `failed` holds the ids of all failed cases: a
    mistake that explains more of them, and would fail fewer others, ranks higher.
    """
    candidates = [each for each in diagnoses() if case in each.cases]
    matching = [each for each in candidates if not each.patterns or pattern.partition(":")[0] in each.patterns]

    def rank(mistake: Diagnosis) -> tuple[float, int]:
        own = [each for each in mistake.cases if each[0] == case[0]]  # of the same kind: TCP, UDP or client
        explained = len(set(own).intersection(failed))
        return -explained / len(own), -explained

    return tuple(sorted(matching or candidates, key=rank)[:MAX_CAUSES])
