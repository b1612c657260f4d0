"""Tests of the catalogue: it is complete and consistent, and cases can be selected."""

from graphlib import TopologicalSorter
from itertools import pairwise

import pytest

from halloo._check.case import MAX_LEVEL, QUICK, AnyCase
from halloo._check.catalogue import cases, choose
from halloo.errors import UsageError

CASES = cases()
TCP = [case for case in CASES if case.id[0] == "T"]


def ids(cases: tuple[AnyCase, ...]) -> list[str]:
    return [case.id for case in cases]


@pytest.mark.parametrize(("kind", "count"), [("T", 54), ("U", 22), ("C", 34)])
def test_every_id_occurs_once_and_in_order(kind: str, count: int) -> None:
    assert [case.id for case in CASES if case.id[0] == kind] == [f"{kind}{n:02}" for n in range(1, count + 1)]


def test_a_case_has_a_description_a_criterion_and_a_source() -> None:
    assert [case.id for case in CASES if not (case.description and case.passes and case.source and case.name)] == []


def test_a_case_needs_only_cases_of_its_schemes_and_none_of_a_higher_level() -> None:
    known = {each.id: each for each in CASES}
    for case in CASES:
        for need in map(known.__getitem__, case.needs.split()):
            assert need.level <= case.level
            assert all(need.runs_over(scheme) for scheme in ("tcp", "tls", "unix", "udp") if case.runs_over(scheme))


def test_needs_have_no_cycles() -> None:
    TopologicalSorter({case.id: case.needs.split() for case in CASES}).prepare()


@pytest.mark.parametrize("path", ["T11", "t11", "tcp/T11", "TCP/t11", "half-close-queued"])
def test_a_case_is_selected_by_path_id_or_name(path: str) -> None:
    assert ids(choose(CASES, only=[path])) == ["T11"]


@pytest.mark.parametrize(("path", "count"), [("tcp", 54), ("udp/", 22), ("client", 34)])
def test_a_kind_is_selected_by_its_path(path: str, count: int) -> None:
    assert len(choose(CASES, only=[path])) == count


def test_selected_cases_are_in_catalogue_order_without_duplicates() -> None:
    assert ids(choose(CASES, only=["T11", "T02", "tcp/T11"])) == ["T02", "T11"]


@pytest.mark.parametrize("path", ["T99", "tcp/U01", "", "cp"])
def test_an_unknown_path_is_a_usage_error(path: str) -> None:
    with pytest.raises(UsageError, match="is no case"):
        choose(CASES, only=["T01", path])


def test_a_case_of_another_scheme_cannot_be_selected() -> None:
    with pytest.raises(UsageError, match="'T01' is no case of udp"):
        choose(CASES, only=["T01"], scheme="udp")


def test_each_level_includes_the_level_below() -> None:
    levels = [set(ids(choose(TCP, level=level))) for level in range(1, MAX_LEVEL + 1)]
    assert all(lower < higher for lower, higher in pairwise(levels))
    assert len(levels[-1]) == 54


def test_level_1_is_a_plain_echo() -> None:
    assert ids(choose(TCP, level=1)) == [*(f"T{n:02}" for n in range(1, 13)), "T17"]


def test_quick_and_level_can_be_combined() -> None:
    assert set(ids(choose(TCP, level=1, quick=True))) == QUICK & set(ids(choose(TCP, level=1)))


def test_cases_depend_on_the_scheme() -> None:
    tls, unix = (set(ids(choose(TCP, scheme=scheme))) for scheme in ("tls", "unix"))
    assert "T54" in tls - unix
    assert not {"T24", "T27", "T38", "T42", "T52"} & unix


def test_an_empty_selection_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no case was chosen"):
        choose(TCP, scheme="udp")
