"""Diagnoses refer to existing cases and facts, and a mistake is named only where one of its signs was seen."""

import re
from pathlib import Path

import halloo._check
from halloo._check.catalogue import cases
from halloo._check.diagnoses import Diagnosis, Seen, diagnose, diagnoses, holds
from halloo._check.server import probe

FAILED, PASSED, BLOCKED = Seen("FAIL", frozenset({"cut", "at-1024"})), Seen("PASS"), Seen("BLOCKED")
SEEN = {"T05": FAILED, "T09": PASSED, "T12": BLOCKED, "T17": Seen("WARN"), "T29": Seen("ERROR")}
FACTS = {"waits-for-newline"}


def mistake(id: str, *signs: str, explains: str) -> Diagnosis:  # noqa: A002 - a key
    return Diagnosis(
        id=id, name=id, why="", signs=tuple(tuple(each.split()) for each in signs), explains=frozenset(explains.split())
    )


def test_a_diagnosis_names_existing_cases_words_and_facts() -> None:
    known = {case.id for case in cases()}
    source = "".join(path.read_text("utf-8") for path in Path(halloo._check.__file__).parent.rglob("*.py"))
    facts = {*re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", probe.__doc__ or "")}
    for diagnosis in diagnoses():
        assert diagnosis.why.endswith("."), diagnosis.id
        assert diagnosis.signs, diagnosis.id
        words = [word for sign in diagnosis.signs for word in sign]
        named = [each.lstrip("+-!").partition(":") for each in [*words, *diagnosis.explains]]
        assert {case for case, _, _ in named if case.isupper()} <= known, diagnosis.id
        assert {fact for fact, _, _ in named if fact.islower()} <= facts, diagnosis.id
        for way in {way for _, _, way in named} - {""}:
            assert re.sub(r"-(N|\d+)$", "-", way) in source or way[0].isupper(), f"{diagnosis.id}: no {way}"
        assert {case.partition(":")[0][0] for case in diagnosis.explains} <= set("TUC"), diagnosis.id
    ids = [each.id for each in diagnoses()]
    assert len(set(ids)) == len(ids)


def test_the_words_of_a_sign() -> None:
    for word, holding in {
        "T05": True,
        "T05:cut": True,
        "T05:at-1024": True,
        "T05:at-N": True,
        "T05:gap": False,
        "T05:ended-N": False,
        "T09": False,
        "T12": False,
        "T29": False,  # an error of the checker is no failure
        "T31": False,
        "*:cut": True,
        "*:gap": False,
        "+T09": True,
        "+T17": True,
        "+T05": False,
        "+T12": False,
        "+T31": False,
        "-T09": True,
        "-T12": True,
        "-T31": True,
        "-T05": False,
        "waits-for-newline": True,
        "!waits-for-newline": False,
        "cut-at-nul": False,
        "!cut-at-nul": True,
    }.items():
        assert holds(word, SEEN, FACTS) is holding, word


def test_the_first_mistake_with_a_sign_claims_the_failures_that_it_explains() -> None:
    seen = {
        case: Seen("FAIL", frozenset({way})) for case, way in {"T01": "short", "T03": "silent", "T28": "cut"}.items()
    }
    none = mistake("no sign of it", "T01:gap", "T01 T44", explains="T01 T03")
    first = mistake("first", "T01:gap", "T01 T03", explains="T01 T05 T28:short")
    second = mistake("second", "T01", explains="T01 T03")
    nothing_left = mistake("nothing left", "T01", explains="T01")
    found = diagnose(seen, (), (none, first, second, nothing_left))
    assert {case: each.id for case, each in found.items()} == {"T01": "first", "T03": "second"}
    assert diagnose({}, (), (first,)) == {}
