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
from typing import Any

from halloo._check.case import KINDS, AnyCase, Evidence
from halloo._check.diagnoses import Diagnosis
from halloo._check.language import LANGUAGES
from halloo._check.report.view import SYMBOLS, Hints, headline, level_result, reasons
from halloo._check.results import INTERRUPTED, CheckReport, Result
from halloo._output.json import plain_json, system, version
from halloo.errors import UsageError

SCHEMA = "halloo.check/1"
SECOND = 1_000_000_000
_EFFECTIVE = {"target": str, "kind": str, "scheme": str, "seed": int, "level": int, "strict": bool}
_REMEDY = "pass a file written by `halloo check --json`"
_Object = dict[str, Any]


def check_json(report: CheckReport, *, hints: Hints = "fix", indent: int | None = 2) -> str:
    """Write a report as an object; with `indent=None` on one line, as JSON Lines."""
    level = level_result(report)
    errors = (headline(each.text).partition(":")[0] for each in report.results if each.verdict == "ERROR")
    document = {
        "schema": SCHEMA,
        "version": version(),
        "system": system(),
        "config": {
            "effective": {name: getattr(report, name) for name in _EFFECTIVE}
            | {"language": report.language, "hints": hints},
            "supplied": plain_json(report.supplied),
        },
        "summary": {
            "started": report.started or None,
            "duration_ns": _ns(report.seconds),
            "exit_code": report.exit_code,
            "trouble": report.trouble or None,
            "facts": list(report.facts),
            "verdicts": {verdict.lower(): report.counts.get(verdict, 0) for verdict in SYMBOLS},
            "level_reached": level.reached if level else None,
            "level_needs": list(level.needs) if level else [],
            "skipped": {why: len(ids) for why, ids in reasons(report, "SKIP").items()},
        },
        "results": [_result(result, hints) for result in report.results],
        "errors": dict(Counter(error.rpartition(".")[2] or "Exception" for error in errors)),
    }
    return json.dumps(document, indent=indent, allow_nan=False)


def _result(result: Result, hints: Hints) -> _Object:
    case, found = result.case, result.evidence
    return {
        "id": case.id,
        "path": case.path,
        "name": case.name,
        "does": case.description,
        "passes": case.passes,
        "severity": case.severity,
        "source": case.source,
        "level": case.level,
        "needs": case.needs.split(),
        "verdict": result.verdict,
        "text": result.text,
        "pattern": result.pattern or None,
        "duration_ns": _ns(result.seconds),
        "evidence": found and {"offset": found.offset, "expected": found.expected.hex(), "came": found.received.hex()},
        "causes": [] if hints == "none" else [_cause(cause, fix=hints == "fix") for cause in result.causes],
        "repeat": result.repeat or None,
    }


def _cause(cause: Diagnosis, *, fix: bool) -> _Object:
    fixes: _Object = {language: cause.fixes.get(language) if fix else None for language in LANGUAGES}
    return {"id": cause.id or None, "name": cause.name, "why": cause.why, **fixes}


def _ns(seconds: float) -> int | None:
    return round(seconds * SECOND) if math.isfinite(seconds) else None


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
        effective, summary = record["config"]["effective"], record["summary"]
        values: _Object = {name: convert(effective[name]) for name, convert in _EFFECTIVE.items()}
        yield CheckReport(
            **values,
            seconds=(summary["duration_ns"] or 0) / SECOND,
            results=tuple(map(_read_result, record["results"])),
            started=summary["started"] or "",
            trouble=summary["trouble"] or "",
            facts=tuple(map(str, summary.get("facts", ()))),
            interrupted=summary["exit_code"] == INTERRUPTED,
            supplied=dict(record["config"]["supplied"]),
            language=next((each for each in LANGUAGES if each == effective.get("language")), None),
        )


def _read_result(record: _Object) -> Result:
    found = record["evidence"]
    words = record["verdict"], record["severity"], record["id"][:1]
    if words[0] not in SYMBOLS or words[1] not in ("MUST", "SHOULD", "INFO") or words[2] not in KINDS:
        raise ValueError(words)
    case = AnyCase(record["severity"], record["passes"], record["source"], " ".join(record["needs"]))
    return Result(
        case=case.of(f"{record['id']}_{record['name']}", record["does"]),
        verdict=record["verdict"],
        text=record["text"],
        seconds=(record["duration_ns"] or 0) / SECOND,
        evidence=found and Evidence(found["offset"], bytes.fromhex(found["expected"]), bytes.fromhex(found["came"])),
        pattern=record["pattern"] or "",
        causes=tuple(map(_read_cause, record["causes"])),
        repeat=record["repeat"] or "",
    )


def _read_cause(cause: _Object) -> Diagnosis:
    fixes = {language: cause[language] for language in LANGUAGES if cause.get(language)}
    return Diagnosis(id=cause.get("id") or "", name=cause["name"], why=cause["why"], fixes=fixes)
