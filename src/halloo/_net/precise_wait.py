"""Wait for descriptors with a precision of microseconds.

select(2) and a small timer slack make a wait exact to some 50 us; the last AWAKE nanoseconds before a planned time are
spent polling.
"""

import select
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

AWAKE = 120_000  # nanoseconds before a planned time in which to poll instead of sleeping
SELECT_BELOW = 1024  # select(2) takes lower descriptors only
MAX_WAIT = 3600.0  # seconds; some systems cannot count much more


def wait(
    reading: Sequence[int], writing: Sequence[int], seconds: float, *, select_below: int = SELECT_BELOW
) -> set[int]:
    """Wait for one of the descriptors; without select(2) in whole milliseconds, rounded down."""
    seconds = min(seconds, MAX_WAIT)
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
    """Have this thread's waits end on time: by default they may take 50 us more (PR_SET_TIMERSLACK)."""
    slack = Path(f"/proc/{threading.get_native_id()}/timerslack_ns")  # of a thread, but not in its process's task/
    try:
        before = slack.read_text()
        slack.write_text("1")
    except OSError:  # not Linux, or not permitted
        yield
        return
    try:
        yield
    finally:
        slack.write_text(before)
