"""Delay variation over the order of arrival (RFC 3550) and over consecutive probes (RFC 3393)."""

import pytest

from halloo._ping.variation import DelayVariation, Variation


def variation_of(*arrivals: tuple[int, int]) -> DelayVariation:
    variation = Variation()
    for number, delay_ns in arrivals:
        variation.record(number, delay_ns, settled=0)
    return variation.result()


@pytest.mark.parametrize(
    ("arrivals", "ipdv_ns", "jitter_ns"),
    [
        ([], None, None),
        ([(0, 500)], None, None),
        ([(0, 100), (1, 260)], 160, 10),
        ([(0, 100), (2, 260)], None, 10),  # the pairs of a lost probe are undefined; jitter takes what arrives
        ([(1, 260), (0, 100)], 160, 10),
        ([(0, 100), (2, 100), (1, 1700)], 1600, 100),
        ([(1, -300), (0, -140)], 160, 10),
    ],
)
def test_ipdv_is_of_consecutive_probes_and_jitter_of_consecutive_arrivals(
    arrivals: list[tuple[int, int]], ipdv_ns: int | None, jitter_ns: int | None
) -> None:
    assert variation_of(*arrivals) == DelayVariation(ipdv_ns, jitter_ns)


def test_a_constant_difference_between_the_clocks_changes_nothing() -> None:
    arrivals = [(0, 100), (2, 900), (1, 300), (5, 40)]
    assert variation_of(*arrivals) == variation_of(*((number, delay - 10**18) for number, delay in arrivals))


def test_only_delays_that_can_still_make_a_pair_are_kept() -> None:
    variation = Variation()
    for number in range(10_000):
        variation.record(number, number % 7, settled=number)
    assert variation.kept <= 2
    for number in range(10_001, 10_100):  # one is outstanding
        variation.record(number, 0, settled=10_000)
    assert variation.kept <= 102
    variation.record(10_100, 0, settled=10_100)
    assert variation.kept <= 2
