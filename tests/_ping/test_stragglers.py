import pytest

from halloo._core.address import parse
from halloo._core.probe import Probes
from halloo._ping.flow import ConnectOptions, Flow, ProbeConnection
from halloo._ping.report import TargetReport
from halloo._ping.round_trip import Instant
from halloo._ping.stragglers import MIN_STRAGGLER_WAIT, STRAGGLER_FACTOR, Stragglers
from halloo._ping.tracker import ProbeTracker

TIMEOUT = 1_000_000_000  # nanoseconds
SLOW = 2 * MIN_STRAGGLER_WAIT


def flow(address: str, *round_trips: int, pending: bool) -> Flow:
    """Make a flow with these round trips, and perhaps a pending probe sent at 0."""
    tracker = ProbeTracker(0, Probes(1, 128), TIMEOUT, TargetReport(address, address, None, None))
    start = Instant(0, 0)
    for elapsed in round_trips:
        _, probe = tracker.send(start)
        tracker.receive(probe, Instant(elapsed, elapsed), None)
    if pending:
        tracker.send(start)
    return Flow(ProbeConnection(ConnectOptions(parse(address), 1), run=1, size=128), tracker)


@pytest.mark.parametrize(
    ("address", "round_trips", "until"),
    [
        ("udp://host:1", [], TIMEOUT + 1),
        ("udp://host:1", [5], 100 + MIN_STRAGGLER_WAIT),
        ("udp://host:1", [5, SLOW], 100 + STRAGGLER_FACTOR * SLOW),
        ("tcp://host:1", [5], TIMEOUT + 1),
    ],
)
def test_the_wait_depends_on_the_slowest_round_trip(address: str, round_trips: list[int], until: int) -> None:
    stragglers = Stragglers([flow(address, *round_trips, pending=True)])
    assert stragglers.until(100) == until
    assert stragglers.until(200) == until
    assert stragglers.until(until) == 0


def test_the_last_flow_decides_and_those_without_pending_probes_do_not_count() -> None:
    flows = [flow("udp://host:1", SLOW, pending=True), flow("udp://host:1", 5, pending=True)]
    stragglers = Stragglers([*flows, flow("tcp://host:1", 5, pending=False)])
    assert stragglers.until(0) == MIN_STRAGGLER_WAIT
    assert stragglers.until(MIN_STRAGGLER_WAIT) == STRAGGLER_FACTOR * SLOW
    assert Stragglers([flow("udp://host:1", pending=False)]).until(0) == 0
