"""Tell on which way probes were lost, there or back, from what a stamping server has counted.

Knows stamps and numbers. The counts in the latest stamp say how many; the windows say which, 64 probes back.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from halloo.core.probe import WINDOW, Stamp

Way = Literal["there", "back"]
KEPT = 4096  # stamps that are remembered


@dataclass(frozen=True, slots=True)
class Ways:
    """How many were lost on the way there and back, refused by the server itself, and after the last stamp."""

    there: int
    back: int
    refused: int
    unknown: int


class Direction:
    """The stamps of one run so far."""

    def __init__(self) -> None:
        """Begin with none."""
        self._stamps: OrderedDict[int, Stamp] = OrderedDict()
        self._highest = -1
        self._arrived = self._refused = 0
        self._forgotten = False

    def note(self, number: int, stamp: Stamp) -> None:
        """Take note of the stamp on the answer to a probe."""
        self._forgotten = self._forgotten or self._lacks_all(number, stamp)
        self._highest = max(self._highest, number)
        self._arrived, self._refused = max(self._arrived, stamp.arrived), max(self._refused, stamp.refused)
        self._stamps[number] = stamp
        if len(self._stamps) > KEPT:
            self._stamps.popitem(last=False)

    def way(self, number: int) -> Way | None:
        """Say on which way a probe was lost that did not come back; None when no stamp tells, or it may be refused."""
        covering = [later for later in range(number + 1, number + WINDOW) if later in self._stamps]
        if not covering or self._forgotten:
            return None
        if not any(self._stamps[later].window >> (later - number) & 1 for later in covering):
            return "there"
        before = next((earlier for earlier in range(number - 1, number - WINDOW, -1) if earlier in self._stamps), None)
        refused = 0 if before is None else self._stamps[before].refused
        return "back" if self._stamps[covering[0]].refused == refused else None

    def ways(self, sent: int, came: int) -> Ways | None:
        """Add up, of so many probes sent and come back; None without stamps, or when the server began anew meanwhile.

        >>> direction = Direction()
        >>> direction.note(3, Stamp(0, 0, arrived=3, refused=1, window=0b1011))
        >>> direction.ways(sent=5, came=1)
        Ways(there=1, back=1, refused=1, unknown=1)
        """
        if self._highest < 0 or self._forgotten:
            return None
        known = max(self._highest + 1, self._arrived)  # a later one may have come there first, and not back
        return Ways(
            there=max(known - self._arrived, 0),
            back=max(self._arrived - self._refused - came, 0),
            refused=self._refused,
            unknown=sent - known,
        )

    def _lacks_all(self, number: int, stamp: Stamp) -> bool:
        """Whether the server has counted no further, and of the probes whose stamps are here remembers none.

        Of those that have overtaken others both there and back, it remembers the ones before.
        """
        if number <= self._highest or stamp.arrived > self._arrived:
            return False
        before = range(max(number - WINDOW + 1, 0), number)
        return not any(earlier in self._stamps and stamp.window >> (number - earlier) & 1 for earlier in before)
