"""The schedule. Times are nanoseconds, the interval is a millisecond."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._ping.report import LATE
from halloo._ping.schedule import Schedule

START, INTERVAL = 5_000, 1_000_000


def started(targets: int = 1, count: int | None = None, interval: int = INTERVAL) -> Schedule:
    schedule = Schedule(interval, targets, count)
    schedule.start(START)
    return schedule


def send_in_time(schedule: Schedule, count: int) -> list[tuple[int, int]]:
    """Send `count` probes in time; return the target and the due time of each."""
    found = []
    for _ in range(count):
        found.append((schedule.next_target, schedule.due_ns))
        schedule.mark_sent(schedule.due_ns)
    return found


def send(schedule: Schedule, count: int, *, after: int = 0) -> list[int]:
    """Send `count` probes, each `after` nanoseconds late; return when each was due."""
    found = []
    for _ in range(count):
        found.append(schedule.due_ns)
        schedule.mark_sent(schedule.due_ns + after)
    return found


# Turns.


def test_the_first_probe_is_due_at_once_and_others_an_interval_apart() -> None:
    assert send(started(), 4) == [START + number * INTERVAL for number in range(4)]


def test_several_targets_share_the_interval_in_turn() -> None:
    expected = [(number % 4, START + number * INTERVAL // 4) for number in range(6)]
    assert send_in_time(started(targets=4), 6) == expected


def test_a_count_is_for_each_target() -> None:
    schedule = started(targets=3, count=2)
    send(schedule, 5)
    assert not schedule.done
    send(schedule, 1)
    assert (schedule.done, schedule.planned) == (True, 6)


def test_a_target_with_skipped_turns_gets_all_its_probes() -> None:
    schedule = started(targets=2, count=2)
    schedule.skip(START)
    assert send_in_time(schedule, 1) == [(1, START + INTERVAL // 2)]
    assert (schedule.skipped_waiting, schedule.planned, schedule.late, schedule.behind) == (1, 1, 0, 0)
    assert [target for target, _ in send_in_time(schedule, 3)] == [0, 1, 0]
    assert schedule.done


def test_skipping_keeps_other_targets_in_turn() -> None:
    schedule = started(targets=3, count=1)
    schedule.mark_sent(START)
    schedule.skip(schedule.due_ns)
    schedule.mark_sent(schedule.due_ns)
    assert (schedule.next_target, schedule.due_ns, schedule.done) == (1, START + INTERVAL + INTERVAL // 3, False)


def test_all_turns_due_while_busy_are_skipped_at_once() -> None:
    schedule = started(targets=2)
    schedule.skip(START + 5 * INTERVAL)
    assert (schedule.skipped_waiting, schedule.next_target, schedule.due_ns) == (6, 1, START + INTERVAL // 2)
    schedule.skip(START + 5 * INTERVAL)
    assert (schedule.skipped_waiting, schedule.next_target, schedule.due_ns) == (
        11,
        1,
        START + 5 * INTERVAL + INTERVAL // 2,
    )
    assert (schedule.planned, schedule.late) == (0, 0)


def test_missed_rounds_do_not_count_for_a_target_that_was_skipped() -> None:
    schedule, now = started(targets=2), START + 4 * INTERVAL + INTERVAL // 2
    schedule.skip(now)
    assert schedule.next_target == 1
    schedule.mark_sent(now)
    assert (schedule.skipped_waiting, schedule.planned, schedule.late) == (5, 5, 5)  # four missed ones and this one
    assert (schedule.next_target, schedule.due_ns) == (0, START + 5 * INTERVAL)


def test_without_an_interval_skipping_counts_nothing() -> None:
    schedule = started(targets=2, interval=0)
    schedule.skip(START + 1)
    assert (schedule.next_target, schedule.skipped_waiting) == (1, 0)


def test_a_withdrawn_probe_is_not_planned() -> None:
    schedule = started()
    schedule.mark_sent(START)
    schedule.withdraw(1)
    assert schedule.planned == 0


@given(st.integers(1, 7), st.integers(1, 10_000), st.integers(1, 200))
def test_the_plan_does_not_drift(targets: int, interval: int, rounds: int) -> None:
    schedule = started(targets, interval=interval)
    send(schedule, targets * rounds)
    assert schedule.due_ns == START + rounds * interval


# Lateness.


@pytest.mark.parametrize(
    ("interval", "after", "late", "behind"),
    [
        (INTERVAL, -3, 0, 0),
        (INTERVAL, LATE, 0, 0),
        (100 * INTERVAL, LATE + 1, 3, 0),
        (INTERVAL, INTERVAL // 10 + 1, 3, 3),
    ],
)
def test_probes_are_late_and_behind_from_a_delay_on_that_is_recorded(
    interval: int, after: int, late: int, behind: int
) -> None:
    schedule = started(interval=interval)
    send(schedule, 3, after=after)
    assert (schedule.planned, schedule.late, schedule.behind) == (3, late, behind)
    summary = schedule.lateness.summary()
    assert summary
    assert (summary.count, summary.min_ns, summary.max_ns) == (3, max(after, 0), max(after, 0))


@pytest.mark.parametrize("targets", [1, 3])
def test_missed_intervals_are_skipped_for_every_target_and_counted_as_late(targets: int) -> None:
    schedule = started(targets)
    schedule.mark_sent(START + 4 * INTERVAL + INTERVAL // 2)
    assert (schedule.planned, schedule.late, schedule.behind) == (1 + 4 * targets, 1 + 4 * targets, 1 + 4 * targets)
    assert schedule.due_ns == START + 4 * INTERVAL + INTERVAL // targets
    assert schedule.next_target == 1 % targets


def test_no_burst_follows_a_pause() -> None:
    schedule, now = started(), START + 1_000 * INTERVAL
    left = 0
    while schedule.due_ns <= now:
        schedule.mark_sent(now)
        left += 1
    assert left == 1


def test_missed_probes_do_not_count_towards_the_count() -> None:
    schedule = started(count=2)
    schedule.mark_sent(START + 100 * INTERVAL)
    assert not schedule.done


@pytest.mark.parametrize("targets", [1, 3])
def test_no_more_turns_are_planned_than_the_count(targets: int) -> None:
    schedule, now = started(targets, count=5), START + 100 * INTERVAL
    while not schedule.done:
        now = max(now, schedule.due_ns)
        schedule.mark_sent(now)
    assert (schedule.planned, schedule.late, schedule.behind) == (5 * targets, 5 * targets, 5 * targets)


# Back to back.


def test_without_an_interval_probes_are_back_to_back_and_never_late() -> None:
    schedule = started(targets=2, count=2, interval=0)
    assert (schedule.back_to_back, started().back_to_back) == (True, False)
    assert [target for target, _ in send_in_time(schedule, 4)] == [0, 1, 0, 1]
    assert (schedule.done, schedule.planned, schedule.late, schedule.behind) == (True, 4, 0, 0)
    assert schedule.lateness.count == 0
