"""Send the probes of flows, and report those that fail to a callback.

Works with sockets and two clocks. `_ping.scheduler` decides when.
"""

from collections.abc import Callable, Mapping

from halloo._core.timers import LazyDeadlines
from halloo._net import error_mapping
from halloo._ping.connection import Blocked, ProbeConnection
from halloo._ping.connector import Connector
from halloo._ping.delays import Instant
from halloo._ping.flow import Failed, Flow
from halloo._ping.report import ProbeEvent
from halloo._ping.schedule import Schedule
from halloo._ping.waiter import FlowWaiter
from halloo.errors import HallooError, Refused

ERROR_PAUSE = 100_000_000  # nanoseconds until the next probe if each follows the last reply
Failure = tuple[Flow, int, HallooError]  # of the probe of that number


class Sender:
    """Sends the next probe of a schedule, and connects its flow first where that is not connected."""

    def __init__(
        self,
        schedule: Schedule,
        waiter: FlowWaiter,
        on_event: Callable[[ProbeEvent], object],
        clock: Callable[[], Instant],
    ) -> None:
        self.connector = Connector(self._connected, self._connect_failed)
        self.expiries: LazyDeadlines[Flow] = LazyDeadlines(lambda flow: flow.tracker.counters.expires_ns())
        self.paused_until = 0  # by the steady clock: until when nothing is sent if each probe follows the last reply
        self.prepared: tuple[Flow, ProbeConnection, bytes] | None = None  # the next probe, encoded in advance
        self._schedule = schedule
        self._waiter = waiter
        self._on_event = on_event
        self._clock = clock

    def send_next(self, flow: Flow) -> None:
        """Send the probe that is due, or skip its turn if the flow is busy."""
        now = self._clock()
        if flow.busy:
            self._schedule.skip(now.steady_ns)
            return
        self.prepared = None
        self._schedule.mark_sent(now.steady_ns)
        if flow.one_shot and flow.connection and flow.connection.used:
            self.close(flow)
        if isinstance(flow.state, Failed):
            error, flow.state = flow.state.error, None
            self._fail_unsent(flow, now, error)
        elif connection := flow.connection:
            self._send(flow, connection, now)
        else:
            self.connector.start(flow, now)

    def prepare(self, flow: Flow, now: Instant) -> None:
        """Encode the next probe while a reply is awaited, so that it can be sent before that reply is processed.

        Processing takes longer than the peer's processor stays awake, and its wake-up would add to the round trip.
        """
        connection = flow.state
        if isinstance(connection, ProbeConnection) and connection.used and not flow.one_shot:
            self.prepared = flow, connection, flow.tracker.make(now)

    def send_prepared(self, now: Instant) -> Failure | None:
        """Send the prepared probe, in its turn. A failure is to be passed to `handle` once the reply is processed."""
        if self.prepared is None:
            return None
        failure = self._send_now(*self.prepared)
        self._schedule.mark_sent(now.steady_ns)
        return failure

    def handle(self, failure: Failure) -> None:
        """Report a probe that could not be sent; a stream has failed with it, unless it is only full."""
        flow, number, error = failure
        if flow.stream and not isinstance(error, Blocked):
            self.fail_connection(flow, error)
        else:
            self._fail(flow, number, error)

    def fail_connection(self, flow: Flow, error: HallooError) -> None:
        """Fail the pending probes and close the connection; a datagram socket's error fails only the latest probe."""
        if flow.connection and flow.connection.collect_reports():
            self.fail_undelivered(flow)
            return
        outstanding = flow.tracker.counters.outstanding()
        failed: list[int | None] = [*(outstanding if flow.stream else outstanding[-1:])]
        for number in failed or [None]:
            self._fail(flow, number, error)
        if flow.stream:
            self.close(flow)

    def fail_undelivered(self, flow: Flow) -> None:
        """Fail the probes that are reported as not delivered."""
        while (connection := flow.connection) and connection.reports:
            report, quoted = connection.reports.popleft()
            error = error_mapping.undelivered(connection.address, report)
            name = "" if isinstance(error, Refused) else report.name
            self._fail(flow, flow.tracker.record_report(report, quoted), error, name)

    def close(self, flow: Flow) -> None:
        """Close a flow's connection if it is open."""
        if self.prepared and self.prepared[0] is flow:
            self.prepared = None
        if connection := flow.connection:
            flow.tracker.record_kernel(connection.kernel_info(), closing=True)
            connection.close()
            flow.state = None
            self._waiter.watch(flow)

    def _connected(self, flow: Flow, planned: Instant | None, phases: Mapping[str, int]) -> None:
        """Send the probe that waited for the connection; without one, keep the connection for the first probe."""
        flow.tracker.connected(phases)
        flow.describe()
        self._waiter.watch(flow)
        if planned and (connection := flow.connection):
            self._send(flow, connection, planned if flow.config.connect else self._clock())

    def _connect_failed(self, flow: Flow, planned: Instant | None, error: HallooError) -> None:
        if planned:
            self._fail_unsent(flow, planned, error)
        else:
            flow.state = Failed(error)

    def _send(self, flow: Flow, connection: ProbeConnection, now: Instant) -> None:
        if flow.config.connect:
            flow.tracker.send(now)
            self._on_event(flow.tracker.complete_connect(self._clock()))
            self.close(flow)
        elif failure := self._send_now(flow, connection, flow.tracker.make(now)):
            self.handle(failure)

    def _send_now(self, flow: Flow, connection: ProbeConnection, probe: bytes) -> Failure | None:
        self.prepared = None
        sent_at, failure, had_unsent = self._clock(), None, connection.unsent
        try:
            connection.send(probe)
        except HallooError as error:
            failure = error
        number = flow.tracker.mark_sent(sent_at)
        connection.used = True
        self.expiries.add(flow)
        if had_unsent or connection.unsent or connection.peer_changed:
            self._waiter.watch(flow)
        if connection.reports:
            self._waiter.set_unfinished(flow)
        return None if failure is None else (flow, number, failure)

    def _fail_unsent(self, flow: Flow, now: Instant, error: HallooError) -> None:
        number, _ = flow.tracker.send(now)
        self._fail(flow, number, error)

    def _fail(self, flow: Flow, number: int | None, error: HallooError, name: str = "") -> None:
        self.paused_until = self._clock().steady_ns + ERROR_PAUSE
        self._on_event(flow.tracker.fail(number, (name or type(error).__name__, str(error)), self._clock()))
