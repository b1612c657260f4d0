"""Remember which probes of a run have arrived. Pure: no I/O, no clock, no randomness.

Knows numbers. What is remembered is bounded: so many runs, those not heard of for longest forgotten first, and of each
its newest probes. Numbers begin again after 2^32, so which of two is newer is told by the shorter way between them.
"""

from collections import OrderedDict
from typing import NamedTuple

from halloo._core.probe import WINDOW, Header

RUNS = 1024
REMEMBERED = 1024  # probes of a run before its newest; an older one is taken for a copy

_NUMBERS = 1 << 32
_WINDOW = (1 << WINDOW) - 1
_MEMORY = (1 << REMEMBERED) - 1


class Seen(NamedTuple):
    """What has been seen of a run: how many probes arrived, those refused among them, and the window of a stamp."""

    arrived: int
    refused: int
    window: int


class _Run:
    """Bit k of `bits` is whether the probe k before the newest has arrived."""

    __slots__ = ("arrived", "bits", "newest", "refused")

    def __init__(self, number: int) -> None:
        self.newest, self.bits = number, 0
        self.arrived = self.refused = 0


class RunWindows:
    """The runs of all who send probes."""

    def __init__(self, most: int = RUNS) -> None:
        """Remember so many."""
        self._most = most
        self._runs: OrderedDict[int, _Run] = OrderedDict()

    def arrive(self, heading: Header, *, refused: bool = False) -> Seen:
        """Note a probe that has arrived, perhaps to be refused, and say what has arrived of its run up to now."""
        run = self._of(heading)
        behind = (run.newest - heading.number) % _NUMBERS
        if behind > _NUMBERS // 2:
            ahead = _NUMBERS - behind
            run.bits = run.bits << ahead & _MEMORY if ahead < REMEMBERED else 0
            run.newest, behind = heading.number, 0
        if behind < REMEMBERED and not run.bits >> behind & 1:
            run.bits |= 1 << behind
            run.arrived += 1
            run.refused += refused
        return Seen(run.arrived, run.refused, run.bits >> behind & _WINDOW | 1)

    def _of(self, heading: Header) -> _Run:
        run = self._runs.get(heading.run)
        if run is None:
            if len(self._runs) >= self._most:
                self._runs.popitem(last=False)
            run = self._runs[heading.run] = _Run(heading.number)
        else:
            self._runs.move_to_end(heading.run)
        return run
