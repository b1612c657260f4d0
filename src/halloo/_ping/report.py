"""The results of a ping: an event for each probe, and the report. Pure: no I/O, no clock, no randomness.

Knows numbers and names. Times are integers of nanoseconds; those called `wall` are UTC since 1970.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from halloo._core.histogram import PERCENTILES, Summary
from halloo._ping.counters import DirectionalLoss, Outage, Way

SCHEMA = "halloo.ping/1"
PHASES = ("resolve", "connect", "tls", "first")  # the first echo on a connection; all echoes are in `round_trip`
Clock = Literal["kernel", "user"]  # whose receive time the round trips have
Outcome = Literal["reply", "late", "duplicate", "corrupt", "stray", "lost", "error"]


@dataclass(frozen=True, slots=True)
class ProbeEvent:
    """What became of one probe: `target` is its place among the report's targets, `peer` the address that was used.

    A `corrupt` answer came, with the first wrong byte at `offset`; a `stray` one belongs to no probe of this run and
    has no number; an `error` has its sentence in `text`, and `phases` has the time of each phase that was gone through.
    """

    target: int
    outcome: Outcome
    wall_ns: int
    number: int | None = None
    round_trip_ns: int | None = None
    size: int = 0
    reordered: bool = False
    offset: int | None = None
    way: Way | None = None
    phases: Mapping[str, int] = field(default_factory=dict)
    text: str = ""
    peer: str | None = None


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel knows of a connection (TCP_INFO, tcp(7)); None is what this one does not tell.

    `min_rtt_ns` is the network's floor. The smoothed `rtt_ns` contains the server whenever it answers sooner than
    acknowledgements are delayed, and is never taken from anything.
    """

    min_rtt_ns: int | None = None
    rtt_ns: int | None = None
    rtt_var_ns: int | None = None
    retransmits: int = 0
    lost: int = 0
    window_segments: int = 0
    mss: int = 0


@dataclass(frozen=True, slots=True)
class TimestampReport:
    """What a stamping server adds: the time within it, losses by direction, and one-way times if the clocks agree."""

    server: Summary
    lost: DirectionalLoss | None
    forward: Summary | None = None
    reverse: Summary | None = None


@dataclass(frozen=True, slots=True)
class TargetReport:
    """One line of the report: an address, or one of the source ports to it."""

    label: str
    address: str  # as it was asked for
    peer: str | None  # the one that was used; None when none was found
    local: str | None
    sent: int = 0
    received: int = 0
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    reordered: int = 0
    corrupt: int = 0
    stray: int = 0
    timed_out: int = 0  # not back within the wait, those late with them: the others lost had an error, or no time left
    errors: Mapping[str, int] = field(default_factory=dict)
    failure: str | None = None  # the sentence of the last error, where nothing came back
    clock: Clock = "user"
    round_trip: Summary | None = None
    phases: Mapping[str, Summary] = field(default_factory=dict)  # of PHASES, those that were gone through
    kernel: Kernel | None = None
    floor_ns: int | None = None  # the network's, as far as the kernel can tell
    timestamps: TimestampReport | None = None
    outages: tuple[Outage, ...] = ()  # in wall time
    outage_count: int = 0
    longest_outage: Outage | None = None
    dscp: int | None = None  # in effect
    ttl: int | None = None
    largest_bytes: int | None = None  # of --size-sweep: the largest datagram that came back
    path_mtu: int | None = None  # as the kernel knows it
    histogram: tuple[tuple[int, int], ...] = ()  # round trips and how many of each, for `--hdr`; in no JSON

    @property
    def loss_percent(self) -> float:
        """How many of those sent did not come back at all."""
        return 100 * self.lost / self.sent if self.sent else 0.0

    @property
    def above_floor_ns(self) -> int | None:
        """What the server and queueing took at most, of the median: what the network's floor leaves of it."""
        if self.floor_ns is None or self.round_trip is None or (self.phases and "first" not in self.phases):
            return None  # not known, or no echo was asked for
        return max(self.round_trip.median_ns - self.floor_ns, 0)


@dataclass(frozen=True, slots=True)
class Generator:
    """How well the pinging side kept its own plan, and what it cost: a round trip counts from when its probe left.

    `late` left more than LATE after their moment, `behind` more than a tenth of the interval; what never left is both.
    `skipped_waiting` counts turns at which the target's only connection was still in use, or not yet made.
    """

    planned: int = 0
    late: int = 0
    behind: int = 0
    skipped_waiting: int = 0
    lateness: Summary | None = None
    cpu_percent: float = 0.0

    @property
    def late_percent(self) -> float:
        """How many left late."""
        return 100 * self.late / self.planned if self.planned else 0.0

    @property
    def limited(self) -> bool:
        """Whether this side was the bottleneck: more than one in twenty fell behind."""
        return 20 * self.behind > self.planned


LATE = 100_000  # nanoseconds after its plan at which a probe has left late


@dataclass(frozen=True, slots=True)
class PingReport:
    """What a ping found: for each target what came back, how late, and where the time went."""

    targets: tuple[TargetReport, ...]
    started_ns: int  # wall
    duration_ns: int
    generator: Generator = field(default_factory=Generator)
    interrupted: bool = False
    effective: Mapping[str, Any] = field(default_factory=dict)
    supplied: Mapping[str, Any] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None  # of halloo
    missed: tuple[str, ...] = ()  # the goals of --fail-if that were not reached, as sentences

    @property
    def exit_code(self) -> int:
        """1 when a target never answered, else 3 when a goal was missed, else 1 when bytes were wrong, else 0."""
        if any(not target.received for target in self.targets):
            return 1
        if self.missed:
            return 3
        return 1 if any(target.corrupt for target in self.targets) else 0

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON has it: integers of nanoseconds, None for what is not known."""
        return {
            "schema": SCHEMA,
            "version": self.version,
            "system": dict(self.system),
            "config": {"effective": dict(self.effective), "supplied": dict(self.supplied)},
            "summary": {
                "started_ns": self.started_ns,
                "duration_ns": self.duration_ns,
                "interrupted": self.interrupted,
                "exit_code": self.exit_code,
                "missed": list(self.missed),
                "generator": {
                    "late_percent": self.generator.late_percent,
                    "within_100us_percent": 100 - self.generator.late_percent,
                    "lateness": summary_dict(self.generator.lateness),
                    "cpu_percent": self.generator.cpu_percent,
                    "limited": self.generator.limited,
                    "skipped_waiting": self.generator.skipped_waiting,
                },
                "targets": [target_dict(target) for target in self.targets],
            },
            "intervals": [],
            "errors": self._errors(),
        }

    def _errors(self) -> dict[str, int]:
        names = sorted({name for target in self.targets for name in target.errors})
        return {name: sum(target.errors.get(name, 0) for target in self.targets) for name in names}


def summary_dict(spread: Summary | None) -> dict[str, Any] | None:
    """Give a distribution as JSON has it; a percentile with too few values beyond it is None, the median never."""
    if spread is None:
        return None
    percentiles = {f"p{percent:g}".replace(".", "_") + "_ns": spread.at(percent) for percent in PERCENTILES}
    return {
        "count": spread.count,
        "min_ns": spread.min_ns,
        "mean_ns": spread.mean_ns,
        **percentiles,
        "p50_ns": spread.median_ns,
        "max_ns": spread.max_ns,
        "mdev_ns": spread.mdev_ns,
        "ipdv_ns": spread.ipdv_ns,
        "jitter_rfc3550_ns": spread.jitter_rfc3550_ns,
    }


def target_dict(target: TargetReport) -> dict[str, Any]:
    """Give a target as JSON has it."""
    plain = (
        *("label", "address", "peer", "local", "sent", "received", "lost", "late", "duplicate", "reordered"),
        *(
            "corrupt",
            "stray",
            "timed_out",
            "failure",
            "clock",
            "floor_ns",
            "above_floor_ns",
            "loss_percent",
            "outage_count",
        ),
        *("dscp", "ttl", "largest_bytes", "path_mtu"),
    )
    kernel, stamped = target.kernel, target.timestamps
    return {name: getattr(target, name) for name in plain} | {
        "errors": dict(target.errors),
        "round_trip": summary_dict(target.round_trip),
        "phases": {name: summary_dict(spread) for name, spread in target.phases.items()},
        "kernel": {name: getattr(kernel, name) for name in Kernel.__slots__} if kernel else None,
        "timestamps": timestamps_dict(stamped) if stamped else None,
        "outages": [outage_dict(outage) for outage in target.outages],
        "longest_outage": outage_dict(target.longest_outage) if target.longest_outage else None,
    }


def timestamps_dict(stamped: TimestampReport) -> dict[str, Any]:
    """Give what a server stamped as JSON has it; one-way times are only as good as the two clocks agree."""
    ways = stamped.lost
    return {
        "server": summary_dict(stamped.server),
        "lost": {name: getattr(ways, name) for name in DirectionalLoss.__slots__} if ways else None,
        "one_way_if_clocks_agree": {
            "forward": summary_dict(stamped.forward),
            "reverse": summary_dict(stamped.reverse),
        },
    }


def outage_dict(outage: Outage) -> dict[str, Any]:
    """Give an outage as JSON has it."""
    return {
        "start_ns": outage.start_ns,
        "end_ns": outage.end_ns,
        "length_ns": outage.length_ns,
        "probes": outage.probes,
        "over": outage.over,
    }


def event_dict(event: ProbeEvent) -> dict[str, Any]:
    """Give a probe as a line of `--json-stream` has it."""
    named = ("target", "peer", "outcome", "wall_ns", "number", "round_trip_ns", "size", "reordered", "offset", "way")
    return {name: getattr(event, name) for name in named} | {
        "phases": dict(event.phases),
        "text": event.text or None,
    }
