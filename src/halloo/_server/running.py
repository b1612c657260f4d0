"""Run the loop on listening sockets: in this thread until a signal, or in a thread of its own.

Uses threads and signals, and what wakes the loop.
"""

import threading
from collections import deque
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from halloo._core.address import Address
from halloo._core.limits import Limits
from halloo._net.fork import release_in_children
from halloo._net.listener import Listener
from halloo._net.signals import handle_signals, stopping
from halloo._server.counters import Snapshot
from halloo._server.echo import EchoServer
from halloo._server.endpoint import Endpoint, with_timestamps
from halloo._server.exchange import Handler
from halloo._server.handlers import ConnectionObserver
from halloo._server.log import Event, Report
from halloo._server.reload import Reload
from halloo._server.responder import Responder, flush_log
from halloo.errors import UsageError

if TYPE_CHECKING:
    from ssl import SSLContext

SETTLING = 1.0  # seconds that a busy loop has to handle what has arrived
MAX_TURNS = 100  # in which it does so


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a server does: the echo, or a `handler` for streams and a `responder` for datagrams, within limits.

    `context` is for `tls://` addresses. With `timestamps` the echo writes its times into probes (see
    `with_timestamps`); with `busy_poll` the loop never sleeps.
    """

    handler: Handler | None = None
    responder: Responder | None = None
    limits: Limits = field(default_factory=Limits)
    context: "SSLContext | None" = None
    observer: ConnectionObserver | None = None
    timestamps: bool = False
    busy_poll: bool = False

    def loop(self, listener: Listener, *, row: MutableSequence[int] | None = None, shared: bool = False) -> EchoServer:
        """Make the loop that serves a listener; see EchoServer for `row` and `shared`. A forked child releases both."""
        release_in_children(listener)
        endpoints = [
            Endpoint(sock, self.handler, self.context if at.scheme == "tls" else None, self.responder, address=str(at))
            for sock, at in zip(listener.sockets, listener.addresses, strict=True)
        ]
        poller = None
        if self.timestamps:
            endpoints, poller = with_timestamps(endpoints)
        return EchoServer(
            endpoints,
            poller=poller,
            limits=self.limits,
            observer=self.observer,
            counters=row,
            shared=shared,
            busy_poll=self.busy_poll,
        )


class RunningServer:
    """A loop with its listener: run it here, or start it in a thread, and close it."""

    def __init__(self, listener: Listener, service: Service) -> None:
        self.listener = listener
        try:
            self.loop = service.loop(listener)
        except BaseException:
            listener.close()
            raise
        self.loop.reactor.on_wakeup = self._settle_soon
        self._thread = threading.Thread(target=self._run_in_thread, name=f"halloo {listener.address}", daemon=True)
        self._error: BaseException | None = None
        self._awaited: deque[threading.Event] = deque()  # set once the loop has settled
        self._drain = 0.0
        self._closed = False

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the real ports."""
        return self.listener.addresses

    @property
    def address(self) -> Address:
        """The first of the addresses."""
        return self.listener.address

    def snapshot(self) -> Snapshot:
        """Return the counts so far; a thread that serves handles and counts first what has arrived by now."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            settled = threading.Event()
            self._awaited.append(settled)
            self.loop.reactor.wake()
            settled.wait(SETTLING)
        return replace(self.loop.snapshot(), dropped=self.listener.dropped)

    def start(self) -> None:
        self._thread.start()

    def run(self, seconds: float, ready: Callable[[], object], log: Report) -> None:
        """Serve in this thread until a stop signal, then finish pending answers, within `seconds`.

        A second signal raises KeyboardInterrupt. SIGHUP reloads the certificate files, if there are any. `ready` is
        called as soon as signals are handled; `log` gets the events.
        """
        reload = Reload(self.listener, self.loop.acceptor.replace_context, log)
        self.loop.reactor.on_wakeup = reload.perform
        with handle_signals(stopping(self.loop.reactor.stop) | reload.handlers, self.loop.reactor.wakeup_writer):
            ready()
            self.loop.run()
            log(Event("stopping", open=self.loop.connections.open))
            if seconds:
                self.loop.drain(seconds, self.listener)

    def close(self, drain: float = 0) -> None:
        """Stop, finish pending answers within `drain` seconds, and close everything.

        Raises what has ended the thread, if an error did, and UsageError in that thread itself.
        """
        if threading.current_thread() is self._thread:
            raise UsageError("respond cannot close the server that calls it", "close it in another thread")
        if self._closed:
            return
        self._closed = True
        self._drain = drain
        self.loop.reactor.stop()
        if self._thread.ident is not None:
            self._thread.join()
        flush_log()
        if self._error:
            raise self._error
        self._shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle_soon(self) -> None:
        """Settle after this turn, which adds to the counters at its end."""
        if awaited := [self._awaited.popleft() for _ in range(len(self._awaited))]:
            self.loop.reactor.call_later(0, lambda: self._settle(awaited, MAX_TURNS))

    def _settle(self, awaited: list[threading.Event], turns: int) -> None:
        """Set the events once nothing is ready, or after so many turns."""
        loop = self.loop
        if turns and loop.reactor.running and loop.reactor.poller.poll(0):
            loop.reactor.call_later(0, lambda: self._settle(awaited, turns - 1))
            return
        for settled in awaited:
            settled.set()

    def _run_in_thread(self) -> None:
        try:
            self.loop.run()
            if self._drain:
                self.loop.drain(self._drain, self.listener)
        except BaseException as error:  # noqa: BLE001 - raised again by `close`
            self._error = error
            self._shutdown()  # clients would wait for a loop that has ended

    def _shutdown(self) -> None:
        try:
            self.loop.shutdown()
        finally:
            self.listener.close()
