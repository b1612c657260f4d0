"""Handle signals while a command runs in the main thread: stop after the current step, or print the present state.

A second stop signal takes effect at once: it raises KeyboardInterrupt.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))
LOOKING = tuple(getattr(signal, name) for name in ("SIGQUIT",) if hasattr(signal, name))


class StopRequest:
    """What signals have requested so far."""

    def __init__(self) -> None:
        self.stop = False
        self.look = False
        self.waking, self._waker = socket.socketpair()
        self.waking.setblocking(False)
        self._waker.setblocking(False)

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        if number in LOOKING:
            self.look = True
            return
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True

    def heard(self) -> None:
        """Discard the wake-ups so far."""
        with suppress(BlockingIOError):
            while self.waking.recv(4096):
                pass

    def close(self) -> None:
        self.waking.close()
        self._waker.close()

    def of_signals(self) -> AbstractContextManager[None]:
        return handle_signals((*STOPPING, *LOOKING), self.note, self._waker)


@contextmanager
def handle_signals(
    signals: Sequence[signal.Signals], act: Callable[[int, FrameType | None], object], waker: socket.socket
) -> Iterator[None]:
    """Call `act` at signals, in the main thread only.

    Each signal makes the other end of `waker` readable, so that one just before a wait ends it as well
    (signal.set_wakeup_fd).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, act) for number in signals}
    wakeup = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
