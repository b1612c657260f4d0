"""Waiting for flows over real sockets."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from halloo._core.address import parse
from halloo._core.probe import Probes
from halloo._core.units import SECOND
from halloo._net.readiness import AWAKE
from halloo._net.signals import StopRequest
from halloo._ping.connector import Connector
from halloo._ping.flow import ConnectOptions, Flow, ProbeConnection
from halloo._ping.report import TargetReport
from halloo._ping.round_trip import Instant
from halloo._ping.tracker import ProbeTracker
from halloo._ping.waiter import MIN_SPIN_INTERVAL, SPIN_BEFORE, FlowWaiter
from tests.peers import datagram_peer, echo_datagram

MS = 1_000_000  # nanoseconds
TIMEOUT = 10.0  # seconds, more than any test takes


def make_flow(address: str) -> Flow:
    connection = ProbeConnection(ConnectOptions(parse(address), TIMEOUT), run=1, size=128)
    tracker = ProbeTracker(0, Probes(1, 128), int(TIMEOUT * SECOND), TargetReport(address, address, None, None))
    return Flow(connection, tracker)


@contextmanager
def waiter(*flows: Flow, interval_ns: int = SECOND, busy_poll: bool = False) -> Iterator[FlowWaiter]:
    """Yield a waiter for flows that are connected already; it watches none yet."""
    connector = Connector([flow.connection for flow in flows], lambda *_: None, lambda *_: None)
    with closing(StopRequest()) as stop_request:
        made = FlowWaiter(flows, connector, stop_request, interval_ns=interval_ns, busy_poll=busy_poll)
        with closing(made):
            yield made


@contextmanager
def connected(count: int) -> Iterator[list[Flow]]:
    with datagram_peer(echo_datagram) as port:
        flows = [make_flow(f"udp://127.0.0.1:{port}") for _ in range(count)]
        for flow in flows:
            assert flow.connection.open() is not None
        try:
            yield flows
        finally:
            for flow in flows:
                flow.connection.close()


def ready(waiter: FlowWaiter, seconds: float) -> list[Flow]:
    return [*waiter.flows(waiter.wait(int(seconds * SECOND), 0))]


def test_only_flows_with_replies_are_ready() -> None:
    with connected(3) as flows, waiter(*flows) as waiting:
        for flow in flows:
            waiting.watch(flow)
        assert ready(waiting, 0) == []
        flows[1].connection.send(b"probe")
        assert ready(waiting, TIMEOUT) == [flows[1]]


def test_a_closed_flow_is_not_ready() -> None:
    with connected(1) as flows, waiter(*flows) as waiting:
        waiting.watch(flows[0])
        waiting.set_unfinished(flows[0])
        flows[0].connection.close()
        waiting.watch(flows[0])
        assert ready(waiting, 0) == []


def test_an_unfinished_flow_is_ready_once_without_waiting() -> None:
    with connected(1) as flows, waiter(*flows) as waiting:
        waiting.watch(flows[0])
        waiting.set_unfinished(flows[0])
        assert ready(waiting, 1000) == flows
        assert ready(waiting, 0) == []


def test_a_busy_poll_reads_all_flows() -> None:
    with connected(2) as flows, waiter(*flows, busy_poll=True) as waiting:
        for flow in flows:
            waiting.watch(flow)
        assert {*ready(waiting, 1000)} == {*flows}


def test_it_spins_before_a_reply_without_kernel_timestamp() -> None:
    flow = make_flow("127.0.0.1:1")
    later, now = 10**12, 1000 * MS
    with waiter(flow) as waiting:
        assert waiting.spin_from(later, now) == later - AWAKE
        _, probe = flow.tracker.send(Instant(now - 70 * MS, now))
        flow.tracker.receive(probe, Instant(now - 20 * MS, now), None)
        flow.tracker.send(Instant(now, now))
        assert waiting.spin_from(later, now) == now + 50 * MS - SPIN_BEFORE
        assert waiting.spin_from(later, now + 51 * MS) == later - AWAKE
    with waiter(flow, flow, interval_ns=2 * MIN_SPIN_INTERVAL - 1) as waiting:
        assert waiting.spin_from(later, now) == later - AWAKE
