"""Flows for tests: an address with the options of a ping."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from halloo._core.address import AddressLike, parse
from halloo._core.probe import Probes
from halloo._core.units import SECOND
from halloo._net.readiness import wait
from halloo._net.signals import StopRequest
from halloo._ping.config import PingConfig
from halloo._ping.connection import ProbeConnection
from halloo._ping.connector import Connector
from halloo._ping.flow import Flow
from halloo._ping.receiver import Receiver
from halloo._ping.report import ProbeEvent, TargetReport
from halloo._ping.schedule import Schedule
from halloo._ping.scheduler import system_clocks
from halloo._ping.sender import Sender
from halloo._ping.tracker import ProbeTracker
from halloo._ping.waiter import FlowWaiter
from halloo.errors import HallooError

TIMEOUT = 10.0  # seconds, more than any test takes
MS = 1_000_000  # nanoseconds
RUN = 0xBEEF


def make_flow(address: AddressLike, index: int = 0, **options: Any) -> Flow:  # noqa: ANN401 - those of PingConfig
    """Make a flow that is not connected; `index` is that of its target."""
    parsed, run = parse(address), RUN + index
    options.setdefault("timeout", TIMEOUT)
    config = PingConfig(addresses=(parsed,), **options)
    target = TargetReport(str(address), str(address), None, None)
    return Flow(parsed, config, run, ProbeTracker(index, Probes(run, config.size), config.timeout_ns, target))


def open_flow(flow: Flow) -> Mapping[str, int]:
    """Connect a flow, and return its phases; raise the error if that fails."""
    results: list[Mapping[str, int] | HallooError] = []
    connector = Connector(lambda _flow, _planned, phases: results.append(phases), lambda *args: results.append(args[2]))
    connector.start(flow)
    while connector:
        connector.advance(wait(*connector.wait_set()))
    (result,) = results
    if isinstance(result, HallooError):
        raise result
    return result


@contextmanager
def opened(address: AddressLike, **options: Any) -> Iterator[ProbeConnection]:  # noqa: ANN401 - those of PingConfig
    """Yield an open connection."""
    flow = make_flow(address, **options)
    open_flow(flow)
    assert flow.connection
    connection = flow.connection
    try:
        yield connection
    finally:
        connection.close()


class Sending:
    """A sender and a receiver for one flow, with a schedule of a probe a second, and their events."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.events: list[ProbeEvent] = []
        self.schedule = Schedule(SECOND, 1)
        self.schedule.start(system_clocks().steady_ns)
        self.stop_request = StopRequest()
        self.waiter = FlowWaiter([flow], self.stop_request, interval_ns=SECOND)
        self.sender = Sender(self.schedule, self.waiter, self.events.append, system_clocks)
        self.receiver = Receiver(self.sender, self.waiter, self.events.append, system_clocks)

    @property
    def outcomes(self) -> list[tuple[str, int | None]]:
        return [(event.outcome, event.number) for event in self.events]

    def receive(self) -> list[Flow]:
        """Wait until the flow is ready, and receive; return the flows that were."""
        now = system_clocks().steady_ns
        flows = [*self.waiter.flows(self.waiter.wait(now + int(TIMEOUT * SECOND), now))]
        for flow in flows:
            self.receiver.receive(flow)
        return flows

    def close(self) -> None:
        self.sender.connector.cancel()
        self.sender.close(self.flow)
        self.waiter.close()
        self.stop_request.close()


@contextmanager
def sending(address: str, *, connected: bool = True, **options: Any) -> Iterator[Sending]:  # noqa: ANN401 - as above
    """Yield a sender and a receiver for a flow, which is open if `connected`."""
    flow = make_flow(address, **options)
    made = Sending(flow)
    try:
        if connected:
            open_flow(flow)
            made.waiter.watch(flow)
        yield made
    finally:
        made.close()
