"""Wait to the microsecond: for descriptors, and for a moment that is near.

Knows select(2) and the timer slack, which make a wait exact to some 50 us; the rest of the way to a planned time is
spent awake.
"""

import select
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

AWAKE = 120_000  # nanoseconds before a planned time that are not slept through
SELECT_BELOW = 1024  # descriptors that select(2) knows
LONGEST = 3600.0  # seconds at a time: more than some systems can count


def wait(
    reading: Sequence[int], writing: Sequence[int], seconds: float, *, select_below: int = SELECT_BELOW
) -> set[int]:
    """Wait for one of the descriptors; where select(2) cannot, in whole milliseconds, which is never too long."""
    seconds = min(seconds, LONGEST)
    if max([*reading, *writing]) < select_below or not hasattr(select, "poll"):
        # Windows reports a failed connect among the exceptional ones only.
        readable, writable, failed = select.select(reading, writing, writing, seconds)
        return {*readable, *writable, *failed}
    poller = select.poll()
    for number in {*reading, *writing}:
        poller.register(number, select.POLLIN * (number in reading) | select.POLLOUT * (number in writing))
    return {number for number, _ in poller.poll(int(seconds * 1000))}


@contextmanager
def sharp_timers() -> Iterator[None]:
    """Have this thread's waits end when they should: by default they may take 50 us more (PR_SET_TIMERSLACK)."""
    slack = Path(f"/proc/{threading.get_native_id()}/timerslack_ns")  # of a thread, but not under its process's task/
    try:
        before = slack.read_text()
        slack.write_text("1")
    except OSError:  # no Linux, or one that does not let us
        yield
        return
    try:
        yield
    finally:
        slack.write_text(before)
