from hypothesis import given
from hypothesis import strategies as st

from halloo._core.timers import Deadlines, Timers

PARTY = ["wake", "dress", "dance"]


def filled(*times: float) -> tuple[Timers, list[float]]:
    """Make timers that note the time they were set for."""
    timers, called = Timers(), list[float]()
    for when in times:
        timers.at(when, lambda when=when: called.append(when))  # type: ignore[misc]  # binds this turn's `when`
    return timers, called


def ring(timers: Timers, now: float) -> None:
    for act in timers.due(now):
        act()


def test_without_a_plan_one_may_wait_for_ever() -> None:
    assert Timers().patience(now=5) is None


def test_one_may_wait_until_the_soonest() -> None:
    timers, _ = filled(30, 20, 40)
    assert timers.patience(now=5) == 15


def test_what_is_late_allows_no_waiting() -> None:
    timers, _ = filled(3)
    assert timers.patience(now=5) == 0


def test_only_what_is_due_happens() -> None:
    timers, called = filled(1, 2, 3)
    ring(timers, now=2)
    assert called == [1, 2]


def test_nothing_happens_twice() -> None:
    timers, called = filled(1)
    ring(timers, now=1)
    ring(timers, now=2)
    assert called == [1]


@given(st.lists(st.integers()))
def test_acts_come_in_the_order_of_their_times(times: list[int]) -> None:
    timers, called = filled(*times)
    ring(timers, now=max(times, default=0))
    assert called == sorted(times)


def test_acts_of_one_time_come_in_the_order_they_were_planned() -> None:
    timers, called = Timers(), list[str]()
    for name in PARTY:
        timers.at(1, lambda name=name: called.append(name))  # type: ignore[misc]  # binds this turn's `name`
    ring(timers, now=1)
    assert called == PARTY


def test_an_act_may_plan_another() -> None:
    timers, called = filled()
    timers.at(1, lambda: timers.at(2, lambda: called.append(2)))
    ring(timers, now=1)
    assert (called, timers.patience(now=1)) == ([], 1)


def test_an_act_planned_for_now_by_another_happens_at_once() -> None:
    timers, called = filled()
    timers.at(1, lambda: timers.at(1, lambda: called.append(1)))
    ring(timers, now=1)
    assert called == [1]


# Deadlines.


def test_without_deadlines_there_is_nothing_to_miss() -> None:
    deadlines = Deadlines()
    assert not deadlines
    assert deadlines.missed(now=10**9) == []


def test_a_deadline_is_missed_at_its_time_and_not_before() -> None:
    deadlines = Deadlines()
    deadlines.set(5, 20, "late")
    assert deadlines.missed(now=19) == []
    assert deadlines.missed(now=20) == [(5, "late")]


def test_a_deadline_is_missed_once() -> None:
    deadlines = Deadlines()
    deadlines.set(5, 20, "late")
    deadlines.missed(now=20)
    assert deadlines.missed(now=21) == []
    assert not deadlines


def test_a_lifted_deadline_is_not_missed() -> None:
    deadlines = Deadlines()
    deadlines.set(5, 20, "late")
    deadlines.lift(5)
    assert deadlines.missed(now=20) == []


def test_what_has_no_deadline_can_be_lifted_too() -> None:
    Deadlines().lift(5)


def test_a_later_deadline_takes_the_place_of_an_earlier() -> None:
    deadlines = Deadlines()
    deadlines.set(5, 20, "late")
    deadlines.set(5, 30, "very late")
    assert deadlines.missed(now=20) == []
    assert deadlines.missed(now=30) == [(5, "very late")]


def test_the_next_is_the_soonest() -> None:
    deadlines = Deadlines()
    for key, when in ((5, 30), (6, 20), (7, 40)):
        deadlines.set(key, when, "late")
    assert deadlines.next == 20
    deadlines.missed(now=25)
    assert deadlines.next == 30
