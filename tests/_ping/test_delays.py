"""Round trips, one-way times and variation, from two clocks that may be set or read late."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from statistics import median

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo._core.probe import ServerTimestamp
from halloo._ping.delays import (
    CLOCK_SET,
    CLOCKS_DISAGREE,
    CLOSE_NS,
    TRIES,
    Instant,
    OneWayTimes,
    Variation,
    read_clocks,
    round_trip,
)
from halloo._ping.report import DelayVariation, TimestampReport
from halloo._ping.run import ping
from halloo._ping.scheduler import system_clocks
from halloo._server.server import Server
from tests.programs import PYTHON

WALL = 1_700_000_000_000_000_000  # wall clock less steady clock
STEP, RTT, HOUR = 1_000_000_000, 5_000, 3_600_000_000_000
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


def test_the_clocks_are_read_again_after_an_interruption_but_not_for_ever() -> None:
    world = World()
    assert world.read() == Instant(3 * READING, WALL + 2 * READING)
    assert world.readings == 3
    for interrupted in (1, 2):
        found = World(*[0] * interrupted, 141 * US).read()
        assert abs(found.offset_ns - WALL) <= CLOSE_NS
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
        offsets = [system_clocks().offset_ns for _ in range(50_000)]
    assert max(offsets) - median(offsets) <= CLOSE_NS


@needs_linux
def test_on_a_loaded_core_no_round_trip_is_below_the_kernel_minimum() -> None:
    with Server("127.0.0.1:0") as server, loaded_core():
        (target,) = ping(server.address, count=1_000, interval=0).targets
    assert target.floor_ns is not None
    assert target.round_trip is not None
    assert target.clock == "kernel"
    assert target.round_trip.min_ns > target.floor_ns - US  # the kernel counts in whole microseconds


# Round trips.

times = st.integers(-(1 << 62), 1 << 62)
spans = st.integers(0, 10_000)


@given(spans, spans, times, times)
def test_a_clock_step_before_the_reply_arrives_changes_nothing(transit: int, delay: int, date: int, step: int) -> None:
    sent = Instant(1_000, date)
    read = Instant(1_000 + transit + delay, date + transit + delay + step)
    assert round_trip(sent, read, date + transit + step) == (transit if transit > 0 else delay)


@given(spans, spans, times)
def test_a_clock_step_before_reading_is_bounded_by_the_time_in_the_queue(transit: int, delay: int, step: int) -> None:
    sent = Instant(1_000, 50_000)
    read = Instant(1_000 + transit + delay, 50_000 + transit + delay + step)
    assert 0 <= round_trip(sent, read, 50_000 + transit) <= transit + delay


@given(times, times, times, times, st.none() | times)
def test_a_round_trip_is_between_zero_and_the_steady_clock_difference(
    sent: int, sent_wall: int, read: int, read_wall: int, kernel: int | None
) -> None:
    rtt_ns = round_trip(Instant(sent, sent_wall), Instant(read, read_wall), kernel)
    assert 0 <= rtt_ns <= max(read - sent, 0)


# Variation.


ARRIVALS: list[tuple[list[tuple[int, int]], int | None, int | None]] = [
    ([], None, None),
    ([(0, 500)], None, None),
    ([(0, 100), (1, 260)], 160, 10),
    ([(0, 100), (2, 260)], None, 10),  # the pairs of a lost probe are undefined; jitter takes what arrives
    ([(1, 260), (0, 100)], 160, 10),
    ([(0, 100), (2, 100), (1, 1700)], 1600, 100),
    ([(1, -300), (0, -140)], 160, 10),
]


def test_ipdv_is_of_consecutive_probes_and_jitter_of_consecutive_arrivals_by_any_clock() -> None:
    for arrivals, ipdv_ns, jitter_ns in ARRIVALS:
        for difference in (0, 10**18):  # of the clocks
            variation = Variation()
            for number, delay_ns in arrivals:
                variation.record(number, delay_ns - difference, settled=0)
            assert variation.result() == DelayVariation(ipdv_ns, jitter_ns)


# One-way times.


def times_of(*forward: int, ahead: int = 0, client_clock: tuple[int, ...] = ()) -> TimestampReport:
    """Report probes with these forward times; the server's clock is `ahead`, and the client's is set before each."""
    times = OneWayTimes()
    for number, forward_ns in enumerate(forward):
        steady, wall = number * STEP, WALL + sum(client_clock[: number + 1])
        sent, read = Instant(steady, steady + wall), Instant(steady + RTT, steady + wall + RTT)
        arrived = steady + WALL + forward_ns + ahead
        times.record(number, ServerTimestamp(arrived, arrived + 1_000, 1, 0, 1), sent, read, rtt_ns=RTT, settled=number)
    report = times.report(None)
    assert report
    return report


def test_the_parts_add_up_to_the_round_trip() -> None:
    timestamp = ServerTimestamp(WALL + 300, WALL + 700, 1, 0, 1)
    one_way = OneWayTimes().record(0, timestamp, Instant(0, WALL), Instant(900, WALL + 901), rtt_ns=900, settled=0)
    assert one_way == (300, 400, 200)


def test_times_are_shown_while_both_clocks_agree() -> None:
    report = times_of(1_000, 1_500)
    assert report.forward
    assert report.reverse
    assert (report.withheld, report.forward.max_ns, report.reverse.min_ns) == (None, 1_500, 2_500)


def test_times_are_withheld_once_one_is_negative_or_the_clock_was_set_and_their_variation_is_not() -> None:
    for ahead in (-HOUR, -1_001, 4_000, HOUR):
        report = times_of(1_000, 1_500, ahead=ahead)
        assert (report.withheld, report.forward, report.reverse) == (CLOCKS_DISAGREE, None, None)
    for change in (-HOUR, -1_000_000, 1_000_000, HOUR):
        assert times_of(1_000, 1_500, 1_000, client_clock=(0, change)).withheld == CLOCK_SET
    for ahead, change in product((0, HOUR), (0, HOUR)):
        report = times_of(1_000, 1_160, 1_000, ahead=ahead, client_clock=(0, change))
        assert report.forward_variation == report.reverse_variation == DelayVariation(160, round(10 + 150 / 16))


def test_without_timestamps_there_is_no_report() -> None:
    assert OneWayTimes().report(None) is None
