"""The reactor: one poller, a byte of state for each descriptor, a handler for each state, timers, and a wake-up.

It knows no connection: what a state means is the matter of its handler.
"""

import socket
import time
from collections.abc import Callable, MutableSequence
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from halloo._core.timers import Timers
from halloo._server import states
from halloo._server.poller import READ, Poller

GROWTH = 4  # the arrays grow by a quarter

Value = TypeVar("Value")


def _ignore(fd: int) -> None:
    """Handle an event of a descriptor that was closed earlier in the same batch."""


class Reactor:
    """`handlers[state[fd]](fd)` for every descriptor that is ready: a turn of the server makes these calls."""

    def __init__(self, poller: Poller, *, busy_poll: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Own the poller from now on. `busy_poll` never sleeps: it saves the wake-up latency, and takes a core."""
        self.poller = poller
        self.clock = clock
        self.state = bytearray(64)  # by descriptor
        self._arrays: list[tuple[MutableSequence[Any], Any]] = [(self.state, states.FREE)]
        self.handlers: list[Callable[[int], object]] = [_ignore] * states.STATES
        self.timers = Timers()
        self.running = True
        self.on_wakeup: Callable[[], None] | None = None  # called after each wake-up
        self._busy_poll = busy_poll
        self.handlers[states.WAKEUP] = self._wake
        with ExitStack() as cleanup:
            cleanup.callback(poller.close)
            self._wakeup_reader, self.wakeup_writer = map(cleanup.enter_context, socket.socketpair())
            for sock in (self._wakeup_reader, self.wakeup_writer):
                sock.setblocking(False)
            self.watch(self._wakeup_reader.fileno(), states.WAKEUP)
            self._cleanup = cleanup.pop_all()

    def by_descriptor(self, values: MutableSequence[Value], zero: Value) -> None:
        """Keep an empty array as long as `state` from now on: every descriptor added is an index into it."""
        values.extend([zero] * len(self.state))
        self._arrays.append((values, zero))

    def add(self, fd: int, state: int) -> None:
        """Give a descriptor its first state."""
        while fd >= len(self.state):
            more = len(self.state) // GROWTH
            for values, zero in self._arrays:
                values.extend([zero] * more)  # in place: others keep a reference to it
        self.state[fd] = state

    def watch(self, fd: int, state: int, events: int = READ) -> None:
        """Have the handler of a state called at events of a descriptor."""
        self.poller.watch(fd, events)  # first: a descriptor that cannot be watched has no state
        self.add(fd, state)

    def unwatch(self, fd: int) -> None:
        """Call no handler for a descriptor any more; it may have been closed already."""
        self.state[fd] = states.FREE
        with suppress(OSError, KeyError, ValueError):
            self.poller.unwatch(fd)

    def move(self, fd: int, state: int, events: int) -> None:
        """Change a descriptor's state and the events to watch it for."""
        self.state[fd] = state
        self.poller.change(fd, events)

    def in_state(self, *wanted: int) -> list[int]:
        return [fd for fd, state in enumerate(self.state) if state in wanted]

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.timers.call_at(self.clock() + seconds, callback)

    def call_due(self) -> None:
        """Call the callbacks whose time has come."""
        for callback in self.timers.pop_due(self.clock()):
            callback()

    def run(self, turn: Callable[[float | None], object]) -> None:
        """Take turns, each given the seconds to wait, until `stop`."""
        timers, clock = self.timers, self.clock
        while self.running:
            turn(0 if self._busy_poll else timers.timeout(clock()))
            if timers.earliest <= clock():
                self.call_due()

    def stop(self) -> None:
        """End `run` after its present turn; may be called from any thread and any signal handler."""
        self.running = False
        self.wake()

    def wake(self) -> None:
        """Make a waiting turn return."""
        with suppress(OSError):  # full of wake-ups already, or closed: either way no turn is waiting
            self.wakeup_writer.send(b"!")

    @property
    def closed(self) -> bool:
        return self._wakeup_reader.fileno() < 0

    def close(self) -> None:
        """Close its own descriptors, but not those that it watches."""
        self.poller.unwatch(self._wakeup_reader.fileno())
        self.release()

    def release(self) -> None:
        """Close its own descriptors in this process alone, as a forked child does: the parent's poller is unchanged."""
        self.running = False
        self._cleanup.close()

    def _wake(self, fd: int) -> None:  # noqa: ARG002 - every handler takes the descriptor
        with suppress(BlockingIOError):
            self._wakeup_reader.recv(65536)  # once: any beyond these make another turn
        if self.on_wakeup:
            self.on_wakeup()
