"""Plan when each probe is sent, and record how well the plan was kept. Pure: no I/O, no clock, no randomness.

Times are integers of nanoseconds. After a delay of whole intervals the missed probes are skipped and counted as late:
a burst of probes would measure itself.
"""

from heapq import heapify, heappop, heapreplace

from halloo._core.histogram import Histogram
from halloo._ping.report import LATE

BEHIND_SHARE = 10  # parts of the interval; a probe that is late by one of them has fallen behind


class Schedule:
    """The plan of one run: `interval_ns` between two probes to a target; with 0 each follows the last reply."""

    def __init__(self, interval_ns: int, targets: int, count: int | None = None) -> None:
        """Plan `count` probes to each target; None is no limit."""
        self._start = 0
        self._interval = interval_ns
        self._targets = targets
        self._remaining = None if count is None else [count] * targets  # probes to be sent
        self._planned_left = None if count is None else [count] * targets  # turns of the plan to come
        # A heap of (offset from the start, round, target).
        self._turns = [self._turn(0, target) for target in range(targets)]
        self.lateness = Histogram()
        self.planned = self.late = self.behind = self.skipped_waiting = 0

    def start(self, now_ns: int) -> None:
        self._start = now_ns

    @property
    def done(self) -> bool:
        return not self._turns

    @property
    def back_to_back(self) -> bool:
        """Whether a probe is sent as soon as the last one is answered or lost."""
        return not self._interval

    @property
    def next_target(self) -> int:
        return self._turns[0][2]

    @property
    def due_ns(self) -> int:
        """When the next probe is due; long past if each follows the last reply."""
        return self._start + self._turns[0][0]

    def mark_sent(self, now_ns: int) -> None:
        target, missed = self.next_target, 0
        planned = self._take_planned(target, 1)
        if self._interval:
            behind = max(now_ns - self.due_ns, 0)
            self.lateness.record(behind)
            if planned:
                self.late += behind > LATE
                self.behind += behind > max(LATE, self._interval // BEHIND_SHARE)
            missed = behind // self._interval
        if self._remaining is not None:
            self._remaining[target] -= 1
        self._advance(1 + missed)
        if missed:
            self._count_missed(target, missed)
            self._skip_missed_rounds(missed, now_ns)

    def skip(self, now_ns: int) -> None:
        """Skip the turns due by now because the peer still uses the flow, without counting them as late.

        With interval 0 nothing is due by time, and nothing is counted.
        """
        rounds = 1
        if self._interval:
            rounds += max(now_ns - self.due_ns, 0) // self._interval
            self.skipped_waiting += rounds
        self._advance(rounds)

    def withdraw(self, count: int) -> None:
        self.planned -= count

    def _skip_missed_rounds(self, rounds: int, now_ns: int) -> None:
        latest = now_ns - self._start + self._interval
        for index, (offset_ns, round_, target) in enumerate(self._turns):
            if offset_ns + rounds * self._interval <= latest:
                self._turns[index] = self._turn(round_ + rounds, target)
                self._count_missed(target, rounds)
        heapify(self._turns)

    def _take_planned(self, target: int, turns: int) -> int:
        """Count turns as planned, but no more than `count` for a target; later ones make up for missed turns."""
        if self._planned_left is not None:
            turns = min(turns, self._planned_left[target])
            self._planned_left[target] -= turns
        self.planned += turns
        return turns

    def _count_missed(self, target: int, turns: int) -> None:
        planned = self._take_planned(target, turns)
        self.late += planned
        self.behind += planned

    def _advance(self, rounds: int) -> None:
        """Move to the next turn; a target without remaining probes leaves the schedule."""
        _, round_, target = self._turns[0]
        if self._remaining is not None and not self._remaining[target]:
            heappop(self._turns)
        else:
            heapreplace(self._turns, self._turn(round_ + rounds, target))

    def _turn(self, round_: int, target: int) -> tuple[int, int, int]:
        return self._interval * round_ + self._interval * target // self._targets, round_, target
