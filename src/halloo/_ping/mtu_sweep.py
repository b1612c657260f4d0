"""Find the largest datagram that is echoed, by bisection.

Uses one connection, with a scheduler for each try. Routers may drop datagrams that are too large silently, and any
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
from halloo._ping.flow import Flow
from halloo._ping.receiver import LIMIT_PAUSE
from halloo._ping.report import ProbeEvent, SizeEvidence, SizeLimit, TargetReport
from halloo._ping.scheduler import Scheduler
from halloo._ping.tracker import COUNTS, ProbeTracker
from halloo.errors import UnknownHost

TRIES = 3
TOO_LARGE: Mapping[str, SizeEvidence] = {"TooLong": "link", "DatagramTooBig": "report"}  # names of errors
COUNTERS = (*(name for name in COUNTS if name != "outage_count"), "corrupt", "unmatched", "stray", "rate_limited")
MIN_TRY_TIMEOUT, TIMEOUT_FACTOR = SECOND // 5, 4  # nanoseconds, and multiples of the slowest round trip so far


class MtuSweep:
    """The search for one target; `index` is its position in the report."""

    def __init__(
        self,
        flow: Flow,
        stop_request: StopRequest,
        on_event: Callable[[ProbeEvent], object],
        *,
        random_run: Callable[[], int],
        index: int = 0,
        end_ns: int | None = None,
        limit_pause_ns: int = LIMIT_PAUSE,
    ) -> None:
        """Store the arguments without sending; `end_ns` is the steady-clock time at which to stop.

        `limit_pause_ns` is how long to wait after the server has refused a probe by its rate limit. `random_run`
        returns a new run number for each try, so that a late reply to another try counts as unmatched.
        """
        self._flow = flow
        self._target = flow.tracker.report()
        self._stop_request = stop_request
        self._on_event = on_event
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
        while self._high - self._low > 1 and not self._is_over():
            if self._returns(size, on_info_request):
                self._low = size
            else:
                self._high = size
            if self._low < MIN_SIZE:
                break
            untried = self._low == MIN_SIZE and self._high > MAX_DATAGRAM
            size = MAX_DATAGRAM if untried else (self._low + self._high) // 2
        return self.report()

    def report(self) -> TargetReport:
        """Return the result so far: `largest_bytes` is None if not even the smallest probe was echoed."""
        found = MIN_SIZE <= self._low == self._high - 1 < MAX_DATAGRAM
        connection = self._flow.connection
        return replace(
            self._target,
            **(connection.describe() if connection else {}),  # type: ignore[arg-type]  # fields of TargetReport by name
            **{name: self._counts[name] for name in COUNTERS},  # type: ignore[arg-type]  # as above
            errors=dict(self._errors),
            icmp=tuple(self._reports.items()),
            size_sweep=True,
            failure=None if self._counts["received"] else self._failure,
            clock="kernel" if connection and connection.kernel_timestamps else "user",
            round_trip=self._latency.summary(),
            largest_bytes=self._low if self._low >= MIN_SIZE else None,
            size_limit=SizeLimit(self._high, self._evidence) if found else None,
        )

    def _is_over(self) -> bool:
        past_end = self._end_ns is not None and time.monotonic_ns() >= self._end_ns
        return self._stop_request.stop or not self._resolved or past_end

    def _returns(self, size: int, on_info_request: Callable[[], object]) -> bool:
        for _ in range(TRIES):
            if self._is_over():
                return False
            if self._try(size, on_info_request):
                return True
            if self._evidence in TOO_LARGE.values():
                return False
            if self._evidence == "limit":
                until_readable([self._stop_request.waking], self._limit_pause / SECOND)
        return False

    def _try(self, size: int, on_info_request: Callable[[], object]) -> bool:
        flow, timeout_ns = self._flow, self._flow.config.timeout_ns
        if self._latency.max:
            timeout_ns = min(timeout_ns, max(MIN_TRY_TIMEOUT, TIMEOUT_FACTOR * self._latency.max))
        left = None if self._end_ns is None else max(self._end_ns - time.monotonic_ns(), 1) / SECOND
        config = replace(flow.config, size_sweep=False, df=True, count=1, interval=0, size=size, deadline=left)
        run = self._random_run()
        tracker = ProbeTracker(self._index, Probes(run, size, timestamps=False), timeout_ns, self._target)
        attempt = Flow(flow.address, config, run, tracker, flow.state)
        scheduler = Scheduler([attempt], config, self._stop_request, partial(self._report_event, size))
        try:
            scheduler.open()
            scheduler.run(on_info_request)
        except UnknownHost as error:
            self._failure, self._resolved = str(error), False
            self._errors[type(error).__name__] += 1
            return False
        finally:
            flow.state = attempt.connection
            scheduler.release()
        return self._count(tracker.report())

    def _count(self, report: TargetReport) -> bool:
        """Add up the report of one try; return whether its probe was echoed."""
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
        connection = self._flow.connection
        return "server" if connection and connection.address.loopback else "path"

    def _report_event(self, size: int, event: ProbeEvent) -> None:
        number = None if event.number is None else self._counts["sent"]
        text = event.text.partition("; ")[0]  # nothing is to be done about an error that ends a try
        self._on_event(replace(event, number=number, size=event.size or size, text=text))
