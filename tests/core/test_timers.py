from hypothesis import given
from hypothesis import strategies as st

from halloo.core.timers import Timers

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
