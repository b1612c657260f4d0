"""Find echo loops: senders that send our own answers back. Pure: no I/O, no clock, no randomness.

Times are seconds on the caller's clock.

A loop and a client that repeats itself look alike: both bring payloads that were answered before. They differ once
there is no answer: then nothing of the loop is left, while the client goes on. So a sender, an address with its port,
whose payloads have come back for TEST_INTERVAL gets no answer for SILENCE; if it sends after that, the next test comes
ten times later. A sender of fresh payloads is not tested.

Only samples are examined, one in SAMPLE_INTERVAL is enough, so that the other datagrams cost nothing.
"""

SILENCE = 1.5  # seconds; a loop ends if its round trip, with all delays in queues, is shorter
TEST_INTERVAL, MAX_TEST_INTERVAL = 10.0, 1000.0  # seconds of repetition before a test, at first and at most
PERIOD = TEST_INTERVAL / 2  # seconds in which a payload has to come back, or the sender does not repeat itself
SAMPLE_INTERVAL = 0.0005  # seconds
MAX_SENDERS = 1024  # a new one takes the place of one that is silent: by turns, more loops than that end too
MAX_PAYLOADS = 64  # of each sender in a period, of which one has to come back

Sender = tuple[str, int]  # host and port


class LoopDetector:
    """The senders of one socket. The caller is silent towards those in `silent_until` until that time."""

    def __init__(self) -> None:
        """Start with no sender."""
        self.silent_until: dict[Sender, float] = {}
        self._senders: dict[Sender, _Repetition] = {}  # the one sampled last is the last one

    def sample(self, sender: Sender, payload: int, now: float) -> bool:
        """Record the hash of a datagram that was just answered; return whether to be silent from now on."""
        senders = self._senders
        found = senders.pop(sender, None)
        if found is None:
            if len(senders) >= MAX_SENDERS:
                if now - senders[oldest := next(iter(senders))].last <= SILENCE:
                    return False
                del senders[oldest]
            found = _Repetition(now)
        senders[sender] = found
        if not found.is_due(payload, now):
            return False
        self.silent_until[sender] = now + SILENCE
        return True

    def is_silent(self, sender: Sender, now: float) -> bool:
        """Whether a sender gets no answer now; forget those whose silence is over."""
        silent = self.silent_until
        while silent and now >= silent[first := next(iter(silent))]:  # they end in the order in which they began
            del silent[first]
        return sender in silent


class _Repetition:
    """Since when a sender has repeated itself."""

    __slots__ = ("_interval", "_payloads", "_period_end", "_repeated", "_since", "last")

    def __init__(self, now: float) -> None:
        self._interval = TEST_INTERVAL
        self.last = self._since = self._period_end = now
        self._repeated = False
        self._payloads: set[int] = set()

    def is_due(self, payload: int, now: float) -> bool:
        """Record a payload; return whether the sender is to be tested now."""
        gap, self.last = now - self.last, now
        if gap > self._interval:
            self._interval = TEST_INTERVAL
        if gap > SILENCE:
            self._start_period(now, now)
        elif now >= self._period_end:
            self._start_period(now, self._since if self._repeated else now)
        if payload not in self._payloads:
            if len(self._payloads) < MAX_PAYLOADS:
                self._payloads.add(payload)
            return False
        self._repeated = True
        if now - self._since < self._interval:
            return False
        self._interval = min(10 * self._interval, MAX_TEST_INTERVAL)
        self._start_period(now, now)
        return True

    def _start_period(self, now: float, since: float) -> None:
        self._since, self._period_end = since, now + PERIOD
        self._repeated = False
        self._payloads.clear()
