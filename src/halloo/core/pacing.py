"""Plan when probes leave, each target in its turn, and note how well that was kept.

Knows integers of nanoseconds. What falls behind by whole intervals is left out, and counted as late: a burst of
probes afterwards would measure itself.
"""

from halloo.core.latency import Latency
from halloo.core.roundtrips import LATE

TENTH = 10  # parts of the interval; a probe that leaves one of them late has fallen behind


class Pace:
    """The plan of one run: `interval_ns` between two probes to a target; with 0, each follows the last answer."""

    def __init__(self, interval_ns: int, targets: int, count: int | None = None) -> None:
        """Plan `count` probes to each target, for ever when None."""
        self._start = 0
        self._interval = interval_ns
        self._targets = targets
        self._left = None if count is None else [count] * targets
        self._turn = 0
        self.lateness = Latency()
        self.planned = self.late = self.behind = self.held = 0

    def begin(self, now_ns: int) -> None:
        """Have the first probe leave now."""
        self._start = now_ns

    @property
    def over(self) -> bool:
        """Whether nothing more is planned."""
        return self._left is not None and not any(self._left)

    @property
    def interval_ns(self) -> int:
        """From one probe to a target to the next."""
        return self._interval

    @property
    def follows(self) -> bool:
        """Whether a probe leaves as soon as the last one is answered, or given up."""
        return not self._interval

    @property
    def target(self) -> int:
        """Whose turn is next."""
        return self._turn % self._targets

    @property
    def due_ns(self) -> int:
        """When the next probe is to leave; long past where each follows the last answer."""
        round_, turn = divmod(self._turn, self._targets)
        return self._start + self._interval * round_ + self._interval * turn // self._targets

    def leave(self, now_ns: int) -> None:
        """Note that the next probe leaves now."""
        self.planned += 1
        if self._left is not None:
            self._left[self.target] -= 1
        left_out = 0
        if self._interval:
            behind = max(now_ns - self.due_ns, 0)
            self.lateness.record(behind)
            self.late += behind > LATE
            missed = behind // self._interval
            left_out = missed * self._targets
            self.planned += left_out
            self.late += left_out
            self.behind += left_out + (behind > max(LATE, self._interval // TENTH))
        self._pass(left_out + 1)

    def hold(self) -> None:
        """Note that the far end is not done with the last probe: the turn passes, and that is not our doing."""
        self.held += 1
        self._pass(1)

    def _pass(self, turns: int) -> None:
        """Go on to the next turn of a target that is still to have a probe."""
        self._turn += turns
        while self._left is not None and not self._left[self.target] and not self.over:
            self._turn += 1
