"""Helpers of the mutant tests: check a program, and compare its failures with those that its mistake should cause."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from halloo._check.case import Case
from halloo._check.results import Result
from halloo._check.runner import RunOptions, run_all, run_case
from halloo._check.spec import ServerSpec

MUTANTS = Path(__file__).parent / "mutants"
JOBS = 2


@dataclass(frozen=True)
class Expected:
    """The cases that a mutant fails, and the likeliest cause of the first failure; empty if there is no diagnosis.

    `perhaps` are cases that fail depending on timing; `warns` are passed with a warning.
    """

    fails: str
    cause: str = ""
    perhaps: str = ""
    warns: str = ""


def mutants(folder: str) -> set[str]:
    """Return the names of the mutants in a folder."""
    return {path.stem for path in (MUTANTS / folder).glob("*.py")}


def failed_by(expectations: Iterable[Expected]) -> set[str]:
    """Return all cases that at least one mutant fails."""
    return {case for expected in expectations for case in expected.fails.split()}


def check_module(module: str, cases_to_run: Sequence[Case], *, scheme: str = "tcp") -> tuple[Result, ...]:
    """Run cases against a module started as a program."""
    spec = ServerSpec(scheme=scheme, command=(sys.executable, "-m", module, "PORT"))
    return run_all(cases_to_run, lambda case: run_case(case, spec, RunOptions()), jobs=JOBS)


def texts(results: Iterable[Result], *verdicts: str) -> dict[str, str]:
    """Return the texts of the results with these verdicts, by case."""
    return {result.case.id: result.text for result in results if result.verdict in verdicts}


def needing(failed: Iterable[str], cases_to_run: Iterable[Case]) -> set[str]:
    """Return the cases that need one of these, directly or indirectly."""
    found, known = set(failed), list(cases_to_run)
    while more := {case.id for case in known if found.intersection(case.needs)} - found:
        found |= more
    return found - set(failed)


def skip_if_skipped(results: Iterable[Result], fails: Iterable[str]) -> None:
    """Skip the test if a case that should have failed cannot be run here."""
    if skipped := {case: why for case, why in texts(results, "SKIP").items() if case in fails}:
        pytest.skip("; ".join(f"{case} {why}" for case, why in skipped.items()))


def assert_fails_exactly(expected: Expected, results: Sequence[Result]) -> None:
    """Check the failed, warned and blocked cases of a mutant, and the likeliest cause."""
    skip_if_skipped(results, expected.fails.split())
    failed, perhaps = texts(results, "FAIL", "ERROR"), set(expected.perhaps.split())
    assert set(failed) - perhaps == set(expected.fails.split()), failed
    warned, blocked = texts(results, "WARN"), texts(results, "BLOCKED")
    assert set(warned) == set(expected.warns.split()), warned
    assert set(blocked) - perhaps == needing(failed, [result.case for result in results]) - perhaps, blocked
    likeliest = [result.causes[0].name for result in results if result.verdict == "FAIL" and result.causes]
    assert likeliest[:1] == ([expected.cause] if expected.cause else []), likeliest
