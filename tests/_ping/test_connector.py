"""Concurrent connections: each success or failure is reported, and none waits for another."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from halloo._core.address import AddressLike, parse
from halloo._net.readiness import wait
from halloo._ping.connector import MAX_CONNECTING, Connector
from halloo._ping.flow import ConnectOptions, ProbeConnection
from halloo._server.server import Server
from halloo.errors import HallooError
from tests.peers import full, unused_port

TIMEOUT = 10.0  # seconds, more than any test takes
linux = pytest.mark.skipif(sys.platform != "linux", reason="how a full queue behaves is the system's choice")


class Attempts:
    """Connections, their connector, and the result reported for each index."""

    def __init__(self, *addresses: AddressLike, timeout: float = TIMEOUT) -> None:
        self.connections = [
            ProbeConnection(ConnectOptions(parse(address), timeout), run=0, size=128) for address in addresses
        ]
        self.opened: dict[int, Mapping[str, int]] = {}
        self.failed: dict[int, str] = {}
        self.connector = Connector(self.connections, self.opened.__setitem__, self._fail)

    def _fail(self, index: int, error: HallooError) -> None:
        self.failed[index] = type(error).__name__

    def step(self) -> None:
        reading, writing, seconds = self.connector.wait_set()
        self.connector.advance(wait(reading, writing, min(seconds, TIMEOUT)))


@contextmanager
def connecting(*addresses: AddressLike, timeout: float = TIMEOUT) -> Iterator[Attempts]:
    attempts = Attempts(*addresses, timeout=timeout)
    try:
        for index in range(len(addresses)):
            attempts.connector.start(index)
        yield attempts
    finally:
        for connection in attempts.connections:
            connection.close()


def test_connections_are_made_concurrently_and_each_result_is_reported() -> None:
    with (
        Server("127.0.0.1:0") as server,
        Server("udp://127.0.0.1:0") as other,
        connecting(server.address, other.address, ("localhost", unused_port())) as attempts,
    ):
        while attempts.connector:
            attempts.step()
        assert attempts.opened.keys() == {0, 1}
        assert attempts.opened[0].keys() == {"connect"}
        assert attempts.failed == {2: "Refused"}
        assert [bool(connection.connection) for connection in attempts.connections] == [True, True, False]


@linux
def test_an_unresponsive_target_does_not_delay_the_others() -> None:
    with full() as dead, Server("127.0.0.1:0") as server, connecting(dead, server.address) as attempts:
        while 1 not in attempts.opened:
            attempts.step()
        assert attempts.connections[0].opening
        assert attempts.failed == {}


@linux
def test_a_connection_that_takes_too_long_fails() -> None:
    with full() as dead, connecting(dead, timeout=0.02) as attempts:
        while attempts.connector:
            attempts.step()
        assert attempts.failed == {0: "TimedOut"}
        assert not attempts.connections[0].opening


@linux
def test_all_connections_can_time_out_at_once() -> None:
    with full() as dead, connecting(dead, dead) as attempts:
        attempts.connector.time_out()
        assert attempts.failed == {0: "TimedOut", 1: "TimedOut"}
        assert not attempts.connector


@linux
def test_cancelled_connections_are_not_reported() -> None:
    with full() as dead, connecting(dead) as attempts:
        attempts.connector.cancel()
        assert (attempts.failed, attempts.opened, attempts.connections[0].opening) == ({}, {}, False)
        assert attempts.connector.wait_set() == ([], [], float("inf"))


@linux
def test_the_number_of_concurrent_attempts_is_limited() -> None:
    with full() as dead, connecting(*[dead] * (MAX_CONNECTING + 2)) as attempts:
        assert sum(connection.opening for connection in attempts.connections) == MAX_CONNECTING
        assert all(index in attempts.connector for index in range(MAX_CONNECTING + 2))
        attempts.connector.time_out()
        assert len(attempts.failed) == MAX_CONNECTING + 2


def test_queued_connections_follow() -> None:
    with Server("127.0.0.1:0") as server, connecting(*[server.address] * (MAX_CONNECTING + 2)) as attempts:
        while attempts.connector:
            attempts.step()
        assert attempts.opened.keys() == {*range(MAX_CONNECTING + 2)}
