"""The event loop of one case: the server's sockets, the client's streams and timed scripts.

Uses poll(2) and a clock; no threads. A script is a generator that runs beside the case and yields what it waits for: a
number of seconds or a condition. Every wait has a limit.
"""

import select
import time
from collections.abc import Callable, Generator

from halloo._check.case import Failed

POLL_INTERVAL = 0.01  # seconds between checks of the conditions of scripts
READ, WRITE = select.POLLIN, select.POLLOUT

OnReady = Callable[[int], object]
Step = float | Callable[[], bool]
Script = Generator[Step, None, None]


class ScriptLoop:
    """Runs descriptor callbacks and scripts until the time limit of the case."""

    def __init__(self, time_limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._time_limit, self._deadline = time_limit, clock() + time_limit
        self._poll = select.poll()
        self._ready: dict[int, OnReady] = {}
        self._scripts: list[tuple[Script, Callable[[], bool]]] = []

    def watch(self, fd: int, ready: OnReady, *, read: bool = False, write: bool = False) -> None:
        """Call `ready` with the poll events of a descriptor; replaces an earlier watch of the same one."""
        self.unwatch(fd)
        if read or write:
            self._poll.register(fd, (READ if read else 0) | (WRITE if write else 0))
            self._ready[fd] = ready

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor; to be called before it is closed."""
        if self._ready.pop(fd, None):
            self._poll.unregister(fd)

    def start(self, script: Script) -> None:
        """Run a script until it waits, and continue it in later turns."""
        for step in script:
            condition = step if callable(step) else self._after(step)
            if not callable(step) or not condition():
                self._scripts.append((script, condition))
                return

    def _after(self, seconds: float) -> Callable[[], bool]:
        due = self.clock() + seconds
        return lambda: self.clock() >= due

    def turn(self, timeout: float = POLL_INTERVAL) -> None:
        """Poll once and advance the scripts that are due. Raises what a script raises, Failed at the time limit."""
        if self.clock() >= self._deadline:
            raise Failed(f"not finished within {self._time_limit:g} s", pattern="stuck")
        for fd, events in self._poll.poll(max(min(timeout, POLL_INTERVAL), 0) * 1000):
            if ready := self._ready.get(fd):
                ready(events)
        scripts, self._scripts = self._scripts, []
        for script, condition in scripts:
            if condition():
                self.start(script)
            else:
                self._scripts.append((script, condition))

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Run until the condition holds or `timeout` seconds have passed; return whether it holds."""
        deadline = self.clock() + timeout
        while not condition():
            if (remaining := deadline - self.clock()) <= 0:
                return False
            self.turn(remaining)
        return True

    def run_for(self, seconds: float) -> None:
        self.wait_until(lambda: False, seconds)

    def condition_or_timeout(self, condition: Callable[[], bool], timeout: float) -> Callable[[], bool]:
        """Make a step for a script: until the condition holds or `timeout` seconds have passed."""
        timed_out = self._after(timeout)
        return lambda: condition() or timed_out()

    def close(self) -> None:
        scripts, self._scripts = self._scripts, []
        for script, _ in scripts:
            script.close()
