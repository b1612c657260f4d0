"""Find the largest datagram that comes back, by halving.

Knows a lane, and a prober for each try. What is too large for a link on the way is dropped without a word, as any
datagram may be; so a size is given up only after TRIES.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from halloo._core.histogram import Histogram
from halloo._core.probe import LEAST, Probes
from halloo._core.units import SECOND
from halloo._net.datagrams import MOST
from halloo._net.signals import StopRequest
from halloo._ping.flow import Flow, ProbeConnection
from halloo._ping.prober import Prober
from halloo._ping.report import ProbeEvent, TargetReport
from halloo._ping.schedule import Schedule
from halloo._ping.tracker import ProbeTracker
from halloo.errors import UnknownHost

TRIES = 3
COUNTS = ("sent", "received", "lost", "late", "duplicate", "reordered", "corrupt", "stray", "timed_out")
PATIENCE, TIMES = SECOND // 5, 4  # how long one try is waited for, once it is known what is usual


class MtuSweep:
    """The search for one target; `place` is its among all."""

    def __init__(
        self,
        lane: ProbeConnection,
        target: TargetReport,
        wish: StopRequest,
        tell: Callable[[ProbeEvent], object],
        *,
        wait_ns: int,
        chance: Callable[[], int],
        place: int = 0,
        end_ns: int | None = None,
    ) -> None:
        """Begin with nothing known; `end_ns` is when to stop, of the steady clock.

        `chance` gives a number for each try, so that no late answer is taken for its.
        """
        self._lane = lane
        self._target = target
        self._wish = wish
        self._tell = tell
        self._wait = wait_ns
        self._chance = chance
        self._place = place
        self._end_ns = end_ns
        self._low, self._high = LEAST - 1, MOST + 1  # the largest that came back, and the smallest that did not
        self._counts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._latency = Histogram()
        self._failure: str | None = None
        self._known = True  # where it is

    def run(self, look: Callable[[], object] = int) -> TargetReport:
        """Search, and give the report; `look` is called when one asks."""
        size = LEAST
        while self._high - self._low > 1 and not self._over:
            if self._comes_back(size, look):
                self._low = size
            else:
                self._high = size
            size = MOST if self._low == LEAST and self._high > MOST else (self._low + self._high) // 2
            if self._low < LEAST:
                break
        return self.report()

    def report(self) -> TargetReport:
        """Say what was found so far: `largest_bytes` is None when not even the smallest probe came back."""
        return replace(
            self._target,
            **self._lane.known(),  # type: ignore[arg-type]
            **{name: self._counts[name] for name in COUNTS},  # type: ignore[arg-type]
            errors=dict(self._errors),
            failure=None if self._counts["received"] else self._failure,
            clock="kernel" if self._lane.stamped else "user",
            round_trip=self._latency.summary(),
            largest_bytes=self._low if self._low >= LEAST else None,
        )

    @property
    def _over(self) -> bool:
        return self._wish.stop or not self._known or (self._end_ns is not None and time.monotonic_ns() >= self._end_ns)

    def _comes_back(self, size: int, look: Callable[[], object]) -> bool:
        return any(self._try(size, look) for _ in range(TRIES) if not self._over)

    def _try(self, size: int, look: Callable[[], object]) -> bool:
        """Send one probe, and wait for it."""
        slowest = self._latency.slowest
        wait = min(self._wait, max(PATIENCE, TIMES * slowest)) if slowest else self._wait
        account = ProbeTracker(self._place, Probes(self._chance(), size, stamp=False), wait, self._target)
        course = Flow(self._lane, account)
        left = None if self._end_ns is None else max(self._end_ns - time.monotonic_ns(), 0)
        hear = partial(self._told, size)
        prober = Prober([course], Schedule(0, 1, 1), self._wish, hear, deadline_ns=left)
        try:
            prober.open()
        except UnknownHost as error:
            self._failure, self._known = str(error), False
            self._errors[type(error).__name__] += 1
            return False
        prober.run(look)
        found = account.report()
        self._counts.update({name: getattr(found, name) for name in COUNTS})
        self._errors.update(found.errors)
        self._failure = found.failure or self._failure
        if found.round_trip:
            self._latency.record(found.round_trip.median_ns)
        return bool(found.received and not found.corrupt)

    def _told(self, size: int, event: ProbeEvent) -> None:
        number = None if event.number is None else self._counts["sent"]
        self._tell(replace(event, number=number, size=event.size or size))
