"""Plan when each probe leaves, and record how well that was kept. Pure: no I/O, no clock, no randomness.

Knows integers of nanoseconds. What falls behind by whole intervals is left out, and counted as late: a burst of
probes afterwards would measure itself.
"""

from heapq import heapify, heappop, heapreplace

from halloo._core.histogram import Histogram
from halloo._ping.report import LATE

TENTH = 10  # parts of the interval; a probe that leaves one of them late has fallen behind


class Schedule:
    """The plan of one run: `interval_ns` between two probes to a target; with 0, each follows the last answer."""

    def __init__(self, interval_ns: int, targets: int, count: int | None = None) -> None:
        """Plan `count` probes to each target, for ever when None."""
        self._start = 0
        self._interval = interval_ns
        self._targets = targets
        self._left = None if count is None else [count] * targets
        # A heap: how long after the start, which round, and whose turn.
        self._turns = [self._turn(0, target) for target in range(targets)]
        self.lateness = Histogram()
        self.planned = self.late = self.behind = self.skipped_waiting = 0

    def begin(self, now_ns: int) -> None:
        """Have the first probe leave now."""
        self._start = now_ns

    @property
    def over(self) -> bool:
        """Whether nothing more is planned."""
        return not self._turns

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
        return self._turns[0][2]

    @property
    def due_ns(self) -> int:
        """When the next probe is to leave; long past where each follows the last answer."""
        return self._start + self._turns[0][0]

    def leave(self, now_ns: int) -> None:
        """Note that the next probe leaves now."""
        self.planned += 1
        missed = 0
        if self._interval:
            behind = max(now_ns - self.due_ns, 0)
            self.lateness.record(behind)
            self.late += behind > LATE
            self.behind += behind > max(LATE, self._interval // TENTH)
            missed = behind // self._interval
        if self._left is not None:
            self._left[self.target] -= 1
        self._pass(1 + missed)
        if missed:
            self._miss(missed)
            self._leave_out(missed, now_ns)

    def hold(self, now_ns: int) -> None:
        """Note that the far end is not done with the last probe: what was due by now passes, and that is not our doing.

        Where each follows the last answer nothing was due, and nothing is counted.
        """
        rounds = 1
        if self._interval:
            rounds += max(now_ns - self.due_ns, 0) // self._interval
            self.skipped_waiting += rounds
        self._pass(rounds)

    def take_back(self, count: int) -> None:
        """Note that so many have not left after all."""
        self.planned -= count

    def _leave_out(self, rounds: int, now_ns: int) -> None:
        """Leave out whole rounds of the other targets too, where they are past."""
        latest = now_ns - self._start + self._interval
        for place, (after_ns, round_, target) in enumerate(self._turns):
            if after_ns + rounds * self._interval <= latest:
                self._turns[place] = self._turn(round_ + rounds, target)
                self._miss(rounds)
        heapify(self._turns)

    def _miss(self, count: int) -> None:
        """Count what was planned and never left."""
        self.planned += count
        self.late += count
        self.behind += count

    def _pass(self, rounds: int) -> None:
        """Go on to the next turn; who has had all probes has no other."""
        _, round_, target = self._turns[0]
        if self._left is not None and not self._left[target]:
            heappop(self._turns)
        else:
            heapreplace(self._turns, self._turn(round_ + rounds, target))

    def _turn(self, round_: int, target: int) -> tuple[int, int, int]:
        return self._interval * round_ + self._interval * target // self._targets, round_, target
