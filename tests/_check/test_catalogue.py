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


def test_every_id_occurs_once_and_in_order() -> None:
    for kind, path, count in (("T", "tcp", 54), ("U", "udp/", 22), ("C", "client", 34)):
        known = [f"{kind}{n:02}" for n in range(1, count + 1)]
        assert [case.id for case in CASES if case.id[0] == kind] == ids(choose(CASES, only=[path])) == known


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


def test_a_case_is_selected_by_path_id_or_name() -> None:
    for path in ("T11", "t11", "tcp/T11", "TCP/t11", "half-close-queued"):
        assert ids(choose(CASES, only=[path])) == ["T11"]
    assert ids(choose(CASES, only=["T11", "T02", "tcp/T11"])) == ["T02", "T11"]
    for path in ("T99", "tcp/U01", "", "cp"):
        with pytest.raises(UsageError, match="is no case"):
            choose(CASES, only=["T01", path])


def test_a_case_of_another_scheme_cannot_be_selected() -> None:
    with pytest.raises(UsageError, match="'T01' is no case of udp"):
        choose(CASES, only=["T01"], scheme="udp")


def test_each_level_includes_the_level_below_and_can_be_combined_with_quick() -> None:
    levels = [set(ids(choose(TCP, level=level))) for level in range(1, MAX_LEVEL + 1)]
    assert all(lower < higher for lower, higher in pairwise(levels))
    assert levels[0] == {*(f"T{n:02}" for n in range(1, 13)), "T17"}
    assert len(levels[-1]) == 54
    assert set(ids(choose(TCP, level=1, quick=True))) == QUICK & levels[0]


def test_cases_depend_on_the_scheme() -> None:
    tls, unix = (set(ids(choose(TCP, scheme=scheme))) for scheme in ("tls", "unix"))
    assert "T54" in tls - unix
    assert not {"T24", "T27", "T38", "T42", "T52"} & unix


def test_an_empty_selection_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no case was chosen"):
        choose(TCP, scheme="udp")
