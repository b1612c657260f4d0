"""Waiting for flows over real sockets."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from halloo._core.units import SECOND
from halloo._net.readiness import AWAKE
from halloo._net.signals import StopRequest
from halloo._ping.delays import Instant
from halloo._ping.flow import Flow
from halloo._ping.waiter import MIN_SPIN_INTERVAL, SPIN_BEFORE, FlowWaiter
from tests._ping.flows import MS, TIMEOUT, make_flow, open_flow
from tests.peers import datagram_peer, echo_datagram


@contextmanager
def waiter(*flows: Flow, interval_ns: int = SECOND, busy_poll: bool = False) -> Iterator[FlowWaiter]:
    """Yield a waiter that watches the flows."""
    with closing(StopRequest()) as stop_request:
        made = FlowWaiter(flows, stop_request, interval_ns=interval_ns, busy_poll=busy_poll)
        with closing(made):
            for flow in flows:
                made.watch(flow)
            yield made


@contextmanager
def connected(count: int) -> Iterator[list[Flow]]:
    with datagram_peer(echo_datagram) as port:
        flows = [make_flow(f"udp://127.0.0.1:{port}") for _ in range(count)]
        for flow in flows:
            open_flow(flow)
        opened = [flow.connection for flow in flows if flow.connection]
        try:
            yield flows
        finally:
            for connection in opened:
                connection.close()


def ready(waiter: FlowWaiter, seconds: float) -> list[Flow]:
    return [*waiter.flows(waiter.wait(int(seconds * SECOND), 0))]


def test_only_flows_with_replies_are_ready() -> None:
    with connected(3) as flows, waiter(*flows) as waiting:
        assert ready(waiting, 0) == []
        assert flows[1].connection
        flows[1].connection.send(b"probe")
        assert ready(waiting, TIMEOUT) == [flows[1]]


def test_a_closed_flow_is_not_ready() -> None:
    with connected(1) as flows, waiter(*flows) as waiting:
        waiting.set_unfinished(flows[0])
        flows[0].state = None
        waiting.watch(flows[0])
        assert ready(waiting, 0) == []


def test_an_unfinished_flow_is_ready_once_without_waiting() -> None:
    with connected(1) as flows, waiter(*flows) as waiting:
        waiting.set_unfinished(flows[0])
        assert ready(waiting, 1000) == flows
        assert ready(waiting, 0) == []


def test_a_busy_poll_reads_all_flows() -> None:
    with connected(2) as flows, waiter(*flows, busy_poll=True) as waiting:
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
