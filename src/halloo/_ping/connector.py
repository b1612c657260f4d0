"""Make the connections of many flows concurrently, so that a slow one does not delay the others.

Uses the steady clock. The caller waits for the descriptors in `wait_set`.
"""

import errno
import os
from collections.abc import Callable, Mapping

from halloo._core.probe import MIN_SIZE, Probes
from halloo._net import error_mapping
from halloo._net.connector import Connected, connecting
from halloo._net.datagrams import DatagramConnection
from halloo._net.readiness import Awaited, Steps, WaitSet
from halloo._ping.connection import ProbeConnection, ProbeDatagrams, ProbeStream
from halloo._ping.delays import Instant
from halloo._ping.flow import Connecting, Flow
from halloo._ping.reply_parser import ReplyParser
from halloo.errors import HallooError

MAX_CONNECTING = 64  # each may need two more descriptors while it connects


class Connector:
    """Connections in progress, and those that wait for their turn."""

    def __init__(
        self,
        on_open: Callable[[Flow, Instant | None, Mapping[str, int]], object],
        on_failure: Callable[[Flow, Instant | None, HallooError], object],
    ) -> None:
        """Call one of these once per connection, with the time for which the waiting probe was planned.

        `on_open` gets the nanoseconds of each phase as well, `on_failure` the error.
        """
        self._on_open = on_open
        self._on_failure = on_failure
        self._active: dict[Flow, tuple[Steps[Connected], Awaited]] = {}
        self._queued: dict[Flow, None] = {}  # in this order, until fewer than MAX_CONNECTING are active

    def __bool__(self) -> bool:
        return bool(self._active)

    def start(self, flow: Flow, planned: Instant | None = None) -> None:
        """Connect a flow, once fewer than MAX_CONNECTING others are in progress. It may be connected at once."""
        flow.state = Connecting(planned)
        self._queued[flow] = None
        self._start_queued()

    def advance(self, ready: set[int]) -> None:
        for flow, (steps, awaited) in [*self._active.items()]:
            outcome = awaited.outcome(ready)
            if outcome is not None:
                self._step(flow, steps, outcome)
        self._start_queued()

    def time_out(self) -> None:
        """Fail all connections in progress with ETIMEDOUT."""
        for flow in self._abandon():
            error = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            self._end(flow, error_mapping.connecting(flow.address, error))

    def cancel(self) -> int:
        """Close the connections in progress without calling `on_failure`; return how many probes waited for one."""
        flows = self._abandon()
        waiting = sum(isinstance(flow.state, Connecting) and flow.state.planned is not None for flow in flows)
        for flow in flows:
            flow.state = None
        return waiting

    def wait_set(self) -> WaitSet:
        return WaitSet.of(awaited for _, awaited in self._active.values())

    def _abandon(self) -> list[Flow]:
        for steps, _ in self._active.values():
            steps.close()
        flows = [*self._active, *self._queued]
        self._active.clear()
        self._queued.clear()
        return flows

    def _start_queued(self) -> None:
        while self._queued and len(self._active) < MAX_CONNECTING:
            flow = next(iter(self._queued))
            del self._queued[flow]
            self._step(flow, _opening(flow), None)

    def _step(self, flow: Flow, steps: Steps[Connected], ready: bool | None) -> None:
        try:
            awaited = steps.send(ready)  # type: ignore[arg-type]  # None begins
        except StopIteration as over:
            self._end(flow, over.value)
        except OSError as error:
            self._end(flow, error_mapping.connecting(flow.address, error))
        except HallooError as error:
            self._end(flow, error)
        else:
            self._active[flow] = steps, awaited

    def _end(self, flow: Flow, result: Connected | HallooError) -> None:
        self._active.pop(flow, None)
        planned = flow.state.planned if isinstance(flow.state, Connecting) else None
        if isinstance(result, HallooError):
            flow.state = None
            self._on_failure(flow, planned, result)
        else:
            flow.state = _opened(flow, result)
            self._on_open(flow, planned, result.phases)


def _opening(flow: Flow) -> Steps[Connected]:
    config = flow.config
    return connecting(
        flow.address,
        timeout=config.timeout if config.deadline is None else min(config.timeout, config.deadline),
        family=config.family,
        tls=config.tls if flow.address.scheme == "tls" else None,
        prepare=config.socket_options.prepare,
        in_order=True,
        question=Probes(flow.run + 1, MIN_SIZE).encode(0, 0),  # of another run: its reply is none of ours
    )


def _opened(flow: Flow, connected: Connected) -> ProbeConnection:
    connection, user_clock = connected.connection, flow.config.user_clock
    if isinstance(connection, DatagramConnection):
        return ProbeDatagrams(connection, flow.address, user_clock=user_clock)
    return ProbeStream(connection, flow.address, ReplyParser(flow.run, flow.config.size), user_clock=user_clock)
