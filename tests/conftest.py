"""Check that every test leaves nothing behind: no open descriptor, no thread, no child process."""

import gc
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from hypothesis import settings

# Not from `os`, where `tests.contract.windows` hides it from halloo.
waitid = getattr(sys.modules.get("posix"), "waitid", None)

# The same examples in every run, so that a failure can be repeated. No deadline, which a busy machine would miss.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

DESCRIPTORS = "/proc/self/fd"  # proc(5); on other systems descriptors are not checked
THREAD_TIMEOUT = 5.0  # seconds allowed to a thread that is about to end


# A shell's `&` and nohup(1) have signals ignored, and every program that a test starts would inherit that.
for name, handler in (("SIGINT", signal.default_int_handler), ("SIGQUIT", signal.SIG_DFL), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Set `--numprocesses auto`: three for two cores, because a third of the time of the tests is waiting."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + cores // 2


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fail the test that leaves something behind, and name it. It is set up first, so torn down last."""
    before = open_resources()
    yield
    if left := leaked(before):
        pytest.fail(f"left behind: {', '.join(left)}", pytrace=False)


def leaked(before: Counter[str]) -> list[str]:
    """List what is open now and was not before, except what is only about to be collected or to end."""
    if not open_resources() - before:
        return []
    for thread in threading.enumerate():
        if thread_label(thread) not in before:
            thread.join(THREAD_TIMEOUT)
    gc.collect()
    return sorted((open_resources() - before).elements())


def open_resources() -> Counter[str]:
    """Count the descriptors, threads and child processes of this process."""
    return Counter([*descriptors(), *map(thread_label, threading.enumerate()), *children()])


def thread_label(thread: threading.Thread) -> str:
    return f"thread {thread.name!r}"


def descriptors() -> Iterator[str]:
    """Name each open descriptor by its target."""
    # With os, not pathlib: this runs twice a test, and pathlib takes twice as long.
    if not os.path.exists(DESCRIPTORS):  # noqa: PTH110 - as above
        return
    for number in os.listdir(DESCRIPTORS):  # noqa: PTH208 - as above
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            yield f"descriptor of {os.readlink(f'{DESCRIPTORS}/{number}')}"  # noqa: PTH115 - as above


def children() -> Iterator[str]:
    """Name each child process, including those that have ended and were not waited for."""
    if not any_children():
        return
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            yield f"child process {child.pid} ({child.name()})"


def any_children() -> bool:
    """Check in one system call whether there may be children: psutil would read all processes of the machine."""
    if waitid is None:
        return True
    try:
        waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
