"""Sample reports: a good target, one with every finding, a silent one, and several compared."""

from dataclasses import asdict, replace

from halloo._core.histogram import Histogram, Summary
from halloo._ping.delays import Variation
from halloo._ping.report import (
    DelayVariation,
    DirectionalLoss,
    Generator,
    Kernel,
    Outage,
    PingReport,
    ProbeEvent,
    TargetReport,
    TimestampReport,
)

US, MS, SECOND = 1_000, 1_000_000, 1_000_000_000
START = 1_767_323_045_123_456_789  # 2026-01-02 03:04:05 UTC
HOSTILE = "\x1b[31m\x00\x07\r\u202e [red]"


def summary_of(*values: int, missing: int = 0) -> Summary:
    """Summarise the round trips of consecutive probes; `missing` further ones have none."""
    found, variation = Histogram(values).summary(missing=missing), Variation()
    for number, value in enumerate(values):
        variation.record(number, value, number)
    assert found
    return replace(found, **asdict(variation.result()))


TEN = [80 * US, 81 * US, 82 * US, 83 * US, 84 * US, 84 * US, 85 * US, 86 * US, 87 * US, 130 * US]
MANY = [(80 + number % 40) * US for number in range(20_000)]
KERNEL = Kernel(41_200, 84_000, 12_000, retransmits=0, lost=0, window_segments=10, mss=1448)

GOOD = TargetReport(
    label="localhost:8888",
    address="localhost",
    peer="127.0.0.1:8888",
    local="127.0.0.1:51234",
    sent=10,
    received=10,
    clock="kernel",
    round_trip=summary_of(*TEN),
    phases={"resolve": summary_of(210 * US), "connect": summary_of(41 * US), "first": summary_of(130 * US)},
    kernel=KERNEL,
    floor_ns=41_200,
    dscp=0,
    ttl=64,
    histogram=tuple(Histogram(TEN).buckets()),
)
OUTAGES = (
    Outage(START + 60 * SECOND, START + 64 * SECOND, 40),
    Outage(START + 90 * SECOND, START + 90 * SECOND + 200 * MS, 2, over=False),
)
BAD = TargetReport(
    label="udp://10.0.0.2:8888",
    address="udp://10.0.0.2",
    peer="10.0.0.2:8888",
    local="10.0.0.1:40000",
    sent=20_000,
    received=19_980,
    lost=15,
    late=5,
    duplicate=3,
    reordered=2,
    corrupt=1,
    stray=4,
    errors={"refused": 7},
    round_trip=summary_of(*MANY),
    phases={
        "resolve": summary_of(2 * MS, 3 * MS),
        "connect": summary_of(MS, 50 * MS, 60 * MS),
        "first": summary_of(80 * US, 90 * US),
    },
    timestamps=TimestampReport(
        summary_of(3 * US, 4 * US),
        DirectionalLoss(3, 2, 9, 1),
        forward=summary_of(40 * US),
        reverse=summary_of(44 * US),
        forward_variation=DelayVariation(2 * US, US),
        reverse_variation=DelayVariation(3 * US, US),
    ),
    outages=OUTAGES,
    outage_count=2,
    longest_outage=OUTAGES[0],
    dscp=46,
    ttl=3,
    path_mtu=1500,
    histogram=tuple(Histogram(MANY).buckets()),
)
REFUSAL = (
    "nothing is listening on localhost:9 (connection refused); start a server there with: halloo serve localhost:9"
)
SILENT = TargetReport("localhost:9", "localhost:9", None, None, sent=2, lost=2, errors={"Refused": 2}, failure=REFUSAL)
FLOWS = tuple(
    replace(
        GOOD,
        label=f"localhost:8888 :{51234 + flow}",
        local=f"127.0.0.1:{51234 + flow}",
        lost=flow // 3,
        round_trip=summary_of(*([(80 + 4000 * (flow == 2)) * US] * 40)),
    )
    for flow in range(4)
)


def report(*targets: TargetReport, generator: Generator | None = None, missed: tuple[str, ...] = ()) -> PingReport:
    """Make a report of these targets."""
    return PingReport(
        targets=targets,
        started_ns=START,
        duration_ns=9_010_000_000,
        generator=generator or Generator(planned=10),
        effective={"count": 10, "interval_ns": SECOND, "size": 128},
        supplied={"count": 10},
        system={"platform": "Linux"},
        missed=missed,
    )


LIMITED = Generator(planned=1000, late=120, behind=60, lateness=summary_of(200 * US, 3 * MS), cpu_percent=99.5)
HOSTILE_TARGET = replace(SILENT, label=HOSTILE, address=HOSTILE, failure=HOSTILE)
REPORTS = (
    report(GOOD),
    report(BAD, generator=LIMITED, missed=("p99 of udp://10.0.0.2:8888 is 7.1ms (fail if p99>5ms)",)),
    report(SILENT),
    report(*FLOWS),
    report(GOOD, BAD, SILENT),
    report(HOSTILE_TARGET, missed=(HOSTILE,)),
)

HERE = "127.0.0.1:8888"
REPLY = ProbeEvent(0, "reply", START, 0, 84_123, 128, peer=HERE)
EVENTS = (
    replace(REPLY, round_trip_ns=130 * US, phases={"resolve": 210 * US, "connect": 41 * US, "first": 130 * US}),
    replace(REPLY, number=1),
    replace(REPLY, number=3, reordered=True),
    ProbeEvent(0, "lost", START, 2, way="reverse", peer=HERE),
    ProbeEvent(0, "lost", START, 4, peer=HERE),
    replace(REPLY, outcome="late", number=5, round_trip_ns=5_200 * MS),
    replace(REPLY, outcome="duplicate", number=3),
    replace(REPLY, outcome="corrupt", number=6, offset=45),
    ProbeEvent(0, "stray", START, size=17, peer=HERE),
    ProbeEvent(0, "error", START, 7, text=REFUSAL, peer=HERE),
    ProbeEvent(0, "error", START, 8, text=REFUSAL, peer=HERE),
    ProbeEvent(0, "error", START, text=HOSTILE, peer=HERE),
    ProbeEvent(
        0, "reply", START, 9, 8_100 * US, phases={"resolve": 210 * US, "connect": 8_100 * US, "tls": 20 * MS}, peer=HERE
    ),
    replace(REPLY, outcome="corrupt", number=6, offset=36, text="impossible server time of 184ms"),
)
