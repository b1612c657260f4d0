"""Run a loop on listening sockets: in this thread until a signal, or in the background.

Knows threads and signals, and how they wake the loop.
"""

import signal
import threading
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from halloo._core.address import Address
from halloo._core.limits import Limits
from halloo._net.listener import Listener
from halloo._net.signals import STOPPING, handle_signals
from halloo._server import closer
from halloo._server.acceptor import Endpoint
from halloo._server.connections import Snapshot
from halloo._server.handlers import ConnectionObserver, Handler, Respond
from halloo._server.tcp import Loop

if TYPE_CHECKING:
    from ssl import SSLContext

COUNTING = 1.0  # seconds that a busy loop has to say what it has done


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What clients find: the echo when there is no `handler`, within limits, and over TLS where a listener is.

    To datagrams the answer is the echo, or what `respond` makes of them. With `timestamps` the echo writes its times
    into probes (see `with_timestamps`); with `busy_poll` the loop never sleeps.
    """

    handler: Handler | None = None
    respond: Respond | None = None
    limits: Limits = field(default_factory=Limits)
    context: "SSLContext | None" = None
    observer: ConnectionObserver | None = None
    timestamps: bool = False
    busy_poll: bool = False

    def loop(self, listener: Listener, *, row: MutableSequence[int] | None = None, shared: bool = False) -> Loop:
        """Make the loop that serves a listener; see Loop for `row` and `shared`."""
        posts = [
            Endpoint(sock, self.handler, self.context if address.scheme == "tls" else None, self.respond)
            for sock, address in zip(listener.sockets, listener.addresses, strict=True)
        ]
        poller = None
        if self.timestamps:
            from halloo._server.timestamps import with_timestamps  # noqa: PLC0415 - most servers are for the plain echo

            posts, poller = with_timestamps(posts)
        return Loop(
            posts,
            poller=poller,
            limits=self.limits,
            observer=self.observer,
            counters=row,
            shared=shared,
            busy_poll=self.busy_poll,
        )


class Server:
    """An echo that is running, or about to: listening since before anybody got hold of it."""

    def __init__(self, listener: Listener, service: Service) -> None:
        """Take over `listener` and make the loop that serves it."""
        self._listener = listener
        try:
            self.loop = service.loop(listener)
        except BaseException:
            listener.close()
            raise
        self._thread = threading.Thread(target=self._run, name=f"halloo {self.address}", daemon=True)
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
        """Say what has been done so far; a background thread is waited for, to have finished its turn and counted."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            counted = threading.Event()
            self.loop.on_wakeup = counted.set
            self.loop.wake()
            counted.wait(COUNTING)
        return replace(self.loop.snapshot(), dropped=self._listener.dropped)

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def run(self, drain: float = 0, *, ready: Callable[[], object] = int) -> None:
        """Serve in this thread until SIGINT or SIGTERM, then finish what is owed, within `drain` seconds.

        A second signal ends that at once. `ready` is called as soon as signals are heeded.
        """
        with interruptible(self.loop):
            ready()
            self.loop.run()
            if drain:
                self._listener.turn_away()
                closer.drain(self.loop, drain, close_listener=self._listener.close)

    def close(self) -> None:
        """Stop, and close everything. Raises what ended the background thread, if something did."""
        if self._closed:
            return
        self._closed = True
        self.loop.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self.loop.shutdown()
        self._listener.close()
        if self._error:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:  # noqa: BLE001 - handed over to whoever closes the server
            self._error = error


def interruptible(
    loop: Loop, stop: Callable[[], None] | None = None, *, signals: Sequence[signal.Signals] = STOPPING
) -> AbstractContextManager[None]:
    """Have the loop stop, or `stop` called, at SIGINT and SIGTERM: between two turns, and in the main thread only."""
    return handle_signals(signals, lambda _number, _frame: (stop or loop.stop)(), loop.wakeup_writer)
