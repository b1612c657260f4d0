"""What there is to say of a target beside its times, as pairs of a word and what it announces.

Knows a target's numbers. What is as it should be is not mentioned, unless a target is told of alone.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo

from halloo._core.escape import printable
from halloo._core.units import SECOND, Unit, show_duration, show_time
from halloo._ping.counters import Outage
from halloo._ping.report import LATE, PHASES, Generator, Kernel, ProbeEvent, TargetReport, TimestampReport

LISTED = 10  # outages; JSON has them all
Note = tuple[str, str]


def counted(target: TargetReport) -> str:
    """Say how many were sent and came back, and what else became of them."""
    came = f"{target.sent} sent, {target.received} received, {percent(target.loss_percent)} lost"
    return f"{came}, {others}" if (others := beside(target)) else came


def beside(target: TargetReport) -> str:
    """Say what came otherwise than it should, and what went wrong; empty when nothing did."""
    kinds = ("late", "duplicate", "reordered", "corrupt", "stray")
    found = [f"{number} {name}" for name in kinds if (number := getattr(target, name))]
    errors = " ".join(f"{name} {number}" for name, number in target.errors.items())
    return ", ".join([*found, f"errors: {errors}"] if errors else found)


def percent(value: float) -> str:
    """Write a share of a hundred in three digits.

    >>> percent(0.1), percent(100.0)
    ('0.1 %', '100 %')
    """
    return f"{value:.3g} %"


def routine(target: TargetReport, unit: Unit | None) -> Iterator[Note]:
    """Say what every target has."""
    once = {phase: spread.median_ns for phase, spread in target.phases.items() if spread.count == 1}
    if once:
        yield "phases", listed(once, unit)
    spread = target.round_trip
    if spread and spread.count > 1:
        steps = (("ipdv", spread.ipdv_ns, ""), ("jitter", spread.jitter_rfc3550_ns, " (RFC 3550)"))
        told = [f"{name} {show_time(value, unit)}{source}" for name, value, source in steps if value is not None]
        yield "variation", ", ".join([f"mdev {show_time(spread.mdev_ns, unit)}", *told])
    if spread:
        yield "clock", clock(target)
    if target.floor_ns is not None and target.above_floor_ns is not None:
        beyond = f"server and queueing up to {show_time(target.above_floor_ns, unit)}"
        yield "network", f"floor {show_time(target.floor_ns, unit)}, {beyond} of the median"


def clock(target: TargetReport) -> str:
    """Say whose clock took the time at which answers came."""
    if target.clock == "kernel":
        return "the kernel's: answers are timed as they reach this machine"
    return "this program's: its own delays are in the times"


def unusual(target: TargetReport, unit: Unit | None = None, zone: tzinfo | None = None) -> Iterator[Note]:
    """Say what is worth a line wherever it is found; `zone` is whose time of day outages have."""
    if target.lost:
        yield from _lost(target)
    if target.timestamps:
        yield from _one_way(target.timestamps, unit)
    yield from _outages(target, zone)
    if target.largest_bytes is not None:
        known = f", and the path MTU is {target.path_mtu}" if target.path_mtu else ""
        yield "largest", f"datagrams of up to {target.largest_bytes} bytes come back{known}"
    if target.failure:
        yield "failed", target.failure


def kernel(seen: Kernel, unit: Unit | None) -> str:
    """Say what the kernel knows of a connection; nothing of it is taken from anything."""
    smoothed = [] if seen.rtt_ns is None else [f"smoothed {show_time(seen.rtt_ns, unit)}"]
    counts = [f"{seen.retransmits} retransmits", f"{seen.lost} lost"]
    window = [f"window {seen.window_segments} x {seen.mss} bytes"] if seen.window_segments and seen.mss else []
    return ", ".join([*smoothed, *counts, *window])


def pace(generator: Generator, unit: Unit | None = None) -> Iterator[Note]:
    """Say how well this side kept its plan, where it fell behind."""
    if generator.skipped_waiting:
        yield (
            "skipped",
            f"{generator.skipped_waiting} turns passed without a probe: an answer or a connection was still awaited",
        )
    if generator.behind:
        late = f"{generator.late} of {generator.planned} planned probes left more than {show_duration(LATE)} late"
        share = percent(generator.late_percent)
        most = f", at most {show_time(generator.lateness.max_ns, unit)}" if generator.lateness else ""
        yield "pace", f"{late} or not at all ({share}){most}; {percent(generator.cpu_percent)} of a core"
    if generator.limited:
        behind = f"{generator.behind} of {generator.planned} planned probes fell behind the plan"
        yield "", f"this side was the bottleneck, {behind}: allow more time between them with -i, or try --busy-poll"


def _lost(target: TargetReport) -> Iterator[Note]:
    ways = target.timestamps.lost if target.timestamps else None
    if ways is None:
        return
    told = (
        (ways.forward, "on the way there"),
        (ways.reverse, "on the way back"),
        (ways.refused, "by the server's limit"),
        (ways.unknown, "after the last answer"),
    )
    yield "lost", f"{target.lost}: " + ", ".join(f"{number} {where}" for number, where in told if number)


def _one_way(stamped: TimestampReport, unit: Unit | None) -> Iterator[Note]:
    if stamped.forward and stamped.reverse:
        there, back = show_time(stamped.forward.median_ns, unit), show_time(stamped.reverse.median_ns, unit)
        yield "one way", f"if both clocks agree: there {there}, back {back} (medians)"


def _outages(target: TargetReport, zone: tzinfo | None) -> Iterator[Note]:
    longest = target.longest_outage
    if not longest or not target.received:  # of one that never answered something else is said
        return
    if target.outage_count == 1:
        yield "outage", _outage(longest, zone)
        return
    yield "outages", f"{target.outage_count}, the longest {show_duration(longest.length_ns)}"
    for outage in target.outages[:LISTED]:
        yield "", _outage(outage, zone)
    if target.outage_count > LISTED:
        yield "", f"and {target.outage_count - LISTED} more; the longest: {_outage(longest, zone)}"


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
    """Give a wall time, by the clock on this machine's wall unless a zone is given."""
    return datetime.fromtimestamp(wall_ns / SECOND, UTC).astimezone(zone)


MICROSECOND = 1000
MILLION = 1_000_000


def line(event: ProbeEvent, name: str, *, stamp: bool = False, unit: Unit | None = None) -> str:
    """Tell a probe's outcome; `name` is what its target is called, `stamp` writes the time of day before it."""
    words = [*_where(event, name), *_when(event, unit), *_what(event, name)]
    told = printable(" ".join(" ".join(words).split()))
    return f"[{wall_clock(event.wall_ns)}] {told}" if stamp else told


def wall_clock(wall_ns: int) -> str:
    """Write seconds since 1970 as `ping -D` does.

    >>> wall_clock(1_700_000_000_123_456_789)
    '1700000000.123456'
    """
    micros = wall_ns // MICROSECOND
    return f"{micros // MILLION}.{micros % MILLION:06d}"


def listed(phases: Mapping[str, int], unit: Unit | None = None) -> str:
    """Write how long each phase took, in the order in which they are gone through.

    >>> listed({"connect": 41_000, "resolve": 210_000})
    'resolve 210us, connect 41.0us'
    """
    return ", ".join(f"{phase} {show_time(phases[phase], unit)}" for phase in PHASES if phase in phases)


def _where(event: ProbeEvent, name: str) -> list[str]:
    """Say from whom, and of which probe."""
    way = "to" if event.outcome in ("lost", "error") else "from"
    who = f"{event.size} bytes {way} {name}:" if event.size or event.outcome == "stray" else f"{name}:"
    return [who] if event.number is None else [who, f"seq={event.number}"]


def _when(event: ProbeEvent, unit: Unit | None) -> list[str]:
    if event.round_trip_ns is None:
        return []
    apart = {phase: took for phase, took in event.phases.items() if took != event.round_trip_ns}
    words = [f"time={show_time(event.round_trip_ns, unit)}"]
    return [*words, f"({listed(apart, unit)})"] if apart else words


def _what(event: ProbeEvent, name: str) -> list[str]:
    """Say what is unusual about it."""
    words = {
        "reply": "",
        "late": "late, after it was given up",
        "duplicate": "duplicate",
        "corrupt": f"corrupt from byte {event.offset} on" if event.offset is not None else "corrupt",
        "stray": "stray: of no probe of this run",
        "lost": f"lost on the {event.way} path" if event.way else "lost",
        "error": event.text.removeprefix(f"{name} "),
    }[event.outcome]
    return [words, "reordered" if event.reordered else ""]
