"""Handle signals while a command runs in the main thread: stop after the current step, or act on another request.

A second stop signal takes effect at once: it raises KeyboardInterrupt. A signal that is ignored, by nohup(1) or because
a shell started the command in the background, stays ignored.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType


def _present(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


STOPPING = _present("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
LOOKING = _present("SIGQUIT")
RELOADING = _present("SIGHUP")  # of a server that has something to reload
REQUESTS = {*STOPPING, *LOOKING}  # by users; programs send others
IGNORED = (signal.SIG_IGN, None)  # None: a handler that Python has not installed, and could not restore
# Tells it from a KeyboardInterrupt that a user's function raises; a class of its own would change Python's exit code.
SECOND_STOP = "a second stop signal"

Handler = Callable[[int, FrameType | None], object]
Handlers = Mapping[signal.Signals, Handler]


class StopRequest:
    """What signals have requested so far."""

    def __init__(self) -> None:
        self.stop = False
        self.look = False
        self.waking, self._waker = socket.socketpair()
        self.waking.setblocking(False)
        self._waker.setblocking(False)

    def heard(self) -> None:
        with suppress(BlockingIOError):
            while self.waking.recv(4096):
                pass

    def close(self) -> None:
        self.waking.close()
        self._waker.close()

    def of_signals(self) -> AbstractContextManager[None]:
        return handle_signals(stopping(self._request_stop) | dict.fromkeys(LOOKING, self._request_look), self._waker)

    def _request_stop(self) -> None:
        self.stop = True

    def _request_look(self, _number: int, _frame: FrameType | None) -> None:
        self.look = True


def stopping(stop: Callable[[], object]) -> dict[signal.Signals, Handler]:
    """Call `stop` at the first stop signal; each further one raises KeyboardInterrupt."""
    stopped = False

    def act(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt(SECOND_STOP)
        stopped = True
        stop()

    return dict.fromkeys(STOPPING, act)


def interrupting() -> AbstractContextManager[None]:
    """Raise KeyboardInterrupt at every stop signal, as Python does at SIGINT.

    The kernel discards a signal without a handler that is sent to process 1 of a container (pid_namespaces(7)).
    """
    return handle_signals(dict.fromkeys(STOPPING, signal.default_int_handler))


@contextmanager
def handle_signals(handlers: Handlers, waker: socket.socket | None = None) -> Iterator[None]:
    """Install the handlers, in the main thread only; requests that are ignored stay ignored.

    Each signal makes the other end of `waker` readable, so that one just before a wait ends it as well
    (signal.set_wakeup_fd).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = {number for number in REQUESTS if signal.getsignal(number) in IGNORED}
    before = {number: signal.signal(number, act) for number, act in handlers.items() if number not in ignored}
    wakeup = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False) if waker else None
    try:
        yield
    finally:
        if wakeup is not None:
            signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
