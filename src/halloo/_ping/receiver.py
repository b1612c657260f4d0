"""Receive the replies of flows, have each judged, and report its outcome to a callback."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from halloo._core.units import SECOND
from halloo._ping.connection import ProbeConnection
from halloo._ping.delays import Instant
from halloo._ping.flow import Flow
from halloo._ping.report import ProbeEvent
from halloo._ping.sender import Sender
from halloo._ping.waiter import FlowWaiter
from halloo.errors import HallooError

LIMIT_PAUSE = SECOND  # nanoseconds until the next probe when the server limits the rate: it says so once a second
SURPLUS = frozenset({"duplicate", "unmatched", "stray"})  # outcomes of replies that answer no pending probe
MAX_SURPLUS = 32  # such replies of a connection in one turn, so that a flood cannot delay anything else
MAX_EVENTS = 10  # of one such outcome and target, in a second of the wall clock


class Receiver:
    """Passes what a flow has received to its tracker."""

    def __init__(
        self,
        sender: Sender,
        waiter: FlowWaiter,
        on_event: Callable[[ProbeEvent], object],
        clock: Callable[[], Instant],
    ) -> None:
        """Have `sender` send a prepared probe when the last reply has arrived, and handle failed connections."""
        self._sender = sender
        self._waiter = waiter
        self._on_event = on_event
        self._clock = clock

    def receive(self, flow: Flow) -> None:
        """Process what has arrived on an open flow, and send its unsent rest; a flood is left to later calls."""
        connection = flow.state
        if not isinstance(connection, ProbeConnection):
            return
        try:
            self._receive(flow, connection)
        except HallooError as error:
            self._follow(flow, connection)
            self._sender.fail_connection(flow, error)
        if flow.state is not connection and (rest := connection.partial_reply()):  # it was closed
            self._on_event(flow.tracker.receive(rest, self._clock(), None))

    def _receive(self, flow: Flow, connection: ProbeConnection) -> None:
        tracker, sender, surplus = flow.tracker, self._sender, 0
        if connection.unsent:
            connection.flush()
            self._waiter.watch(flow)
        if connection.reports:
            sender.fail_undelivered(flow)
        for data, now, kernel_ns in connection.receive(self._clock):
            failure = None
            if sender.prepared and tracker.counters.pending == 1 and len(data) == flow.config.size:
                failure = sender.send_prepared(now)
            if connection.peer_changed:
                self._follow(flow, connection)
            event = tracker.receive(data, now, kernel_ns)
            self._on_event(event)
            if failure:
                sender.handle(failure)
            if flow.config.reconnect and tracker.counters.sent and not tracker.counters.pending:
                sender.close(flow)  # pieces that arrived behind the reply still follow
            if event.outcome == "error":  # the server limits this sender
                sender.paused_until = now.steady_ns + LIMIT_PAUSE
            elif event.outcome in SURPLUS and (surplus := surplus + 1) == MAX_SURPLUS:
                self._waiter.set_unfinished(flow)
                return
        self._follow(flow, connection)

    def _follow(self, flow: Flow, connection: ProbeConnection) -> None:
        """Go on with the socket of the name's next address, if it has changed."""
        if connection.peer_changed:
            connection.peer_changed = False
            flow.describe()
            self._waiter.watch(flow)


@dataclass(slots=True)
class _Merged:
    """The events of one second, and the replies and bytes that had none of their own."""

    second: int
    events: int = 0
    count: int = 0
    size: int = 0


class SurplusLimit:
    """Passes events on; duplicate, unmatched and stray replies over the limit are part of the next event of their kind.

    A peer can send any number of them, while each other event belongs to one probe. The report counts them all.
    """

    def __init__(self, on_event: Callable[[ProbeEvent], object]) -> None:
        self._on_event = on_event
        self._merged: dict[tuple[int, str], _Merged] = {}

    def __call__(self, event: ProbeEvent) -> None:
        if event.outcome not in SURPLUS:
            self._on_event(event)
            return
        second = event.wall_ns // SECOND
        merged = self._merged.setdefault((event.target, event.outcome), _Merged(second))
        if second != merged.second:
            merged.second, merged.events = second, 0
        merged.count += 1
        merged.size += event.size
        if merged.events == MAX_EVENTS:
            return
        merged.events += 1
        if merged.count > 1:
            event = replace(event, number=None, count=merged.count, size=merged.size)
        merged.count = merged.size = 0
        self._on_event(event)
