"""Connections that are made at once: each is told of when it is there or is not to be, and nobody waits for another."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from halloo._core.address import AddressLike, parse
from halloo._net.precise_wait import wait
from halloo._ping.connector import AT_ONCE, Connector
from halloo._ping.flow import ConnectOptions, ProbeConnection
from halloo._server.serve import serving
from halloo.errors import HallooError
from tests.peers import full, unused_port

WAIT = 10.0  # seconds that no test takes
linux = pytest.mark.skipif(sys.platform != "linux", reason="how a full queue behaves is the system's choice")


class Told:
    """Lanes, their openings, and what was told of each place."""

    def __init__(self, *addresses: AddressLike, within: float = WAIT) -> None:
        self.lanes = [ProbeConnection(ConnectOptions(parse(address), within), run=0, size=128) for address in addresses]
        self.opened: dict[int, Mapping[str, int]] = {}
        self.failed: dict[int, str] = {}
        self.openings = Connector(self.lanes, self.opened.__setitem__, self._fail)

    def _fail(self, place: int, error: HallooError) -> None:
        self.failed[place] = type(error).__name__

    def turn(self) -> None:
        reading, writing, seconds = self.openings.awaited()
        self.openings.advance(wait(reading, writing, min(seconds, WAIT)))


@contextmanager
def connecting(*addresses: AddressLike, within: float = WAIT) -> Iterator[Told]:
    told = Told(*addresses, within=within)
    try:
        for place in range(len(addresses)):
            told.openings.begin(place)
        yield told
    finally:
        for lane in told.lanes:
            lane.close()


def test_all_are_made_at_once_and_each_is_told_of() -> None:
    with (
        serving("127.0.0.1:0") as server,
        serving("udp://127.0.0.1:0") as other,
        connecting(server.address, other.address, ("localhost", unused_port())) as told,
    ):
        while told.openings:
            told.turn()
        assert told.opened.keys() == {0, 1}
        assert told.opened[0].keys() == {"connect"}
        assert told.failed == {2: "Refused"}
        assert [bool(lane.connection) for lane in told.lanes] == [True, True, False]


@linux
def test_who_lets_nobody_in_holds_up_nobody_else() -> None:
    with full() as dead, serving("127.0.0.1:0") as server, connecting(dead, server.address) as told:
        while 1 not in told.opened:
            told.turn()
        assert told.lanes[0].opening
        assert told.failed == {}


@linux
def test_who_does_not_answer_in_time_has_failed() -> None:
    with full() as dead, connecting(dead, within=0.02) as told:
        while told.openings:
            told.turn()
        assert told.failed == {0: "TimedOut"}
        assert not told.lanes[0].opening


@linux
def test_all_can_be_given_up() -> None:
    with full() as dead, connecting(dead, dead) as told:
        told.openings.give_up()
        assert told.failed == {0: "TimedOut", 1: "TimedOut"}
        assert not told.openings


@linux
def test_what_is_abandoned_is_told_to_nobody() -> None:
    with full() as dead, connecting(dead) as told:
        told.openings.abandon()
        assert (told.failed, told.opened, told.lanes[0].opening) == ({}, {}, False)
        assert told.openings.awaited() == ([], [], float("inf"))


@linux
def test_no_more_are_begun_at_once_than_there_may_be_descriptors_for() -> None:
    with full() as dead, connecting(*[dead] * (AT_ONCE + 2)) as told:
        assert sum(lane.opening for lane in told.lanes) == AT_ONCE
        assert all(place in told.openings for place in range(AT_ONCE + 2))
        told.openings.give_up()
        assert len(told.failed) == AT_ONCE + 2


def test_those_that_had_to_wait_come_after_the_others() -> None:
    with serving("127.0.0.1:0") as server, connecting(*[server.address] * (AT_ONCE + 2)) as told:
        while told.openings:
            told.turn()
        assert told.opened.keys() == {*range(AT_ONCE + 2)}
