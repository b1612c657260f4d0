"""The summary of a ping as text: a table of times, and notes on what the numbers do not say.

A single target has a full summary; several are compared in one table, with anomalies listed below it, and normal values
left out. On a terminal of `width` columns long lines continue on a further one, and names outside of sentences are
shortened.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import zip_longest
from operator import attrgetter, methodcaller

from halloo._core.escape import printable
from halloo._core.histogram import Summary
from halloo._core.units import NO_VALUE, SECOND, Unit, show_column, show_duration, show_time
from halloo._output.terminal import USUAL, fold, shortened_names
from halloo._ping.report import PHASES, Generator, Kernel, Outage, PingReport, TargetReport, TimestampReport

INDENT = 12  # columns of the labels
MIN_NAME = 32  # columns of a shortened name
GAP = "  "
MAX_LISTED_OUTAGES = 10  # outages; JSON has them all
COLUMNS: dict[str, Callable[[Summary], int | None]] = {
    "min": attrgetter("min_ns"),
    "mean": attrgetter("mean_ns"),
    "p50": attrgetter("median_ns"),
    "p90": methodcaller("at", 90.0),
    "p99": methodcaller("at", 99.0),
    "p99.9": methodcaller("at", 99.9),
    "max": attrgetter("max_ns"),
}
SIDE_BY_SIDE = ("min", "p50", "p99", "max")
SIZE_EVIDENCE = {
    "link": "larger ones do not fit into one packet of this machine's link",
    "report": "larger ones are reported as too big, see above",
    "reply": "larger ones come back corrupt",
    "server": "the server does not echo larger ones",
    "limit": "the server's rate limit refused larger ones",
}
Note = tuple[str, str]  # a label and a text
Column = tuple[str, list[str]]
_CAPITAL = re.compile("(?<=[a-z])(?=[A-Z])")


def summary(
    report: PingReport, *, unit: Unit | None = None, zone: tzinfo | None = None, width: int | None = None
) -> str:
    """Format the report; `zone` is the time zone of outages, the local one by default."""
    sections = _single_target if len(report.targets) == 1 else _comparison
    notes = [*schedule_notes(report.generator, unit), *(("missed", sentence) for sentence in report.missed)]
    return printable("\n".join([*sections(report, unit, zone, width), *_notes(notes, width)]))


def _single_target(report: PingReport, unit: Unit | None, zone: tzinfo | None, width: int | None) -> Iterator[str]:
    (target,) = report.targets
    yield _named("--- {} ---", target.label, width)
    yield from _fold(f"{counts_text(target)}, in {show_duration(report.duration_ns)}", width)
    # The rows differ in magnitude and are read along the row, so that each value has its own unit.
    rows = {"round trip": target.round_trip, "server": target.timestamps.server if target.timestamps else None}
    rows |= {phase: times for phase in PHASES if (times := target.phases.get(phase)) and times.count > 1}
    present = {name: times for name, times in rows.items() if times}
    if present:
        columns = {name: [read(times) for times in present.values()] for name, read in COLUMNS.items()}
        cells = [
            (name, [NO_VALUE if value is None else show_time(value, unit) for value in values])
            for name, values in columns.items()
            if any(values)
        ]
        yield from _table(list(present), cells, width, min_width=INDENT - len(GAP))
    yield from _notes([*details(target, unit), *findings(target, unit, zone)], width)


def _comparison(report: PingReport, unit: Unit | None, zone: tzinfo | None, width: int | None) -> Iterator[str]:
    targets = report.targets
    yield f"--- {len(targets)} targets, in {show_duration(report.duration_ns)} ---"
    yield from _table([target.label for target in targets], _compared(targets, unit), width)
    for target in targets:
        also = [("also", text)] if (text := anomalies(target)) else []
        if target.kernel and (target.kernel.retransmits or target.kernel.lost):
            also.append(("kernel", kernel_text(target.kernel, unit)))
        if notes := [*also, *findings(target, unit, zone)]:
            yield _named("{}:", target.label, width)
            yield from _notes(notes, width)
    timed = [target for target in targets if target.round_trip]
    if {target.clock for target in timed} == {"kernel"}:
        yield from _notes([("clock", clock_text(timed[0]))], width)


def _compared(targets: Sequence[TargetReport], unit: Unit | None) -> list[Column]:
    columns: dict[str, list[int | None]] = {
        name: [COLUMNS[name](target.round_trip) if target.round_trip else None for target in targets]
        for name in SIDE_BY_SIDE
    }
    if any(times.count > 1 for target in targets for times in target.phases.values()):
        for phase in PHASES[:-1]:
            columns[phase] = [target.phases[phase].median_ns if phase in target.phases else None for target in targets]
    else:
        columns["min_rtt"] = [target.floor_ns for target in targets]
    columns["server"] = [target.timestamps.server.median_ns if target.timestamps else None for target in targets]
    counts = [("sent", [str(target.sent) for target in targets])]
    if not any(target.size_sweep for target in targets):  # sizes that are too large are no loss
        counts += [("lost", [percent(target.loss_percent) for target in targets])]
    # Times have one common unit.
    present = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    texts = iter(show_column([value for values in present.values() for value in values], unit))
    return [*counts, *((name, [next(texts) for _ in values]) for name, values in present.items())]


def _table(rows: Sequence[str], columns: Sequence[Column], width: int | None, *, min_width: int = 0) -> Iterator[str]:
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


def _named(pattern: str, name: str, width: int | None) -> str:
    room = width - len(pattern.format("")) if width else len(name)
    return pattern.format(*shortened_names([name], room))


def _notes(notes: Iterable[Note], width: int | None) -> Iterator[str]:
    for label, text in notes:
        lines = _fold(text, width, INDENT)
        yield from (f"{start:<{INDENT}}{line}" for start, line in zip_longest((label,), lines, fillvalue=""))


def _fold(text: str, width: int | None, indent: int = 0) -> list[str]:
    return fold(text, min(width or USUAL, USUAL) - indent)


def counts_text(target: TargetReport) -> str:
    """Return the counts of sent, received and lost probes, and of any anomalies."""
    if target.size_sweep:  # sizes that are too large are no loss
        text = f"{target.sent} probes of different sizes sent, {target.received} received"
    else:
        text = f"{target.sent} sent, {target.received} received, {percent(target.loss_percent)} lost"
    return f"{text}, {others}" if (others := anomalies(target)) else text


def anomalies(target: TargetReport) -> str:
    """Return the counts of replies with a defect, of stray data and of errors; empty if all are 0."""
    kinds = ("late", "duplicate", "reordered", "corrupt", "unmatched", "stray")
    found = [f"{number} {name}" for name in kinds if (number := getattr(target, name))]
    if total := sum(target.errors.values()):
        several = len(target.errors) > 1
        words = {_CAPITAL.sub(" ", name).lower(): number for name, number in target.errors.items()}
        names = ", ".join(f"{number} {name}" if several else name for name, number in words.items())
        found.append(f"{total} error{'s' if total > 1 else ''} ({names})")
    return ", ".join(found)


def percent(value: float) -> str:
    """Format a percentage with three significant digits.

    >>> percent(0.1), percent(100.0)
    ('0.1 %', '100 %')
    """
    return f"{value:.3g} %"


def phases_text(phases: Mapping[str, int], unit: Unit | None = None) -> str:
    """Format the times of the phases in their order.

    >>> phases_text({"connect": 41_000, "resolve": 210_000})
    'resolve 210us, connect 41.0us'
    """
    return ", ".join(f"{phase} {show_time(phases[phase], unit)}" for phase in PHASES if phase in phases)


def details(target: TargetReport, unit: Unit | None) -> Iterator[Note]:
    """Yield the notes that a single target has."""
    once = {phase: times.median_ns for phase, times in target.phases.items() if times.count == 1}
    if once:
        yield "phases", phases_text(once, unit)
    times = target.round_trip
    if times and times.count > 1:
        variations = (("ipdv", times.ipdv_ns, ""), ("jitter", times.jitter_rfc3550_ns, " (RFC 3550)"))
        texts = [f"{name} {show_time(value, unit)}{source}" for name, value, source in variations if value is not None]
        yield "variation", ", ".join([f"mdev {show_time(times.mdev_ns, unit)}", *texts])
    if times:
        yield "clock", clock_text(target)
    if target.floor_ns is not None and target.above_floor_ns is not None:
        minimum = f"kernel minimum {show_time(target.floor_ns, unit)}"
        server = f"server and queueing up to {show_time(target.above_floor_ns, unit)}"
        yield "network", f"{minimum}; {server} of p50"
    if target.kernel:
        yield "kernel", kernel_text(target.kernel, unit)


def clock_text(target: TargetReport) -> str:
    """Return which clock timed the replies."""
    if target.clock == "kernel":
        return "kernel timestamps: replies are timed as they reach this machine"
    return "this program's clock: its own delays are included"


def kernel_text(info: Kernel, unit: Unit | None) -> str:
    """Format the kernel's data on a connection."""
    smoothed = [] if info.rtt_ns is None else [f"smoothed {show_time(info.rtt_ns, unit)}"]
    counts = [f"{info.retransmits} retransmits", f"{info.lost} lost"]
    window = [f"window {info.window_segments} x {info.mss} bytes"] if info.window_segments and info.mss else []
    return ", ".join([*smoothed, *counts, *window])


def schedule_notes(generator: Generator, unit: Unit | None = None) -> Iterator[Note]:
    """Yield how the client failed its schedule, if that changes what was measured: JSON always has the numbers."""
    if generator.skipped_waiting:
        yield "skipped", f"{generator.skipped_waiting} turns: a reply or a connection was still pending"
    if generator.limited:
        worst = f", by {show_time(generator.lateness.max_ns, unit)} at most" if generator.lateness else ""
        behind = f"{generator.behind} of {generator.planned} planned probes fell behind schedule{worst}"
        fact = f"this client was the bottleneck: {behind}; CPU use {percent(generator.cpu_percent)} of a core"
        yield "schedule", f"{fact}; use a longer interval, or busy polling"


def findings(target: TargetReport, unit: Unit | None = None, zone: tzinfo | None = None) -> Iterator[Note]:
    """Yield the notes that are always worth a line."""
    if target.lost and target.timestamps and (lost := target.timestamps.lost):
        parts = (
            (lost.forward, "on the forward path"),
            (lost.reverse, "on the reverse path"),
            (lost.refused, "refused by the server"),
            (lost.unknown, "after the last timestamp"),
        )
        yield "lost", f"{target.lost}: " + ", ".join(f"{number} {where}" for number, where in parts if number)
    if target.rate_limited:
        fact = f"the server's rate limit for this sender refused at least {target.rate_limited} of the probes"
        yield "limited", f"{fact}, which is no loss of the network; use a longer interval"
    for report, count in target.icmp:
        yield "reported", f"{count} x by {report.router}: {report.text}"
    if target.timestamps:
        yield from _one_way(target.timestamps, unit)
    if target.received:  # a target that never answered has a failure note instead
        yield from _outages(target, zone)
    if target.size_sweep:
        yield from _size_limit(target)
    if target.failure:
        yield "failed", target.failure


def _size_limit(target: TargetReport) -> Iterator[Note]:
    limit = target.size_limit
    if target.largest_bytes is not None:
        why = f"; {SIZE_EVIDENCE[limit.evidence]}" if limit and limit.evidence in SIZE_EVIDENCE else ""
        yield "largest", f"datagrams of up to {target.largest_bytes} bytes are echoed{why}"
    if limit and limit.evidence == "path":
        fact = f"datagrams of {limit.bytes} bytes have no reply, and no router reports them (ICMP)"
        known = f", although the path MTU is {target.path_mtu} as far as this machine knows" if target.path_mtu else ""
        yield "black hole", f"{fact}{known}; a router drops them silently, or the server does not echo them"


def _one_way(timestamps: TimestampReport, unit: Unit | None) -> Iterator[Note]:
    if timestamps.forward and timestamps.reverse:
        forward, reverse = show_time(timestamps.forward.median_ns, unit), show_time(timestamps.reverse.median_ns, unit)
        yield "one way", f"forward {forward}, reverse {reverse} (medians, if both clocks agree)"
    elif timestamps.withheld:
        yield "one way", f"times are withheld: {timestamps.withheld}"
    forward_ipdv, reverse_ipdv = timestamps.forward_variation.ipdv_ns, timestamps.reverse_variation.ipdv_ns
    if forward_ipdv is not None and reverse_ipdv is not None:
        forward, reverse = show_time(forward_ipdv, unit), show_time(reverse_ipdv, unit)
        yield "ipdv", f"forward {forward}, reverse {reverse} (means, even if the clocks disagree)"


def _outages(target: TargetReport, zone: tzinfo | None) -> Iterator[Note]:
    longest, more = target.longest_outage, target.outage_count - MAX_LISTED_OUTAGES
    if not longest:
        return
    if target.outage_count == 1:
        yield "outage", _outage(longest, zone)
        return
    yield "outages", f"{target.outage_count}, the longest {show_duration(longest.length_ns)}"
    for outage in target.outages[:MAX_LISTED_OUTAGES]:
        yield "", _outage(outage, zone)
    if more > 0:
        yield "", f"and {more} more; the longest: {_outage(longest, zone)}"


def _outage(outage: Outage, zone: tzinfo | None) -> str:
    start, end = (
        datetime.fromtimestamp(wall_ns / SECOND, UTC).astimezone(zone) for wall_ns in (outage.start_ns, outage.end_ns)
    )
    until = "the end"
    if outage.over:
        until = _time(end) if start.date() == end.date() else f"{end:%Y-%m-%d} {_time(end)}"
    length = f"{show_duration(outage.length_ns)}, {outage.probes} probes"
    return f"{start:%Y-%m-%d} {_time(start)} {start:%z} to {until}: {length}"


def _time(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
