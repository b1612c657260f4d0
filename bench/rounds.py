"""Interleave short rounds in random order, so that changes of the machine's load affect all servers alike.

Uses numbers and a random source only; the caller's `measure` runs a round.
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
    """A median and its 95 % confidence interval."""

    median: float
    low: float
    high: float
    rounds: int


def interleave(
    names: Sequence[Name], measure: Callable[[Name], Result], *, rounds: int, rng: Random
) -> dict[Name, list[Result]]:
    """Measure every name once in each round, in a new random order; entry i of every list is round i."""
    results: dict[Name, list[Result]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in rng.sample(names, len(names)):
            results[name].append(measure(name))
    return results


def ratios(mine: Iterable[float], reference: Iterable[float]) -> list[float]:
    """Return the ratio to the reference for each round, without the rounds in which either failed."""
    return [a / b for a, b in zip(mine, reference, strict=True) if a > 0 and b > 0]


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return the median with its interval, None for no values.

    The interval lies between two order statistics, chosen by the binomial distribution of the number of values below
    the true median. It assumes nothing about the distribution of the values.
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
