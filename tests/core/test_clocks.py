"""Round trips of two clocks, one of which may be set at any moment."""

from hypothesis import given
from hypothesis import strategies as st

from halloo.core.clocks import Instant, round_trip, waited

times = st.integers(-(1 << 62), 1 << 62)
spans = st.integers(0, 10_000)
SENT = Instant(1_000, 50_000)


def test_the_time_in_the_kernel_is_not_the_round_trips() -> None:
    assert round_trip(SENT, Instant(1_900, 50_900), 50_700) == 700


def test_where_no_kernel_tells_it_is_until_it_was_read() -> None:
    assert round_trip(SENT, Instant(1_900, 50_900), None) == 900
    assert waited(Instant(1_900, 50_900), None) == 0


@given(spans, spans, times, times)
def test_a_clock_that_was_set_while_the_answer_was_under_way_changes_nothing(
    there: int, lay: int, date: int, step: int
) -> None:
    sent = Instant(1_000, date)
    read = Instant(1_000 + there + lay, date + there + lay + step)
    assert round_trip(sent, read, date + there + step) == (there if there > 0 else lay)


@given(spans, spans, times)
def test_a_clock_that_was_set_while_the_answer_lay_makes_it_longer_by_no_more_than_that(
    there: int, lay: int, step: int
) -> None:
    sent = Instant(1_000, 50_000)
    read = Instant(1_000 + there + lay, 50_000 + there + lay + step)
    assert 0 <= round_trip(sent, read, 50_000 + there) <= there + lay


@given(times, times, times, times, st.none() | times)
def test_whatever_the_clocks_say_a_round_trip_is_neither_negative_nor_longer_than_the_steady_clock_says(
    sent: int, sent_wall: int, read: int, read_wall: int, kernel: int | None
) -> None:
    took = round_trip(Instant(sent, sent_wall), Instant(read, read_wall), kernel)
    assert 0 <= took <= max(read - sent, 0)


@given(times, times)
def test_nothing_lies_in_the_kernel_for_less_than_no_time(read: int, kernel: int) -> None:
    assert waited(Instant(0, read), kernel) >= 0
