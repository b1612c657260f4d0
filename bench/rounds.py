"""Take turns: short rounds in random order, so that the machine's moods fall on everybody alike.

Knows numbers and a random source. Knows no server, socket or clock: `measure` is the caller's.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

Name = TypeVar("Name")
Result = TypeVar("Result")

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median and the interval that holds the true one in 95 of 100 runs."""

    median: float
    low: float
    high: float
    rounds: int


def take_turns(
    names: Sequence[Name], measure: Callable[[Name], Result], *, rounds: int, chance: Random
) -> dict[Name, list[Result]]:
    """Measure every name once a round, in an order drawn anew for each; entry i of every list is round i."""
    results: dict[Name, list[Result]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in chance.sample(names, len(names)):
            results[name].append(measure(name))
    return results


def ratios(mine: Iterable[float], reference: Iterable[float]) -> list[float]:
    """Return round by round how many times the reference it was; rounds in which either failed are left out."""
    return [a / b for a, b in zip(mine, reference, strict=True) if a > 0 and b > 0]


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return the median with its interval, None for no values.

    The interval is between two order statistics, chosen by the binomial law of how many values lie below the true
    median; nothing is assumed of the values' own distribution.
    """
    if not values:
        return None
    ordered = sorted(values)
    rank = outer_rank(len(ordered))
    return Estimate(statistics.median(ordered), ordered[rank], ordered[-1 - rank], len(ordered))


def outer_rank(count: int) -> int:
    """Return the largest rank r for which the r-th lowest and r-th highest of `count` enclose the median at 95 %."""
    tail, rank = 0.5**count, 0
    while rank < (count - 1) // 2 and 2 * (tail + comb(count, rank + 1) * 0.5**count) <= 1 - CONFIDENCE:
        rank += 1
        tail += comb(count, rank) * 0.5**count
    return rank
