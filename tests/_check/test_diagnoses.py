"""Tests of the mistakes: each can be seen, each is explained, and the likeliest comes first."""

import pytest

from halloo._check.catalogue import cases
from halloo._check.diagnoses import MOST, Diagnosis, diagnoses, likely

ALL = diagnoses()


def names(found: tuple[Diagnosis, ...]) -> list[str]:
    return [mistake.name for mistake in found]


@pytest.mark.parametrize("mistake", ALL, ids=names(ALL))
def test_a_mistake_is_seen_by_cases_that_exist(mistake: Diagnosis) -> None:
    assert mistake.cases
    assert mistake.cases <= {case.id for case in cases()}


@pytest.mark.parametrize("mistake", ALL, ids=names(ALL))
def test_a_mistake_is_explained_and_mended(mistake: Diagnosis) -> None:
    assert mistake.why.endswith(".")
    assert mistake.python.strip()


@pytest.mark.parametrize("mistake", ALL, ids=names(ALL))
def test_the_mending_is_python(mistake: Diagnosis) -> None:
    lines = mistake.python.strip("\n")
    wrapped = "async def f():\n    while True:\n        try:\n" + "".join(
        f"            {x}\n" for x in lines.splitlines()
    )
    if lines.startswith("except"):
        wrapped = "def f():\n    while True:\n        try: ...\n" + "".join(
            f"        {x}\n" for x in lines.splitlines()
        )
    else:
        wrapped += "        finally: ...\n"
    compile(wrapped, "mending", "exec")


def test_no_two_mistakes_have_one_name() -> None:
    assert len(set(names(ALL))) == len(ALL)


def test_how_a_case_failed_tells_which_mistake_is_the_likelier() -> None:
    assert names(likely("T17", "gap", {"T17"}))[0] == "the result of send() is ignored"
    assert names(likely("T12", "reset", {"T12"}))[0].startswith("the connection is closed")


def test_the_detail_of_a_pattern_does_not_matter() -> None:
    assert likely("T17", "gap:851", {"T17"}) == likely("T17", "gap", {"T17"})


def test_what_else_has_failed_tells_which_mistake_is_the_likelier() -> None:
    alone = names(likely("T20", "ended", {"T20"}))
    with_others = names(likely("T20", "ended", {"T18", "T19", "T20", "T22"}))
    assert alone[0] == "a failing accept() ends the server, or spins"
    assert with_others[0] == "one client's error ends the server"


def test_what_fails_in_another_way_is_not_named_where_something_fits() -> None:
    assert names(likely("T21", "zombies", {"T21"})) == ["a child process that has ended is not taken note of"]


def test_where_nothing_fits_what_fails_the_case_is_named() -> None:
    assert names(likely("T14", "changed", {"T14"})) == ["one client at a time"]


def test_what_would_have_failed_other_cases_too_is_less_likely() -> None:
    assert names(likely("T33", "cut", {"T33"}))[0] == "the result of send() is ignored"
    several = {"T09", "T11", "T12", "T17", "T33", "T49", "T50"}
    assert names(likely("T33", "cut", several))[0] == "the connection is closed before everything was sent"


def test_few_are_named_for_one_failure() -> None:
    assert len(likely("T12", "cut", {"T12"})) == MOST


def test_a_case_of_no_known_mistake_has_none() -> None:
    assert likely("T42", "", {"T42"}) == ()
