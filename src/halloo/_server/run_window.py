"""Track which probes of a run have arrived. Pure: no I/O, no clock, no randomness.

Memory is bounded: a maximum of runs, of which the least recently active is dropped first, and the newest probes of
each. Numbers wrap around after 2^32, so the newer of two is decided by the shorter distance between them.
"""

from collections import OrderedDict
from typing import NamedTuple

from halloo._core.probe import WINDOW, Header

MAX_RUNS = 1024
HISTORY = 1024  # probes of a run before its newest; an older one counts as a duplicate

_NUMBER_MODULUS = 1 << 32
_WINDOW_MASK = (1 << WINDOW) - 1
_HISTORY_MASK = (1 << HISTORY) - 1


class RunCounts(NamedTuple):
    """What has arrived of a run: the number of probes, of refused ones among them, and the window for a timestamp."""

    arrived: int
    refused: int
    window: int


class _ReceiveWindow:
    """Bit k of `bits` tells whether the probe k before the newest has arrived."""

    __slots__ = ("arrived", "bits", "newest", "refused")

    def __init__(self, number: int) -> None:
        self.newest, self.bits = number, 0
        self.arrived = self.refused = 0


class ReceiveWindows:
    """The receive windows of all runs."""

    def __init__(self, max_runs: int = MAX_RUNS) -> None:
        self._max_runs = max_runs
        self._windows: OrderedDict[int, _ReceiveWindow] = OrderedDict()

    def record(self, header: Header, *, refused: bool = False) -> RunCounts:
        """Record the arrival of a probe, and return what has arrived of its run so far."""
        window = self._windows.get(header.run)
        if window is None:
            if len(self._windows) >= self._max_runs:
                self._windows.popitem(last=False)
            window = self._windows[header.run] = _ReceiveWindow(header.number)
        else:
            self._windows.move_to_end(header.run)
        behind = (window.newest - header.number) % _NUMBER_MODULUS
        if behind > _NUMBER_MODULUS // 2:
            ahead = _NUMBER_MODULUS - behind
            window.bits = window.bits << ahead & _HISTORY_MASK if ahead < HISTORY else 0
            window.newest, behind = header.number, 0
        if behind < HISTORY and not window.bits >> behind & 1:
            window.bits |= 1 << behind
            window.arrived += 1
            window.refused += refused
        return RunCounts(window.arrived, window.refused, window.bits >> behind & _WINDOW_MASK | 1)
