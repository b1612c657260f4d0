"""The public server: an echo, or answers of your own, in the background of the program.

Checks what it is asked for, opens the listeners, and leaves the rest to `running`.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Self, get_args

from halloo._core import applicable, arguments
from halloo._core.address import Address, AddressLike
from halloo._core.arguments import Family
from halloo._core.framing import Framing
from halloo._core.limits import Limits
from halloo._core.tls_options import ServerTLS, given_name
from halloo._net import unix
from halloo._net.activation import inherited
from halloo._net.listener import Listener, listen
from halloo._server.counters import Snapshot
from halloo._server.handlers import ConnectionObserver, RespondHandler
from halloo._server.responder import Failures, Respond, log_failure
from halloo._server.running import RunningServer, Service
from halloo.errors import UsageError

if TYPE_CHECKING:
    from ssl import SSLContext

DRAIN = 10.0  # seconds to finish pending answers


class Server:
    """An echo server in the background: listening when the `with` block begins, closed when it ends.

    `addresses` are as for Address.parse; without one a free loopback port is taken. `respond(message)` answers instead
    of the echo: it is called once a line (`framing="line"`; the ending is removed, and added to the answer), once a
    chunk as received (`"raw"`), or once a message with a length of four bytes before it (`"length"`); over `udp://`
    once a datagram, whatever the framing. It returns bytes, or None for no answer. It runs in the server's thread:
    while it takes its time, all clients wait. `greeting` is sent first. `family` is 4 or 6 for one alone; `tls` is for
    `tls://`, see ServerTLS; `limits` see Limits; `mode` are the permissions of the file of a `unix:` address.

    An exception in `respond`, or an answer of another type, closes that one connection and is logged. It is raised
    again when the server closes, so that a failed assertion in `respond` fails the test: one alone as it is, several as
    an ExceptionGroup of at most 10. They become notes of an exception that the `with` block has raised itself.

    With `timestamps` the echo writes into the probes of `ping` when they arrived and left, and which of their run have
    arrived. With `busy_poll` it never sleeps, which is quicker, and takes a whole core.

    `close()` answers what has been received, within `drain` seconds, then closes every connection. `start` and `close`
    are for use without a `with` block; `async with` does the same.
    Raises UsageError, AddressError; when it starts AddressInUse, NotPermitted, AddressNotAvailable, MissingFile.

    >>> with Server() as server, connect(server.address) as connection:
    ...     connection.send(b"hello")
    ...     connection.receive_exactly(5)
    b'hello'
    """

    def __init__(
        self,
        *addresses: AddressLike,
        respond: Respond | None = None,
        framing: Framing = "line",
        greeting: bytes = b"",
        family: Family | None = None,
        limits: Limits | None = None,
        tls: "ServerTLS | SSLContext | None" = None,
        timestamps: bool = False,
        busy_poll: bool = False,
        drain: float = 1.0,
        mode: int = unix.MODE,
    ) -> None:
        """Check the arguments; nothing is opened before `start`."""
        arguments.seconds("drain", drain, none=False)
        arguments.family(family)
        arguments.switches(timestamps=timestamps, busy_poll=busy_poll)
        wanted = tuple(Address.parse(address) for address in addresses or (0,))
        limits = checked_limits(limits)
        self._failures = Failures()
        handler = respond_handler(respond, framing, greeting, timestamps=timestamps, report=self._failures.add)
        arguments.whole("mode", mode, 0, unix.MAX_MODE)
        self._open = partial(
            open_service,
            wanted,
            handler,
            limits,
            tls,
            family=family,
            mode=mode,
            timestamps=timestamps,
            busy_poll=busy_poll,
        )
        self._drain = drain
        self._running: RunningServer | None = None
        self._pid = 0  # of the process that has started it

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the real ports."""
        return self._started().addresses

    @property
    def address(self) -> Address:
        """The first of the addresses."""
        return self._started().addresses[0]

    @property
    def fingerprint(self) -> str | None:
        """The SHA-256 of the `tls://` certificate, hexadecimal; None without one, or where an SSLContext holds it."""
        return self._started().listener.fingerprint

    @property
    def ca_pem(self) -> bytes | None:
        """What a client may trust to verify the `tls://` certificate, as PEM; None as for `fingerprint`."""
        return self._started().listener.ca_pem

    def client_context(self) -> "SSLContext":
        """Make an ssl.SSLContext for clients that trusts the `tls://` certificate and no other. Raises UsageError."""
        return self._started().listener.client_context()

    def snapshot(self) -> Snapshot:
        """Return the counts so far; see Snapshot.

        What had arrived before the call is handled and counted first, closed connections included: within a second and
        100 turns of the loop, which a server under constant load may use up.
        """
        return self._started().snapshot()

    def start(self) -> Self:
        """Listen, serve in a thread, and return the server; clients can connect when this returns."""
        if self._running:
            raise UsageError("the server has been started before", "make another Server")
        listeners, service = self._open()
        self._running = RunningServer(listeners[0], service)
        self._running.start()
        self._pid = os.getpid()
        return self

    def close(self) -> None:
        """Stop accepting, answer what has been received, and close.

        Raises what `respond` has raised, and the error that ended the server, if any. A forked child has released its
        copy of the descriptors at the fork, and this does nothing there.
        """
        self._close()
        self._report(None)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self._close()
        self._report(error)

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        import asyncio  # noqa: PLC0415 - it imports ssl, and most programs do not need it

        await asyncio.to_thread(self._close)
        self._report(error)

    def _close(self) -> None:
        if self._running:
            self._running.close(self._drain)

    def _report(self, error: BaseException | None) -> None:
        """Raise what `respond` has raised, or add it to the error of the block."""
        if self._pid == os.getpid():  # and not a forked child: the errors are its parent's
            self._failures.raise_all(error)

    def _started(self) -> RunningServer:
        if self._running is None:
            raise UsageError("the server has not been started", "use it in a with block, or call start()")
        return self._running


def respond_handler(
    respond: Respond | None,
    framing: Framing,
    greeting: bytes,
    *,
    timestamps: bool,
    report: Callable[[BaseException], object] = log_failure,
) -> RespondHandler:
    """Check how clients are answered; `report` gets what `respond` raises. Raises UsageError."""
    if respond is not None and not callable(respond):
        raise UsageError(f"must be a function, not {arguments.shown(respond)}", argument="respond")
    arguments.text("framing", framing, *get_args(Framing))
    handler = RespondHandler(respond, framing, bytes(arguments.payload("greeting", greeting)), report)
    if handler.plain_echo and framing != "line":
        raise UsageError("is for respond, and none is given", "leave it out, or give respond=", argument="framing")
    if timestamps and not handler.plain_echo:
        raise UsageError("is for the echo, and respond or greeting replaces it", "leave one out", argument="timestamps")
    return handler


def checked_limits(limits: Limits | None) -> Limits:
    """Return the limits, or those without any. Raises UsageError."""
    arguments.instance("limits", limits, Limits, type(None), what="Limits or None")
    return limits or Limits()


def open_service(
    addresses: tuple[AddressLike, ...],
    handler: RespondHandler,
    limits: Limits,
    tls: "ServerTLS | SSLContext | None",
    *,
    family: Family | None,
    mode: int,
    timestamps: bool,
    busy_poll: bool,
    observer: ConnectionObserver | None = None,
    workers: int = 1,
    reuse_port: bool = False,
) -> tuple[list[Listener], Service]:
    """Open one listener for all workers, or one for each on the same ports, and describe what its clients get.

    Without addresses, take systemd's. Raises UsageError, LocalError.
    """
    passed = None if addresses else inherited(buffer=limits.buffer)
    listeners = [passed or listen(*addresses, family=family, buffer=limits.buffer, tls=tls, mode=mode)]
    first = listeners[0]
    try:
        schemes = {address.scheme for address in first.addresses}
        applicable.check(schemes, [*limits.given, "greeting"] if handler.greeting else limits.given)
        if passed:
            opening = {"family": family, given_name(tls): tls, "reuse_port": reuse_port, "mode": mode != unix.MODE}
            applicable.check_opened([name for name, value in opening.items() if name and value])
        elif reuse_port:
            applicable.check_shared(schemes)
            listeners.pop().close()  # it was opened alone to find out whether the port is in use
            listeners.extend(first.reopen(buffer=limits.buffer) for _ in range(workers))
        else:
            listeners.extend(first.for_workers(workers - 1, buffer=limits.buffer))
        context = listeners[0].tls_server.context if first.secure else None
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners, Service(
        handler=None if handler.plain_echo else handler,
        responder=handler.responder,
        limits=limits,
        context=context,
        observer=observer,
        timestamps=timestamps,
        busy_poll=busy_poll,
    )
