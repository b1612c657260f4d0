"""Tests of the catalogue: it is complete, its cases are what they say, and some of them can be chosen."""

from itertools import pairwise

import pytest

from halloo._check.case import HIGHEST, QUICK, Case
from halloo._check.catalogue import cases, chosen
from halloo.errors import UsageError

CASES = cases()
TCP = [case for case in CASES if case.id[0] == "T"]


def ids(cases: tuple[Case, ...]) -> list[str]:
    return [case.id for case in cases]


@pytest.mark.parametrize(("kind", "count"), [("T", 54), ("U", 22), ("C", 34)])
def test_every_id_is_there_once_and_in_order(kind: str, count: int) -> None:
    assert [case.id for case in CASES if case.id[0] == kind] == [f"{kind}{n:02}" for n in range(1, count + 1)]


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_a_case_says_what_it_does_and_when_it_is_passed(case: Case) -> None:
    assert case.does
    assert case.passes
    assert case.source
    assert case.name


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_a_case_needs_cases_that_are_asked_of_the_same_servers(case: Case) -> None:
    known = {each.id: each for each in CASES}
    assert all(case.schemes <= known[need].schemes for need in case.needs)


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_a_case_needs_none_of_a_higher_level(case: Case) -> None:
    known = {each.id: each for each in CASES}
    assert all(known[need].level <= case.level for need in case.needs)


def test_no_case_needs_itself_by_a_detour() -> None:
    known = {each.id: each for each in CASES}

    def needed(case: Case, seen: frozenset[str]) -> set[str]:
        assert case.id not in seen
        return {case.id}.union(*(needed(known[need], seen | {case.id}) for need in case.needs))

    for case in CASES:
        needed(case, frozenset())


@pytest.mark.parametrize("path", ["T11", "t11", "tcp/T11", "TCP/t11", "half-close-queued"])
def test_a_case_is_chosen_by_its_path_its_id_or_its_name(path: str) -> None:
    assert ids(chosen(CASES, only=[path])) == ["T11"]


@pytest.mark.parametrize(("path", "count"), [("tcp", 54), ("udp/", 22), ("client", 34)])
def test_a_room_is_chosen_by_its_path(path: str, count: int) -> None:
    assert len(chosen(CASES, only=[path])) == count


def test_what_was_chosen_comes_in_the_order_of_the_catalogue_and_once() -> None:
    assert ids(chosen(CASES, only=["T11", "T02", "tcp/T11"])) == ["T02", "T11"]


@pytest.mark.parametrize("path", ["T99", "tcp/U01", "", "cp"])
def test_a_path_that_leads_nowhere_is_an_error_of_use(path: str) -> None:
    with pytest.raises(UsageError, match="is no case"):
        chosen(CASES, only=["T01", path])


def test_a_case_of_another_scheme_cannot_be_chosen() -> None:
    with pytest.raises(UsageError, match="'T01' is no case of udp"):
        chosen(CASES, only=["T01"], scheme="udp")


def test_each_level_has_the_cases_of_the_one_below_and_more() -> None:
    levels = [set(ids(chosen(TCP, level=level))) for level in range(1, HIGHEST + 1)]
    assert all(lower < higher for lower, higher in pairwise(levels))
    assert len(levels[-1]) == 54


def test_the_first_level_is_an_echo() -> None:
    assert ids(chosen(TCP, level=1)) == [*(f"T{n:02}" for n in range(1, 13)), "T17"]


def test_the_quick_cases_of_a_level_are_those_of_both() -> None:
    assert set(ids(chosen(TCP, level=1, quick=True))) == QUICK & set(ids(chosen(TCP, level=1)))


def test_a_scheme_has_its_own_cases() -> None:
    tls, unix = (set(ids(chosen(TCP, scheme=scheme))) for scheme in ("tls", "unix"))
    assert "T54" in tls - unix
    assert not {"T24", "T27", "T38", "T42", "T52"} & unix


def test_nothing_chosen_is_an_error_of_use() -> None:
    with pytest.raises(UsageError, match="no case was chosen"):
        chosen(TCP, scheme="udp")
