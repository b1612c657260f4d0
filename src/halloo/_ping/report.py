"""The results of a ping: an event for each probe, and the report. Pure: no I/O, no clock, no randomness.

Times are integers of nanoseconds; those called `wall` are UTC since 1970.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from halloo._core.histogram import PERCENTILES, Summary
from halloo._core.icmp import IcmpReport
from halloo.errors import LocalError

SCHEMA = "halloo.ping/1"
PHASES = ("resolve", "connect", "tls", "first")  # the first echo on a connection; all echoes are in `round_trip`
Clock = Literal["kernel", "user"]  # which clock timed the replies
Outcome = Literal["reply", "late", "duplicate", "corrupt", "unmatched", "stray", "lost", "error"]
Direction = Literal["forward", "reverse"]
LOCAL_ERRORS = {LocalError.__name__, *(kind.__name__ for kind in LocalError.__subclasses__())}


@dataclass(frozen=True, slots=True)
class ProbeEvent:
    """The outcome of one probe: `target` is its index in the report, `peer` the address in use.

    A `corrupt` reply differs first at byte `offset`. An `unmatched` reply is right, but to a probe of another run or to
    one given up long ago; `stray` data is no reply at all. Neither has a number. `text` is the message of an `error`,
    or why a `corrupt` reply's timestamp is impossible. `phases` has the nanoseconds of each completed phase. `count` is
    1, or the number of duplicate, unmatched or stray replies that this event stands for; `size` is then their bytes. A
    timely reply with a server timestamp has the parts of its round trip; `forward_ns` and `reverse_ns` are as exact as
    both clocks agree.
    """

    target: int
    outcome: Outcome
    wall_ns: int
    number: int | None = None
    round_trip_ns: int | None = None
    size: int = 0
    reordered: bool = False
    offset: int | None = None
    way: Direction | None = None
    phases: Mapping[str, int] = field(default_factory=dict)
    text: str = ""
    peer: str | None = None
    count: int = 1
    forward_ns: int | None = None
    server_ns: int | None = None
    reverse_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel's data on a connection (TCP_INFO, tcp(7)); None where this kernel has none.

    `min_rtt_ns` is the minimum round trip seen by the kernel. The smoothed `rtt_ns` includes the server's time whenever
    it replies sooner than acknowledgements are delayed, so nothing is derived from it.
    """

    min_rtt_ns: int | None = None
    rtt_ns: int | None = None
    rtt_var_ns: int | None = None
    retransmits: int = 0
    lost: int = 0
    window_segments: int = 0
    mss: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
    """A period without timely replies: from the first lost or late probe to the next one that was answered in time."""

    start_ns: int
    end_ns: int
    probes: int
    over: bool = True

    @property
    def length_ns(self) -> int:
        """Its duration."""
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True)
class DelayVariation:
    """`ipdv_ns` is None without two consecutive probes that were answered, the jitter with fewer than two replies."""

    ipdv_ns: int | None = None
    jitter_rfc3550_ns: int | None = None


@dataclass(frozen=True, slots=True)
class DirectionalLoss:
    """Probes lost on the forward and on the reverse path, refused by the server, and sent after the last timestamp."""

    forward: int
    reverse: int
    refused: int
    unknown: int


@dataclass(frozen=True, slots=True)
class TimestampReport:
    """Results from server timestamps: time in the server, loss by direction, and one-way times if the clocks agree.

    `withheld` says why there are no one-way times. Their variation does not need agreeing clocks.
    """

    server: Summary
    lost: DirectionalLoss | None
    forward: Summary | None = None
    reverse: Summary | None = None
    withheld: str | None = None
    forward_variation: DelayVariation = field(default_factory=DelayVariation)
    reverse_variation: DelayVariation = field(default_factory=DelayVariation)


SizeEvidence = Literal["link", "report", "reply", "limit", "server", "path"]


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """The smallest datagram that a size sweep found not to be echoed, and the evidence of what ends the echo there.

    `link`: it does not fit into one packet of this machine's link. `report`: a router reported it as too big. `reply`:
    the reply was corrupt. `limit`: the server's rate limit refused it. `server`: no reply, on loopback. `path`: no
    reply and no report, over a network.
    """

    bytes: int
    evidence: SizeEvidence


@dataclass(frozen=True, slots=True)
class TargetReport:
    """The results of one target: an address, or one of several source ports to it."""

    label: str
    address: str  # as given by the caller
    peer: str | None  # the address in use; None if there is none
    local: str | None
    sent: int = 0
    received: int = 0
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    reordered: int = 0
    corrupt: int = 0
    unmatched: int = 0
    stray: int = 0
    timed_out: int = 0  # no reply within the timeout, late ones included; other losses are errors or the end of the run
    errors: Mapping[str, int] = field(default_factory=dict)
    icmp: tuple[tuple[IcmpReport, int], ...] = ()  # what routers and hosts reported, and how often
    rate_limited: int = 0  # probes that the server's rate limit refused, as far as it has said so
    failure: str | None = None  # the last error's message, if nothing was received
    clock: Clock = "user"
    round_trip: Summary | None = None
    phases: Mapping[str, Summary] = field(default_factory=dict)  # those of PHASES that took place
    kernel: Kernel | None = None
    floor_ns: int | None = None  # the minimum round trip seen by the kernel (tcpi_min_rtt)
    timestamps: TimestampReport | None = None
    outages: tuple[Outage, ...] = ()  # in wall time
    outage_count: int = 0
    longest_outage: Outage | None = None
    dscp: int | None = None  # as read back from the socket
    ttl: int | None = None
    size_sweep: bool = False  # whether this was a search for the largest datagram; the next two fields are its result
    largest_bytes: int | None = None  # the largest datagram that was echoed
    size_limit: SizeLimit | None = None  # None if there is none, or the search did not end
    path_mtu: int | None = None  # as known to the kernel
    histogram: tuple[tuple[int, int], ...] = ()  # round trips and their counts, for `--hdr`; not in JSON

    @property
    def failed_locally(self) -> bool:
        """Whether this machine kept every probe from being sent, so that nothing is known of the target."""
        return not self.received and bool(self.errors) and self.errors.keys() <= LOCAL_ERRORS and not self.timed_out

    @property
    def loss_percent(self) -> float:
        """The share of sent probes that were never answered."""
        return 100 * self.lost / self.sent if self.sent else 0.0

    @property
    def above_floor_ns(self) -> int | None:
        """The median round trip less the kernel's minimum: an upper bound for server and queueing time."""
        if self.floor_ns is None or self.round_trip is None or (self.phases and "first" not in self.phases):
            return None  # unknown, or connect probes, which are not echoed
        return max(self.round_trip.median_ns - self.floor_ns, 0)


@dataclass(frozen=True, slots=True)
class Generator:
    """How well the client kept its own schedule, and its CPU use. A round trip starts when its probe is really sent.

    `late` probes were sent more than LATE after they were due, `behind` ones more than a tenth of the interval; probes
    never sent count as both. `skipped_waiting` counts turns whose connection was still in use or not yet open.
    """

    planned: int = 0
    late: int = 0
    behind: int = 0
    skipped_waiting: int = 0
    lateness: Summary | None = None
    cpu_percent: float = 0.0

    @property
    def late_percent(self) -> float:
        """The share of planned probes that were late."""
        return 100 * self.late / self.planned if self.planned else 0.0

    @property
    def limited(self) -> bool:
        """Whether the client was the bottleneck: more than one in twenty probes fell behind."""
        return 20 * self.behind > self.planned


LATE = 100_000  # nanoseconds after the due time from which a probe is late


@dataclass(frozen=True, slots=True)
class PingReport:
    """The results of a ping for each target: replies, round trips and phases."""

    targets: tuple[TargetReport, ...]
    started_ns: int  # wall
    duration_ns: int
    generator: Generator = field(default_factory=Generator)
    interrupted: bool = False
    effective: Mapping[str, Any] = field(default_factory=dict)
    supplied: Mapping[str, Any] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None  # of halloo
    missed: tuple[str, ...] = ()  # the missed goals, as sentences

    @property
    def exit_code(self) -> int:
        """1 if a target never answered, else 3 if a goal was missed, else 1 if bytes were wrong, else 0.

        It is 2 instead if no probe could be sent to the targets that never answered, for a reason of this machine.
        Wrong bytes are the same over every transport: those of a corrupt reply, and those that belong to no reply.
        """
        if unanswered := [target for target in self.targets if not target.received]:
            return 2 if all(target.failed_locally for target in unanswered) else 1
        if self.missed:
            return 3
        return 1 if any(target.corrupt or target.stray for target in self.targets) else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: integers of nanoseconds, None for unknown values."""
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
            "errors": dict(sorted(sum((Counter(target.errors) for target in self.targets), Counter()).items())),
        }


def summary_dict(summary: Summary | None) -> dict[str, Any] | None:
    """Return the JSON form of a distribution; a percentile with too few values beyond it is None, except the median."""
    if summary is None:
        return None
    percentiles = {f"p{percent:g}".replace(".", "_") + "_ns": summary.at(percent) for percent in PERCENTILES}
    names = ("count", "min_ns", "mean_ns", "max_ns", "mdev_ns", "ipdv_ns", "jitter_rfc3550_ns")
    return {name: getattr(summary, name) for name in names} | percentiles | {"p50_ns": summary.median_ns}


def target_dict(target: TargetReport) -> dict[str, Any]:
    """Return the JSON form of a target."""
    names = (
        *("label", "address", "peer", "local", "sent", "received", "lost", "late", "duplicate", "reordered"),
        *("rate_limited", "corrupt", "unmatched", "stray", "timed_out", "failure", "clock", "floor_ns"),
        *("above_floor_ns", "loss_percent", "outage_count", "dscp", "ttl", "size_sweep", "largest_bytes", "path_mtu"),
    )
    return {name: getattr(target, name) for name in names} | {
        "errors": dict(target.errors),
        "size_limit": target.size_limit and asdict(target.size_limit),
        "icmp": [
            {"error": icmp.name, "router": icmp.router, "type": icmp.type, "code": icmp.code, "mtu": icmp.mtu or None}
            | {"count": count}
            for icmp, count in target.icmp
        ],
        "round_trip": summary_dict(target.round_trip),
        "phases": {name: summary_dict(summary) for name, summary in target.phases.items()},
        "kernel": target.kernel and asdict(target.kernel),
        "timestamps": target.timestamps and _timestamps_dict(target.timestamps),
        "outages": [_outage_dict(outage) for outage in target.outages],
        "longest_outage": target.longest_outage and _outage_dict(target.longest_outage),
    }


def event_dict(event: ProbeEvent) -> dict[str, Any]:
    """Return a probe as a line of `--json-stream` has it."""
    fields = {name: getattr(event, name) for name in ProbeEvent.__slots__}
    return fields | {"phases": dict(event.phases), "text": event.text or None}


def _timestamps_dict(timestamps: TimestampReport) -> dict[str, Any]:
    return {
        "server": summary_dict(timestamps.server),
        "lost": timestamps.lost and asdict(timestamps.lost),
        "one_way_if_clocks_agree": {
            "forward": summary_dict(timestamps.forward),
            "reverse": summary_dict(timestamps.reverse),
        },
        "one_way_withheld": timestamps.withheld,
        "one_way_variation": {
            "forward": asdict(timestamps.forward_variation),
            "reverse": asdict(timestamps.reverse_variation),
        },
    }


def _outage_dict(outage: Outage) -> dict[str, Any]:
    return asdict(outage) | {"length_ns": outage.length_ns}
