"""Do what may block, such as writing to a stopped terminal, in a thread of its own: the caller never waits.

Items are done in their order. A number of them may wait; further ones are dropped, and the count becomes an item of its
own as soon as there is room.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from halloo._net.fork import release_in_children

FLUSH = 1.0  # seconds to finish at the end of a server

Item = TypeVar("Item")


class Background(Generic[Item]):
    """A bounded queue, and a thread that is started for the first item."""

    def __init__(self, do: Callable[[Item], object], *, dropped: Callable[[int], Item], max_waiting: int) -> None:
        """Call `do` for each item; `dropped` makes one that reports how many were dropped."""
        self._do, self._make_dropped, self._max_waiting = do, dropped, max_waiting
        self.release()
        _all[id(self)] = self

    def release(self) -> None:
        """Begin anew, as a forked child does: the items that wait, and the thread, are its parent's."""
        self._changed = threading.Condition()
        self._waiting: deque[Item] = deque()
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._idle = self._closing = False
        release_in_children(self)

    def add(self, item: Item) -> None:
        with self._changed:
            self._closing = False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="halloo output", daemon=True)
                with suppress(RuntimeError):  # no further thread is possible
                    thread.start()
                    self._thread = thread
            if len(self._waiting) >= self._max_waiting or self._thread is None:
                self._dropped += 1
                return
            self._report_dropped()
            self._waiting.append(item)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None or (self._idle and not self._waiting), seconds)

    def close(self, seconds: float) -> None:
        """Flush, and end the thread; one that is blocked ends with the process. The next item starts another."""
        with self._changed:
            thread, self._closing = self._thread, True
            self._changed.notify_all()
        if thread:
            thread.join(seconds)

    def _report_dropped(self) -> None:
        if self._dropped:
            self._waiting.append(self._make_dropped(self._dropped))
            self._dropped = 0

    def _run(self) -> None:
        while waiting := self._next():
            try:
                self._do(waiting.pop())
            except BaseException:  # noqa: BLE001 - of a user's log handler; the next item may succeed
                sys.excepthook(*sys.exc_info())

    def _next(self) -> list[Item]:
        """Wait for the next item; return none to end the thread."""
        with self._changed:
            self._idle = True
            self._report_dropped()
            self._changed.notify_all()
            while not self._waiting:
                if self._closing:
                    self._thread = None
                    return []
                self._changed.wait()
            self._idle = False
            return [self._waiting.popleft()]


_all: WeakValueDictionary[int, Background[Any]] = WeakValueDictionary()  # the newest last


def close_all(seconds: float = FLUSH) -> None:
    """Close every one of this process, within so many seconds altogether; the newest first, which may use another."""
    until = time.monotonic() + seconds
    for each in reversed([*_all.values()]):
        each.close(max(until - time.monotonic(), 0))
