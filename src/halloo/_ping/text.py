"""A ping as text: a line for each probe while it runs, and a summary.

A single target has a full summary; several are compared in one table, with anomalies listed below it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from itertools import zip_longest
from textwrap import wrap
from typing import TextIO

from halloo._core.escape import printable
from halloo._core.histogram import Summary
from halloo._core.units import NO_VALUE, Unit, show_column, show_dscp, show_duration, show_time
from halloo._ping import remarks
from halloo._ping.report import PHASES, PingReport, ProbeEvent, TargetReport

INDENT, WIDTH = 12, 80  # columns: of the labels, of a line
GAP = "  "
Read = Callable[[Summary], int | None]
COLUMNS: dict[str, Read] = {
    "min": lambda summary: summary.min_ns,
    "mean": lambda summary: summary.mean_ns,
    "p50": lambda summary: summary.median_ns,
    "p90": lambda summary: summary.at(90.0),
    "p99": lambda summary: summary.at(99.0),
    "p99.9": lambda summary: summary.at(99.9),
    "max": lambda summary: summary.max_ns,
}
SIDE_BY_SIDE = ("min", "p50", "p99", "max")


class PingText:
    """Writes each probe's line at once, and the summary at the end. A sink of `halloo._ping.run`."""

    def __init__(
        self, stream: TextIO, *, quiet: bool = False, time_stamps: bool = False, unit: Unit | None = None
    ) -> None:
        """Write to a stream; `quiet` writes only the summary, `time_stamps` puts the time of day before each line."""
        self._stream = stream
        self._quiet = quiet
        self._time_stamps = time_stamps
        self._unit = unit
        self._labels: Sequence[str] = ()
        self._last_errors: dict[int, str] = {}

    def begin(self, report: PingReport, snapshot: Callable[[], PingReport]) -> None:  # noqa: ARG002 - Sink's signature
        self._labels = [target.label for target in report.targets]
        if not self._quiet:
            self._write("\n".join(heading(report)))

    def probe(self, event: ProbeEvent) -> None:
        """Write a probe's line, with the address in use if there is one target; repeated errors omit the remedy."""
        if self._quiet:
            return
        label = self._labels[event.target]
        name = label if len(self._labels) > 1 else event.peer or label
        text = remarks.probe_line(event, name, time_stamp=self._time_stamps, unit=self._unit)
        if event.outcome == "error":
            if self._last_errors.get(event.target) == event.text:
                text = text.partition("; ")[0]
            self._last_errors[event.target] = event.text
        self._write(text)

    def interim(self, report: PingReport) -> None:
        self._write(f"\n{summary(report, unit=self._unit)}\n")

    def end(self, report: PingReport) -> None:
        self._write(("" if self._quiet else "\n") + summary(report, unit=self._unit))

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


def heading(report: PingReport) -> Iterator[str]:
    """Yield a line for each address: source, DSCP and TTL; several source ports share a line."""
    addresses: dict[tuple[str, str | None], list[TargetReport]] = {}
    for target in report.targets:
        addresses.setdefault((target.address, target.peer), []).append(target)
    for (address, peer), targets in addresses.items():
        one = targets[0]
        label = one.label if len(targets) == 1 else address
        words = [f"ping {label}" + (f" ({peer})" if peer and not label.endswith(peer) else "")]
        if len(targets) > 1:
            words[0] += f" from {len(targets)} ports in turn"
        elif one.local:
            words[0] += f" from {one.local}"
        words += [f"DSCP {show_dscp(one.dscp)}"] if one.dscp else []
        words += [f"TTL {one.ttl}"] if one.ttl and report.effective.get("ttl") is not None else []
        yield printable(", ".join(words))


def summary(report: PingReport, *, unit: Unit | None = None, zone: tzinfo | None = None) -> str:
    """Format the report; `zone` is the time zone of outages, the local one by default."""
    lines = _single_target(report, unit, zone) if len(report.targets) == 1 else _comparison(report, unit, zone)
    notes = [*remarks.schedule_notes(report.generator, unit), *(("missed", sentence) for sentence in report.missed)]
    return printable("\n".join([*lines, *map(_note, notes)]))


def _single_target(report: PingReport, unit: Unit | None, zone: tzinfo | None) -> Iterator[str]:
    (target,) = report.targets
    yield f"--- {target.label} ---"
    yield from _wrap(f"{remarks.counts_text(target)}, in {show_duration(report.duration_ns)}", WIDTH)
    yield from _times(target, unit)
    yield from map(_note, remarks.details(target, unit))
    if target.kernel:
        yield _note(("kernel", remarks.kernel_text(target.kernel, unit)))
    yield from map(_note, remarks.findings(target, unit, zone))


def _times(target: TargetReport, unit: Unit | None) -> Iterator[str]:
    """Yield the table of round trips, server times, and phases that were measured more than once.

    The rows differ in magnitude and are read along the row, so that each value has its own unit.
    """
    rows = {"round trip": target.round_trip, "server": target.timestamps.server if target.timestamps else None}
    rows |= {phase: times for phase in PHASES if (times := target.phases.get(phase)) and times.count > 1}
    present = {name: summary for name, summary in rows.items() if summary}
    if present:
        columns = {name: [read(summary) for summary in present.values()] for name, read in COLUMNS.items()}
        cells = [(name, [_cell(value, unit) for value in values]) for name, values in columns.items() if any(values)]
        yield from _table(list(present), cells, min_width=INDENT - len(GAP))


def _comparison(report: PingReport, unit: Unit | None, zone: tzinfo | None) -> Iterator[str]:
    targets = report.targets
    columns = {
        name: [COLUMNS[name](target.round_trip) if target.round_trip else None for target in targets]
        for name in SIDE_BY_SIDE
    }
    repeated = any(times.count > 1 for target in targets for times in target.phases.values())
    for phase in PHASES[:-1] if repeated else ():
        columns[phase] = [target.phases[phase].median_ns if phase in target.phases else None for target in targets]
    if not repeated:
        columns["min_rtt"] = [target.floor_ns for target in targets]
    columns["server"] = [target.timestamps.server.median_ns if target.timestamps else None for target in targets]
    yield f"--- {len(targets)} targets, in {show_duration(report.duration_ns)} ---"
    counts = [("sent", [str(target.sent) for target in targets])]
    if not any(target.size_sweep for target in targets):  # sizes that are too large are no loss
        counts += [("lost", [remarks.percent(target.loss_percent) for target in targets])]
    yield from _table([target.label for target in targets], [*counts, *_time_columns(columns, unit)])
    for target in targets:
        if notes := list(_remarks(target, unit, zone)):
            yield f"{target.label}:"
            yield from map(_note, notes)
    timed = [target for target in targets if target.round_trip]
    if {target.clock for target in timed} == {"kernel"}:
        yield _note(("clock", remarks.clock_text(timed[0])))


def _remarks(target: TargetReport, unit: Unit | None, zone: tzinfo | None) -> Iterator[remarks.Note]:
    if text := remarks.anomalies(target):
        yield "also", text
    if target.kernel and (target.kernel.retransmits or target.kernel.lost):
        yield "kernel", remarks.kernel_text(target.kernel, unit)
    yield from remarks.findings(target, unit, zone)


def _time_columns(columns: dict[str, list[int | None]], unit: Unit | None) -> list[tuple[str, list[str]]]:
    """Format columns of times in one common unit; empty columns are left out."""
    present = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    texts = iter(show_column([value for values in present.values() for value in values], unit))
    return [(name, [next(texts) for _ in values]) for name, values in present.items()]


def _table(rows: Sequence[str], columns: Sequence[tuple[str, list[str]]], *, min_width: int = 0) -> Iterator[str]:
    cells = [[f"{row:<{max(min_width, *map(len, rows))}}" for row in ("", *rows)]]
    cells += [[f"{text:>{max(map(len, (name, *texts)))}}" for text in (name, *texts)] for name, texts in columns]
    for row in zip(*cells, strict=True):
        yield GAP.join(row).rstrip()


def _cell(value: int | None, unit: Unit | None) -> str:
    return NO_VALUE if value is None else show_time(value, unit)


def _note(note: remarks.Note) -> str:
    label, text = note
    lines = _wrap(text, WIDTH - INDENT)
    return "\n".join(f"{start:<{INDENT}}{line}" for start, line in zip_longest((label,), lines, fillvalue=""))


def _wrap(text: str, width: int) -> list[str]:
    """Break a text into lines, but neither inside a word nor between a number and its unit."""
    joined = re.sub(r"(?<=\d) (?=[%a-z])", "\N{NO-BREAK SPACE}", text)
    lines = wrap(joined, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
