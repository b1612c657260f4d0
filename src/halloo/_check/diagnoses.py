"""The classic mistakes of echo programs, and which of them may be behind a failure.

Knows the texts in `diagnoses.toml`. They are ranked by the case that failed, by how it failed, and by what else did.
"""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib import resources

MOST = 2  # causes named for one failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One mistake as a teacher would explain it: why it happens, and the lines that mend it, in C too where it is C's.

    `cases` are the ids that it fails, `patterns` in which ways (see `Failed.pattern`; none is any).
    """

    name: str
    why: str
    python: str
    c: str = ""
    cases: frozenset[str]
    patterns: frozenset[str] = frozenset()


@cache
def diagnoses() -> tuple[Diagnosis, ...]:
    """Read all of them."""
    text = resources.files("halloo._check").joinpath("diagnoses.toml").read_text(encoding="utf-8")
    return tuple(
        Diagnosis(
            name=each["name"],
            why=" ".join(each["why"].split()),
            python=each["python"],
            c=each.get("c", ""),
            cases=frozenset(each["cases"].split()),
            patterns=frozenset(each.get("patterns", "").split()),
        )
        for each in tomllib.loads(text)["mistake"]
    )


def likely(case: str, pattern: str, failed: Collection[str]) -> tuple[Diagnosis, ...]:
    """Give the mistakes that may explain a failed case, the likeliest first.

    `pattern` is how it failed: what fails in other ways is named only where nothing fits. `failed` are the ids of all
    that did: what explains more of them, and would fail fewer others, is likelier.
    """
    known = [each for each in diagnoses() if case in each.cases]
    fitting = [each for each in known if not each.patterns or pattern.partition(":")[0] in each.patterns]

    def rank(mistake: Diagnosis) -> tuple[float, int]:
        own = [each for each in mistake.cases if each[0] == case[0]]  # of this kind of program
        explained = len(set(own).intersection(failed))
        return -explained / len(own), -explained

    return tuple(sorted(fitting or known, key=rank)[:MOST])
