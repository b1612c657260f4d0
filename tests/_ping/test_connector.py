"""Concurrent connections: each success or failure is reported, and none waits for another."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from halloo._core.address import AddressLike
from halloo._net.readiness import wait
from halloo._ping.connector import MAX_CONNECTING, Connector
from halloo._ping.delays import Instant
from halloo._ping.flow import Connecting, Flow
from halloo._server.server import Server
from halloo.errors import HallooError
from tests._ping.flows import TIMEOUT, make_flow
from tests.conditions import linux
from tests.peers import full, unused_port

PLANNED = Instant(7, 7)


class Attempts:
    """Flows, their connector, and the result reported for each index."""

    def __init__(self, *addresses: AddressLike, timeout: float = TIMEOUT) -> None:
        self.flows = [make_flow(address, timeout=timeout) for address in addresses]
        self.opened: dict[int, Mapping[str, int]] = {}
        self.failed: dict[int, str] = {}
        self.connector = Connector(self._open, self._fail)

    def _open(self, flow: Flow, planned: Instant | None, phases: Mapping[str, int]) -> None:
        assert planned is PLANNED
        self.opened[self.flows.index(flow)] = phases

    def _fail(self, flow: Flow, planned: Instant | None, error: HallooError) -> None:
        assert planned is PLANNED
        self.failed[self.flows.index(flow)] = type(error).__name__

    @property
    def in_progress(self) -> int:
        return sum(isinstance(flow.state, Connecting) for flow in self.flows)

    def step(self) -> None:
        reading, writing, seconds = self.connector.wait_set()
        self.connector.advance(wait(reading, writing, min(seconds, TIMEOUT)))

    def finish(self) -> None:
        while self.connector:
            self.step()


@contextmanager
def connecting(*addresses: AddressLike, timeout: float = TIMEOUT) -> Iterator[Attempts]:
    attempts = Attempts(*addresses, timeout=timeout)
    try:
        for flow in attempts.flows:
            attempts.connector.start(flow, PLANNED)
        yield attempts
    finally:
        attempts.connector.cancel()
        for flow in attempts.flows:
            if flow.connection:
                flow.connection.close()


def test_connections_are_made_concurrently_and_each_result_is_reported() -> None:
    with (
        Server("127.0.0.1:0") as server,
        Server("udp://127.0.0.1:0") as other,
        connecting(server.address, other.address, ("localhost", unused_port())) as attempts,
    ):
        attempts.finish()
        assert attempts.opened.keys() == {0, 1}
        assert attempts.opened[0].keys() == {"connect"}
        assert attempts.failed == {2: "Refused"}
        assert [bool(flow.connection) for flow in attempts.flows] == [True, True, False]


def test_resolving_a_name_is_a_phase() -> None:
    with Server("127.0.0.1:0") as server, connecting(("localhost", server.address.port)) as attempts:
        attempts.finish()
        assert attempts.opened[0].keys() == {"resolve", "connect"}


@linux
def test_an_unresponsive_target_does_not_delay_the_others() -> None:
    with full() as dead, Server("127.0.0.1:0") as server, connecting(dead, server.address) as attempts:
        while 1 not in attempts.opened:
            attempts.step()
        assert (attempts.in_progress, attempts.failed) == (1, {})


@linux
def test_a_connection_that_takes_too_long_fails() -> None:
    with full() as dead, connecting(dead, timeout=0.02) as attempts:
        attempts.finish()
        assert (attempts.failed, attempts.in_progress) == ({0: "TimedOut"}, 0)


@linux
def test_the_concurrent_attempts_are_limited_and_all_can_time_out_at_once() -> None:
    count = MAX_CONNECTING + 2
    with full() as dead, connecting(*[dead] * count) as attempts:
        assert (attempts.in_progress, len(attempts.connector.wait_set().writable)) == (count, MAX_CONNECTING)
        attempts.connector.time_out()
        assert attempts.failed == dict.fromkeys(range(count), "TimedOut")
        assert (attempts.in_progress, bool(attempts.connector)) == (0, False)


@linux
def test_cancelled_connections_are_counted_and_not_reported() -> None:
    with full() as dead, connecting(dead) as attempts:
        attempts.connector.start(make_flow(dead))  # no probe waits for it
        assert attempts.connector.cancel() == 1
        assert (attempts.failed, attempts.opened, attempts.in_progress) == ({}, {}, 0)
        assert attempts.connector.wait_set() == ([], [], float("inf"))


def test_queued_connections_follow() -> None:
    with Server("127.0.0.1:0") as server, connecting(*[server.address] * (MAX_CONNECTING + 2)) as attempts:
        attempts.finish()
        assert attempts.opened.keys() == {*range(MAX_CONNECTING + 2)}
