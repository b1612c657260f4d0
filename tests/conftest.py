"""See to it that every test leaves nothing behind: no open descriptor, no thread, no child process.

Knows what this process holds, before a test and after it. Knows nothing of halloo: all tests are judged alike.
"""

import gc
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from hypothesis import settings

# Not os's own, which `tests.contract.windows` hides: from halloo, and not from those who look after the tests.
waitid = getattr(sys.modules.get("posix"), "waitid", None)

# The same examples in every run, so that a failure can be repeated; and no deadline, which a busy machine would miss.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

DESCRIPTORS = "/proc/self/fd"  # proc(5); other systems have no such list, and there descriptors go unchecked
ENDING = 5.0  # seconds allowed to a thread that was told to stop and is about to


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Say what `--numprocesses auto` is: three for two cores, since a third of the time of the tests is waiting."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + cores // 2


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fail the test that leaves something behind, and name it. What is set up first is torn down last: it sees all."""
    before = held()
    yield
    if left := left_behind(before):
        pytest.fail(f"left behind: {', '.join(left)}", pytrace=False)


def left_behind(before: Counter[str]) -> list[str]:
    """Say what is held now and was not before, not counting what only waits to be collected or to end."""
    if not held() - before:
        return []
    for thread in threading.enumerate():
        if said(thread) not in before:
            thread.join(ENDING)
    gc.collect()
    return sorted((held() - before).elements())


def held() -> Counter[str]:
    """Say what this process holds."""
    return Counter([*descriptors(), *map(said, threading.enumerate()), *children()])


def said(thread: threading.Thread) -> str:
    """Name a thread."""
    return f"thread {thread.name!r}"


def descriptors() -> Iterator[str]:
    """Name each open descriptor by what it leads to."""
    # With os, not pathlib: this runs twice a test, and pathlib takes twice as long.
    if not os.path.exists(DESCRIPTORS):  # noqa: PTH110 - as above
        return
    for number in os.listdir(DESCRIPTORS):  # noqa: PTH208 - as above
        with suppress(FileNotFoundError):  # the one that the listing itself was read through
            yield f"descriptor of {os.readlink(f'{DESCRIPTORS}/{number}')}"  # noqa: PTH115 - as above


def children() -> Iterator[str]:
    """Name each child process, also one that has ended and was not waited for."""
    if not any_children():
        return
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            yield f"child process {child.pid} ({child.name()})"


def any_children() -> bool:
    """Ask the system in one call whether there may be children: psutil would read all of the machine's processes."""
    if waitid is None:
        return True
    try:
        waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
