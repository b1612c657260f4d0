"""Diagnoses refer to existing cases, have an explanation and a fix, and are ranked by likelihood."""

from halloo._check.catalogue import cases
from halloo._check.diagnoses import MAX_CAUSES, diagnoses, likely_causes
from halloo._check.fixes import fixes

CLOSED_EARLY = "the connection is closed before everything was sent"
ACCEPT = "a failing accept() ends the server, or spins"
IGNORED = "the result of send() is ignored"


def test_a_diagnosis_names_existing_cases_and_has_an_explanation_and_a_fix() -> None:
    known = {case.id for case in cases()}
    for diagnosis in diagnoses():
        assert set() < diagnosis.cases <= known, diagnosis.name
        assert diagnosis.why.endswith("."), diagnosis.name
        assert diagnosis.fixes == fixes(diagnosis.id), diagnosis.name
        assert diagnosis.fixes, diagnosis.name
    assert len({diagnosis.name for diagnosis in diagnoses()}) == len(diagnoses())


def test_pattern_and_other_failures_decide_the_likeliest() -> None:
    for case, pattern, failed, name in (
        ("T17", "gap", "T17", IGNORED),
        ("T17", "gap:851", "T17", IGNORED),
        ("T12", "reset", "T12", "the connection is closed with bytes unread"),
        ("T20", "ended", "T20", ACCEPT),
        ("T20", "ended", "T18 T19 T20 T22", "one client's error ends the server"),
        ("T33", "cut", "T33", IGNORED),
        ("T33", "cut", "T09 T11 T12 T17 T33 T49 T50", CLOSED_EARLY),
    ):
        assert likely_causes(case, pattern, failed.split())[0].name == name


def test_a_matching_pattern_excludes_other_diagnoses_and_none_excludes_no_case() -> None:
    assert [each.name for each in likely_causes("T21", "zombies", {"T21"})] == ["an exited child process is not reaped"]
    assert [each.name for each in likely_causes("T14", "changed", {"T14"})] == ["one client at a time"]
    assert likely_causes("T42", "", {"T42"}) == ()
    assert len(likely_causes("T12", "cut", {"T12"})) == MAX_CAUSES
