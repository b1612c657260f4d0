"""Merge duplicate, unmatched and stray replies into few events. Pure: no I/O, no clock, no randomness.

A peer can send any number of them, while each other event belongs to one probe. The report counts them all.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from halloo._core.units import SECOND
from halloo._ping.report import ProbeEvent

SURPLUS = frozenset({"duplicate", "unmatched", "stray"})  # outcomes of replies that answer no pending probe
MAX_EVENTS = 10  # of one outcome and target, in a second of the wall clock


@dataclass(slots=True)
class _Merged:
    """The events of one second, and the replies and bytes that had none of their own."""

    second: int
    events: int = 0
    count: int = 0
    size: int = 0


class SurplusLimit:
    """Passes events on; surplus replies over the limit are part of the next event of their kind."""

    def __init__(self, on_event: Callable[[ProbeEvent], object]) -> None:
        self._on_event = on_event
        self._merged: dict[tuple[int, str], _Merged] = {}

    def __call__(self, event: ProbeEvent) -> None:
        if event.outcome in SURPLUS:
            self._limit(event)
        else:
            self._on_event(event)

    def _limit(self, event: ProbeEvent) -> None:
        second = event.wall_ns // SECOND
        merged = self._merged.setdefault((event.target, event.outcome), _Merged(second))
        if second != merged.second:
            merged.second, merged.events = second, 0
        merged.count += 1
        merged.size += event.size
        if merged.events == MAX_EVENTS:
            return
        merged.events += 1
        if merged.count > 1:
            event = replace(event, number=None, count=merged.count, size=merged.size)
        merged.count = merged.size = 0
        self._on_event(event)
