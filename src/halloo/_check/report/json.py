"""A check as JSON, and back: `halloo.check/1`, one object a report.

Knows the names of its parts. Several reports are several objects, one after another, in one file or in many joined. An
object says everything itself, so that it can be read without the catalogue that it came from.

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
from halloo._check.report.summary import MARKS, reasons, standing
from halloo._check.results import CheckReport, Result
from halloo._output.json import plain_json, system, version
from halloo.errors import UsageError

SCHEMA = "halloo.check/1"
SECOND = 1_000_000_000
_Object = dict[str, Any]


def check_json(report: CheckReport, *, hints: Hints = "fix", indent: int | None = 2) -> str:
    """Write a report as an object; without `indent` on one line, to be appended to others."""
    return json.dumps(_told(report, hints), indent=indent, allow_nan=False)


def _told(report: CheckReport, hints: Hints) -> _Object:
    effective = {name: getattr(report, name) for name in ("target", "kind", "scheme", "seed", "level", "strict")}
    return {
        "schema": SCHEMA,
        "version": version(),
        "system": system(),
        "config": {"effective": effective | {"hints": hints}, "supplied": plain_json(report.supplied)},
        "summary": _summary(report),
        "results": [_result(result, hints) for result in report.results],
        "errors": dict(Counter(_named(each.text) for each in report.results if each.verdict == "ERROR")),
    }


def _summary(report: CheckReport) -> _Object:
    at = standing(report)
    return {
        "started": report.started or None,
        "duration_ns": _ns(report.seconds),
        "exit_code": report.exit_code,
        "trouble": report.trouble or None,
        "verdicts": {verdict.lower(): report.counts.get(verdict, 0) for verdict in MARKS},
        "level_reached": at.reached if at else None,
        "level_needs": list(at.needs) if at else [],
        "skipped": {why: len(ids) for why, ids in reasons(report, "SKIP").items()},
    }


def _result(result: Result, hints: Hints) -> _Object:
    case, evidence = result.case, result.evidence
    at = (
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
        "evidence": at,
        "causes": [] if hints == "none" else [_cause(cause, hints) for cause in result.causes],
        "repeat": result.repeat or None,
    }


def _cause(cause: Diagnosis, hints: Hints) -> _Object:
    fix = {"python": cause.python or None, "c": cause.c or None} if hints == "fix" else {"python": None, "c": None}
    return {"name": cause.name, "why": cause.why, **fix}


def _ns(seconds: float) -> int | None:
    return round(seconds * SECOND) if math.isfinite(seconds) else None


def _named(trace: str) -> str:
    """Give the name of the exception that ends a traceback."""
    return headline(trace).partition(":")[0].rpartition(".")[2] or "Exception"


def read(text: str, *, torn: bool = False) -> tuple[CheckReport, ...]:
    """Read reports, one object after another. `torn` passes over a last one that was cut off while it was written.

    Raises UsageError when it is something else.
    """
    try:
        return tuple(_reports(text, torn))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"this is no report of a check ({type(error).__name__}: {error})", _REMEDY) from error


_REMEDY = "give what `halloo check --json` has written"


def _reports(text: str, torn: bool) -> Iterator[CheckReport]:
    decoder, place = json.JSONDecoder(), 0
    while place < len(text) and (place := len(text) - len(text[place:].lstrip())) < len(text):
        try:
            found, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError:
            if torn and "\n" not in text[place:].rstrip("\n"):
                return
            raise
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            raise UsageError(f"this is no report of the schema {SCHEMA}", _REMEDY)
        yield _report(found)


def _report(found: _Object) -> CheckReport:
    effective, summary = found["config"]["effective"], found["summary"]
    return CheckReport(
        target=str(effective["target"]),
        kind=str(effective["kind"]),
        scheme=str(effective["scheme"]),
        seed=int(effective["seed"]),
        level=int(effective["level"]),
        strict=bool(effective["strict"]),
        seconds=(summary["duration_ns"] or 0) / SECOND,
        results=tuple(map(_read_result, found["results"])),
        started=summary["started"] or "",
        trouble=summary["trouble"] or "",
        supplied=dict(found["config"]["supplied"]),
    )


def _read_result(found: _Object) -> Result:
    at = found["evidence"]
    if found["verdict"] not in MARKS or found["severity"] not in ("MUST", "SHOULD", "INFO"):
        raise ValueError(f"{found['verdict']!r}, {found['severity']!r}")
    return Result(
        case=_read_case(found),
        verdict=found["verdict"],
        text=found["text"],
        seconds=(found["duration_ns"] or 0) / SECOND,
        evidence=Evidence(at["offset"], bytes.fromhex(at["expected"]), bytes.fromhex(at["came"])) if at else None,
        pattern=found["pattern"] or "",
        causes=tuple(
            Diagnosis(
                name=each["name"],
                why=each["why"],
                python=each["python"] or "",
                c=each["c"] or "",
                cases=frozenset(),
            )
            for each in found["causes"]
        ),
        repeat=found["repeat"] or "",
    )


def _read_case(found: _Object) -> Case:
    """Make a case that has the same id, name and deed, which are those of its function; it cannot be asked again."""

    def run(_: object) -> NoReturn:
        raise NotImplementedError("a case that was read from a report")

    if found["id"][:1] not in ("T", "U", "C"):
        raise ValueError(found["id"])
    run.__name__ = f"{found['id']}_{found['name']}".replace("-", "_").lower()
    run.__doc__ = found["does"]
    return Case(
        run=run, passes=found["passes"], severity=found["severity"], source=found["source"], needs=tuple(found["needs"])
    )
