"""Find the largest datagram that comes back, by halving.

Knows a lane, and a prober for each try. What is too large for a link on the way is dropped without a word, as any
datagram may be; so a size is given up only after TRIES.
"""

from collections.abc import Callable
from dataclasses import replace

from halloo.core.account import Account
from halloo.core.latency import Latency
from halloo.core.pacing import Pace
from halloo.core.probe import LEAST, Probes
from halloo.core.roundtrips import Probed, Target
from halloo.core.units import SECOND
from halloo.net.datagrams import MOST
from halloo.net.probing.lanes import Lane
from halloo.net.probing.prober import Course, Prober
from halloo.net.stopping import Wish

TRIES = 3
PATIENCE, TIMES = SECOND // 5, 4  # how long one try is waited for, once it is known what is usual


class Sweep:
    """The search for one target; `place` is its among all."""

    def __init__(
        self,
        lane: Lane,
        target: Target,
        wish: Wish,
        tell: Callable[[Probed], object],
        *,
        wait_ns: int,
        chance: Callable[[], int],
        place: int = 0,
    ) -> None:
        """Begin with nothing known; `chance` gives a number for each try, so that no late answer is taken for it."""
        self._lane = lane
        self._target = target
        self._wish = wish
        self._tell = tell
        self._wait = wait_ns
        self._chance = chance
        self._place = place
        self._sent = 0
        self._latency = Latency()
        self._failure: str | None = None

    def run(self) -> Target:
        """Search. The target's `largest_bytes` is None when not even the smallest probe came back."""
        low, high = LEAST - 1, MOST + 1  # the largest that came back, and the smallest that did not
        size = LEAST
        while high - low > 1 and not self._wish.stop:
            if self._comes_back(size):
                low = size
            else:
                high = size
            size = MOST if low == LEAST and high > MOST else (low + high) // 2
            if low < LEAST:
                break
        received = self._latency.count
        return replace(
            self._target,
            **self._lane.known(),  # type: ignore[arg-type]
            sent=self._sent,
            received=received,
            lost=self._sent - received,
            failure=None if received else self._failure,
            clock="kernel" if self._lane.stamped else "user",
            round_trip=self._latency.spread(),
            largest_bytes=low if low >= LEAST else None,
        )

    def _comes_back(self, size: int) -> bool:
        return any(self._try(size) for _ in range(TRIES) if not self._wish.stop)

    def _try(self, size: int) -> bool:
        """Send one probe, and wait for it."""
        slowest = self._latency.slowest
        wait = min(self._wait, max(PATIENCE, TIMES * slowest)) if slowest else self._wait
        account = Account(self._place, Probes(self._chance(), size, stamp=False), wait, self._target)
        course = Course(self._lane, account)
        prober = Prober([course], Pace(0, 1, 1), self._wish, lambda event: self._told(event, size))
        prober.open()
        prober.run()
        self._sent += 1
        found = account.report()
        self._failure = found.failure or self._failure
        if found.round_trip:
            self._latency.record(found.round_trip.median_ns)
        return bool(found.received and not found.corrupt)

    def _told(self, event: Probed, size: int) -> None:
        self._tell(replace(event, number=self._sent, size=size))
