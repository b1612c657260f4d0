"""halloo passes every case of the catalogue, and so does the reference: proof that the cases can be passed.

Cases that wait, and what is asked again of other configurations, are run by `make check-all`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.cases import Case
from tests.conformance.catalogue import CASES
from tests.conformance.runner import run

SEED = 1
HALLOO = (sys.executable, "-m", "halloo", "serve", "{port}", "-q")
LIMITS = (
    *("--idle-timeout", "1h", "--max-lifetime", "1h", "--max-bytes", "10GB", "--rate-limit", "10GB/s"),
    *("--max-connections", "100k", "--max-per-host", "100k", "--max-memory", "1GiB"),
)
PLAIN = "plain"
TARGETS = {
    PLAIN: HALLOO,
    "workers": (*HALLOO, "--workers", "2"),
    "limits": (*HALLOO, *LIMITS),
    "reference": (sys.executable, str(Path(__file__).with_name("reference.py")), "{port}"),
}
AT_ONCE = {PLAIN: ("MUST", "SHOULD", "INFO"), "workers": ("MUST",), "limits": ("MUST",), "reference": ()}
MARGIN = 30  # seconds beside those of the case, for a start on a busy machine


def questions(*, longer: bool = False) -> Iterator[object]:
    for target in TARGETS:
        for case in CASES:
            if longer and (not case.longer or (case.severity == "INFO" and target != PLAIN)):
                continue
            marks = [pytest.mark.timeout(case.kill + MARGIN)]
            if longer or case.waits or case.severity not in AT_ONCE[target]:
                marks.append(pytest.mark.conformance)
            yield pytest.param(target, case, marks=marks, id=f"{target}-{case.id}-{case.name}")


def ask(target: str, case: Case, *, longer: bool = False) -> None:
    result = run(case, TARGETS[target], seed=SEED, longer=longer)
    if result.verdict == "SKIP":
        pytest.skip(result.text)
    assert result.verdict in ("PASS", "INFO"), f"{case.id} {case.name}: {case.does} {result.verdict}: {result.text}"


@pytest.mark.parametrize(("target", "case"), [*questions()])
def test_passes(target: str, case: Case) -> None:
    ask(target, case)


@pytest.mark.parametrize(("target", "case"), [*questions(longer=True)])
def test_passes_the_longer_form(target: str, case: Case) -> None:
    ask(target, case, longer=True)


def test_the_catalogue_is_complete() -> None:
    assert [case.id for case in CASES] == [f"T{number:02}" for number in range(1, 53)]


def test_a_case_says_what_it_does_and_needs_cases_that_exist() -> None:
    known = {case.id for case in CASES}
    assert all(case.does and case.passes and known.issuperset(case.needs) for case in CASES)
