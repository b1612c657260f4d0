"""A ping as text for a person: a line a probe while it runs, and a summary.

Knows reports and a stream. One target is told of in full, several side by side with what is unusual about each below.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from typing import TextIO

from halloo._core.escape import printable
from halloo._core.histogram import Summary
from halloo._core.units import NONE, Unit, show_column, show_dscp, show_duration, show_time
from halloo._ping.remarks import Note, beside, clock, counted, kernel, line, pace, percent, routine, unusual
from halloo._ping.report import PHASES, PingReport, ProbeEvent, TargetReport

INDENT = 12  # columns of the words before what they announce
GAP = "  "
Read = Callable[[Summary], int | None]
COLUMNS: dict[str, Read] = {
    "min": lambda spread: spread.min_ns,
    "mean": lambda spread: spread.mean_ns,
    "p50": lambda spread: spread.median_ns,
    "p90": lambda spread: spread.at(90.0),
    "p99": lambda spread: spread.at(99.0),
    "p99.9": lambda spread: spread.at(99.9),
    "max": lambda spread: spread.max_ns,
}
SIDE_BY_SIDE = ("min", "p50", "p99", "max")


class PingText:
    """Writes each probe's line at once, and the summary at the end. A sink of `halloo._ping.run`."""

    def __init__(self, stream: TextIO, *, quiet: bool = False, stamps: bool = False, unit: Unit | None = None) -> None:
        """Write to a stream; `quiet` writes the summary alone, `stamps` the time of day before each line."""
        self._stream = stream
        self._quiet = quiet
        self._stamps = stamps
        self._unit = unit
        self._labels: Sequence[str] = ()
        self._errors: dict[int, str] = {}

    def begin(self, report: PingReport, look: Callable[[], PingReport]) -> None:  # noqa: ARG002 - the shape is Sink's
        """Say who is asked."""
        self._labels = [target.label for target in report.targets]
        if not self._quiet:
            self._write("\n".join(heading(report)))

    def probe(self, event: ProbeEvent) -> None:
        """Write a probe's line, by the address that was used if there is one target; an error's remedy but once."""
        if self._quiet:
            return
        label = self._labels[event.target]
        name = label if len(self._labels) > 1 else event.peer or label
        told = line(event, name, stamp=self._stamps, unit=self._unit)
        if event.outcome == "error":
            if self._errors.get(event.target) == event.text:
                told = told.partition("; ")[0]
            self._errors[event.target] = event.text
        self._write(told)

    def interim(self, report: PingReport) -> None:
        """Write the summary up to now."""
        self._write(f"\n{summary(report, unit=self._unit)}\n")

    def end(self, report: PingReport) -> None:
        """Write the summary."""
        self._write(("" if self._quiet else "\n") + summary(report, unit=self._unit))

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


def heading(report: PingReport) -> Iterator[str]:
    """Say who is asked, from where and how; source ports to one address share a line."""
    addresses: dict[tuple[str, str | None], list[TargetReport]] = {}
    for target in report.targets:
        addresses.setdefault((target.address, target.peer), []).append(target)
    for (address, peer), targets in addresses.items():
        one = targets[0]
        label = one.label if len(targets) == 1 else address
        words = [f"ping {label}" + (f" ({peer})" if peer and peer != label else "")]
        if len(targets) > 1:
            words[0] += f" from {len(targets)} ports in turn"
        elif one.local:
            words[0] += f" from {one.local}"
        words += [f"DSCP {show_dscp(one.dscp)}"] if one.dscp else []
        words += [f"TTL {one.ttl}"] if one.ttl and report.effective.get("ttl") is not None else []
        yield printable(", ".join(words))


def summary(report: PingReport, *, unit: Unit | None = None, zone: tzinfo | None = None) -> str:
    """Tell what was found; `zone` is whose time of day it has, this machine's by default."""
    lines = _alone(report, unit, zone) if len(report.targets) == 1 else _together(report, unit, zone)
    notes = [*pace(report.generator, unit), *(("missed", sentence) for sentence in report.missed)]
    return printable("\n".join([*lines, *map(_note, notes)]))


def _alone(report: PingReport, unit: Unit | None, zone: tzinfo | None) -> Iterator[str]:
    (target,) = report.targets
    yield f"--- {target.label} ---"
    yield f"{counted(target)}, in {show_duration(report.duration_ns)}"
    yield from _times(target, unit)
    yield from map(_note, routine(target, unit))
    if target.kernel:
        yield _note(("kernel", kernel(target.kernel, unit)))
    yield from map(_note, unusual(target, unit, zone))


def _times(target: TargetReport, unit: Unit | None) -> Iterator[str]:
    """Write a row for each kind of time, of those that were measured more than once, and of the round trip.

    They are of different sizes, and compared within a row: each has a unit of its own.
    """
    rows = {"round trip": target.round_trip, "server": target.timestamps.server if target.timestamps else None}
    rows |= {phase: spread for phase in PHASES if (spread := target.phases.get(phase)) and spread.count > 1}
    found = {name: spread for name, spread in rows.items() if spread}
    if found:
        columns = {name: [read(spread) for spread in found.values()] for name, read in COLUMNS.items()}
        shown = [(name, [_cell(value, unit) for value in values]) for name, values in columns.items() if any(values)]
        yield from _table(list(found), shown, least=INDENT - len(GAP))


def _together(report: PingReport, unit: Unit | None, zone: tzinfo | None) -> Iterator[str]:
    targets = report.targets
    columns = {
        name: [COLUMNS[name](target.round_trip) if target.round_trip else None for target in targets]
        for name in SIDE_BY_SIDE
    }
    again = any(spread.count > 1 for target in targets for spread in target.phases.values())
    for phase in PHASES[:-1] if again else ():
        columns[phase] = [target.phases[phase].median_ns if phase in target.phases else None for target in targets]
    if not again:
        columns["floor"] = [target.floor_ns for target in targets]
    columns["server"] = [target.timestamps.server.median_ns if target.timestamps else None for target in targets]
    yield f"--- {len(targets)} targets, in {show_duration(report.duration_ns)} ---"
    counts = [("sent", [str(target.sent) for target in targets])]
    counts += [("lost", [percent(target.loss_percent) for target in targets])]
    yield from _table([target.label for target in targets], [*counts, *_shown(columns, unit)])
    for target in targets:
        if notes := list(_remarks(target, unit, zone)):
            yield f"{target.label}:"
            yield from map(_note, notes)
    timed = [target for target in targets if target.round_trip]
    if {target.clock for target in timed} == {"kernel"}:
        yield _note(("clock", clock(timed[0])))


def _remarks(target: TargetReport, unit: Unit | None, zone: tzinfo | None) -> Iterator[Note]:
    """Say what a row has no column for."""
    if others := beside(target):
        yield "beside", others
    if target.kernel and (target.kernel.retransmits or target.kernel.lost):
        yield "kernel", kernel(target.kernel, unit)
    yield from unusual(target, unit, zone)


def _shown(columns: dict[str, list[int | None]], unit: Unit | None) -> list[tuple[str, list[str]]]:
    """Write columns of times, all in one unit, to be compared both ways; a column that has none is left out."""
    told = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    texts = iter(show_column([value for values in told.values() for value in values], unit))
    return [(name, [next(texts) for _ in values]) for name, values in told.items()]


def _table(rows: Sequence[str], columns: Sequence[tuple[str, list[str]]], *, least: int = 0) -> Iterator[str]:
    """Write columns with their names above, to the right of what the rows are called."""
    cells = [[f"{row:<{max(least, *map(len, rows))}}" for row in ("", *rows)]]
    cells += [[f"{text:>{max(map(len, (name, *texts)))}}" for text in (name, *texts)] for name, texts in columns]
    for row in zip(*cells, strict=True):
        yield GAP.join(row).rstrip()


def _cell(value: int | None, unit: Unit | None) -> str:
    return NONE if value is None else show_time(value, unit)


def _note(note: Note) -> str:
    word, text = note
    return f"{word:<{INDENT}}{text}"
