"""A ping as JSON: the report as one object, or events as they happen, one object a line.

    {"event": "start" | "probe" | "interval" | "error" | "end", "data": {...}}

NaN becomes null, and values without a JSON form become text.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from halloo._output.files import Write
from halloo._output.json import plain_json
from halloo._ping.report import PingReport, ProbeEvent, event_dict


def ping_json(report: PingReport, *, indent: int | None = 2) -> str:
    """Return a report as a JSON object; on one line without `indent`."""
    return _encode(report.to_dict(), indent)


class PingStream:
    """Writes an object a line, at once. A sink of `halloo._ping.run`.

    `start` lists the targets and the configuration, `probe` is the outcome of a probe, `error` an error instead,
    `interval` an intermediate summary, and `end` the report.
    """

    def __init__(self, write: Write) -> None:
        self._write_text = write

    def begin(self, report: PingReport, snapshot: Callable[[], PingReport]) -> None:  # noqa: ARG002 - Sink's signature
        full = report.to_dict()
        names = ("label", "address", "peer", "local", "dscp", "ttl")
        targets = [{name: getattr(target, name) for name in names} for target in report.targets]
        config = {name: full[name] for name in ("schema", "version", "system", "config")}
        self._write("start", config | {"started_ns": report.started_ns, "targets": targets})

    def probe(self, event: ProbeEvent) -> None:
        self._write("error" if event.outcome == "error" else "probe", event_dict(event))

    def interim(self, report: PingReport) -> None:
        self._write("interval", report.to_dict()["summary"])

    def end(self, report: PingReport) -> None:
        self._write("end", report.to_dict())

    def _write(self, event: str, data: Mapping[str, Any]) -> None:
        self._write_text(f"{_encode({'event': event, 'data': data}, None)}\n")


def _encode(value: object, indent: int | None) -> str:
    return json.dumps(plain_json(value), indent=indent, allow_nan=False)


class ReportSink:
    """Writes the final report alone. A sink of `halloo._ping.run`."""

    def __init__(self, write: Write, text: Callable[[PingReport], str]) -> None:
        self._write = write
        self._text = text

    def begin(self, report: PingReport, snapshot: Callable[[], PingReport]) -> None:
        """Write nothing yet."""

    def probe(self, event: ProbeEvent) -> None:
        """Write nothing: the report has the totals."""

    def interim(self, report: PingReport) -> None:
        """Write nothing: a file holds one report."""

    def end(self, report: PingReport) -> None:
        self._write(f"{self._text(report)}\n")
