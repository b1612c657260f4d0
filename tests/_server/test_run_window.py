"""Which probes of which runs have arrived, beside a set of all of them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo._core.probe import ASKING, WINDOW, Header
from halloo._server.run_window import REMEMBERED, RUNS, RunWindows, Seen

NUMBERS = 1 << 32


def probe(number: int, run: int = 1) -> Header:
    return Header(run, number % NUMBERS, 0, ASKING)


def arrived(*numbers: int) -> Seen:
    """Let probes arrive in that order, and give what is seen at the last."""
    runs = RunWindows()
    return [runs.arrive(probe(number)) for number in numbers][-1]


# The window.


@pytest.mark.parametrize(
    ("numbers", "count", "window"),
    [
        ([0], 1, 0b1),
        ([0, 1, 2], 3, 0b111),
        ([0, 1, 3], 3, 0b1101),
        ([5], 1, 0b1),
        ([0, 2, 1], 3, 0b11),
        ([0, 2, 1, 3], 4, 0b1111),
        ([0, 0, 0, 1], 2, 0b11),
        ([3, 1], 2, 0b1),
        ([0, 63], 2, 1 << 63 | 1),
        ([0, 64], 2, 1),
        ([0, 1, 10_000], 3, 1),
        ([10_000, 0], 1, 1),
    ],
)
def test_the_lowest_bit_is_the_probe_itself_and_the_next_that_before_it(
    numbers: list[int], count: int, window: int
) -> None:
    assert arrived(*numbers) == Seen(count, 0, window)


def test_numbers_go_on_after_two_to_the_32nd() -> None:
    assert arrived(NUMBERS - 2, NUMBERS - 1, NUMBERS, NUMBERS + 2) == Seen(4, 0, 0b11101)
    assert arrived(NUMBERS, NUMBERS - 1) == Seen(2, 0, 0b1)


steps = st.one_of(st.integers(-100, 100), st.integers(-3, 3), st.sampled_from([-REMEMBERED, REMEMBERED, 5000]))


@given(st.integers(0, NUMBERS - 1), st.lists(st.tuples(steps, st.booleans()), max_size=60))
@example(NUMBERS - 1, [(1, False), (REMEMBERED - 1, False), (1 - REMEMBERED, True)])
def test_it_is_as_if_all_were_remembered(begin: int, moves: list[tuple[int, bool]]) -> None:
    runs, met, refused, newest = RunWindows(), set[int](), 0, 0
    for step, refuse in [(0, False), *moves]:
        number = newest + step
        known = number in met or newest - number >= REMEMBERED
        if not known:
            met.add(number)
            refused += refuse
        newest = max(newest, number)
        window = sum(
            1 << back for back in range(WINDOW) if number - back in met and newest - number + back < REMEMBERED
        )
        assert runs.arrive(probe(begin + number), refused=refuse) == Seen(len(met), refused, window | 1)


# Refusals.


def test_a_refused_probe_has_arrived() -> None:
    runs = RunWindows()
    runs.arrive(probe(0))
    assert runs.arrive(probe(1), refused=True) == Seen(2, 1, 0b11)
    assert runs.arrive(probe(2)) == Seen(3, 1, 0b111)


def test_a_copy_that_is_refused_counts_as_little_as_one_that_is_not() -> None:
    runs = RunWindows()
    runs.arrive(probe(0))
    assert runs.arrive(probe(0), refused=True) == Seen(1, 0, 0b1)


# Several runs.


def test_runs_are_counted_apart() -> None:
    runs = RunWindows()
    for number in range(3):
        runs.arrive(probe(number, run=1))
    assert runs.arrive(probe(9, run=2)) == Seen(1, 0, 0b1)
    assert runs.arrive(probe(3, run=1)) == Seen(4, 0, 0b1111)


def test_the_run_not_heard_of_for_longest_is_forgotten_first() -> None:
    runs = RunWindows(most=2)
    for run in (1, 2, 1, 3):
        runs.arrive(probe(0, run))
    assert runs.arrive(probe(1, run=1)).arrived == 2
    assert runs.arrive(probe(1, run=2)).arrived == 1


def test_a_flood_of_runs_does_not_grow_the_table() -> None:
    runs = RunWindows()
    for run in range(3 * RUNS):
        runs.arrive(probe(0, run))
    again = [runs.arrive(probe(1, run)).arrived for run in reversed(range(3 * RUNS))]
    assert again.count(2) == RUNS
