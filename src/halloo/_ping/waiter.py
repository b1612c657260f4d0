"""Wait for the sockets of many flows, at a cost that does not grow with their number.

Sleeping ends shortly before an expected event, and polling bridges the rest.
"""

from collections.abc import Iterator, Sequence

from halloo._core.units import SECOND
from halloo._net.readiness import AWAKE, WaitSet, WatchList, wait
from halloo._net.signals import StopRequest
from halloo._ping.flow import Flow

# Around an expected reply that only the program's own clock times, it polls instead of sleeping: nanoseconds.
SPIN_BEFORE, SPIN_AFTER = 1_000_000, 500_000
MIN_SPIN_INTERVAL = 20_000_000  # nanoseconds between probes; shorter ones would poll more than a thirteenth of a core


class FlowWaiter:
    """Waits for flows, for connections in progress, and for a stop request."""

    def __init__(
        self, flows: Sequence[Flow], stop_request: StopRequest, *, interval_ns: int, busy_poll: bool = False
    ) -> None:
        """Watch no flow yet. `interval_ns` is between two probes to a flow; `busy_poll` never sleeps."""
        self._flows = flows
        self._stop_request = stop_request
        self._waking = stop_request.waking.fileno()
        self._spins = interval_ns >= MIN_SPIN_INTERVAL * len(flows)
        self._busy_poll = busy_poll
        self._watch_list = WatchList()
        self._by_number: dict[int, Flow] = {}
        self._numbers: dict[Flow, int] = {}
        self._unfinished: dict[Flow, None] = {}

    def watch(self, flow: Flow) -> None:
        """Watch a flow's socket as it is now: opened, replaced or closed, with or without unsent bytes."""
        number = self._numbers.pop(flow, None)
        if number is not None:
            self._watch_list.remove(number)
            del self._by_number[number]
        connection = flow.connection
        if connection and not flow.config.connect:
            number = self._numbers[flow] = connection.socket.fileno()
            self._by_number[number] = flow
            self._watch_list.add(number, writing=bool(connection.unsent))

    def set_unfinished(self, flow: Flow) -> None:
        """Have the next wait return the flow at once: part of what has arrived was not processed."""
        self._unfinished[flow] = None

    def wait(self, until: int, now: int, connecting: WaitSet | None = None, *, flows: bool = True) -> set[int]:
        """Wait until a descriptor is ready or `until`; return those ready. Both times are of the steady clock.

        Without `flows` it waits for connections in progress only.
        """
        if self._busy_poll and not connecting:
            return {*self._by_number}
        seconds = 0 if self._unfinished else max(self.spin_from(until, now) - now, 0) / SECOND
        reading, writing = [self._waking], []
        if connecting:
            reading, writing = [*reading, *connecting.readable], connecting.writable
            seconds = min(seconds, connecting.timeout)
        ready = (self._watch_list.wait if flows else wait)(reading, writing, seconds)
        if self._waking in ready:
            self._stop_request.heard()
        return ready

    def flows(self, ready: set[int]) -> Iterator[Flow]:
        """Yield the unfinished flows and those ready, unless they are closed meanwhile."""
        flows, self._unfinished = self._unfinished, {}
        for number in ready:
            if flow := self._by_number.get(number):
                flows[flow] = None
        for flow in flows:
            if flow in self._numbers:
                yield flow

    def spin_from(self, until: int, now: int) -> int:
        """Return when to stop sleeping: just before `until`, and before a reply timed by the program's own clock."""
        if not self._spins:
            return until - AWAKE
        replies = [moment for flow in self._flows if (moment := flow.tracker.expected_ns) is not None]
        return min([until - AWAKE, *(moment - SPIN_BEFORE for moment in replies if now < moment + SPIN_AFTER)])

    def close(self) -> None:
        """Release the descriptor of the watch list; sockets stay open."""
        self._watch_list.close()
