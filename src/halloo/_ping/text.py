"""A ping as text: a line for each probe while it runs, and a summary.

A single target has a full summary; several are compared in one table, with anomalies listed below it. On a terminal of
`width` columns long lines continue on a further one, and names outside of sentences are shortened.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from itertools import zip_longest
from typing import TextIO

from halloo._core.escape import printable
from halloo._core.histogram import Summary
from halloo._core.units import NO_VALUE, Unit, show_column, show_dscp, show_duration, show_time
from halloo._output.terminal import USUAL, fold, folded, shortened_names, width_of
from halloo._ping import remarks
from halloo._ping.report import PHASES, PingReport, ProbeEvent, TargetReport

INDENT = 12  # columns of the labels
MIN_NAME = 32  # columns of a shortened name
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
        self._width = width_of(stream)

    def begin(self, report: PingReport, snapshot: Callable[[], PingReport]) -> None:  # noqa: ARG002 - Sink's signature
        self._labels = [target.label for target in report.targets]
        if not self._quiet:
            self._write("\n".join(folded(line, self._width) for line in heading(report)))

    def probe(self, event: ProbeEvent) -> None:
        """Write a probe's line, with the address in use if there is one target; repeated errors omit the remedy."""
        if self._quiet:
            return
        names, own = self._labels, event.target
        if len(names) == 1:
            names, own = [event.peer or names[0]], 0
        text = self._line(event, names[own])
        if self._width and len(text) > self._width:
            if event.outcome != "error":
                room = max(self._width - len(text) + len(names[own]), MIN_NAME)
                text = self._line(event, shortened_names(names, room)[own])
            text = "\n".join(fold(text, self._width, indent=GAP))
        self._write(text)

    def _line(self, event: ProbeEvent, name: str) -> str:
        text = remarks.probe_line(event, name, time_stamp=self._time_stamps, unit=self._unit)
        if event.outcome == "error":
            if self._last_errors.get(event.target) == event.text:
                text = text.partition("; ")[0]
            self._last_errors[event.target] = event.text
        return text

    def interim(self, report: PingReport) -> None:
        self._write(f"\n{self._summary(report)}\n")

    def end(self, report: PingReport) -> None:
        self._write(("" if self._quiet else "\n") + self._summary(report))

    def _summary(self, report: PingReport) -> str:
        return summary(report, unit=self._unit, width=width_of(self._stream))

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


def summary(
    report: PingReport, *, unit: Unit | None = None, zone: tzinfo | None = None, width: int | None = None
) -> str:
    """Format the report; `zone` is the time zone of outages, the local one by default."""
    sections = _single_target if len(report.targets) == 1 else _comparison
    notes = [*remarks.schedule_notes(report.generator, unit), *(("missed", sentence) for sentence in report.missed)]
    lines = [*sections(report, unit, zone, width), *_notes(notes, width)]
    return printable("\n".join(lines))


def _single_target(report: PingReport, unit: Unit | None, zone: tzinfo | None, width: int | None) -> Iterator[str]:
    (target,) = report.targets
    yield _named("--- {} ---", target.label, width)
    yield from _fold(f"{remarks.counts_text(target)}, in {show_duration(report.duration_ns)}", width)
    yield from _times(target, unit, width)
    kernel = [("kernel", remarks.kernel_text(target.kernel, unit))] if target.kernel else []
    yield from _notes([*remarks.details(target, unit), *kernel, *remarks.findings(target, unit, zone)], width)


def _times(target: TargetReport, unit: Unit | None, width: int | None) -> Iterator[str]:
    """Yield the table of round trips, server times, and phases that were measured more than once.

    The rows differ in magnitude and are read along the row, so that each value has its own unit.
    """
    rows = {"round trip": target.round_trip, "server": target.timestamps.server if target.timestamps else None}
    rows |= {phase: times for phase in PHASES if (times := target.phases.get(phase)) and times.count > 1}
    present = {name: summary for name, summary in rows.items() if summary}
    if present:
        columns = {name: [read(summary) for summary in present.values()] for name, read in COLUMNS.items()}
        cells = [(name, [_cell(value, unit) for value in values]) for name, values in columns.items() if any(values)]
        yield from _table(list(present), cells, width, min_width=INDENT - len(GAP))


def _comparison(report: PingReport, unit: Unit | None, zone: tzinfo | None, width: int | None) -> Iterator[str]:
    targets = report.targets
    yield f"--- {len(targets)} targets, in {show_duration(report.duration_ns)} ---"
    yield from _table([target.label for target in targets], _compared(targets, unit), width)
    for target in targets:
        if notes := list(_remarks(target, unit, zone)):
            yield _named("{}:", target.label, width)
            yield from _notes(notes, width)
    timed = [target for target in targets if target.round_trip]
    if {target.clock for target in timed} == {"kernel"}:
        yield from _notes([("clock", remarks.clock_text(timed[0]))], width)


def _compared(targets: Sequence[TargetReport], unit: Unit | None) -> list[tuple[str, list[str]]]:
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
    counts = [("sent", [str(target.sent) for target in targets])]
    if not any(target.size_sweep for target in targets):  # sizes that are too large are no loss
        counts += [("lost", [remarks.percent(target.loss_percent) for target in targets])]
    return [*counts, *_time_columns(columns, unit)]


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


def _table(
    rows: Sequence[str], columns: Sequence[tuple[str, list[str]]], width: int | None, *, min_width: int = 0
) -> Iterator[str]:
    """Yield the lines of a table; if they do not fit with short names either, the columns go into several tables."""
    cells = [[f"{text:>{max(map(len, (name, *texts)))}}" for text in (name, *texts)] for name, texts in columns]
    if width:
        rows = shortened_names(rows, max(width - sum(len(GAP + column[0]) for column in cells), MIN_NAME))
    names = [f"{row:<{max(min_width, *map(len, rows))}}" for row in ("", *rows)]
    while cells:
        fitting = [names]
        while cells and (len(fitting) == 1 or not width or len(GAP.join(c[0] for c in [*fitting, cells[0]])) <= width):
            fitting.append(cells.pop(0))
        for row in zip(*fitting, strict=True):
            yield GAP.join(row).rstrip()


def _cell(value: int | None, unit: Unit | None) -> str:
    return NO_VALUE if value is None else show_time(value, unit)


def _named(pattern: str, name: str, width: int | None) -> str:
    room = width - len(pattern.format("")) if width else len(name)
    return pattern.format(*shortened_names([name], room))


def _notes(notes: Iterable[remarks.Note], width: int | None) -> Iterator[str]:
    for label, text in notes:
        lines = _fold(text, width, INDENT)
        yield from (f"{start:<{INDENT}}{line}" for start, line in zip_longest((label,), lines, fillvalue=""))


def _fold(text: str, width: int | None, indent: int = 0) -> list[str]:
    return fold(text, min(width or USUAL, USUAL) - indent)
