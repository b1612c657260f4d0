import pytest

from halloo._check.case import AnyCase
from halloo._check.grading import Weights, grade, read_weights
from halloo.errors import UsageError
from tests._check.report.invented import (
    BURST,
    FAILED,
    FIVE,
    HALF_CLOSE,
    HEAD_OF_LINE,
    IDLE,
    NEXT,
    NOT_STARTED,
    SHORT,
    report,
    result,
)


def points(*pairs: tuple[AnyCase, str], weights: str = "", level: int = 4, strict: bool = False) -> float:
    results = tuple(result(case, verdict) for case, verdict in pairs)  # type: ignore[arg-type] # words of the tests
    return grade([report(results, level=level, strict=strict)], read_weights(weights)).points


def test_must_cases_weigh_the_same_and_skips_and_errors_nothing() -> None:
    assert points((SHORT, "PASS"), (HALF_CLOSE, "PASS"), (IDLE, "INFO")) == 100
    assert points((SHORT, "PASS"), (HALF_CLOSE, "FAIL"), (NEXT, "FAIL"), (HEAD_OF_LINE, "PASS")) == 50
    assert points((SHORT, "PASS"), (FIVE, "BLOCKED")) == 50
    assert points((SHORT, "WARN"), (FIVE, "FAIL")) == 50
    for verdict in ("SKIP", "ERROR"):
        assert points((SHORT, "PASS"), (FIVE, verdict)) == 100
    assert grade([report(())]).points == 0


def test_a_should_weighs_nothing_unless_it_is_strict_or_named() -> None:
    pairs = ((SHORT, "PASS"), (BURST, "FAIL"))
    assert points(*pairs) == 100
    assert points(*pairs, strict=True) == 50
    assert points(*pairs, weights="[weights]\nSHOULD = 3") == 25


def test_cases_above_the_level_weigh_nothing_unless_named() -> None:
    pairs = ((SHORT, "PASS"), (HEAD_OF_LINE, "FAIL"))
    assert points(*pairs, level=2) == 100
    assert points(*pairs, level=2, weights="[weights]\nT14 = 1") == 50


def test_the_most_specific_entry_applies() -> None:
    for entries, weight in {
        "MUST = 2": 2,
        "tcp = 3\nMUST = 2": 3,
        "level-3 = 4\ntcp = 3\nMUST = 2": 4,
        "t14 = 5\nlevel-3 = 4\ntcp = 3": 5,
        '"tcp/T14" = 6\nlevel-3 = 4': 6,
        "udp = 7": 1,
        "MUST = 0\ntcp = 5": 0,
    }.items():
        assert read_weights(f"[weights]\n{entries}").weight_of(HEAD_OF_LINE) == weight, entries


def test_an_info_case_weighs_nothing_unless_it_is_named() -> None:
    assert read_weights("[weights]\ntcp = 2\nlevel-4 = 3").weight_of(IDLE) == 0
    assert read_weights("[weights]\nT25 = 2").weight_of(IDLE) == 2


def test_the_marks_add_up_to_the_points() -> None:
    found = grade([report((result(SHORT, "PASS"), FAILED, result(NEXT, "PASS")))])
    assert found.points == 66.67
    assert sum(mark.points for mark in found.marks) == pytest.approx(200 / 3)
    assert sum(mark.max_points for mark in found.marks) == pytest.approx(found.max_points)


def test_reports_of_one_submission_are_graded_together() -> None:
    assert grade([report((result(SHORT, "PASS"),)), report((FAILED,), scheme="tls")]).points == 50
    assert grade([report((result(SHORT, "PASS"),)), NOT_STARTED]).points == 0


def test_the_weights_file_in_the_documentation_can_be_read() -> None:
    text = 'points = 50\n[weights]\nMUST = 2\nSHOULD = 1\n"tcp/T14" = 5'
    assert read_weights(text) == Weights(points=50, by_name={"must": 2, "should": 1, "tcp/t14": 5})


def test_a_mistake_in_the_file_is_named() -> None:
    for text, fact in {
        "points 3": "the weights are not valid TOML",
        "points = " + "[" * 100_000: "the weights are not valid TOML",
        "point = 3": "'point' is not a known key",
        "points = 0": "points is 0",
        "points = true": "points is True",
        "points = inf": "points is inf",
        "weights = 3": "weights is not a table",
        "[weights]\nMUST = -1": "MUST is -1",
        '[weights]\nMUST = "1"': "MUST is '1'",
        **{f"[weights]\n{name} = 1": f"'{name}' has no weight" for name in ("muts", "level-5", "X01", "T99")},
    }.items():
        with pytest.raises(UsageError, match=fact):
            read_weights(text, known=[SHORT])
