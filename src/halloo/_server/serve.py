"""Serve the echo: until interrupted, in the background, or on a listening socket of one's own.

Knows servers, and what a person who starts one wants to see.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from halloo._core.address import Address, AddressLike
from halloo._core.limits import Limits
from halloo._core.tls_options import ServerTLS
from halloo._net.listener import Listener, inherited, listen
from halloo._output.terminal import LineWriter
from halloo._server.acceptor import Endpoint
from halloo._server.connections import Snapshot
from halloo._server.handlers import ConnectionObserver, Respond, RespondHandler
from halloo._server.log import JsonLog, TextLog, format_interval, print_fingerprint
from halloo._server.metrics import HttpHandler
from halloo._server.server import Server, Service, interruptible
from halloo._server.tcp import Loop
from halloo._server.workers import WorkerPool
from halloo.errors import UsageError

Log = Literal["text", "json"]
DRAIN = 10.0  # seconds to finish what is owed
_OR_TCP = "leave it out, or serve tcp:// as well"
_HINT = "halloo: this is loopback inside a container; to be reached from outside it: halloo serve"


@dataclass(frozen=True, slots=True)
class ServeReport:
    """Where a server listened, for how long, and what it did."""

    addresses: tuple[Address, ...]
    seconds: float
    snapshot: Snapshot


def serve(
    *addresses: AddressLike,
    respond: Respond | None = None,
    framing: str = "lines",
    greeting: bytes = b"",
    family: int | None = None,
    limits: Limits | None = None,
    tls: ServerTLS | None = None,
    drain: float = DRAIN,
    workers: int = 1,
    reuse_port: bool = False,
    stats: float | None = None,
    metrics: AddressLike | None = None,
    quiet: bool = False,
    log: Log = "text",
    timestamps: bool = False,
    busy_poll: bool = False,
) -> ServeReport:
    """Serve all clients at once until SIGINT or SIGTERM, on loopback port 8888 when no address is given.

    Prints `listening on ADDRESS` for each address on standard output, and on a terminal `Connected by` for each client
    on standard error. The answers are the echo, or `respond(message)`; see `serving`. At the end everything received is
    answered first, within `drain` seconds. More than one of `workers` are processes of their own. Every `stats` seconds
    a line on standard error says how things stand; `metrics` is an address to serve them on for Prometheus. For
    `timestamps` and `busy_poll` see `serving`; each worker has its own counts, and with `busy_poll` a core.
    Raises AddressInUse, NotPermitted, AddressNotAvailable, AddressError.
    """
    began, tell = time.monotonic(), LineWriter(2)
    limits, answering = limits or Limits(), _answering(respond, framing, greeting, timestamps=timestamps)
    listeners = _listeners(addresses, family, limits, tls, workers, reuse_port=reuse_port)
    service = _service(listeners[0], answering, limits, _observer(tell, log, quiet=quiet))
    service = replace(service, timestamps=timestamps, busy_poll=busy_poll)
    server: Server | WorkerPool
    if workers == 1:
        server = Server(listeners[0], service)
    else:
        server = WorkerPool(listeners, service, workers, shared=not reuse_port)
    with server, _published(server, metrics):
        if stats:
            _tell_regularly(server, stats, tell)
        server.run(drain, ready=lambda: _announce(server.addresses))
        return ServeReport(server.addresses, time.monotonic() - began, server.snapshot())


@contextmanager
def serving(
    *addresses: AddressLike,
    respond: Respond | None = None,
    framing: str = "lines",
    greeting: bytes = b"",
    family: int | None = None,
    limits: Limits | None = None,
    tls: ServerTLS | None = None,
    timestamps: bool = False,
    busy_poll: bool = False,
) -> Iterator[Server]:
    """Serve in the background while a `with` block runs, listening before it begins, closed when it ends.

    `respond(message: bytes) -> bytes | None` answers instead of the echo: once a line (`framing="lines"`; the ending is
    taken off and put on the answer again), once a chunk (`"raw"`), or once a message with a length of four bytes before
    it (`"length"`); over `udp://` once a datagram, whatever the framing. None is no answer. An exception in it closes
    that one connection and is logged. `greeting` is sent first. Without addresses a free loopback port is taken.

    With `timestamps` the echo writes into the probes of `ping` when they arrived and left, and which of their run have
    arrived; nothing else is changed. With `busy_poll` it never sleeps, which is quicker, and takes a whole core.

    >>> with serving() as server, connect(server.address) as connection:
    ...     connection.send(b"hello")
    ...     connection.receive_exactly(5)
    b'hello'
    """
    limits, answering = limits or Limits(), _answering(respond, framing, greeting, timestamps=timestamps)
    (listener,) = _listeners(addresses or (0,), family, limits, tls, workers=1)
    service = replace(_service(listener, answering, limits, None), timestamps=timestamps, busy_poll=busy_poll)
    with Server(listener, service) as running:
        running.start()
        yield running


def server(s: socket.socket, clients: int | None = None) -> Snapshot:
    """Serve all the clients of `s`, a listening socket, at once, printing `Connected by` and the address of each.

    Ends when interrupted, or when so many `clients` have been served, and leaves `s` open, as in the tutorial.

    >>> with socket.create_server(("", 8888)) as s:
    ...     server(s, clients=1)
    """
    timeout = s.gettimeout()
    s.setblocking(False)
    loop = Loop([Endpoint(s)], clients=clients, observer=TextLog(lambda line: print(line, flush=True)))
    try:
        with interruptible(loop):
            loop.run()
        return loop.snapshot()
    finally:
        loop.shutdown()
        s.settimeout(timeout)


def _answering(respond: Respond | None, framing: str, greeting: bytes, *, timestamps: bool) -> RespondHandler:
    """Say what is answered. Raises UsageError."""
    answering = RespondHandler(respond, framing, greeting)
    if timestamps and not answering.plain_echo:
        raise UsageError("timestamps is for the echo, and respond or a greeting replaces it", "leave one of them out")
    return answering


def _listeners(
    addresses: tuple[AddressLike, ...],
    family: int | None,
    limits: Limits,
    tls: ServerTLS | None,
    workers: int,
    *,
    reuse_port: bool = False,
) -> list[Listener]:
    """Open one listener for all workers, or one for each, on the same ports."""
    passed = None if addresses else inherited()
    first = passed or listen(*addresses, family=family, buffer=limits.buffer, tls=tls)
    try:
        _check(first.addresses, limits)
        if passed:
            return [passed]
        if workers == 1 or not reuse_port:
            return first.for_workers(workers, buffer=limits.buffer)
    except BaseException:
        first.close()
        raise
    first.close()  # it was opened alone so that a second copy is told that the port is taken
    return [first.again(buffer=limits.buffer) for _ in range(workers)]


def _check(addresses: tuple[Address, ...], limits: Limits) -> None:
    """Refuse limits that none of the addresses could keep. Raises UsageError."""
    schemes = {address.scheme for address in addresses}
    if schemes == {"udp"} and (vain := limits.of_connections):
        option = vain[0].replace("_", "-")
        raise UsageError(f"--{option} is for connections, and udp:// has none", _OR_TCP)
    if limits.any_port and "udp" not in schemes:
        raise UsageError("--any-port is for udp://, and no address is", "leave it out")


def _service(
    listener: Listener, answering: RespondHandler, limits: Limits, observer: ConnectionObserver | None
) -> Service:
    """Say what clients find; a listener that cannot be served is closed."""
    try:
        if answering.greeting and all(address.scheme == "udp" for address in listener.addresses):
            raise UsageError("a greeting is for connections, and udp:// has none", _OR_TCP)  # noqa: TRY301 - closed below
        print_fingerprint(listener)
        context = listener.host.context if listener.secure else None
    except BaseException:
        listener.close()
        raise
    handler = None if answering.plain_echo else answering
    return Service(handler=handler, respond=answering.respond, limits=limits, context=context, observer=observer)


@contextmanager
def _published(server: Server | WorkerPool, metrics: AddressLike | None) -> Iterator[None]:
    """Serve /metrics and /healthz: in a fleet's own loop, or in a thread beside the one loop that there is."""
    if metrics is None:
        yield
        return
    from halloo._server.metrics import CONTENT_TYPE, prometheus  # noqa: PLC0415 - an extra

    pages = HttpHandler(
        {
            "/metrics": lambda: (CONTENT_TYPE, prometheus(server.snapshot())),
            "/healthz": lambda: ("text/plain", b"ok\n"),
        }
    )
    listener = listen(metrics)
    for address in listener.addresses:
        print(f"halloo: metrics at http://{address.place}/metrics", file=sys.stderr, flush=True)
    if isinstance(server, WorkerPool):
        server.publish(listener, pages)
        yield
    else:
        with Server(listener, Service(handler=pages)) as publisher:
            publisher.start()
            yield


def _tell_regularly(server: Server | WorkerPool, seconds: float, tell: LineWriter) -> None:
    """Have a line on standard error every so many seconds; on a terminal it stays in its place."""
    loop, before = server.loop, server.snapshot()
    write = tell.replace if sys.stderr is not None and sys.stderr.isatty() else tell

    def look() -> None:
        nonlocal before
        now = server.snapshot()
        write(format_interval(now, before))
        before = now
        loop.timers.call_at(loop.clock() + seconds, look)

    loop.timers.call_at(loop.clock() + seconds, look)


def _announce(addresses: tuple[Address, ...]) -> None:
    with suppress(OSError):  # nobody may be there to read it; the server serves all the same
        for address in addresses:
            print(f"listening on {address}", flush=True)
        if inside_container() and all(address.loopback for address in addresses):
            place = replace(addresses[0], host="")
            print(f"{_HINT} {place.place if place.scheme == 'tcp' else place}", file=sys.stderr, flush=True)


def _observer(tell: LineWriter, log: Log, *, quiet: bool) -> ConnectionObserver | None:
    """Choose how clients' coming and going is told, if it is."""
    if log == "json":
        return JsonLog(tell)
    return None if quiet or sys.stderr is None or not sys.stderr.isatty() else TextLog(tell)


def inside_container() -> bool:
    """Whether the usual marks of a container are there."""
    return "container" in os.environ or Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
