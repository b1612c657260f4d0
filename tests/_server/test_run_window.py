"""Which probes of which runs have arrived, compared with a set of all of them."""

from hypothesis import example, given
from hypothesis import strategies as st

from halloo._core.probe import REQUEST, WINDOW, Header
from halloo._server.run_window import HISTORY, MAX_RUNS, ReceiveWindows, RunCounts

NUMBERS = 1 << 32


def probe(number: int, run: int = 1) -> Header:
    return Header(run, number % NUMBERS, 0, REQUEST)


def record_all(*numbers: int) -> RunCounts:
    """Record probes in that order; return the counts at the last."""
    runs = ReceiveWindows()
    return [runs.record(probe(number)) for number in numbers][-1]


def test_the_lowest_bit_is_the_probe_itself_and_the_next_that_before_it() -> None:
    for numbers, count, window in (
        ([0], 1, 0b1),
        ([0, 1, 2], 3, 0b111),
        ([0, 1, 3], 3, 0b1101),
        ([5], 1, 0b1),
        ([0, 2, 1, 3], 4, 0b1111),
        ([0, 0, 0, 1], 2, 0b11),
        ([3, 1], 2, 0b1),
        ([0, 63], 2, 1 << 63 | 1),
        ([0, 64], 2, 1),
        ([0, 1, 10_000], 3, 1),
        ([10_000, 0], 1, 1),
        ([NUMBERS - 2, NUMBERS - 1, NUMBERS, NUMBERS + 2], 4, 0b11101),  # they wrap around
        ([NUMBERS, NUMBERS - 1], 2, 0b1),
    ):
        assert record_all(*numbers) == RunCounts(count, 0, window), numbers


steps = st.one_of(st.integers(-100, 100), st.integers(-3, 3), st.sampled_from([-HISTORY, HISTORY, 5000]))


@given(st.integers(0, NUMBERS - 1), st.lists(st.tuples(steps, st.booleans()), max_size=60))
@example(NUMBERS - 1, [(1, False), (HISTORY - 1, False), (1 - HISTORY, True)])
def test_the_counts_equal_those_of_an_unbounded_set(begin: int, moves: list[tuple[int, bool]]) -> None:
    runs, met, refused, newest = ReceiveWindows(), set[int](), 0, 0
    for step, refuse in [(0, False), *moves]:
        number = newest + step
        known = number in met or newest - number >= HISTORY
        if not known:
            met.add(number)
            refused += refuse
        newest = max(newest, number)
        window = sum(1 << back for back in range(WINDOW) if number - back in met and newest - number + back < HISTORY)
        assert runs.record(probe(begin + number), refused=refuse) == RunCounts(len(met), refused, window | 1)


def test_a_refused_probe_has_arrived_and_a_duplicate_does_not_count() -> None:
    runs = ReceiveWindows()
    runs.record(probe(0))
    assert runs.record(probe(0), refused=True) == RunCounts(1, 0, 0b1)
    assert runs.record(probe(1), refused=True) == RunCounts(2, 1, 0b11)
    assert runs.record(probe(2)) == RunCounts(3, 1, 0b111)


def test_runs_are_counted_separately() -> None:
    runs = ReceiveWindows()
    for number in range(3):
        runs.record(probe(number, run=1))
    assert runs.record(probe(9, run=2)) == RunCounts(1, 0, 0b1)
    assert runs.record(probe(3, run=1)) == RunCounts(4, 0, 0b1111)


def test_the_least_recently_active_run_is_dropped_first() -> None:
    runs = ReceiveWindows(max_runs=2)
    for run in (1, 2, 1, 3):
        runs.record(probe(0, run))
    assert runs.record(probe(1, run=1)).arrived == 2
    assert runs.record(probe(1, run=2)).arrived == 1


def test_many_runs_do_not_grow_the_table() -> None:
    runs = ReceiveWindows()
    for run in range(3 * MAX_RUNS):
        runs.record(probe(0, run))
    again = [runs.record(probe(1, run)).arrived for run in reversed(range(3 * MAX_RUNS))]
    assert again.count(2) == MAX_RUNS
