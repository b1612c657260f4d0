"""Find the largest datagram that is echoed, by bisection.

Uses one connection, with a prober for each try. Routers may drop datagrams that are too large silently, and any
datagram may be lost; so a size without a reply is rejected only after TRIES.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from halloo._core.histogram import Histogram
from halloo._core.icmp import IcmpReport
from halloo._core.probe import MIN_SIZE, Probes
from halloo._core.units import SECOND
from halloo._net.datagrams import MAX_DATAGRAM
from halloo._net.readiness import until_readable
from halloo._net.signals import StopRequest
from halloo._ping.flow import Flow, ProbeConnection
from halloo._ping.prober import LIMIT_PAUSE, Prober
from halloo._ping.report import ProbeEvent, SizeEvidence, SizeLimit, TargetReport
from halloo._ping.schedule import Schedule
from halloo._ping.tracker import ProbeTracker
from halloo.errors import UnknownHost

TRIES = 3
TOO_LARGE: Mapping[str, SizeEvidence] = {"TooLong": "link", "DatagramTooBig": "report"}  # names of errors
COUNTERS = (
    *("sent", "received", "lost", "late", "duplicate", "reordered", "corrupt", "unmatched", "stray", "timed_out"),
    "rate_limited",
)
MIN_TRY_TIMEOUT, TIMEOUT_FACTOR = SECOND // 5, 4  # nanoseconds, and multiples of the slowest round trip so far


class MtuSweep:
    """The search for one target; `index` is its position in the report."""

    def __init__(
        self,
        connection: ProbeConnection,
        target: TargetReport,
        stop_request: StopRequest,
        on_event: Callable[[ProbeEvent], object],
        *,
        timeout_ns: int,
        random_run: Callable[[], int],
        index: int = 0,
        end_ns: int | None = None,
        limit_pause_ns: int = LIMIT_PAUSE,
    ) -> None:
        """Store the arguments without sending; `end_ns` is the steady-clock time at which to stop.

        `limit_pause_ns` is how long to wait after the server has refused a probe by its rate limit.

        `random_run` returns a new run number for each try, so that a late reply to another try counts as unmatched.
        """
        self._connection = connection
        self._target = target
        self._stop_request = stop_request
        self._on_event = on_event
        self._timeout = timeout_ns
        self._random_run = random_run
        self._index = index
        self._end_ns = end_ns
        self._limit_pause = limit_pause_ns
        self._low, self._high = MIN_SIZE - 1, MAX_DATAGRAM + 1  # the largest size echoed, and the smallest one not
        self._counts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._reports: Counter[IcmpReport] = Counter()
        self._evidence: SizeEvidence = "path"  # of the last size that was rejected
        self._latency = Histogram()
        self._failure: str | None = None
        self._resolved = True

    def run(self, on_info_request: Callable[[], object] = int) -> TargetReport:
        """Search and return the report; SIGQUIT calls `on_info_request`."""
        size = MIN_SIZE
        while self._high - self._low > 1 and not self._done:
            if self._returns(size, on_info_request):
                self._low = size
            else:
                self._high = size
            size = (
                MAX_DATAGRAM if self._low == MIN_SIZE and self._high > MAX_DATAGRAM else (self._low + self._high) // 2
            )
            if self._low < MIN_SIZE:
                break
        return self.report()

    def report(self) -> TargetReport:
        """Return the result so far: `largest_bytes` is None if not even the smallest probe was echoed."""
        return replace(
            self._target,
            **self._connection.describe(),  # type: ignore[arg-type]  # fields of TargetReport by name
            **{name: self._counts[name] for name in COUNTERS},  # type: ignore[arg-type]  # as above
            errors=dict(self._errors),
            icmp=tuple(self._reports.items()),
            size_sweep=True,
            failure=None if self._counts["received"] else self._failure,
            clock="kernel" if self._connection.kernel_timestamps else "user",
            round_trip=self._latency.summary(),
            largest_bytes=self._low if self._low >= MIN_SIZE else None,
            size_limit=self._size_limit(),
        )

    def _size_limit(self) -> SizeLimit | None:
        found = MIN_SIZE <= self._low == self._high - 1 < MAX_DATAGRAM
        return SizeLimit(self._high, self._evidence) if found else None

    @property
    def _done(self) -> bool:
        return (
            self._stop_request.stop
            or not self._resolved
            or (self._end_ns is not None and time.monotonic_ns() >= self._end_ns)
        )

    def _returns(self, size: int, on_info_request: Callable[[], object]) -> bool:
        for _ in range(TRIES):
            if self._done:
                return False
            if self._try(size, on_info_request):
                return True
            if self._evidence in TOO_LARGE.values():
                return False
            if self._evidence == "limit":
                until_readable([self._stop_request.waking], self._limit_pause / SECOND)
        return False

    def _try(self, size: int, on_info_request: Callable[[], object]) -> bool:
        slowest = self._latency.max
        timeout = min(self._timeout, max(MIN_TRY_TIMEOUT, TIMEOUT_FACTOR * slowest)) if slowest else self._timeout
        tracker = ProbeTracker(self._index, Probes(self._random_run(), size, timestamps=False), timeout, self._target)
        flow = Flow(self._connection, tracker)
        remaining = None if self._end_ns is None else max(self._end_ns - time.monotonic_ns(), 0)
        on_event = partial(self._report_event, size)
        prober = Prober([flow], Schedule(0, 1, 1), self._stop_request, on_event, deadline_ns=remaining)
        try:
            prober.open()
            prober.run(on_info_request)
        except UnknownHost as error:
            self._failure, self._resolved = str(error), False
            self._errors[type(error).__name__] += 1
            return False
        finally:
            prober.release()
        report = tracker.report()
        self._counts.update({name: getattr(report, name) for name in COUNTERS})
        self._errors.update({name: number for name, number in report.errors.items() if name not in TOO_LARGE})
        self._reports.update(dict(report.icmp))
        self._failure = report.failure or self._failure
        if report.round_trip:
            self._latency.record(report.round_trip.median_ns)
        echoed = bool(report.received and not report.corrupt)
        if not echoed:
            self._evidence = self._find_evidence(report)
        return echoed

    def _find_evidence(self, report: TargetReport) -> SizeEvidence:
        """Return what speaks against a size that was not echoed."""
        known = next((TOO_LARGE[name] for name in report.errors if name in TOO_LARGE), None)
        if known or report.corrupt:
            return known or "reply"
        if report.rate_limited:
            return "limit"
        connection = self._connection.connection
        return "server" if connection and connection.address.loopback else "path"

    def _report_event(self, size: int, event: ProbeEvent) -> None:
        number = None if event.number is None else self._counts["sent"]
        text = event.text.partition("; ")[0]  # nothing is to be done about an error that ends a try
        self._on_event(replace(event, number=number, size=event.size or size, text=text))
