"""A check as JSON, and back."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from halloo._check.report.json import check_json, read_reports
from halloo._check.report.text import check_text
from halloo._check.results import CheckReport
from halloo.errors import UsageError
from tests._check.report.invented import ALL, DIAGNOSIS, FAILED, GOOD, HOSTILE, report, result


def written(of: CheckReport) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(check_json(of), parse_constant=pytest.fail)
    return found


def test_a_report_has_the_keys_of_every_halloo_report() -> None:
    found = written(report())
    assert [*found] == ["schema", "version", "system", "config", "summary", "results", "errors"]
    assert (found["schema"], found["errors"]) == ("halloo.check/1", {"Oops": 1})
    assert found["summary"] == {
        "started": "2026-01-02T03:04:05+00:00",
        "duration_ns": 12_300_000_000,
        "exit_code": 1,
        "trouble": None,
        "facts": [],
        "verdicts": {"pass": 1, "warn": 1, "info": 1, "fail": 2, "error": 1, "blocked": 1, "skip": 1},
        "level_reached": 0,
        "level_needs": ["T09"],
        "skipped": {"needs Linux": 1},
    }


def test_a_result_is_complete() -> None:
    (found,) = written(report((FAILED,)))["results"]
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
        "causes": [
            {"id": DIAGNOSIS.id, "name": DIAGNOSIS.name, "why": DIAGNOSIS.why, "java": None, "javascript": None}
            | dict(DIAGNOSIS.fixes.items())
        ],
        "repeat": "halloo check server --only T09 --seed 7 -- python echo.py PORT",
    }


def test_hints_select_cause_and_fix() -> None:
    assert json.loads(check_json(report((FAILED,)), hints="none"))["results"][0]["causes"] == []
    (cause,) = json.loads(check_json(report((FAILED,)), hints="cause"))["results"][0]["causes"]
    assert (cause["name"], cause["python"], cause["c"]) == (DIAGNOSIS.name, None, None)


def test_the_language_of_the_program_is_kept() -> None:
    of_go = replace(report((FAILED,)), language="go")
    (again,) = read_reports(check_json(of_go))
    assert again.language == "go"
    assert check_text(again) == check_text(of_go)
    assert "conn.Close()" in check_text(again)


def test_a_report_of_an_earlier_version_can_be_read() -> None:
    """It names no language, and a cause has no id, and fixes in Python and C only."""
    document = written(report((FAILED,)))
    del document["config"]["effective"]["language"]
    for name in ("id", "java", "go", "javascript"):
        del document["results"][0]["causes"][0][name]
    (again,) = read_reports(json.dumps(document))
    assert again.language is None
    assert again.results[0].causes[0].fixes == {name: DIAGNOSIS.fixes[name] for name in ("python", "c")}


def test_an_unknown_language_of_a_later_version_is_ignored() -> None:
    (again,) = read_reports(check_json(replace(report(), language="java")).replace('"java"', '"zig"'))
    assert again.language is None


def test_values_are_converted_to_json() -> None:
    supplied = {"only": ("T09",), "wait": math.nan, "path": UsageError("x"), "deep": {1: [math.inf, None, True]}}
    found = written(replace(report(supplied=supplied), seconds=math.nan))
    expected = {"only": ["T09"], "wait": None, "path": "x", "deep": {"1": [None, None, True]}}
    assert (found["config"]["supplied"], found["summary"]["duration_ns"]) == (expected, None)


@pytest.mark.parametrize("original", ALL, ids=["all", "good", "hostile", "stuck"])
def test_a_written_report_can_be_read_but_its_cases_not_be_run(original: CheckReport) -> None:
    (again,) = read_reports(check_json(original))
    assert check_json(again) == check_json(original)
    assert check_text(again) == check_text(original)
    assert (again.counts, again.exit_code, again.target) == (original.counts, original.exit_code, original.target)
    for each in again.results:
        with pytest.raises(NotImplementedError):
            each.case.run(None)


def test_several_reports_are_consecutive_objects() -> None:
    lines = [check_json(each, indent=None) for each in (*ALL, report((result(FAILED.case, "FAIL", f"{HOSTILE}\n"),)))]
    assert not any("\n" in line for line in lines)
    assert [each.target for each in read_reports("\n".join(lines))] == [*(each.target for each in ALL), ALL[0].target]
    assert len(read_reports(f"{check_json(GOOD)}{check_json(report())}\n \n")) == 2
    assert read_reports("") == ()


def test_only_a_truncated_last_line_can_be_ignored() -> None:
    line = check_json(GOOD, indent=None)
    assert len(read_reports(f"{line}\n{line[:-20]}", allow_truncated=True)) == 1
    with pytest.raises(UsageError, match="not a"):
        read_reports(f"{line}\n{line[:-20]}")
    for text in (f"{line[:-20]}\n{line}", "hello", "\ufffd\0", "[" * 100_000):
        with pytest.raises(UsageError, match="this is not a check report"):
            read_reports(text, allow_truncated=True)


def test_anything_but_a_report_is_refused() -> None:
    changes = (('"FAIL"', '"<b>"'), ('"MUST"', '"<b>"'), ('"T09"', '"X09"'), ('"came": "41', '"came": "zz'))
    changed = (check_json(report((FAILED,))).replace(*change) for change in changes)
    for text in ("hello", "[]", "{}", '{"schema": "halloo.bench/1"}', '{"schema": "halloo.check/1"}', *changed):
        with pytest.raises(UsageError, match="not a"):
            read_reports(text)
