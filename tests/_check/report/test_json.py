import json
import math
from dataclasses import replace
from typing import Any

import pytest

from halloo._check.report.json import check_json, read
from halloo._check.report.text import check_text
from halloo._check.results import CheckReport
from halloo.errors import UsageError
from tests._check.report.invented import ALL, FAILED, GOOD, HOSTILE, MISTAKE, report, result


def told(of: CheckReport) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(check_json(of), parse_constant=pytest.fail)
    return found


def test_it_has_the_parts_that_every_report_of_halloo_has() -> None:
    assert [*told(report())] == ["schema", "version", "system", "config", "summary", "results", "errors"]
    assert told(report())["schema"] == "halloo.check/1"


def test_the_summary_counts() -> None:
    summary = told(report())["summary"]
    assert summary["verdicts"] == {"pass": 1, "warn": 1, "info": 1, "fail": 2, "error": 1, "blocked": 1, "skip": 1}
    assert (summary["duration_ns"], summary["exit_code"], summary["trouble"]) == (12_300_000_000, 1, None)
    assert (summary["level_reached"], summary["level_needs"]) == (0, ["T09"])
    assert summary["skipped"] == {"needs Linux": 1}


def test_a_result_says_everything() -> None:
    (found,) = told(report((FAILED,)))["results"]
    assert found == {
        "id": "T09",
        "path": "tcp/T09",
        "name": "half-close",
        "does": "Send 4 bytes, then half-close.",
        "passes": "the reply, then the end within 3 s",
        "severity": "MUST",
        "source": "RFC 9293 3.6; nmap#962",
        "level": 1,
        "needs": [],
        "verdict": "FAIL",
        "text": "the end came after 34 of 84 bytes",
        "pattern": "cut",
        "duration_ns": 3_100_000_000,
        "evidence": {"offset": 34, "expected": (b"A" * 32 + b"\x1b[31m<b>&|" + b"Z" * 22).hex(), "came": "41" * 32},
        "causes": [{"name": MISTAKE.name, "why": MISTAKE.why, "python": MISTAKE.python, "c": MISTAKE.c}],
        "repeat": "halloo check server --only T09 --seed 7 -- python echo.py PORT",
    }


def test_hints_are_obeyed() -> None:
    for hints, causes in (("none", []), ("cause", [(MISTAKE.name, None, None)])):
        found = json.loads(check_json(report((FAILED,)), hints=hints))["results"][0]["causes"]  # type: ignore[arg-type] # a loop's word
        assert [(each["name"], each["python"], each["c"]) for each in found] == causes


def test_our_own_faults_are_counted_by_name() -> None:
    assert told(report())["errors"] == {"Oops": 1}


def test_what_the_user_said_is_kept_as_json_has_it() -> None:
    supplied = {"only": ("T09",), "wait": math.nan, "path": UsageError("x"), "deep": {1: [math.inf, None, True]}}
    assert told(report(supplied=supplied))["config"]["supplied"] == {
        "only": ["T09"],
        "wait": None,
        "path": "x",
        "deep": {"1": [None, None, True]},
    }


def test_time_that_is_no_number_is_null() -> None:
    assert told(replace(GOOD, seconds=math.nan))["summary"]["duration_ns"] is None


@pytest.mark.parametrize("original", ALL, ids=["all", "good", "hostile", "stuck"])
def test_what_was_written_can_be_read(original: CheckReport) -> None:
    (again,) = read(check_json(original))
    assert check_json(again) == check_json(original)
    assert check_text(again) == check_text(original)
    assert (again.counts, again.exit_code, again.target) == (original.counts, original.exit_code, original.target)


def test_what_was_read_cannot_be_asked_again() -> None:
    (again,) = read(check_json(GOOD))
    with pytest.raises(NotImplementedError):
        again.results[0].case.run(None)  # type: ignore[arg-type] # whatever it is given


def test_several_reports_stand_one_after_another() -> None:
    lines = "\n".join(check_json(each, indent=None) for each in ALL)
    assert [each.target for each in read(lines)] == [each.target for each in ALL]
    assert [each.target for each in read(f"{check_json(GOOD)}{check_json(report())}\n \n")] == [
        GOOD.target,
        report().target,
    ]
    assert read("") == ()


def test_one_on_a_line_has_no_second_line() -> None:
    assert "\n" not in check_json(report((result(FAILED.case, "FAIL", HOSTILE + "\n"),)), indent=None)


def test_a_last_line_that_was_cut_off_can_be_passed_over() -> None:
    line = check_json(GOOD, indent=None)
    text = f"{line}\n{line[:-20]}"
    assert len(read(text, torn=True)) == 1
    with pytest.raises(UsageError):
        read(text)


def test_a_line_that_is_broken_in_the_middle_is_no_torn_one() -> None:
    line = check_json(GOOD, indent=None)
    with pytest.raises(UsageError, match="no report"):
        read(f"{line[:-20]}\n{line}", torn=True)


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "[]",
        "{}",
        '{"schema": "halloo.bench/1"}',
        '{"schema": "halloo.check/1"}',
        check_json(report((FAILED,))).replace('"FAIL"', '"<b>"'),
        check_json(report((FAILED,))).replace('"MUST"', '"<b>"'),
        check_json(report((FAILED,))).replace('"T09"', '"X09"'),
        check_json(report((FAILED,))).replace('"came": "41', '"came": "zz'),
    ],
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no report"):
        read(text)
