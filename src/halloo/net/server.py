"""Run a loop on listening sockets: in this thread until a signal, or in the background.

Knows threads and signals, and how they wake the loop.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Self

from halloo.core.addresses import Address
from halloo.net.listening import Listener
from halloo.net.table import Snapshot
from halloo.net.tcp import Loop

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))


class Server:
    """An echo that is running, or about to: listening since before anybody got hold of it."""

    def __init__(self, listener: Listener, loop: Callable[[Sequence[socket.socket]], Loop]) -> None:
        """Take over `listener` and make the loop that serves it."""
        self._listener = listener
        try:
            self._loop = loop(listener.sockets)
        except BaseException:
            listener.close()
            raise
        self._thread = threading.Thread(target=self._run, name=f"halloo {self.address.place}", daemon=True)
        self._error: BaseException | None = None
        self._closed = False

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the real port."""
        return self._listener.addresses

    @property
    def address(self) -> Address:
        """The first of the addresses."""
        return self._listener.address

    def snapshot(self) -> Snapshot:
        """Say what has been done so far."""
        return self._loop.snapshot()

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def run(self, ready: Callable[[], object] = int) -> None:
        """Serve in this thread until SIGINT or SIGTERM; `ready` is called as soon as these are heeded."""
        with interruptible(self._loop):
            ready()
            self._loop.run()

    def close(self) -> None:
        """Stop, and close everything. Raises what ended the background thread, if something did."""
        if self._closed:
            return
        self._closed = True
        self._loop.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self._loop.shutdown()
        self._listener.close()
        if self._error:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._loop.run()
        except BaseException as error:  # noqa: BLE001 - handed over to whoever closes the server
            self._error = error


@contextmanager
def interruptible(loop: Loop) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop the loop, between two turns and never inside one; in the main thread only.

    The descriptor makes a signal that arrives just before the wait end it (signal.set_wakeup_fd).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        loop.stop()

    before = {number: signal.signal(number, stop) for number in STOPPING}
    wakeup = signal.set_wakeup_fd(loop.waker.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
