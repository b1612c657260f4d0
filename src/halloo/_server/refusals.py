"""Decide what is said of datagrams that are not answered. Pure: no I/O, no clock, no randomness.

Times are seconds on the caller's clock. Forged senders are expected: memory, lines and notices are bounded.
"""

from halloo._core.probe import NOTICE_SIZE, PLAIN, REQUEST, read_header, write_notice

REPORT_INTERVAL = 1.0  # seconds between two reports of the same reason
MAX_SENDERS = 1024  # senders whose refused datagrams are counted until a report
NOTICE_INTERVAL = 1.0  # seconds between two notices to a sender whose count has not doubled meanwhile
MAX_NOTICES = 64  # to all senders in that time
MAX_RUNS = 1024  # runs of probes whose refused ones are counted


class RefusalReports:
    """Counts refused datagrams by reason and sender, and reports one sender of each reason at a time."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._next: dict[str, float] = {}

    def record(self, reason: str, host: str, datagrams: int, now: float) -> int | None:
        """Return how many datagrams of this sender to report as refused; None if a report was just made."""
        key = reason, host
        if key not in self._counts and len(self._counts) >= MAX_SENDERS:
            self._counts.clear()
        self._counts[key] = self._counts.get(key, 0) + datagrams
        if now < self._next.get(reason, now):
            return None
        self._next[reason] = now + REPORT_INTERVAL
        return self._counts.pop(key)


class RateNotices:
    """Answers a few of the probes over the rate limit with a notice, so that their loss is not taken for the network's.

    A notice is shorter than its probe, and rare: it cannot amplify what a forged sender causes.
    """

    def __init__(self) -> None:
        self._refused: dict[tuple[str, int], int] = {}  # by sender and run
        self._noticed: set[str] = set()
        self._sent = 0
        self._period_end = 0.0

    def notice(self, host: str, probe: bytes, datagrams: int, now: float) -> bytes | None:
        """Count `datagrams` refused ones, `probe` the first of them; return the notice to send, if one."""
        header = read_header(probe) if len(probe) >= NOTICE_SIZE else None
        if header is None or header.mark not in (PLAIN, REQUEST):
            return None
        key = host, header.run
        before = self._refused.pop(key, 0)
        refused = before + datagrams
        doubled = refused.bit_length() > before.bit_length()  # so that a run of less than a second knows most of them
        if len(self._refused) >= MAX_RUNS:
            del self._refused[next(iter(self._refused))]
        self._refused[key] = refused
        if now >= self._period_end:
            self._period_end = now + NOTICE_INTERVAL
            self._noticed.clear()
            self._sent = 0
        if (host in self._noticed and not doubled) or self._sent >= MAX_NOTICES:
            return None
        self._noticed.add(host)
        self._sent += 1
        return write_notice(probe, refused)
