"""Serve with several processes: forked workers around one shared listener, and a parent that looks after them.

Knows fork, signals and shared memory. The parent stays single-threaded, accepts nobody, and lives in a loop of its own:
it starts a worker again that died, adds up what all of them count in memory that each alone writes to, and passes
signals on. A worker learns of its parent's end by the end of a pipe, so that no orphan keeps the port.
"""

import mmap
import os
import signal
import sys
import traceback
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import replace
from typing import Self, cast

from halloo._core.address import Address
from halloo._net.listener import Listener
from halloo._net.signals import STOPPING
from halloo._server import closer
from halloo._server import connections as states
from halloo._server.acceptor import Endpoint
from halloo._server.connections import COUNTERS, Snapshot, new_counters
from halloo._server.handlers import Handler
from halloo._server.server import Service, interruptible
from halloo._server.tcp import Loop
from halloo.errors import LocalError, Unsupported

AT_ONCE = 1.0  # seconds: a worker that lives no longer died at once
TRIES = 5  # deaths at once in a row before the parent gives up
BACK_OFF = 0.1  # seconds before the second start in a row, doubled with each one more
GRACE = 1.0  # seconds that a worker has beyond its drain time before it is killed
SLOT_SIZE = 8 * len(COUNTERS)


class WorkerPool:
    """Worker processes that serve; the shape of a Server, without the thread."""

    def __init__(self, listeners: Sequence[Listener], service: Service, workers: int, *, shared: bool) -> None:
        """Take over the listeners: one that all share, or one for each worker. Nobody is forked before `run`.

        `shared` is whether the workers have the same listening sockets of streams.
        """
        if not hasattr(os, "fork"):
            raise Unsupported("this system cannot fork", "leave --workers out")
        self._listeners = listeners
        self._service = service
        self._shared = shared
        self._memory = memoryview(mmap.mmap(-1, workers * SLOT_SIZE)).cast("Q")
        self._past = new_counters()  # what workers that are gone have counted
        self._pids: dict[int, int] = {}  # process -> slot
        self._slots = range(workers)
        self._born = [0.0] * workers
        self._deaths = 0
        self._failure: LocalError | None = None
        self._stops = 0
        self._drain = 0.0
        self._draining = False
        self._lifeline, self._life = os.pipe()
        self.loop = Loop([])
        self._published: list[Listener] = []  # which the workers must not keep open
        self._began = self.loop.clock()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where they listen, with the real port."""
        return self._listeners[0].addresses

    def run(self, drain: float = 0, *, ready: Callable[[], object] = int) -> None:
        """Serve until SIGINT or SIGTERM, then let the workers finish within `drain` seconds; twice ends at once.

        `ready` is called as soon as all of them run.
        Raises LocalError when workers die at once, again and again.
        """
        self._drain = drain
        self.loop.woken = self._reap
        with (
            interruptible(self.loop, self._stop, signals=STOPPING),
            interruptible(self.loop, self.loop.wake, signals=(signal.SIGCHLD,)),
        ):
            for slot in self._slots:
                self._fork(slot)
            ready()
            self.loop.run()
        if self._failure:
            raise self._failure

    def publish(self, listener: Listener, pages: Handler) -> None:
        """Take over a listener to serve something of the parent's own, in its loop, beside the workers."""
        self.loop.acceptor.add([Endpoint(sock, pages) for sock in listener.sockets])
        self._published.append(listener)

    def snapshot(self) -> Snapshot:
        """Add up what all workers have done so far, those that are gone too."""
        rows = [self._row(slot) for slot in self._slots]
        total = [sum(column) for column in zip(self._past, *rows, strict=True)]
        total[states.OLDEST] = min((row[states.OLDEST] for row in rows if row[states.OLDEST]), default=0)
        now = self.loop.clock()
        workers = tuple(Snapshot.of(row, began=born, now=now) for row, born in zip(rows, self._born, strict=True))
        dropped = sum(listener.dropped for listener in self._listeners)
        return replace(Snapshot.of(total, began=self._began, now=now, workers=workers), dropped=dropped)

    def close(self) -> None:
        """End the workers that are left, and close everything."""
        for pid in [*self._pids]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._pids.clear()
        os.close(self._lifeline)
        os.close(self._life)
        self.loop.shutdown()
        for listener in (*self._listeners, *self._published):
            listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The parent.

    def _row(self, slot: int) -> MutableSequence[int]:
        row: memoryview[int] = self._memory[slot * len(COUNTERS) : (slot + 1) * len(COUNTERS)]
        return cast("MutableSequence[int]", row)  # it lacks append and insert, which nobody calls

    def _fork(self, slot: int) -> None:
        if self._stops:
            return
        sys.stdout.flush()  # what is not yet written would be written by the worker too
        sys.stderr.flush()
        # Until the worker has handlers of its own, a signal would run the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        self._born[slot] = self.loop.clock()
        pid = os.fork()
        if pid == 0:
            self._be_worker(slot)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        self._pids[pid] = slot

    def _stop(self) -> None:
        self._stops += 1
        self.loop.wake()

    def _reap(self) -> None:
        """Bury the dead, start them again, and pass on the wish to stop."""
        for pid, slot in [*self._pids.items()]:
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._pids[pid]
                self._restart(slot)
        if self._stops:
            self._pass_on()
        if not self._pids and (self._stops or self._failure):
            self.loop.running = False

    def _pass_on(self) -> None:
        if self._stops > 1 or not self._drain:
            self._signal(signal.SIGKILL)
        elif not self._draining:
            self._draining = True
            for listener in self._listeners:
                listener.turn_away()
            self._signal(signal.SIGTERM)
            for listener in self._listeners:
                listener.close()
            self.loop.timers.at(self.loop.clock() + self._drain + GRACE, lambda: self._signal(signal.SIGKILL))

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids:
            os.kill(pid, number)

    def _restart(self, slot: int) -> None:
        """Keep what a worker has counted, and start another in its place."""
        row, past = self._row(slot), self._past
        if self._stops:  # for the totals, each worker's own
            row[states.CLOSED] = row[states.ACCEPTED]
            row[states.PENDING] = row[states.OLDEST] = 0
            return
        for index, value in enumerate(row):
            past[index] += value
        past[states.CLOSED] = past[states.ACCEPTED]
        past[states.PENDING] = past[states.OLDEST] = 0
        row[:] = new_counters()
        now = self.loop.clock()
        self._deaths = self._deaths + 1 if now - self._born[slot] < AT_ONCE else 0
        if self._deaths >= TRIES:
            self._failure = LocalError(f"workers die at once, {TRIES} in a row", "look at the messages above")
            self._stops = 2
        elif self._deaths:
            self.loop.timers.at(now + BACK_OFF * 2**self._deaths, lambda: self._fork(slot))
        else:
            self._fork(slot)

    # The worker.

    def _be_worker(self, slot: int) -> None:
        """Serve, and end the process: nothing of the parent's may run on in it."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends ^C to all; the parent passes on its own
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(self._life)
            self.loop.release()
            for published in self._published:
                published.release()
            listener = self._listeners[slot % len(self._listeners)]
            for other in self._listeners:
                if other is not listener:
                    other.release()
            loop = self._service.loop(listener, row=self._row(slot), shared=self._shared)
            loop.watch(self._lifeline, states.PARENT_EXIT)
            with interruptible(loop, signals=(signal.SIGTERM,)):
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
                loop.run()
                closer.drain(loop, self._drain, closed=listener.release)
            code = 0
        except BaseException:  # noqa: BLE001 - the parent is told by the exit code, and a person by the traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
