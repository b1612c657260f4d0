from math import inf

from hypothesis import given
from hypothesis import strategies as st

from halloo._core.timers import MAX_WAIT, Deadlines, LazyDeadlines, Timers

PARTY = ["wake", "dress", "dance"]


def filled(*times: float) -> tuple[Timers, list[float]]:
    """Make timers that record the time they were set for."""
    timers, called = Timers(), list[float]()
    for when in times:
        timers.call_at(when, lambda when=when: called.append(when))  # type: ignore[misc]  # binds this turn's `when`
    return timers, called


def due_values(timers: Timers, now: float) -> None:
    for act in timers.pop_due(now):
        act()


def test_the_timeout_ends_at_the_earliest_timer() -> None:
    assert Timers().timeout(now=5) is None
    timers, _ = filled(30, 20, 40)
    assert [timers.timeout(now=now) for now in (5, 25)] == [15, 0]


def test_due_callbacks_are_called_once() -> None:
    timers, called = filled(1, 2, 3)
    for _ in range(2):
        due_values(timers, now=2)
        assert called == [1, 2]


def test_the_earliest_time_is_known_without_a_call() -> None:
    assert Timers().earliest == inf
    timers, _ = filled(30, 20, 40)
    assert timers.earliest == 20
    due_values(timers, now=20)
    assert timers.earliest == 30
    due_values(timers, now=40)
    assert timers.earliest == inf


def test_a_timer_in_the_distant_future_has_a_timeout_that_poll_takes() -> None:
    for when in (MAX_WAIT + 1, 1e300, inf):
        timers, called = filled(when)
        assert timers.timeout(now=0) == MAX_WAIT
        due_values(timers, now=MAX_WAIT)
        assert called == []


@given(st.lists(st.integers()))
def test_callbacks_are_called_in_the_order_of_their_times(times: list[int]) -> None:
    timers, called = filled(*times)
    due_values(timers, now=max(times, default=0))
    assert called == sorted(times)


def test_callbacks_of_one_time_are_called_in_the_order_they_were_scheduled() -> None:
    timers, called = Timers(), list[str]()
    for name in PARTY:
        timers.call_at(1, lambda name=name: called.append(name))  # type: ignore[misc]  # binds this turn's `name`
    due_values(timers, now=1)
    assert called == PARTY


def test_a_deadline_expires_once_at_its_time_unless_it_is_cleared_or_replaced() -> None:
    deadlines = Deadlines()
    assert not deadlines
    assert deadlines.pop_expired(now=10**9) == []
    for key, when in ((5, 30), (6, 20), (7, 40), (8, 10)):
        deadlines.set(key, when, "late")
    deadlines.set(5, 35, "very late")
    for _ in range(2):
        deadlines.clear(8)
    assert deadlines.earliest == 20
    assert deadlines.pop_expired(now=19) == []
    assert deadlines.pop_expired(now=20) == [(6, "late")]
    assert deadlines.earliest == 35
    assert deadlines.pop_expired(now=40) == [(5, "very late"), (7, "late")]
    assert deadlines.pop_expired(now=50) == []
    assert not deadlines


def test_a_callback_scheduled_for_now_by_another_is_called_next_time_without_a_wait() -> None:
    timers, called = filled()
    timers.call_at(1, lambda: timers.call_at(1, lambda: called.append(1)))
    due_values(timers, now=1)
    assert (called, timers.timeout(now=1)) == ([], 0)
    due_values(timers, now=1)
    assert called == [1]


# Deadlines.


def test_lazy_deadlines_follow_those_that_move_later() -> None:
    present: dict[str, int | None] = {"a": 5, "b": 7, "c": None}
    deadlines: LazyDeadlines[str] = LazyDeadlines(present.__getitem__)
    for key in "abca":
        deadlines.add(key)
    assert deadlines.earliest() == (5, "a")
    present["a"] = 9
    assert deadlines.earliest() == (7, "b")
    present["b"] = None
    assert deadlines.earliest() == (9, "a")
    present["a"] = None
    assert deadlines.earliest() is None
    present["b"] = 3
    deadlines.add("b")
    assert deadlines.earliest() == (3, "b")


def test_a_lazy_deadline_is_looked_up_only_when_it_comes_first() -> None:
    looked_up: list[int] = []

    def deadline(key: int) -> int:
        looked_up.append(key)
        return key

    deadlines = LazyDeadlines(deadline)
    for key in range(1000):
        deadlines.add(key)
    looked_up.clear()
    assert deadlines.earliest() == (0, 0)
    assert looked_up == [0]
