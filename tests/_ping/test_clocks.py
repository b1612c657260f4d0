"""Both clocks as one moment, however the process is interrupted between two readings."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo._ping.clocks import CLOSE_NS, TRIES, read_clocks
from halloo._ping.round_trip import Instant, round_trip
from halloo._ping.run import ping
from halloo._server.server import Server
from tests.programs import PYTHON

WALL = 1_700_000_000_000_000_000  # wall clock less steady clock
READING = 100  # nanoseconds that a reading takes
US = 1_000
pauses = st.lists(st.sampled_from([0, READING, 141 * US, 4_000 * US]), max_size=2 * TRIES + 1)


class World:
    """A time that passes only while clocks are read, with a pause before each reading."""

    def __init__(self, *pauses: int, now: int = 0) -> None:
        self.now, self.readings = now, 0
        self._pauses = iter(pauses)

    def read(self) -> Instant:
        return read_clocks(self._steady, lambda: self._steady() + WALL)

    def _steady(self) -> int:
        self.now += READING + next(self._pauses, 0)
        self.readings += 1
        return self.now


def test_without_an_interruption_the_clocks_are_read_once() -> None:
    world = World()
    assert world.read() == Instant(3 * READING, WALL + 2 * READING)
    assert world.readings == 3


@pytest.mark.parametrize("interrupted", [1, 2])
def test_an_interruption_between_two_readings_is_detected(interrupted: int) -> None:
    found = World(*[0] * interrupted, 141 * US).read()
    assert abs(found.offset_ns - WALL) <= CLOSE_NS


def test_the_number_of_tries_is_bounded() -> None:
    world = World(*[141 * US] * 100)
    world.read()
    assert world.readings == 1 + 2 * TRIES


@given(pauses, pauses, st.integers(5_000, 1_000_000), st.integers(0, 1_000_000))
@example([], [0, 0, 141 * US], 15 * US, 0)
@example([], [0, 141 * US], 15 * US, 0)
def test_no_round_trip_is_shorter_than_the_network(
    before_sending: list[int], before_reading: list[int], network_ns: int, unread_ns: int
) -> None:
    """The reading that follows the kernel's timestamp may be interrupted anywhere, and so may the one at sending."""
    sending = World(*before_sending)
    sent = sending.read()
    received = sending.now + network_ns
    reading = World(*before_reading, now=received + unread_ns)
    read = reading.read()
    assert network_ns <= round_trip(sent, read, WALL + received) <= reading.now - sent.steady_ns


@contextmanager
def loaded_core() -> Iterator[None]:
    """Share one core with a busy process, which interrupts this one at any instruction."""
    allowed = os.sched_getaffinity(0)
    core = {min(allowed)}
    os.sched_setaffinity(0, core)
    try:
        with subprocess.Popen([PYTHON, "-c", "while True: pass"]) as busy:  # on the same core, as it inherits that
            try:
                yield
            finally:
                busy.kill()
    finally:
        os.sched_setaffinity(0, allowed)


needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs to choose its core")


@needs_linux
def test_on_a_loaded_core_no_wall_time_is_too_late_for_its_steady_time() -> None:
    with loaded_core():
        offsets = [read_clocks().offset_ns for _ in range(100_000)]
    assert max(offsets) - median(offsets) <= CLOSE_NS


@needs_linux
def test_on_a_loaded_core_no_round_trip_is_below_the_kernel_minimum() -> None:
    with Server("127.0.0.1:0") as server, loaded_core():
        (target,) = ping(server.address, count=2_000, interval=0).targets
    assert target.floor_ns is not None
    assert target.round_trip is not None
    assert target.clock == "kernel"
    assert target.round_trip.min_ns > target.floor_ns - US  # the kernel counts in whole microseconds
