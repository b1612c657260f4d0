"""Round trips from two clocks and the kernel's receive timestamp."""

from hypothesis import given
from hypothesis import strategies as st

from halloo._ping.round_trip import Instant, kernel_delay, round_trip

times = st.integers(-(1 << 62), 1 << 62)
spans = st.integers(0, 10_000)
SENT = Instant(1_000, 50_000)


def test_a_round_trip_excludes_the_time_in_the_receive_queue() -> None:
    assert round_trip(SENT, Instant(1_900, 50_900), 50_700) == 700


def test_without_a_kernel_timestamp_a_round_trip_ends_at_reading() -> None:
    assert round_trip(SENT, Instant(1_900, 50_900), None) == 900
    assert kernel_delay(Instant(1_900, 50_900), None) == 0


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


@given(times, times)
def test_the_kernel_delay_is_not_negative(read: int, kernel: int) -> None:
    assert kernel_delay(Instant(0, read), kernel) >= 0
