"""Send probes by a schedule, receive the replies, and report each outcome to a callback.

Works with flows, two clocks, and the waits between events.
"""

from collections.abc import Callable, Mapping, Sequence

from halloo._core.timers import LazyDeadlines
from halloo._core.units import SECOND
from halloo._net import error_mapping
from halloo._net.readiness import sharp_timers
from halloo._net.signals import StopRequest
from halloo._ping.clocks import read_clocks
from halloo._ping.connector import Connector
from halloo._ping.flow import Blocked, Flow
from halloo._ping.report import ProbeEvent
from halloo._ping.round_trip import Instant
from halloo._ping.schedule import Schedule
from halloo._ping.stragglers import Stragglers, straggler_wait
from halloo._ping.surplus import SURPLUS
from halloo._ping.waiter import FlowWaiter
from halloo.errors import HallooError, Refused, UnknownHost, UsageError

ERROR_PAUSE = 100_000_000  # nanoseconds until the next probe if each follows the last reply
LIMIT_PAUSE = SECOND  # nanoseconds, as above, when the server limits the rate: it says so once a second
MAX_SURPLUS = 32  # such replies of a connection in one turn, so that a flood cannot delay anything else
# How long the first connected flow waits for the others: nanoseconds, and at most this part of the deadline.
MAX_CONNECT_WAIT, CONNECT_WAIT_SHARE = SECOND, 10

OnEvent = Callable[[ProbeEvent], object]


class Prober:
    """Sends the probes of several flows by one schedule."""

    def __init__(
        self,
        flows: Sequence[Flow],
        schedule: Schedule,
        stop_request: StopRequest,
        on_event: OnEvent,
        *,
        deadline_ns: int | None = None,
        busy_poll: bool = False,
        clock: Callable[[], Instant] = read_clocks,
    ) -> None:
        """Store the arguments without connecting. `deadline_ns` limits the whole run, connecting included."""
        self._flows = flows
        self._schedule = schedule
        self._stop_request = stop_request
        self._on_event = on_event
        self._deadline = deadline_ns
        self._clock = clock
        self._end_ns: int | None = None  # when to stop, by the steady clock
        self._stragglers = Stragglers(flows)
        self._paused_until = 0  # until when nothing is sent, by the steady clock
        self._connector = Connector([flow.connection for flow in flows], self._connected, self._connect_failed)
        interval_ns = schedule.interval_ns
        self._waiter = FlowWaiter(flows, self._connector, stop_request, interval_ns=interval_ns, busy_poll=busy_poll)
        self._expiries: LazyDeadlines[Flow] = LazyDeadlines(lambda flow: flow.tracker.counters.expires_ns())
        self._awaiting_connection: dict[int, Instant] = {}  # probes to send once their flow is connected
        self._connect_errors: dict[int, HallooError] = {}  # reported with the first probe
        self._unused_connections: set[int] = set()  # opened, but no probe sent yet
        self._just_sent = False
        self._prepared: tuple[Flow, bytes] | None = None  # the next probe, encoded in advance, and its flow

    def open(self) -> None:
        """Connect all flows, so that the first probes can be sent on time.

        Once one flow is connected, the others have a short time left; after that they connect while probes are sent.
        Raises UsageError; UnknownHost if no name resolves.
        """
        now = self._clock().steady_ns
        self._end_ns = None if self._deadline is None else now + self._deadline
        share = MAX_CONNECT_WAIT if self._deadline is None else self._deadline // CONNECT_WAIT_SHARE
        wait_until = now + min(MAX_CONNECT_WAIT, share)
        for index, flow in enumerate(self._flows):
            if flow.connection.connection:
                self._waiter.watch(flow)
            elif not self._stop_request.stop:
                self._connector.start(index)
        while self._connector and not self._stop_request.stop and not self._past(self._end_ns):
            if self._unused_connections and self._past(wait_until):
                break
            now = self._clock().steady_ns
            until = wait_until if self._unused_connections else now + SECOND
            self._connector.advance(self._waiter.wait(self._before_end(until), now, flows=False))
        errors = [*self._connect_errors.values()]
        all_unknown = len(errors) == len(self._flows) and all(isinstance(error, UnknownHost) for error in errors)
        for error in errors:
            if all_unknown or isinstance(error, UsageError):
                raise error

    def run(self, on_info_request: Callable[[], object] = int) -> None:
        """Send and receive until the schedule is done or a stop is requested; SIGQUIT calls `on_info_request`."""
        self._schedule.start(self._clock().steady_ns)
        try:
            with sharp_timers():
                while not self._stop_request.stop and not self._past(self._end_ns):
                    if self._stop_request.look:
                        self._stop_request.look = False
                        on_info_request()
                    if not self._run_once():
                        break
                else:  # the latest probes still get a chance of a reply
                    self._drain()
                self._poll()  # replies that have arrived still count
        except BaseException:
            self._on_event = _ignore  # the callback failed; finish the trackers all the same
            raise
        finally:
            for index, flow in enumerate(self._flows):
                self._finish(index, flow)

    def refresh(self) -> None:
        """Update the trackers with what the kernel knows of their connections."""
        for flow in self._flows:
            flow.tracker.record_kernel(flow.connection.kernel_info())
            self._describe(flow)

    def close(self) -> None:
        """Close all connections."""
        for flow in self._flows:
            flow.connection.close()
        self.release()

    def release(self) -> None:
        """Release what the prober itself has opened, but leave the connections open."""
        self._waiter.close()

    # Scheduling.

    def _run_once(self) -> bool:
        """Send one probe or wait for an event; return whether there is more to do."""
        now = self._clock()
        expires = self._expire(now)
        if self._schedule.done:
            until = now.steady_ns + SECOND if self._connector else self._stragglers.until(now.steady_ns)
            if until <= now.steady_ns:
                return False
        else:
            planned = self._next_send_ns(now.steady_ns, expires)
            if planned <= now.steady_ns and not self._just_sent:
                self._just_sent = True  # read replies between two sends even when behind schedule
                self._send_next(self._schedule.next_target)
                return True
            self._just_sent = False
            if self._schedule.back_to_back and self._prepared is None:
                self._prepare_next(now)
            until = planned if expires is None else min(planned, expires)
        self._poll(self._before_end(until), now.steady_ns)
        return True

    def _before_end(self, moment: int) -> int:
        return moment if self._end_ns is None else min(moment, self._end_ns)

    def _expire(self, now: Instant) -> int | None:
        """Expire overdue probes, and return when the oldest pending probe expires; None without one."""
        earliest = self._expiries.earliest()
        if earliest and earliest[0] <= now.steady_ns:
            self._poll()  # replies that have arrived are not lost
            while (earliest := self._expiries.earliest()) and earliest[0] <= now.steady_ns:
                for event in earliest[1].tracker.expire(now):
                    self._on_event(event)
        return earliest[0] if earliest else None

    def _next_send_ns(self, now: int, expires: int | None) -> int:
        """Return when the next probe is due: it may be past, and is far ahead if all flows are busy."""
        back_to_back = self._schedule.back_to_back
        if back_to_back and expires is not None:
            return expires
        if all(map(self._busy, range(len(self._flows)))):
            return now + SECOND
        return self._paused_until if back_to_back else self._schedule.due_ns

    def _busy(self, index: int) -> bool:
        return index in self._connector or self._flows[index].busy

    def _skip_busy_turns(self) -> None:
        """Skip the turns that were due while their flow was busy, before it may cease to be."""
        now = self._clock().steady_ns
        while not self._schedule.done and self._schedule.due_ns <= now and self._busy(self._schedule.next_target):
            self._schedule.skip(now)

    def _drain(self) -> None:
        self._prepared = None
        if self._stop_request.stop:
            self._connector.cancel()
            self._schedule.withdraw(len(self._awaiting_connection))
        else:
            self._connector.time_out()
        slowest = max(flow.tracker.latency.max for flow in self._flows)
        until = self._clock().steady_ns + min(straggler_wait(slowest), SECOND)
        left = [flow for flow in self._flows if flow.tracker.counters.pending]
        while left and not self._past(until):
            if left[-1].tracker.counters.pending:
                self._poll(until, self._clock().steady_ns)
            else:
                left.pop()

    def _past(self, moment: int | None) -> bool:
        return moment is not None and self._clock().steady_ns >= moment

    # Connecting.

    def _connected(self, index: int, phases: Mapping[str, int]) -> None:
        """Send the probe that waited for the connection; without one, keep the connection for the first probe."""
        flow, planned = self._flows[index], self._awaiting_connection.pop(index, None)
        flow.tracker.connected(phases)
        self._describe(flow)
        self._waiter.watch(flow)
        if planned is None:
            self._unused_connections.add(index)
        elif flow.connect:
            self._complete_connect(flow, planned)
        else:
            self._send_probe(flow, flow.tracker.make(self._clock()))

    def _connect_failed(self, index: int, error: HallooError) -> None:
        planned = self._awaiting_connection.pop(index, None)
        if planned is None:
            self._connect_errors[index] = error
        else:
            self._fail_unsent(self._flows[index], planned, error)

    def _describe(self, flow: Flow) -> None:
        if flow.connection.connection:
            flow.tracker.clock = "kernel" if flow.connection.kernel_timestamps and not flow.connect else "user"
            flow.tracker.update_target(**flow.connection.describe())

    def _close(self, flow: Flow) -> None:
        if self._prepared and self._prepared[0] is flow:
            self._prepared = None
        flow.tracker.record_kernel(flow.connection.kernel_info(), closing=True)
        flow.connection.close()
        self._waiter.watch(flow)

    # Sending.

    def _send_next(self, index: int) -> None:
        flow, now = self._flows[index], self._clock()
        if self._busy(index):
            self._schedule.skip(now.steady_ns)
            return
        self._prepared = None
        self._schedule.mark_sent(now.steady_ns)
        if flow.one_shot and index not in self._unused_connections:
            self._close(flow)
        self._unused_connections.discard(index)
        if error := self._connect_errors.pop(index, None):
            self._fail_unsent(flow, now, error)
        elif flow.connection.connection is None:
            self._awaiting_connection[index] = now
            self._connector.start(index)
        elif flow.connect:
            self._complete_connect(flow, now)
        else:
            self._send_probe(flow, flow.tracker.make(now))

    def _prepare_next(self, now: Instant) -> None:
        """Encode the next probe while a reply is awaited, so that it can be sent before that reply is processed.

        Processing takes longer than the peer's processor stays awake, and its wake-up would add to the round trip.
        """
        index = self._schedule.next_target
        flow = self._flows[index]
        if flow.connection.connection and not flow.one_shot and index not in self._unused_connections:
            self._prepared = flow, flow.tracker.make(now)

    def _send_probe(self, flow: Flow, probe: bytes) -> None:
        if failure := self._send_now(flow, probe):
            self._send_failed(flow, *failure)

    def _send_now(self, flow: Flow, probe: bytes) -> tuple[int, HallooError] | None:
        """Send a probe; return its number and the error if that failed."""
        self._prepared = None
        sent_at, failure, had_unsent = self._clock(), None, flow.connection.has_unsent
        try:
            flow.connection.send(probe)
        except HallooError as error:
            failure = error
        number = flow.tracker.mark_sent(sent_at)
        self._expiries.add(flow)
        if had_unsent or flow.connection.has_unsent or flow.connection.peer_changed:
            self._waiter.watch(flow)
        if flow.connection.reports:
            self._waiter.set_unfinished(flow)
        return None if failure is None else (number, failure)

    def _send_failed(self, flow: Flow, number: int, error: HallooError) -> None:
        if flow.stream and not isinstance(error, Blocked):
            self._connection_failed(flow, error)
        else:
            self._fail(flow, number, error)

    def _complete_connect(self, flow: Flow, began: Instant) -> None:
        flow.tracker.send(began)
        self._on_event(flow.tracker.complete_connect(self._clock()))
        self._close(flow)

    def _fail_unsent(self, flow: Flow, now: Instant, error: HallooError) -> None:
        number, _ = flow.tracker.send(now)
        self._fail(flow, number, error)

    def _fail(self, flow: Flow, number: int | None, error: HallooError, name: str = "") -> None:
        self._paused_until = self._clock().steady_ns + ERROR_PAUSE
        description = name or type(error).__name__, str(error)
        self._on_event(flow.tracker.fail(number, description, self._clock()))

    def _fail_undelivered(self, flow: Flow) -> None:
        connection, reports = flow.connection.connection, flow.connection.reports
        while connection and reports:
            report, quoted = reports.popleft()
            error = error_mapping.undelivered(connection.address, report)
            name = "" if isinstance(error, Refused) else report.name
            self._fail(flow, flow.tracker.record_report(report, quoted), error, name)

    # Receiving.

    def _poll(self, until: int = 0, now: int = 0) -> None:
        ready = self._waiter.wait(until, now)
        if not self._schedule.back_to_back:
            self._skip_busy_turns()
        if self._connector:
            self._connector.advance(ready)
        for flow in self._waiter.flows(ready):
            try:
                self._receive(flow)
            except HallooError as error:
                if flow.connection.peer_changed:
                    self._follow(flow)
                self._connection_failed(flow, error)

    def _receive(self, flow: Flow) -> None:
        connection, tracker, surplus = flow.connection, flow.tracker, 0
        if connection.has_unsent or connection.reports:
            self._settle_sent(flow)
        for data, now, kernel_ns in connection.receive(self._clock):
            prepared, failure = self._prepared, None
            if prepared and tracker.counters.pending == 1 and len(data) == connection.size:
                failure = self._send_now(*prepared)
                self._schedule.mark_sent(now.steady_ns)
            if connection.peer_changed:
                self._follow(flow)
            event = tracker.receive(data, now, kernel_ns)
            self._on_event(event)
            if failure and prepared:
                self._send_failed(prepared[0], *failure)
            if flow.reconnect and tracker.counters.sent and not tracker.counters.pending:
                self._close(flow)
                return
            if event.outcome == "error":  # the server limits this sender
                self._paused_until = now.steady_ns + LIMIT_PAUSE
            elif event.outcome in SURPLUS and (surplus := surplus + 1) == MAX_SURPLUS:
                self._waiter.set_unfinished(flow)
                return
        if connection.peer_changed:
            self._follow(flow)

    def _settle_sent(self, flow: Flow) -> None:
        """Send what was left unsent, and fail the probes that are reported as not delivered."""
        if flow.connection.has_unsent:
            flow.connection.flush()
            self._waiter.watch(flow)
        self._fail_undelivered(flow)

    def _follow(self, flow: Flow) -> None:
        """Go on with the socket of the name's next address."""
        flow.connection.peer_changed = False
        self._describe(flow)
        self._waiter.watch(flow)

    def _connection_failed(self, flow: Flow, error: HallooError) -> None:
        """Fail the pending probes and close the connection; a datagram socket's error fails only the latest probe."""
        if flow.connection.collect_reports():
            self._fail_undelivered(flow)
            return
        outstanding = flow.tracker.counters.outstanding()
        failed: list[int | None] = [*(outstanding if flow.stream else outstanding[-1:])]
        for number in failed or [None]:
            self._fail(flow, number, error)
        if flow.stream:
            self._close(flow)

    def _finish(self, index: int, flow: Flow) -> None:
        """Expire what is pending; if nothing is, report an incomplete reply."""
        if error := self._connect_errors.pop(index, None):  # its first probe was never due
            self._fail_unsent(flow, self._clock(), error)
        lost = [*flow.tracker.finish(self._clock())]
        for event in lost:
            self._on_event(event)
        if not lost and (rest := flow.connection.partial_reply()):
            self._on_event(flow.tracker.receive(rest, self._clock(), None))


def _ignore(_event: ProbeEvent) -> None:
    pass
