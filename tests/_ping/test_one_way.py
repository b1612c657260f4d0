"""The parts of round trips, from server timestamps."""

import pytest

from halloo._core.probe import ServerTimestamp
from halloo._ping.one_way import CLOCK_SET, CLOCKS_DISAGREE, OneWayTimes
from halloo._ping.report import TimestampReport
from halloo._ping.round_trip import Instant
from halloo._ping.variation import DelayVariation

WALL, STEP, RTT = 1_700_000_000_000_000_000, 1_000_000_000, 5_000
HOUR = 3_600_000_000_000


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


@pytest.mark.parametrize("ahead", [-HOUR, -1_001, 4_000, HOUR])
def test_times_are_withheld_with_the_reason_once_one_is_negative(ahead: int) -> None:
    report = times_of(1_000, 1_500, ahead=ahead)
    assert (report.withheld, report.forward, report.reverse) == (CLOCKS_DISAGREE, None, None)


@pytest.mark.parametrize("change", [-HOUR, -1_000_000, 1_000_000, HOUR])
def test_times_are_withheld_once_the_clock_was_set_between_two_probes(change: int) -> None:
    assert times_of(1_000, 1_500, 1_000, client_clock=(0, change)).withheld == CLOCK_SET


@pytest.mark.parametrize("ahead", [0, HOUR])
@pytest.mark.parametrize("change", [0, HOUR])
def test_their_variation_needs_no_agreeing_clocks(ahead: int, change: int) -> None:
    report = times_of(1_000, 1_160, 1_000, ahead=ahead, client_clock=(0, change))
    assert report.forward_variation == report.reverse_variation == DelayVariation(160, round(10 + 150 / 16))


def test_without_timestamps_there_is_no_report() -> None:
    assert OneWayTimes().report(None) is None
