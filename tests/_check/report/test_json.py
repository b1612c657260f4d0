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
    assert [*written(report())] == ["schema", "version", "system", "config", "summary", "results", "errors"]
    assert written(report())["schema"] == "halloo.check/1"


def test_the_summary_counts() -> None:
    summary = written(report())["summary"]
    assert summary["verdicts"] == {"pass": 1, "warn": 1, "info": 1, "fail": 2, "error": 1, "blocked": 1, "skip": 1}
    assert (summary["duration_ns"], summary["exit_code"], summary["trouble"]) == (12_300_000_000, 1, None)
    assert (summary["level_reached"], summary["level_needs"]) == (0, ["T09"])
    assert summary["skipped"] == {"needs Linux": 1}


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
        "causes": [{"name": DIAGNOSIS.name, "why": DIAGNOSIS.why, "python": DIAGNOSIS.python, "c": DIAGNOSIS.c}],
        "repeat": "halloo check server --only T09 --seed 7 -- python echo.py PORT",
    }


def test_hints_select_cause_and_fix() -> None:
    for hints, causes in (("none", []), ("cause", [(DIAGNOSIS.name, None, None)])):
        found = json.loads(check_json(report((FAILED,)), hints=hints))["results"][0]["causes"]  # type: ignore[arg-type] # from a tuple
        assert [(each["name"], each["python"], each["c"]) for each in found] == causes


def test_internal_errors_are_counted_by_name() -> None:
    assert written(report())["errors"] == {"Oops": 1}


def test_supplied_values_are_converted_to_json() -> None:
    supplied = {"only": ("T09",), "wait": math.nan, "path": UsageError("x"), "deep": {1: [math.inf, None, True]}}
    assert written(report(supplied=supplied))["config"]["supplied"] == {
        "only": ["T09"],
        "wait": None,
        "path": "x",
        "deep": {"1": [None, None, True]},
    }


def test_a_nan_duration_is_null() -> None:
    assert written(replace(GOOD, seconds=math.nan))["summary"]["duration_ns"] is None


@pytest.mark.parametrize("original", ALL, ids=["all", "good", "hostile", "stuck"])
def test_a_written_report_can_be_read(original: CheckReport) -> None:
    (again,) = read_reports(check_json(original))
    assert check_json(again) == check_json(original)
    assert check_text(again) == check_text(original)
    assert (again.counts, again.exit_code, again.target) == (original.counts, original.exit_code, original.target)


def test_a_case_from_a_report_cannot_be_run() -> None:
    (again,) = read_reports(check_json(GOOD))
    with pytest.raises(NotImplementedError):
        again.results[0].case.run(None)  # type: ignore[arg-type] # any argument


def test_several_reports_are_consecutive_objects() -> None:
    lines = "\n".join(check_json(each, indent=None) for each in ALL)
    assert [each.target for each in read_reports(lines)] == [each.target for each in ALL]
    assert [each.target for each in read_reports(f"{check_json(GOOD)}{check_json(report())}\n \n")] == [
        GOOD.target,
        report().target,
    ]
    assert read_reports("") == ()


def test_a_report_without_indent_is_one_line() -> None:
    assert "\n" not in check_json(report((result(FAILED.case, "FAIL", HOSTILE + "\n"),)), indent=None)


def test_a_truncated_last_line_can_be_ignored() -> None:
    line = check_json(GOOD, indent=None)
    text = f"{line}\n{line[:-20]}"
    assert len(read_reports(text, allow_truncated=True)) == 1
    with pytest.raises(UsageError):
        read_reports(text)


@pytest.mark.parametrize("text", ["hello", "\ufffd\0", "[" * 100_000], ids=["words", "binary", "nested"])
def test_a_file_of_another_kind_is_not_a_truncated_report(text: str) -> None:
    with pytest.raises(UsageError, match="this is not a check report"):
        read_reports(text, allow_truncated=True)


def test_a_truncated_line_in_the_middle_is_refused() -> None:
    line = check_json(GOOD, indent=None)
    with pytest.raises(UsageError, match="not a"):
        read_reports(f"{line[:-20]}\n{line}", allow_truncated=True)


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
def test_anything_but_a_report_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a"):
        read_reports(text)
