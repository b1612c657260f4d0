"""When probes leave, beside the plan written down by hand. Times are nanoseconds, the interval a millisecond."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._ping.report import LATE
from halloo._ping.schedule import Schedule

START, INTERVAL = 5_000, 1_000_000


def begun(targets: int = 1, count: int | None = None, interval: int = INTERVAL) -> Schedule:
    pace = Schedule(interval, targets, count)
    pace.begin(START)
    return pace


def turns(pace: Schedule, count: int) -> list[tuple[int, int]]:
    """Have so many leave in time, and say whose turn each was, and when."""
    found = []
    for _ in range(count):
        found.append((pace.target, pace.due_ns))
        pace.leave(pace.due_ns)
    return found


def dues(pace: Schedule, count: int, *, after: int = 0) -> list[int]:
    """Have so many leave, each so long after its moment, and say when each was due."""
    found = []
    for _ in range(count):
        found.append(pace.due_ns)
        pace.leave(pace.due_ns + after)
    return found


# The plan.


def test_the_first_leaves_at_once_and_the_others_an_interval_apart() -> None:
    assert dues(begun(), 4) == [START + number * INTERVAL for number in range(4)]


def test_several_targets_share_the_interval_in_turn() -> None:
    expected = [(number % 4, START + number * INTERVAL // 4) for number in range(6)]
    assert turns(begun(targets=4), 6) == expected


def test_a_count_is_for_each_target() -> None:
    pace = begun(targets=3, count=2)
    dues(pace, 5)
    assert not pace.over
    dues(pace, 1)
    assert (pace.over, pace.planned) == (True, 6)


def test_a_turn_that_is_held_passes_and_is_nobodys_lateness() -> None:
    pace = begun(targets=2, count=2)
    pace.hold(START)
    assert turns(pace, 1) == [(1, START + INTERVAL // 2)]
    assert (pace.skipped_waiting, pace.planned, pace.late, pace.behind) == (1, 1, 0, 0)


def test_who_was_held_has_all_of_its_probes_all_the_same() -> None:
    pace = begun(targets=2, count=2)
    pace.hold(START)
    found = [target for target, _ in turns(pace, 4)]
    assert found == [1, 0, 1, 0]
    assert pace.over


def test_a_turn_of_who_has_had_all_is_left_out() -> None:
    pace = begun(targets=3, count=1)
    pace.leave(START)
    pace.hold(pace.due_ns)
    pace.leave(pace.due_ns)
    assert (pace.target, pace.due_ns, pace.over) == (1, START + INTERVAL + INTERVAL // 3, False)


def test_all_turns_that_were_due_while_it_was_held_pass_at_once() -> None:
    pace = begun(targets=2)
    pace.hold(START + 5 * INTERVAL)
    assert (pace.skipped_waiting, pace.target, pace.due_ns) == (6, 1, START + INTERVAL // 2)
    pace.hold(START + 5 * INTERVAL)
    assert (pace.skipped_waiting, pace.target, pace.due_ns) == (11, 1, START + 5 * INTERVAL + INTERVAL // 2)
    assert (pace.planned, pace.late) == (0, 0)


def test_who_was_held_until_now_has_missed_nothing_when_another_has() -> None:
    pace, now = begun(targets=2), START + 4 * INTERVAL + INTERVAL // 2
    pace.hold(now)
    assert pace.target == 1
    pace.leave(now)
    assert (pace.skipped_waiting, pace.planned, pace.late) == (5, 5, 5)  # its own four and this one
    assert (pace.target, pace.due_ns) == (0, START + 5 * INTERVAL)


def test_where_each_follows_the_last_answer_nothing_is_due_that_could_be_held() -> None:
    pace = begun(targets=2, interval=0)
    pace.hold(START + 1)
    assert (pace.target, pace.skipped_waiting) == (1, 0)


def test_what_has_not_left_after_all_was_not_planned() -> None:
    pace = begun()
    pace.leave(START)
    pace.take_back(1)
    assert pace.planned == 0


def test_without_a_count_it_is_never_over() -> None:
    pace = begun()
    dues(pace, 1000)
    assert not pace.over


@given(st.integers(1, 7), st.integers(1, 10_000), st.integers(1, 200))
def test_the_plan_does_not_drift(targets: int, interval: int, rounds: int) -> None:
    pace = begun(targets, interval=interval)
    dues(pace, targets * rounds)
    assert pace.due_ns == START + rounds * interval


# How well it was kept.


def test_what_leaves_in_time_is_not_late() -> None:
    pace = begun()
    dues(pace, 3, after=LATE)
    assert (pace.planned, pace.late, pace.behind) == (3, 0, 0)


def test_what_leaves_a_little_late_is_late_but_not_behind() -> None:
    pace = Schedule(100 * INTERVAL, 1)
    pace.begin(START)
    dues(pace, 3, after=LATE + 1)
    assert (pace.planned, pace.late, pace.behind) == (3, 3, 0)


def test_what_leaves_a_tenth_of_the_interval_late_is_behind() -> None:
    pace = begun()
    dues(pace, 3, after=INTERVAL // 10 + 1)
    assert (pace.planned, pace.late, pace.behind) == (3, 3, 3)


def test_the_lateness_is_told_whole() -> None:
    pace = begun()
    dues(pace, 3, after=700)
    spread = pace.lateness.summary()
    assert spread
    assert (spread.count, spread.min_ns, spread.max_ns) == (3, 700, 700)


def test_what_leaves_before_its_moment_is_not_late() -> None:
    pace = begun()
    dues(pace, 2, after=-3)
    assert (pace.late, pace.lateness.slowest) == (0, 0)


@pytest.mark.parametrize("targets", [1, 3])
def test_whole_intervals_that_were_missed_are_left_out_for_every_target_and_counted_as_late(targets: int) -> None:
    pace = begun(targets)
    pace.leave(START + 4 * INTERVAL + INTERVAL // 2)
    assert (pace.planned, pace.late, pace.behind) == (1 + 4 * targets, 1 + 4 * targets, 1 + 4 * targets)
    assert pace.due_ns == START + 4 * INTERVAL + INTERVAL // targets
    assert pace.target == 1 % targets


def test_no_burst_follows_a_pause() -> None:
    pace, now = begun(), START + 1_000 * INTERVAL
    left = 0
    while pace.due_ns <= now:
        pace.leave(now)
        left += 1
    assert left == 1


def test_what_was_left_out_does_not_count_as_sent() -> None:
    pace = begun(count=2)
    pace.leave(START + 100 * INTERVAL)
    assert not pace.over


# Each after the last answer.


def test_without_an_interval_each_follows_the_last_answer_and_none_is_late() -> None:
    pace = begun(targets=2, count=2, interval=0)
    assert pace.follows
    assert [target for target, _ in turns(pace, 4)] == [0, 1, 0, 1]
    assert (pace.over, pace.planned, pace.late, pace.behind, pace.lateness.count) == (True, 4, 0, 0, 0)


def test_with_an_interval_none_follows() -> None:
    assert not begun().follows
