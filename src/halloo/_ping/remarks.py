"""The remarks of the text report: what there is to say of a target beside its table, as pairs of a label and a text.

Normal values are left out where several targets are compared.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo

from halloo._core.escape import printable
from halloo._core.units import SECOND, Unit, show_duration, show_time
from halloo._ping.report import PHASES, Generator, Kernel, Outage, ProbeEvent, TargetReport, TimestampReport

MAX_LISTED_OUTAGES = 10  # outages; JSON has them all
Note = tuple[str, str]
_SIZE_EVIDENCE = {
    "link": "larger ones do not fit into one packet of this machine's link",
    "report": "larger ones are reported as too big, see above",
    "reply": "larger ones come back corrupt",
    "server": "the server does not echo larger ones",
    "limit": "the server's rate limit refused larger ones",
}
_CAPITAL = re.compile("(?<=[a-z])(?=[A-Z])")


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


def details(target: TargetReport, unit: Unit | None) -> Iterator[Note]:
    """Yield the notes that every target has."""
    once = {phase: summary.median_ns for phase, summary in target.phases.items() if summary.count == 1}
    if once:
        yield "phases", phases_text(once, unit)
    summary = target.round_trip
    if summary and summary.count > 1:
        variations = (("ipdv", summary.ipdv_ns, ""), ("jitter", summary.jitter_rfc3550_ns, " (RFC 3550)"))
        texts = [f"{name} {show_time(value, unit)}{source}" for name, value, source in variations if value is not None]
        yield "variation", ", ".join([f"mdev {show_time(summary.mdev_ns, unit)}", *texts])
    if summary:
        yield "clock", clock_text(target)
    if target.floor_ns is not None and target.above_floor_ns is not None:
        minimum = f"kernel minimum {show_time(target.floor_ns, unit)}"
        server = f"server and queueing up to {show_time(target.above_floor_ns, unit)}"
        yield "network", f"{minimum}; {server} of p50"


def clock_text(target: TargetReport) -> str:
    """Return which clock timed the replies."""
    if target.clock == "kernel":
        return "kernel timestamps: replies are timed as they reach this machine"
    return "this program's clock: its own delays are included"


def findings(target: TargetReport, unit: Unit | None = None, zone: tzinfo | None = None) -> Iterator[Note]:
    """Yield the notes that are always worth a line; `zone` is the time zone of outages, the local one by default."""
    if target.lost:
        yield from _lost(target)
    if target.rate_limited:
        fact = f"the server's rate limit for this sender refused at least {target.rate_limited} of the probes"
        yield "limited", f"{fact}, which is no loss of the network; use a longer interval"
    for report, count in target.icmp:
        yield "reported", f"{count} x by {report.router}: {report.text}"
    if target.timestamps:
        yield from _one_way(target.timestamps, unit)
    yield from _outages(target, zone)
    if target.size_sweep:
        yield from _size_limit(target)
    if target.failure:
        yield "failed", target.failure


def _size_limit(target: TargetReport) -> Iterator[Note]:
    limit = target.size_limit
    if target.largest_bytes is not None:
        why = f"; {_SIZE_EVIDENCE[limit.evidence]}" if limit and limit.evidence in _SIZE_EVIDENCE else ""
        yield "largest", f"datagrams of up to {target.largest_bytes} bytes are echoed{why}"
    if limit and limit.evidence == "path":
        fact = f"datagrams of {limit.bytes} bytes have no reply, and no router reports them (ICMP)"
        known = f", although the path MTU is {target.path_mtu} as far as this machine knows" if target.path_mtu else ""
        yield "black hole", f"{fact}{known}; a router drops them silently, or the server does not echo them"


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


def _lost(target: TargetReport) -> Iterator[Note]:
    lost = target.timestamps.lost if target.timestamps else None
    if lost is None:
        return
    parts = (
        (lost.forward, "on the forward path"),
        (lost.reverse, "on the reverse path"),
        (lost.refused, "refused by the server"),
        (lost.unknown, "after the last timestamp"),
    )
    yield "lost", f"{target.lost}: " + ", ".join(f"{number} {where}" for number, where in parts if number)


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
    longest = target.longest_outage
    if not longest or not target.received:  # a target that never answered has a failure note instead
        return
    if target.outage_count == 1:
        yield "outage", _outage(longest, zone)
        return
    yield "outages", f"{target.outage_count}, the longest {show_duration(longest.length_ns)}"
    for outage in target.outages[:MAX_LISTED_OUTAGES]:
        yield "", _outage(outage, zone)
    if target.outage_count > MAX_LISTED_OUTAGES:
        yield "", f"and {target.outage_count - MAX_LISTED_OUTAGES} more; the longest: {_outage(longest, zone)}"


def _outage(outage: Outage, zone: tzinfo | None) -> str:
    start, end = _moment(outage.start_ns, zone), _moment(outage.end_ns, zone)
    until = "the end"
    if outage.over:
        until = _time(end) if start.date() == end.date() else f"{end:%Y-%m-%d} {_time(end)}"
    length = f"{show_duration(outage.length_ns)}, {outage.probes} probes"
    return f"{start:%Y-%m-%d} {_time(start)} {start:%z} to {until}: {length}"


def _time(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def _moment(wall_ns: int, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(wall_ns / SECOND, UTC).astimezone(zone)


MICROSECOND = 1000
MILLION = 1_000_000


def probe_line(event: ProbeEvent, name: str, *, time_stamp: bool = False, unit: Unit | None = None) -> str:
    """Format a probe's outcome; `name` is its target, `time_stamp` puts the time of day before it."""
    words = [*_subject(event, name), *_times(event, unit), *_outcome(event, name)]
    text = printable(" ".join(" ".join(words).split()))
    return f"[{wall_clock(event.wall_ns)}] {text}" if time_stamp else text


def wall_clock(wall_ns: int) -> str:
    """Format seconds since 1970 as `ping -D` does.

    >>> wall_clock(1_700_000_000_123_456_789)
    '1700000000.123456'
    """
    micros = wall_ns // MICROSECOND
    return f"{micros // MILLION}.{micros % MILLION:06d}"


def phases_text(phases: Mapping[str, int], unit: Unit | None = None) -> str:
    """Format the times of the phases in their order.

    >>> phases_text({"connect": 41_000, "resolve": 210_000})
    'resolve 210us, connect 41.0us'
    """
    return ", ".join(f"{phase} {show_time(phases[phase], unit)}" for phase in PHASES if phase in phases)


def _subject(event: ProbeEvent, name: str) -> list[str]:
    preposition = "to" if event.outcome in ("lost", "error") else "from"
    subject = f"{event.size} bytes {preposition} {name}:" if event.size or event.outcome == "stray" else f"{name}:"
    return [subject] if event.number is None else [subject, f"seq={event.number}"]


def _times(event: ProbeEvent, unit: Unit | None) -> list[str]:
    if event.round_trip_ns is None:
        return []
    others = {phase: elapsed for phase, elapsed in event.phases.items() if elapsed != event.round_trip_ns}
    words = [f"time={show_time(event.round_trip_ns, unit)}"]
    return [*words, f"({phases_text(others, unit)})"] if others else words


def _outcome(event: ProbeEvent, name: str) -> list[str]:
    if event.count > 1:
        return [
            f"{event.count} duplicates" if event.outcome == "duplicate" else f"{event.count} {event.outcome} replies"
        ]
    text = {
        "reply": "",
        "late": "late: after the timeout",
        "duplicate": "duplicate",
        "corrupt": _corrupt(event),
        "unmatched": "unmatched: replies to another run, or to a probe given up long ago",
        "stray": "stray: is no reply to a probe",
        "lost": f"lost on the {event.way} path" if event.way else "lost",
        "error": event.text.removeprefix(f"{name} "),
    }[event.outcome]
    return [text, "reordered" if event.reordered else ""]


def _corrupt(event: ProbeEvent) -> str:
    place = "" if event.offset is None else f" from byte {event.offset} on"
    return f"corrupt{place}: {event.text}" if event.text else f"corrupt{place}"
