"""The blocking servers: `serve` as on the command line, and the tutorial's `server` on a socket of the caller's.

Prints the addresses, the clients and the counts.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, get_args

from halloo._core import arguments
from halloo._core.address import Address, AddressLike
from halloo._core.arguments import Family
from halloo._core.framing import Framing
from halloo._core.limits import Limits
from halloo._core.tls_options import ServerTLS
from halloo._net import unix
from halloo._net.listener import listen
from halloo._net.signals import handle_signals, stopping
from halloo._output.lines import LineWriter
from halloo._server import http
from halloo._server.counters import Snapshot
from halloo._server.echo import EchoServer
from halloo._server.endpoint import Endpoint
from halloo._server.log import (
    ClientLog,
    Event,
    Form,
    Log,
    certificate_made,
    failures_reported,
    json_line,
    stats_event,
    totals,
)
from halloo._server.responder import Respond, log_failure
from halloo._server.running import RunningServer, Service
from halloo._server.server import DRAIN, checked_limits, open_service, respond_handler
from halloo._server.workers import WorkerPool
from halloo.errors import UsageError

if TYPE_CHECKING:
    from ssl import SSLContext

MAX_WORKERS = 1024  # processes, more than a machine has cores
_HINT = "this is loopback inside a container; to be reached from outside it: halloo serve"


@dataclass(frozen=True, slots=True)
class ServeReport:
    """Where a server listened, for how long, and what it did."""

    addresses: tuple[Address, ...]
    seconds: float
    snapshot: Snapshot


def serve(
    *addresses: AddressLike,
    respond: Respond | None = None,
    framing: Framing = "line",
    greeting: bytes = b"",
    family: Family | None = None,
    limits: Limits | None = None,
    tls: "ServerTLS | SSLContext | None" = None,
    drain: float = DRAIN,
    workers: int = 1,
    reuse_port: bool = False,
    stats: float | None = None,
    metrics: AddressLike | None = None,
    quiet: bool = False,
    log: Form | None = None,
    timestamps: bool = False,
    busy_poll: bool = False,
    mode: int = unix.MODE,
) -> ServeReport:
    """Serve all clients at once until SIGINT, SIGTERM or SIGHUP, on loopback port 8888 when no address is given.

    Prints `listening on ADDRESS` for each address on standard output and, on a terminal or with `log="text"`,
    `Connected by` for each client on standard error. For `respond`, `framing`, `greeting`, `family`, `limits`, `tls`,
    `timestamps`, `busy_poll` and `mode` see Server. At the end what has been received is answered first, within
    `drain` seconds; a second signal raises KeyboardInterrupt. With certificate files in `tls`, SIGHUP reloads them
    instead. In other threads than the main one, signals are left alone. `workers` processes serve at once, each with
    its own counts and limits; `reuse_port` gives each its own listening socket. Every `stats` seconds a line of counts
    is printed on standard error; `metrics` is an address to serve them on for Prometheus. With `log="json"` every line
    on standard error is an event.
    Raises AddressInUse, NotPermitted, AddressNotAvailable, AddressError, MissingFile, UsageError.
    """
    arguments.seconds("drain", drain, none=False)
    arguments.seconds("stats", stats, positive=True)
    arguments.whole("workers", workers, 1, MAX_WORKERS)
    arguments.switches(reuse_port=reuse_port, quiet=quiet, timestamps=timestamps, busy_poll=busy_poll)
    arguments.family(family)
    if log is not None:
        arguments.text("log", log, *get_args(Form))
    _check_combinations(workers, log, reuse_port=reuse_port, quiet=quiet)
    pages_at = _pages_address(metrics)
    began = time.monotonic()
    pages_alone = pages_at and pages_at.path and all(Address.parse(each).path is None for each in addresses)
    shown = log or (not quiet and sys.stderr is not None and sys.stderr.isatty())
    with _log_to(sys.stderr, log) as (report, failed):
        listeners, service = open_service(
            addresses,
            respond_handler(respond, framing, greeting, timestamps=timestamps, report=failed),
            checked_limits(limits),
            tls,
            family=family,
            mode=unix.MODE if pages_alone else mode,  # then it is for the metrics
            timestamps=timestamps,
            busy_poll=busy_poll,
            observer=ClientLog(report, measure=log == "json") if shown else None,
            workers=workers,
            reuse_port=reuse_port,
        )
        if listeners[0].made_fingerprint:
            report(certificate_made(listeners[0].made_fingerprint))
        server: RunningServer | WorkerPool = (
            WorkerPool(listeners, service, workers, shared=not reuse_port)
            if workers > 1
            else RunningServer(listeners[0], service)
        )
        with server, _published(server, pages_at, family, mode, report, limits=service.limits):
            if stats:
                _report_regularly(server, stats, report)
            server.run(drain, lambda: _announce(server.addresses, report), report)
            report(Event("stopped", total=totals(server.snapshot())))
            return ServeReport(server.addresses, time.monotonic() - began, server.snapshot())


def _check_combinations(workers: int, log: Form | None, *, reuse_port: bool, quiet: bool) -> None:
    """Refuse options that would have no effect beside others. Raises UsageError."""
    if reuse_port and workers == 1:
        raise UsageError("is for several workers, and there is one", "give workers= as well", argument="reuse_port")
    if quiet and log:
        raise UsageError("contradicts the log, a line for each client", "leave one out", argument="quiet")


@contextmanager
def _log_to(stream: TextIO | None, form: Form | None) -> Iterator[tuple[Log, Callable[[BaseException], object]]]:
    """Make the log of a server, and what logs the errors of `respond`: in JSON the same, otherwise Python's logging."""
    if form == "json":
        with LineWriter(stream, lambda count: json_line(Event("dropped", lines=count), time.time())) as write:
            log = Log(write, form, flush=write.flush)
            with failures_reported(log) as failed:
                yield log, failed
    else:
        with LineWriter(stream, folding=True) as write:
            terminal = stream is not None and stream.isatty()
            yield Log(write, replace=write.replace if terminal else None, flush=write.flush), log_failure


def server(s: socket.socket, clients: int | None = None) -> Snapshot:
    """Echo to all clients of `s`, a listening socket, at once, printing `Connected by` and the address of each.

    Returns when interrupted, or when `clients` of them have been served, and leaves `s` open, as in the tutorial.
    Raises UsageError for a socket that does not listen, or is of TLS.

    >>> with socket.create_server(("", 8888)) as s:
    ...     server(s, clients=1)
    """
    arguments.whole("clients", clients, 1, none=True)
    arguments.instance("s", s, socket.socket, what="a socket")
    listens = 0
    with suppress(OSError):  # it is closed
        listens = s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listens:
        raise UsageError("is a socket that does not listen", "call s.bind and s.listen first", argument="s")
    if hasattr(s, "do_handshake"):  # an ssl.SSLSocket, whose clients would be answered in the clear
        raise UsageError("is a TLS socket", 'use halloo.serve("tls://..."), or the socket inside', argument="s")
    timeout = s.gettimeout()
    s.setblocking(False)
    with LineWriter(sys.stdout) as write:
        loop = EchoServer([Endpoint(s)], clients=clients, observer=ClientLog(Log(write)))
        try:
            with handle_signals(stopping(loop.reactor.stop), loop.reactor.wakeup_writer):
                loop.run()
            return loop.snapshot()
        finally:
            loop.shutdown()
            s.settimeout(timeout)


def _pages_address(metrics: AddressLike | None) -> Address | None:
    """Parse the address of the metrics. Raises AddressError; UsageError for a scheme that cannot serve them."""
    if metrics is None:
        return None
    address = Address.parse(metrics)
    if address.scheme not in ("tcp", "unix"):
        fact = f"is served over tcp:// or unix:, not {address.scheme}://"
        raise UsageError(fact, "for TLS put a proxy in front of it", argument="metrics")
    return address


@contextmanager
def _published(
    server: RunningServer | WorkerPool,
    metrics: Address | None,
    family: Family | None,
    mode: int,
    log: Log,
    *,
    limits: Limits,
) -> Iterator[None]:
    """Serve /metrics and /healthz: in the loop of a worker pool's parent, or in a thread beside the only loop."""
    if metrics is None:
        yield
        return
    from halloo._server.metrics import CONTENT_TYPE, prometheus  # noqa: PLC0415 - an extra

    pages = http.HttpHandler(
        {
            "/metrics": lambda: (CONTENT_TYPE, prometheus(server.snapshot())),
            "/healthz": lambda: ("text/plain", b"ok\n"),
        }
    )
    listener = listen(metrics, mode=mode) if metrics.path else listen(metrics, family=family)
    for address in listener.addresses:
        url = f"/metrics of {address}" if address.path else f"http://{address.place}/metrics"
        log(Event("publishing", f"halloo: metrics at {url}", address=str(address), url=url))
    if isinstance(server, WorkerPool):
        server.publish(listener, pages)
        yield
    else:
        with RunningServer(listener, Service(handler=pages, limits=http.limits_beside(limits))) as publisher:
            publisher.start()
            yield


def _report_regularly(server: RunningServer | WorkerPool, seconds: float, log: Log) -> None:
    reactor, before = server.loop.reactor, server.snapshot()

    def look() -> None:
        nonlocal before
        now = server.snapshot()
        log(stats_event(now, before))
        before = now
        reactor.call_later(seconds, look)

    reactor.call_later(seconds, look)


def _announce(addresses: tuple[Address, ...], log: Log) -> None:
    log.flush()  # so that the lines before come first on a terminal
    with LineWriter(sys.stdout) as announce:
        for address in addresses:
            announce(f"listening on {address}")
            log(Event("listening", address=str(address)))
    marks = ("/.dockerenv", "/run/.containerenv")
    inside_container = "container" in os.environ or any(Path(mark).exists() for mark in marks)
    if inside_container and all(address.loopback and address.path is None for address in addresses):
        place = replace(addresses[0], host="")
        message = f"{_HINT} {place.place if place.scheme == 'tcp' else place}"
        log(Event("hint", f"halloo: {message}", message=message))
