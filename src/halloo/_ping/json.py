"""A ping as JSON: the report as one object, or as it comes, an object a line.

    {"event": "start" | "probe" | "interval" | "error" | "end", "data": {...}}

Knows what JSON cannot say: a number that is none is null, and what has no form there is text.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from halloo._output.json import plain_json
from halloo._ping.report import PingReport, ProbeEvent, event_dict


def ping_json(report: PingReport, *, indent: int | None = 2) -> str:
    """Write a report as an object; without `indent` on one line."""
    return _written(report.to_dict(), indent)


def write_json(report: PingReport, stream: TextIO) -> None:
    """Write a report to a stream."""
    stream.write(f"{ping_json(report)}\n")


class PingStream:
    """Writes an object a line, each at once. A sink of `halloo._ping.run`.

    `start` says who is asked, `probe` what became of a probe and `error` what went wrong instead; `interval` is the
    summary up to now, whenever one is asked for, and `end` the report.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream."""
        self._stream = stream

    def begin(self, report: PingReport, look: Callable[[], PingReport]) -> None:  # noqa: ARG002 - the shape is Sink's
        """Write who is asked, and how."""
        told = report.to_dict()
        named = ("label", "address", "peer", "local", "dscp", "ttl")
        targets = [{name: getattr(target, name) for name in named} for target in report.targets]
        config = {name: told[name] for name in ("schema", "version", "system", "config")}
        self._write("start", config | {"started_ns": report.started_ns, "targets": targets})

    def probe(self, event: ProbeEvent) -> None:
        """Write what became of a probe."""
        self._write("error" if event.outcome == "error" else "probe", event_dict(event))

    def interim(self, report: PingReport) -> None:
        """Write the summary up to now."""
        self._write("interval", report.to_dict()["summary"])

    def end(self, report: PingReport) -> None:
        """Write the report."""
        self._write("end", report.to_dict())

    def _write(self, event: str, data: Mapping[str, Any]) -> None:
        self._stream.write(f"{_written({'event': event, 'data': data}, None)}\n")
        self._stream.flush()


def _written(value: object, indent: int | None) -> str:
    return json.dumps(plain_json(value), indent=indent, allow_nan=False)


class ReportSink:
    """A sink of `halloo._ping.run`."""

    def __init__(self, stream: TextIO, write: Callable[[PingReport, TextIO], object]) -> None:
        """Have `write` put the report on a stream."""
        self._stream = stream
        self._write = write

    def begin(self, report: PingReport, look: Callable[[], PingReport]) -> None:
        """Write nothing yet."""

    def probe(self, event: ProbeEvent) -> None:
        """Write nothing: the report has the sum of them."""

    def interim(self, report: PingReport) -> None:
        """Write nothing: half a report beside the whole one would be two."""

    def end(self, report: PingReport) -> None:
        """Write it."""
        self._write(report, self._stream)
        self._stream.flush()
