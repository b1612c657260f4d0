"""What the tests of mutants share: ask a program, and compare what it fails with what its mistake is about.

Knows the checker, and where the mutants are.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from halloo._check.case import Case
from halloo._check.results import Result
from halloo._check.runner import RunOptions, ask, ask_all
from halloo._check.spec import ServerSpec

MUTANTS = Path(__file__).parent / "mutants"
JOBS = 2


@dataclass(frozen=True)
class Wrong:
    """What a mutant fails, and the likeliest cause of the first of its failures; empty when none is known.

    `perhaps` may fail as well, as chance has it, and `warns` are passed with a warning.
    """

    fails: str
    cause: str = ""
    perhaps: str = ""
    warns: str = ""


def mutants(folder: str) -> set[str]:
    """Give the names of those in a folder."""
    return {path.stem for path in (MUTANTS / folder).glob("*.py")}


def failed_by(wrongs: Iterable[Wrong]) -> set[str]:
    """Give all cases that one of them fails."""
    return {case for wrong in wrongs for case in wrong.fails.split()}


def asked(module: str, questions: Sequence[Case], *, scheme: str = "tcp") -> tuple[Result, ...]:
    """Ask the program that a module is."""
    subject = ServerSpec(scheme=scheme, command=(sys.executable, "-m", module, "PORT"))
    return ask_all(questions, lambda case: ask(case, subject, RunOptions()), jobs=JOBS)


def told(results: Iterable[Result], *verdicts: str) -> dict[str, str]:
    """Give what was said of those with these verdicts."""
    return {result.case.id: result.text for result in results if result.verdict in verdicts}


def needing(failed: Iterable[str], questions: Iterable[Case]) -> set[str]:
    """Give the cases that need one of these, if only by way of another."""
    found, known = set(failed), list(questions)
    while more := {case.id for case in known if found.intersection(case.needs)} - found:
        found |= more
    return found - set(failed)


def skip_unasked(results: Iterable[Result], fails: Iterable[str]) -> None:
    """Skip the test when what should have failed cannot be asked here, and say why."""
    if unasked := {case: why for case, why in told(results, "SKIP").items() if case in fails}:
        pytest.skip("; ".join(f"{case} {why}" for case, why in unasked.items()))


def fails_exactly(wrong: Wrong, results: Sequence[Result]) -> None:
    """See that it fails what its mistake is about, that nothing else but what needs that is not asked, and why."""
    skip_unasked(results, wrong.fails.split())
    failed, perhaps = told(results, "FAIL", "ERROR"), set(wrong.perhaps.split())
    assert set(failed) - perhaps == set(wrong.fails.split()), failed
    warned, blocked = told(results, "WARN"), told(results, "BLOCKED")
    assert set(warned) == set(wrong.warns.split()), warned
    assert set(blocked) - perhaps == needing(failed, [result.case for result in results]) - perhaps, blocked
    likeliest = [result.causes[0].name for result in results if result.verdict == "FAIL" and result.causes]
    assert likeliest[:1] == ([wrong.cause] if wrong.cause else []), likeliest
