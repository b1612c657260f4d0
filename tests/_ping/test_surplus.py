from itertools import chain

import pytest

from halloo._core.units import SECOND
from halloo._ping.report import Outcome, ProbeEvent
from halloo._ping.surplus import MAX_EVENTS, SurplusLimit


def events(outcome: Outcome, count: int, wall_ns: int, target: int = 0) -> list[ProbeEvent]:
    return [ProbeEvent(target, outcome, wall_ns, number, size=100) for number in range(count)]


def limited(*given: list[ProbeEvent]) -> list[ProbeEvent]:
    passed: list[ProbeEvent] = []
    limit = SurplusLimit(passed.append)
    for event in chain(*given):
        limit(event)
    return passed


@pytest.mark.parametrize("outcome", ["stray", "duplicate"])
def test_the_replies_over_the_limit_are_part_of_the_next_event(outcome: Outcome) -> None:
    first, later = events(outcome, MAX_EVENTS + 5, 7 * SECOND), events(outcome, 2, 8 * SECOND)
    passed = limited(first, later)
    assert passed[:MAX_EVENTS] == first[:MAX_EVENTS]
    merged, last = passed[MAX_EVENTS:]
    assert (merged.count, merged.size, merged.number, merged.wall_ns) == (6, 600, None, 8 * SECOND)
    assert last == later[1]


def test_a_clock_that_is_set_back_starts_a_new_second() -> None:
    passed = limited(events("stray", MAX_EVENTS + 1, 9 * SECOND), events("stray", 1, SECOND))
    assert [event.count for event in passed] == [*[1] * MAX_EVENTS, 2]


def test_each_target_and_outcome_has_its_own_limit() -> None:
    kinds = [events(outcome, MAX_EVENTS, SECOND, target) for outcome in ("stray", "duplicate") for target in (0, 1)]
    assert limited(*kinds) == [*chain(*kinds)]


@pytest.mark.parametrize("outcome", ["reply", "late", "corrupt", "lost", "error"])
def test_the_outcomes_of_probes_are_not_limited(outcome: Outcome) -> None:
    given = events(outcome, 3 * MAX_EVENTS, SECOND)
    assert limited(given) == given
