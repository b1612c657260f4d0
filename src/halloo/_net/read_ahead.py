"""Read a source ahead in a thread, so that a slow one, such as a terminal, holds up nothing else.

Uses a thread, and a pair of sockets by which it wakes its caller.
"""

import socket
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Self


class ReadAhead:
    """The items of a source, at most `count` of them read before they are taken."""

    def __init__(self, source: Iterable[bytes], count: int) -> None:
        self._source = source
        self._count = count
        self._ready: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self.silent = False  # whether no more wake-ups will come
        self.waking, self._waker = socket.socketpair()  # readable when there is something to take
        self.waking.setblocking(False)
        threading.Thread(target=self._run, name="halloo reader", daemon=True).start()

    def _run(self) -> None:
        with self._waker:
            try:
                for item in self._source:
                    with self._changed:
                        self._changed.wait_for(lambda: self._closed or len(self._ready) < self._count)
                        if self._closed:
                            return
                        wakes = not self._ready  # otherwise the reader has still to take what it was woken for
                        self._ready.append(item)
                    if wakes:
                        with suppress(OSError):  # the other end is closed
                            self._waker.send(b"!")
            except BaseException as error:  # noqa: BLE001 - raised again by `take`
                self._error = error
            self._ended = True

    @property
    def over(self) -> bool:
        """Whether all items have been taken, and no error is left to be raised."""
        return self._ended and not self._ready and not self._error

    def take(self) -> bytes | None:
        """Return the next item, None when there is none yet: only then is it worth waiting for `waking`.

        Raises what the source has raised.
        """
        with self._changed:
            if self._ready:
                item = self._ready.popleft()
                if not self._ready:  # not for each item: the threads would take turns
                    self._changed.notify()
                return item
            with suppress(BlockingIOError):  # not for each item either: it is a system call and an exception
                self.silent = not self.waking.recv(4096)
            if self._error:
                raise self._error
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self.waking.close()
