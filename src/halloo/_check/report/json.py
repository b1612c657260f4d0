"""A check as JSON, and back: schema `halloo.check/1`, one object per report.

Several reports are several objects one after another, in one file or in concatenated files. An object is complete: it
can be read without the case catalogue.

    {"schema", "version", "system": {...}, "config": {"effective": {...}, "supplied": {...}},
     "summary": {...}, "results": [{...}], "errors": {name: count}}
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

from halloo._check.case import Case, Evidence
from halloo._check.diagnoses import Diagnosis
from halloo._check.report.finding import Hints, headline
from halloo._check.report.summary import SYMBOLS, level_result, reasons
from halloo._check.results import INTERRUPTED, CheckReport, Result
from halloo._output.json import plain_json, system, version
from halloo.errors import UsageError

SCHEMA = "halloo.check/1"
SECOND = 1_000_000_000
_Object = dict[str, Any]


def check_json(report: CheckReport, *, hints: Hints = "fix", indent: int | None = 2) -> str:
    """Write a report as an object; with `indent=None` on one line, as JSON Lines."""
    return json.dumps(_report_object(report, hints), indent=indent, allow_nan=False)


def _report_object(report: CheckReport, hints: Hints) -> _Object:
    effective = {name: getattr(report, name) for name in ("target", "kind", "scheme", "seed", "level", "strict")}
    return {
        "schema": SCHEMA,
        "version": version(),
        "system": system(),
        "config": {"effective": effective | {"hints": hints}, "supplied": plain_json(report.supplied)},
        "summary": _summary(report),
        "results": [_result(result, hints) for result in report.results],
        "errors": dict(Counter(_exception_name(each.text) for each in report.results if each.verdict == "ERROR")),
    }


def _summary(report: CheckReport) -> _Object:
    level = level_result(report)
    return {
        "started": report.started or None,
        "duration_ns": _ns(report.seconds),
        "exit_code": report.exit_code,
        "trouble": report.trouble or None,
        "verdicts": {verdict.lower(): report.counts.get(verdict, 0) for verdict in SYMBOLS},
        "level_reached": level.reached if level else None,
        "level_needs": list(level.needs) if level else [],
        "skipped": {why: len(ids) for why, ids in reasons(report, "SKIP").items()},
    }


def _result(result: Result, hints: Hints) -> _Object:
    case, evidence = result.case, result.evidence
    evidence_object = (
        {"offset": evidence.offset, "expected": evidence.expected.hex(), "came": evidence.received.hex()}
        if evidence
        else None
    )
    return {
        "id": case.id,
        "path": case.path,
        "name": case.name,
        "does": case.description,
        "passes": case.passes,
        "severity": case.severity,
        "source": case.source,
        "level": case.level,
        "needs": list(case.needs),
        "verdict": result.verdict,
        "text": result.text,
        "pattern": result.pattern or None,
        "duration_ns": _ns(result.seconds),
        "evidence": evidence_object,
        "causes": [] if hints == "none" else [_cause(cause, hints) for cause in result.causes],
        "repeat": result.repeat or None,
    }


def _cause(cause: Diagnosis, hints: Hints) -> _Object:
    fix = {"python": cause.python or None, "c": cause.c or None} if hints == "fix" else {"python": None, "c": None}
    return {"name": cause.name, "why": cause.why, **fix}


def _ns(seconds: float) -> int | None:
    return round(seconds * SECOND) if math.isfinite(seconds) else None


def _exception_name(trace: str) -> str:
    return headline(trace).partition(":")[0].rpartition(".")[2] or "Exception"


def read_reports(text: str, *, allow_truncated: bool = False) -> tuple[CheckReport, ...]:
    """Read reports, one object after another; `allow_truncated` ignores an incomplete last line.

    Raises UsageError for anything else.
    """
    try:
        return tuple(_reports(text, allow_truncated))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"this is not a check report ({type(error).__name__}: {error})", _REMEDY) from error


_REMEDY = "pass a file written by `halloo check --json`"


def _reports(text: str, allow_truncated: bool) -> Iterator[CheckReport]:
    decoder, offset = json.JSONDecoder(), 0
    while offset < len(text) and (offset := len(text) - len(text[offset:].lstrip())) < len(text):
        try:
            record, offset = decoder.raw_decode(text, offset)
        except json.JSONDecodeError:
            if allow_truncated and text[offset] == "{" and "\n" not in text[offset:].rstrip("\n"):
                return
            raise
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise UsageError(f"this is not a report of schema {SCHEMA}", _REMEDY)
        yield _report(record)


def _report(record: _Object) -> CheckReport:
    effective, summary = record["config"]["effective"], record["summary"]
    return CheckReport(
        target=str(effective["target"]),
        kind=str(effective["kind"]),
        scheme=str(effective["scheme"]),
        seed=int(effective["seed"]),
        level=int(effective["level"]),
        strict=bool(effective["strict"]),
        seconds=(summary["duration_ns"] or 0) / SECOND,
        results=tuple(map(_read_result, record["results"])),
        started=summary["started"] or "",
        trouble=summary["trouble"] or "",
        interrupted=summary["exit_code"] == INTERRUPTED,
        supplied=dict(record["config"]["supplied"]),
    )


def _read_result(record: _Object) -> Result:
    evidence = record["evidence"]
    if record["verdict"] not in SYMBOLS or record["severity"] not in ("MUST", "SHOULD", "INFO"):
        raise ValueError(f"{record['verdict']!r}, {record['severity']!r}")
    return Result(
        case=_read_case(record),
        verdict=record["verdict"],
        text=record["text"],
        seconds=(record["duration_ns"] or 0) / SECOND,
        evidence=Evidence(evidence["offset"], bytes.fromhex(evidence["expected"]), bytes.fromhex(evidence["came"]))
        if evidence
        else None,
        pattern=record["pattern"] or "",
        causes=tuple(
            Diagnosis(
                name=each["name"], why=each["why"], python=each["python"] or "", c=each["c"] or "", cases=frozenset()
            )
            for each in record["causes"]
        ),
        repeat=record["repeat"] or "",
    )


def _read_case(record: _Object) -> Case:
    """Make a case with the id, name and description of the report; it cannot be run again."""

    def run(_: object) -> NoReturn:
        raise NotImplementedError("a case read from a report cannot be run")

    if record["id"][:1] not in ("T", "U", "C"):
        raise ValueError(record["id"])
    run.__name__ = f"{record['id']}_{record['name']}".replace("-", "_").lower()
    run.__doc__ = record["does"]
    return Case(
        run=run,
        passes=record["passes"],
        severity=record["severity"],
        source=record["source"],
        needs=tuple(record["needs"]),
    )
