"""Run a ping: connect the flows, send their probes by a schedule, wait for replies, and expire what has none.

Decides when each of these happens, by the steady clock; connector, sender and receiver carry it out.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from halloo._core.units import SECOND
from halloo._net.readiness import sharp_timers
from halloo._net.signals import StopRequest
from halloo._ping.config import PingConfig
from halloo._ping.delays import Instant, read_clocks
from halloo._ping.flow import Failed, Flow
from halloo._ping.receiver import Receiver
from halloo._ping.report import ProbeEvent
from halloo._ping.schedule import Schedule
from halloo._ping.sender import Sender
from halloo._ping.waiter import FlowWaiter
from halloo.errors import UnknownHost, UsageError

# How long the first connected flow waits for the others: nanoseconds, and at most this part of the deadline.
MAX_CONNECT_WAIT, CONNECT_WAIT_SHARE = SECOND, 10
# After the last datagram: nanoseconds, and multiples of the slowest round trip, to wait for replies. Datagrams may be
# lost, so that few multiples are enough; streams lose nothing.
MIN_STRAGGLER_WAIT, STRAGGLER_FACTOR = 50_000_000, 3

system_clocks = partial(read_clocks, time.monotonic_ns, time.time_ns)


class Scheduler:
    """Runs the probes of several flows by one schedule."""

    def __init__(
        self,
        flows: Sequence[Flow],
        config: PingConfig,
        stop_request: StopRequest,
        on_event: Callable[[ProbeEvent], object],
        *,
        clock: Callable[[], Instant] = system_clocks,
    ) -> None:
        """Store the arguments without connecting. The deadline limits the whole run, connecting included."""
        self.schedule = Schedule(config.interval_ns, len(flows), config.count)
        self._flows = flows
        self._stop_request = stop_request
        self._on_event = on_event
        self._clock = clock
        self._deadline = config.deadline_ns
        self._end_ns: int | None = None  # when to stop
        self._waiter = FlowWaiter(flows, stop_request, interval_ns=config.interval_ns, busy_poll=config.busy_poll)
        self._sender = Sender(self.schedule, self._waiter, on_event, clock)
        self._connector = self._sender.connector
        self._receiver = Receiver(self._sender, self._waiter, on_event, clock)
        self._just_sent = False
        self._stragglers = [*flows]  # those whose replies may still be waited for, once nothing more is planned
        self._stragglers_since: int | None = None

    def open(self) -> None:
        """Connect all flows, so that the first probes can be sent on time.

        Once one flow is connected, the others have a short time left; after that they connect while probes are sent.
        Raises UsageError; UnknownHost if no name resolves.
        """
        now = self._clock().steady_ns
        self._end_ns = None if self._deadline is None else now + self._deadline
        share = MAX_CONNECT_WAIT if self._deadline is None else self._deadline // CONNECT_WAIT_SHARE
        wait_until = now + min(MAX_CONNECT_WAIT, share)
        for flow in self._flows:
            if flow.connection:
                self._waiter.watch(flow)
            elif not self._stop_request.stop:
                self._connector.start(flow)
        while self._connector and not self._is_over():
            now = self._clock().steady_ns
            connected = any(flow.connection for flow in self._flows)
            if connected and now >= wait_until:
                break
            until = self._before_end(wait_until if connected else now + SECOND)
            self._connector.advance(self._waiter.wait(until, now, self._connector.wait_set(), flows=False))
        errors = [flow.state.error for flow in self._flows if isinstance(flow.state, Failed)]
        all_unknown = len(errors) == len(self._flows) and all(isinstance(error, UnknownHost) for error in errors)
        for error in errors:
            if all_unknown or isinstance(error, UsageError):
                raise error

    def run(self, on_info_request: Callable[[], object] = int) -> None:
        """Send and receive until the schedule is done or a stop is requested; SIGQUIT calls `on_info_request`."""
        self.schedule.start(self._clock().steady_ns)
        try:
            with sharp_timers():
                while not self._is_over():
                    if self._stop_request.look:
                        self._stop_request.look = False
                        on_info_request()
                    if not self._run_once():
                        break
                else:  # the latest probes still get a chance of a reply
                    self._drain()
                self._poll()  # replies that have arrived still count
        finally:
            last = [*self._finish()]  # all trackers, although the callback fails
        for event in last:
            self._on_event(event)

    def refresh(self) -> None:
        """Update the trackers with what the kernel knows of their connections."""
        for flow in self._flows:
            if flow.connection:
                flow.tracker.record_kernel(flow.connection.kernel_info())
                flow.describe()

    def close(self) -> None:
        self._connector.cancel()
        for flow in self._flows:
            if flow.connection:
                flow.connection.close()
                flow.state = None
        self.release()

    def release(self) -> None:
        """Release what was opened for waiting, but leave the connections open."""
        self._waiter.close()

    def _run_once(self) -> bool:
        """Send one probe or wait for an event; return whether there is more to do."""
        now, schedule = self._clock(), self.schedule
        expires = self._expire(now)
        if schedule.done:
            until = now.steady_ns + SECOND if self._connector else self._straggler_deadline(now.steady_ns)
            if until <= now.steady_ns:
                return False
        else:
            planned = self._next_send_ns(now.steady_ns, expires)
            if planned <= now.steady_ns and not self._just_sent:
                self._just_sent = True  # read replies between two sends even when behind schedule
                self._sender.send_next(self._flows[schedule.next_target])
                return True
            self._just_sent = False
            if schedule.back_to_back and self._sender.prepared is None:
                self._sender.prepare(self._flows[schedule.next_target], now)
            until = planned if expires is None else min(planned, expires)
        self._poll(self._before_end(until), now.steady_ns)
        return True

    def _poll(self, until: int = 0, now: int = 0) -> None:
        """Wait until something has arrived, or that time, and process it."""
        ready = self._waiter.wait(until, now, self._connector.wait_set() if self._connector else None)
        if not self.schedule.back_to_back:
            self._skip_busy_turns()
        if self._connector:
            self._connector.advance(ready)
        for flow in self._waiter.flows(ready):
            self._receiver.receive(flow)

    def _expire(self, now: Instant) -> int | None:
        """Expire overdue probes, and return when the oldest pending probe expires; None without one."""
        expiries = self._sender.expiries
        earliest = expiries.earliest()
        if earliest and earliest[0] <= now.steady_ns:
            self._poll()  # replies that have arrived are not lost
            while (earliest := expiries.earliest()) and earliest[0] <= now.steady_ns:
                for event in earliest[1].tracker.expire(now):
                    self._on_event(event)
        return earliest[0] if earliest else None

    def _next_send_ns(self, now: int, expires: int | None) -> int:
        """Return when the next probe is due: it may be past, and is far ahead if all flows are busy."""
        back_to_back = self.schedule.back_to_back
        if back_to_back and expires is not None:
            return expires
        if all(flow.busy for flow in self._flows):
            return now + SECOND
        return self._sender.paused_until if back_to_back else self.schedule.due_ns

    def _skip_busy_turns(self) -> None:
        """Skip the turns that were due while their flow was busy, before it may cease to be."""
        now, schedule = self._clock().steady_ns, self.schedule
        while not schedule.done and schedule.due_ns <= now and self._flows[schedule.next_target].busy:
            schedule.skip(now)

    def _straggler_deadline(self, now: int) -> int:
        """Return until when to wait for further replies, 0 if for none; the first call begins the wait."""
        if self._stragglers_since is None:
            self._stragglers_since = now
        while self._stragglers:
            flow = self._stragglers[-1]
            expires, slowest = flow.tracker.counters.expires_ns(), flow.tracker.latency.max
            if expires and slowest and not flow.stream:
                expires = min(expires, self._stragglers_since + straggler_wait(slowest))
            if expires and expires > now:
                return expires
            self._stragglers.pop()
        return 0

    def _drain(self) -> None:
        self._sender.prepared = None
        if self._stop_request.stop:
            self.schedule.withdraw(self._connector.cancel())
        else:
            self._connector.time_out()
        slowest = max(flow.tracker.latency.max for flow in self._flows)
        until = self._clock().steady_ns + min(straggler_wait(slowest), SECOND)
        left = [flow for flow in self._flows if flow.tracker.counters.pending]
        while left and (now := self._clock().steady_ns) < until:
            if left[-1].tracker.counters.pending:
                self._poll(until, now)
            else:
                left.pop()

    def _finish(self) -> Iterator[ProbeEvent]:
        """Expire what is pending; if nothing is, report an incomplete reply."""
        for flow in self._flows:
            tracker = flow.tracker
            if isinstance(flow.state, Failed):  # its first probe was never due
                number, _ = tracker.send(self._clock())
                yield tracker.fail(number, (type(flow.state.error).__name__, str(flow.state.error)), self._clock())
            lost = [*tracker.finish(self._clock())]
            yield from lost
            if not lost and flow.connection and (rest := flow.connection.partial_reply()):
                yield tracker.receive(rest, self._clock(), None)

    def _is_over(self) -> bool:
        return self._stop_request.stop or (self._end_ns is not None and self._clock().steady_ns >= self._end_ns)

    def _before_end(self, moment: int) -> int:
        return moment if self._end_ns is None else min(moment, self._end_ns)


def straggler_wait(slowest_ns: int) -> int:
    """Return for how many nanoseconds to wait if the slowest round trip took that long."""
    return max(MIN_STRAGGLER_WAIT, STRAGGLER_FACTOR * slowest_ns)
