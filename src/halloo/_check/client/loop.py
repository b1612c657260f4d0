"""One loop for a case: the sockets of the server, the streams of the client and the clock, in turn.

Knows poll(2) and the clock. What goes on beside the case is a script, a generator that yields what it waits for: so
many seconds, or that something is true. Nobody waits without a limit, and nothing needs a thread.
"""

import select
import time
from collections.abc import Callable, Generator

from halloo._check.case import Failed

TICK = 0.01  # seconds between two looks at what scripts wait for

Ready = Callable[[int], object]
Step = float | Callable[[], bool]
Script = Generator[Step, None, None]

READ, WRITE = select.POLLIN, select.POLLOUT


class ScriptLoop:
    """Takes turns between descriptors and scripts, until the time of the case is over."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow the case so many seconds."""
        self.clock = clock
        self._seconds, self._deadline = seconds, clock() + seconds
        self._poll = select.poll()
        self._ready: dict[int, Ready] = {}
        self._scripts: list[tuple[Script, Step]] = []

    def watch(self, fd: int, ready: Ready, *, read: bool = False, write: bool = False) -> None:
        """Call `ready` with the events whenever a descriptor is; what it waits for replaces what it waited for."""
        if not (read or write):
            self.forget(fd)
            return
        self._poll.register(fd, (READ if read else 0) | (WRITE if write else 0))
        self._ready[fd] = ready

    def forget(self, fd: int) -> None:
        """Watch a descriptor no longer, before it is closed."""
        if self._ready.pop(fd, None):
            self._poll.unregister(fd)

    def play(self, script: Script) -> None:
        """Begin a script."""
        self._go_on(script)

    def turn(self, seconds: float = TICK) -> None:
        """Wait for what comes first, and let everybody do what they can. Raises what a script raises."""
        if self.clock() >= self._deadline:
            raise Failed(f"not done within {self._seconds:g} s", pattern="stuck")
        for fd, events in self._poll.poll(max(min(seconds, TICK), 0) * 1000):
            if ready := self._ready.get(fd):
                ready(events)
        now, scripts, self._scripts = self.clock(), self._scripts, []
        for script, step in scripts:
            if step() if callable(step) else now >= step:
                self._go_on(script)
            else:
                self._scripts.append((script, step))

    def _go_on(self, script: Script) -> None:
        for step in script:
            if not callable(step):
                self._scripts.append((script, self.clock() + step))
                return
            if not step():
                self._scripts.append((script, step))
                return

    def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Take turns until something is true, for so many seconds at most; whether it is."""
        deadline = self.clock() + seconds
        while not true():
            if (left := deadline - self.clock()) <= 0:
                return False
            self.turn(left)
        return True

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.until(lambda: False, seconds)

    def soon(self, true: Callable[[], bool], seconds: float) -> Callable[[], bool]:
        """Make a step for a script: until something is true, or so many seconds have passed."""
        deadline = self.clock() + seconds
        return lambda: true() or self.clock() >= deadline

    def close(self) -> None:
        """End the scripts."""
        scripts, self._scripts = self._scripts, []
        for script, _ in scripts:
            script.close()
