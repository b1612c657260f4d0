"""Serve with several processes: forked workers around one shared listener, and a supervising parent.

The parent is single-threaded, accepts no clients, and runs a loop of its own: it restarts exited workers, adds up their
counters from shared memory with one writer each, and tells them when to stop. The end of the parent pipe tells a worker
that the parent has exited, so that no orphaned worker keeps the port.
"""

import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Self, cast

from halloo._core.address import Address
from halloo._net.listener import Listener
from halloo._net.signals import STOPPING, Handler, handle_signals, stopping
from halloo._output.background import close_all
from halloo._server import states
from halloo._server.counters import (
    ACCEPTED,
    CLOSED,
    COUNTER_INDEX,
    COUNTERS,
    OLDEST_PENDING,
    Snapshot,
    count_all_closed,
    new_counters,
)
from halloo._server.echo import EchoServer
from halloo._server.endpoint import Endpoint
from halloo._server.exchange import Handler as ConnectionHandler
from halloo._server.http import limits_beside
from halloo._server.log import SECOND, Event, Log, counted
from halloo._server.reload import Reload
from halloo._server.responder import format_traceback
from halloo._server.running import Service
from halloo.errors import LocalError, Unsupported

if TYPE_CHECKING:
    from ssl import SSLContext

EARLY_EXIT = 1.0  # seconds: a worker that ran no longer exited early
MAX_EARLY_EXITS = 5  # in a row, after which the parent gives up
BACKOFF = 0.1  # seconds before the second attempt in a row to start a worker, doubled for each further one
MAX_DOUBLINGS = 6  # of BACKOFF: 6.4 seconds
KILL_GRACE = 1.0  # seconds beyond the drain time after which a worker is killed
SLOT_SIZE = 8 * len(COUNTERS)
# What tells a worker to drain. A SIGTERM, which a service manager sends to all processes, is for the parent to act on:
# a worker that stopped alone would have the kernel refuse new clients at the socket that it shares with the others.
DRAIN_SIGNAL = getattr(signal, "SIGUSR1", signal.SIGTERM)  # Windows, which cannot fork, lacks SIGUSR1
_HANDLED = {*STOPPING, DRAIN_SIGNAL}  # by a worker


class WorkerPool:
    """Worker processes that serve; it has the interface of a Server, without the thread."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        service: Service,
        workers: int,
        *,
        shared: bool,
        fork: Callable[[], int] | None = None,
    ) -> None:
        """Take over the listeners: one for all workers, or one for each. No worker is forked before `run`.

        `shared` means that the workers have the same listening stream sockets; `fork` is os.fork.
        """
        if not hasattr(os, "fork"):
            raise Unsupported("this system cannot fork", "leave workers= out")
        self._os_fork = fork or os.fork
        self._listeners = listeners
        self._service = service
        self._shared = shared
        self._memory = memoryview(mmap.mmap(-1, workers * SLOT_SIZE)).cast("Q")
        self._exited_counters = new_counters()  # counts of exited workers
        self._pids: dict[int, int] = {}  # process -> slot
        self._slots = range(workers)
        self._started_at = [0.0] * workers
        self._early_exits = self._exits = 0  # the early ones are those in a row
        self._failure: LocalError | None = None
        self._stopping = self._draining = False
        with ExitStack() as cleanup:
            for listener in listeners:
                cleanup.enter_context(listener)
            self._parent_pipe_reader, self._parent_pipe_writer = pipe = os.pipe()
            for fd in pipe:
                cleanup.callback(os.close, fd)
            self.loop = EchoServer([], limits=limits_beside(service.limits))  # for published pages alone
            cleanup.pop_all()
        self._published: list[Listener] = []  # the workers must not keep them open
        self._started = self.loop.reactor.clock()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where they listen, with the actual port."""
        return self._listeners[0].addresses

    def run(self, drain: float, ready: Callable[[], object], log: Log) -> None:
        """Serve until a stop signal, then drain within `drain` seconds; a second signal raises KeyboardInterrupt.

        `ready` is called as soon as all of them run; `log` is as for a RunningServer. Raises LocalError if workers
        cannot be started, or repeatedly exit early.
        """
        self._drain, self._log = drain, log
        self._reload = Reload(self._listeners[0], self._replace_context, self._log)
        self.loop.reactor.on_wakeup = self._reap
        handlers = stopping(self._stop) | self._reload.handlers
        handlers[signal.SIGCHLD] = _ignore  # any handler has the signal wake the loop
        with handle_signals(handlers, self.loop.reactor.wakeup_writer):
            self._start()
            ready()
            self.loop.run()
        if self._failure:
            raise self._failure

    def publish(self, listener: Listener, pages: ConnectionHandler) -> None:
        self.loop.acceptor.add([Endpoint(sock, pages) for sock in listener.sockets])
        self._published.append(listener)

    def snapshot(self) -> Snapshot:
        rows = [self._counters(slot) for slot in self._slots]
        total = [sum(column) for column in zip(self._exited_counters, *rows, strict=True)]
        total[OLDEST_PENDING] = min((row[OLDEST_PENDING] for row in rows if row[OLDEST_PENDING]), default=0)
        now = self.loop.reactor.clock()
        workers = tuple(
            Snapshot.of(row, started=born, now=now) for row, born in zip(rows, self._started_at, strict=True)
        )
        dropped = sum(listener.dropped for listener in self._listeners)
        whole = Snapshot.of(total, started=self._started, now=now, workers=workers)
        return replace(whole, dropped=dropped, worker_exits=self._exits)

    def close(self) -> None:
        for pid in [*self._pids]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._pids.clear()
        os.close(self._parent_pipe_reader)
        os.close(self._parent_pipe_writer)
        self.loop.shutdown()
        for listener in (*self._listeners, *self._published):
            listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The parent.

    def _counters(self, slot: int) -> MutableSequence[int]:
        row: memoryview[int] = self._memory[slot * len(COUNTERS) : (slot + 1) * len(COUNTERS)]
        return cast("MutableSequence[int]", row)  # it lacks append and insert, which are not used

    def _start(self) -> None:
        for slot in self._slots:
            if self._stopping:
                break
            try:
                self._fork(slot)
            except OSError as error:
                fact = f"cannot start worker {slot + 1} of {len(self._slots)}: {error.strerror}"
                raise LocalError(fact, "stop other processes, raise ulimit -u, or use fewer workers") from error
        for pid, slot in self._pids.items():  # now, because the log has a thread, which a fork does not copy
            self._log(Event("worker_started", number=slot + 1, pid=pid, again=False))

    def _start_again(self, slot: int, failures: int = 0) -> None:
        """Start a worker; where the system refuses one more process, try again after growing pauses (fork(2))."""
        if self._stopping:
            return
        number = slot + 1
        try:
            pid = self._fork(slot)
        except OSError as error:
            pause = BACKOFF * 2 ** min(failures, MAX_DOUBLINGS)
            text = f"halloo: cannot restart a worker: {error.strerror}; trying again in {pause:g} s"
            pause_ns = int(pause * SECOND)
            self._log(Event("worker_start_failed", text, number=number, message=error.strerror, pause_ns=pause_ns))
            self.loop.reactor.call_later(pause, lambda: self._start_again(slot, failures + 1))
        else:
            text = f"halloo: worker {number} is started again (pid {pid})"
            self._log(Event("worker_started", text, number=number, pid=pid, again=True))

    def _fork(self, slot: int) -> int:
        _flush_output()  # otherwise the worker would write it again
        # Until the worker has its own signal handlers, a signal would run the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        self._started_at[slot] = self.loop.reactor.clock()
        try:
            pid = self._os_fork()
            if pid == 0:
                self._run_worker(slot)
            self._pids[pid] = slot
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)

    def _replace_context(self, context: "SSLContext") -> None:
        self._service = replace(self._service, context=context)
        self._signal(signal.SIGHUP)

    def _stop(self) -> None:
        self._stopping = True

    def _reap(self) -> None:
        self._reload.perform()
        for pid, slot in [*self._pids.items()]:
            exited, status = os.waitpid(pid, os.WNOHANG)
            if exited:
                del self._pids[pid]
                self._worker_exited(slot, pid, os.waitstatus_to_exitcode(status))
        if self._stopping:
            self._forward_stop()
            self.loop.reactor.running = bool(self._pids)

    def _forward_stop(self) -> None:
        if self._failure or not self._drain:
            self._signal(signal.SIGKILL)
        elif not self._draining:
            self._draining = True
            self._log(Event("stopping", open=self.snapshot().open))
            for listener in self._listeners:
                listener.refuse_new(socket.SOCK_STREAM)
            self._signal(DRAIN_SIGNAL)
            for listener in self._listeners:
                listener.close()
            self.loop.reactor.call_later(self._drain + KILL_GRACE, lambda: self._signal(signal.SIGKILL))

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids:
            os.kill(pid, number)

    def _worker_exited(self, slot: int, pid: int, code: int) -> None:
        """Keep the counts of an exited worker, and start another unless the pool is stopping."""
        counters = self._counters(slot)
        lost = counters[ACCEPTED] - counters[CLOSED]
        if self._stopping:
            if self._drain and code:
                counters[COUNTER_INDEX["cut_off"]] += lost
            count_all_closed(counters)  # they are kept for the totals of each worker
            return
        self._exits += 1
        reason = _signal_name(-code) if code < 0 else f"exit code {code}"
        text = f"halloo: worker {slot + 1} (pid {pid}) has ended: {reason}; {counted(lost, 'connection')} lost"
        self._log(Event("worker_exited", text, number=slot + 1, pid=pid, reason=reason, open=lost))
        count_all_closed(counters)
        for index, value in enumerate(counters):
            self._exited_counters[index] += value
        counters[:] = new_counters()
        now = self.loop.reactor.clock()
        self._early_exits = self._early_exits + 1 if now - self._started_at[slot] < EARLY_EXIT else 0
        if self._early_exits >= MAX_EARLY_EXITS:
            message = f"{MAX_EARLY_EXITS} workers in a row exited within {EARLY_EXIT:g} s"
            self._failure = LocalError(message, "see the messages above")
            self._stopping = True
        elif self._early_exits:
            self.loop.reactor.call_later(BACKOFF * 2**self._early_exits, lambda: self._start_again(slot))
        else:
            self._start_again(slot)

    # The worker.

    def _run_worker(self, slot: int) -> None:
        """Serve, and exit the process: no code of the parent may run afterwards."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends ^C to all processes; the parent forwards it
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._log.worker = slot + 1
            os.close(self._parent_pipe_writer)
            listener = self._listeners[slot % len(self._listeners)]
            for other in (*self._listeners, *self._published):
                if other is not listener:
                    other.release()
            loop = self._service.loop(listener, row=self._counters(slot), shared=self._shared)
            loop.reactor.handlers[states.PARENT_EXIT] = _parent_exited
            loop.reactor.watch(self._parent_pipe_reader, states.PARENT_EXIT)
            reload = Reload(self._listeners[0], loop.acceptor.replace_context, self._log)
            loop.reactor.on_wakeup = reload.perform
            handlers: dict[signal.Signals, Handler] = {
                DRAIN_SIGNAL: lambda _number, _frame: loop.reactor.stop(),
                signal.SIGTERM: _ignore,
                signal.SIGHUP: reload.request,
            }
            with handle_signals(handlers, loop.reactor.wakeup_writer):
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
                loop.run()
                loop.drain(self._drain, listener)
            code = 0
        except BaseException as error:  # noqa: BLE001 - reported by the exit code and the traceback
            self._log(Event("worker_error", "halloo: a worker has failed:", traceback=format_traceback(error)))
        finally:
            close_all()
            _flush_output()
            os._exit(code)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; not SIG_IGN, which the programs that `respond` starts would inherit."""


def _parent_exited(_fd: int) -> None:
    # Without the parent nothing restarts this worker or closes the port; its clients need another server.
    os._exit(1)


def _signal_name(number: int) -> str:
    return next((each.name for each in signal.Signals if each == number), f"signal {number}")


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # the descriptor was closed when Python started
            with suppress(OSError, ValueError):  # a pipe without a reader, or closed
                stream.flush()
