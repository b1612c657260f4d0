"""Diagnoses refer to existing cases, have an explanation and a fix, and are ranked by likelihood."""

import pytest

from halloo._check.catalogue import cases
from halloo._check.diagnoses import MAX_CAUSES, Diagnosis, diagnoses, likely_causes
from halloo._check.report.finding import WHOLE
from halloo._output.terminal import USUAL

ALL = diagnoses()


def names(found: tuple[Diagnosis, ...]) -> list[str]:
    return [diagnosis.name for diagnosis in found]


@pytest.mark.parametrize("diagnosis", ALL, ids=names(ALL))
def test_a_diagnosis_names_existing_cases(diagnosis: Diagnosis) -> None:
    assert diagnosis.cases
    assert diagnosis.cases <= {case.id for case in cases()}


@pytest.mark.parametrize("diagnosis", ALL, ids=names(ALL))
def test_a_diagnosis_has_an_explanation_and_a_fix(diagnosis: Diagnosis) -> None:
    assert diagnosis.why.endswith(".")
    assert diagnosis.python.strip()
    code = f"{diagnosis.python}\n{diagnosis.c}"
    assert [line for line in code.splitlines() if len(WHOLE + line) > USUAL] == []  # lines that are not wrapped


@pytest.mark.parametrize("diagnosis", ALL, ids=names(ALL))
def test_the_python_fix_compiles(diagnosis: Diagnosis) -> None:
    lines = diagnosis.python.strip("\n")
    wrapped = "async def f():\n    while True:\n        try:\n" + "".join(
        f"            {x}\n" for x in lines.splitlines()
    )
    if lines.startswith("except"):
        wrapped = "def f():\n    while True:\n        try: ...\n" + "".join(
            f"        {x}\n" for x in lines.splitlines()
        )
    else:
        wrapped += "        finally: ...\n"
    compile(wrapped, "fix", "exec")


def test_names_are_unique() -> None:
    assert len(set(names(ALL))) == len(ALL)


def test_the_pattern_of_a_failure_decides_the_likeliest_diagnosis() -> None:
    assert names(likely_causes("T17", "gap", {"T17"}))[0] == "the result of send() is ignored"
    assert names(likely_causes("T12", "reset", {"T12"}))[0].startswith("the connection is closed")


def test_the_detail_of_a_pattern_is_ignored() -> None:
    assert likely_causes("T17", "gap:851", {"T17"}) == likely_causes("T17", "gap", {"T17"})


def test_other_failures_decide_the_likeliest_diagnosis() -> None:
    alone = names(likely_causes("T20", "ended", {"T20"}))
    with_others = names(likely_causes("T20", "ended", {"T18", "T19", "T20", "T22"}))
    assert alone[0] == "a failing accept() ends the server, or spins"
    assert with_others[0] == "one client's error ends the server"


def test_a_matching_pattern_excludes_other_diagnoses() -> None:
    assert names(likely_causes("T21", "zombies", {"T21"})) == ["an exited child process is not reaped"]


def test_without_a_matching_pattern_any_diagnosis_of_the_case_is_named() -> None:
    assert names(likely_causes("T14", "changed", {"T14"})) == ["one client at a time"]


def test_a_diagnosis_that_predicts_other_failures_is_less_likely() -> None:
    assert names(likely_causes("T33", "cut", {"T33"}))[0] == "the result of send() is ignored"
    several = {"T09", "T11", "T12", "T17", "T33", "T49", "T50"}
    assert names(likely_causes("T33", "cut", several))[0] == "the connection is closed before everything was sent"


def test_the_number_of_diagnoses_is_limited() -> None:
    assert len(likely_causes("T12", "cut", {"T12"})) == MAX_CAUSES


def test_a_case_without_a_known_diagnosis_has_none() -> None:
    assert likely_causes("T42", "", {"T42"}) == ()
