"""A ping as text: a heading, a line for each probe while it runs, and the summary."""

from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from halloo._core.escape import printable
from halloo._core.units import Unit, show_dscp, show_time
from halloo._output.terminal import fold, folded, shortened_names, width_of
from halloo._ping.report import PingReport, ProbeEvent, TargetReport
from halloo._ping.summary import GAP, MIN_NAME, phases_text, summary

MICROSECOND = 1000
MILLION = 1_000_000


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

    def interim(self, report: PingReport) -> None:
        self._write(f"\n{self._summary(report)}\n")

    def end(self, report: PingReport) -> None:
        self._write(("" if self._quiet else "\n") + self._summary(report))

    def _line(self, event: ProbeEvent, name: str) -> str:
        text = probe_line(event, name, time_stamp=self._time_stamps, unit=self._unit)
        if event.outcome == "error":
            if self._last_errors.get(event.target) == event.text:
                text = text.partition("; ")[0]
            self._last_errors[event.target] = event.text
        return text

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


def probe_line(event: ProbeEvent, name: str, *, time_stamp: bool = False, unit: Unit | None = None) -> str:
    """Format a probe's outcome; `name` is its target, `time_stamp` puts the time of day before it."""
    preposition = "to" if event.outcome in ("lost", "error") else "from"
    words = [f"{event.size} bytes {preposition} {name}:" if event.size or event.outcome == "stray" else f"{name}:"]
    if event.number is not None:
        words.append(f"seq={event.number}")
    if event.round_trip_ns is not None:
        others = {phase: elapsed for phase, elapsed in event.phases.items() if elapsed != event.round_trip_ns}
        words.append(f"time={show_time(event.round_trip_ns, unit)}")
        words += [f"({phases_text(others, unit)})"] if others else []
    words.append(_outcome(event, name))
    text = printable(" ".join(" ".join(words).split()))
    return f"[{wall_clock(event.wall_ns)}] {text}" if time_stamp else text


def wall_clock(wall_ns: int) -> str:
    """Format seconds since 1970 as `ping -D` does.

    >>> wall_clock(1_700_000_000_123_456_789)
    '1700000000.123456'
    """
    micros = wall_ns // MICROSECOND
    return f"{micros // MILLION}.{micros % MILLION:06d}"


def _outcome(event: ProbeEvent, name: str) -> str:
    if event.count > 1:
        return f"{event.count} duplicates" if event.outcome == "duplicate" else f"{event.count} {event.outcome} replies"
    place = "" if event.offset is None else f" from byte {event.offset} on"
    text = {
        "reply": "",
        "late": "late: after the timeout",
        "duplicate": "duplicate",
        "corrupt": f"corrupt{place}: {event.text}" if event.text else f"corrupt{place}",
        "unmatched": "unmatched: replies to another run, or to a probe given up long ago",
        "stray": "stray: is no reply to a probe",
        "lost": f"lost on the {event.way} path" if event.way else "lost",
        "error": event.text.removeprefix(f"{name} "),
    }[event.outcome]
    return f"{text} reordered" if event.reordered else text
