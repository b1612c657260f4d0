"""List the echoes that the contract holds for: how to start them, and how to connect.

Besides halloo's own there are two others: the reference, which proves the contract itself, and the benchmark's C
program, which has to be correct to be a measure. An echo is a context manager that yields its `connect`. To add one,
add a line to ECHOES or VARIANTS.
"""

import asyncio
import os
import select
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import cast

import pytest
import trustme

import halloo
from bench import servers
from halloo._core.limits import Limits
from halloo._net.binding import BACKLOG
from halloo._net.listener import Listener, listen
from halloo._server.echo import EchoServer
from halloo._server.endpoint import Endpoint
from halloo._server.exchange import Handler
from halloo._server.handlers import RespondHandler
from halloo._server.poller import READ_NORMAL, Epoll, Poller, Selector
from halloo._server.running import RunningServer, Service
from tests.contract.encrypted import TlsSocket
from tests.programs import PYTHON, started

TIMEOUT = 20  # seconds without a byte, after which the test fails
LARGE = 1 << 40

# Every limit, each larger than any use by these clients.
LIMITS = Limits(
    idle_timeout=3600,
    max_lifetime=3600,
    stall_timeout=3600,
    max_connections=LARGE,
    max_per_host=LARGE,
    max_bytes=LARGE,
    rate_limit=LARGE,
    max_memory=LARGE,
    deny=("192.0.2.0/24",),
)

Connect = Callable[[], socket.socket]


class DuplicatingEpoll(Selector):
    """Reports every event but READ_NORMAL twice, so that every second event is stale."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        ready = super().poll(timeout)
        return ready + [(fd, events) for fd, events in ready if events != READ_NORMAL]


@dataclass(frozen=True, kw_only=True)
class PollerService(Service):
    """A service with a given poller."""

    poller: Callable[[], Poller]

    def loop(self, listener: Listener, *, row: MutableSequence[int] | None = None, shared: bool = False) -> EchoServer:
        posts = [Endpoint(sock, self.handler) for sock in listener.sockets]
        return EchoServer(
            posts, poller=self.poller(), limits=self.limits, counters=row, shared=shared, busy_poll=self.busy_poll
        )


@contextmanager
def looping(
    poller: Callable[[], Poller],
    handler: Callable[[], Handler | None] = lambda: None,
    limits: Limits | None = None,
    *,
    busy_poll: bool = False,
) -> Iterator[Connect]:
    """Run halloo's loop."""
    service = PollerService(poller=poller, handler=handler(), limits=limits or Limits(), busy_poll=busy_poll)
    with RunningServer(listen("127.0.0.1:0"), service) as server:
        server.start()
        yield partial(connected, server.address.host, server.address.port)


@contextmanager
def unix() -> Iterator[Connect]:
    """Run the loop on a Unix socket."""
    with tempfile.TemporaryDirectory() as folder, halloo.Server(f"unix:{folder}/halloo") as server:

        def connect() -> socket.socket:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(TIMEOUT)
            sock.connect(cast("str", server.address.path))
            return sock

        yield connect


@contextmanager
def encrypted(limits: Limits | None = None, *, timestamps: bool = False) -> Iterator[Connect]:
    """Run the loop with TLS."""
    ca = trustme.CA()
    # Not the default context: reading the system's list of CAs takes longer than the rest of most tests.
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    served.num_tickets = 0
    ca.issue_cert("localhost").configure_cert(served)
    ca.configure_trust(trusting)
    service = Service(context=served, limits=limits or Limits(), timestamps=timestamps)
    with RunningServer(listen("tls://127.0.0.1:0"), service) as server:
        server.start()

        def connect() -> socket.socket:
            sock = connected(server.address.host, server.address.port)
            return cast("socket.socket", TlsSocket(sock, trusting))  # it has all methods used here

        yield connect


@contextmanager
def program(*argv: str) -> Iterator[Connect]:
    """Run a program that prints its address."""
    with started(*argv) as process:
        assert process.stdout
        yield partial(connected, "127.0.0.1", int(process.stdout.readline().rpartition(b":")[2]))


def workers(*options: str) -> AbstractContextManager[Connect]:
    """Run the command with several processes."""
    return program(PYTHON, "-m", "halloo", "serve", "127.0.0.1:0", "-q", "--workers", "2", *options)


def measure() -> AbstractContextManager[Connect]:
    """Run the C program of the benchmark, compiled as the benchmark does."""
    if shutil.which(servers.CC) is None:
        pytest.skip(f"needs a C compiler: {servers.CC} is not installed")
    servers.C.prepare()
    return program(*servers.C.argv)


@contextmanager
def public(limits: Limits | None = None, *, timestamps: bool = False) -> Iterator[Connect]:
    """Run the public server."""
    with halloo.Server(limits=limits, timestamps=timestamps) as server:
        yield partial(connected, server.address.host, server.address.port)


@contextmanager
def reference() -> Iterator[Connect]:
    """Run a minimal asyncio implementation of the contract. It ends when its clients have closed."""
    stopping = threading.Event()

    async def serve(listener: socket.socket) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                sock, _ = await asyncio.get_running_loop().sock_accept(listener)
                tasks.create_task(echo(sock))
                if stopping.is_set():
                    return

    async def echo(sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with sock, suppress(ConnectionError):
            while data := await loop.sock_recv(sock, 65536):
                await loop.sock_sendall(sock, data)

    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # accepted sockets inherit it
        thread = threading.Thread(target=lambda: asyncio.run(serve(listener)), name="asyncio")
        thread.start()
        try:
            yield partial(connected, *listener.getsockname())
        finally:
            stopping.set()
            connected(*listener.getsockname()).close()  # the last one, accepted after all others
            thread.join()


def connected(host: str | None, port: int) -> socket.socket:
    """Connect over TCP."""
    sock = socket.create_connection((host, port), timeout=TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # so that pieces arrive as sent
    return sock


# The whole contract holds for these.
ECHOES: dict[str, Callable[[], AbstractContextManager[Connect]]] = {
    "selectors": partial(looping, Selector),
    "tls": encrypted,
    "asyncio": reference,
}
# For these, which differ from one of the others in a part, its core is tested.
VARIANTS: dict[str, Callable[[], AbstractContextManager[Connect]]] = {
    "selectors, limited": partial(looping, Selector, limits=LIMITS),
    "selectors, busy poll": partial(looping, Selector, busy_poll=True),
    "stale events": partial(looping, DuplicatingEpoll),
    "respond raw": partial(looping, Selector, lambda: RespondHandler(bytes, "raw", b"")),
    "timestamps": partial(public, timestamps=True),
    "timestamps, limited": partial(public, LIMITS, timestamps=True),
    "tls, limited": partial(encrypted, LIMITS),
    "tls, timestamps": partial(encrypted, timestamps=True),
}
if hasattr(select, "epoll"):
    ECHOES["epoll"] = partial(looping, Epoll)
    VARIANTS["epoll, busy poll"] = partial(looping, Epoll, busy_poll=True)
    VARIANTS["epoll, limited"] = partial(looping, Epoll, limits=LIMITS)
    VARIANTS["respond raw, epoll, limited"] = partial(looping, Epoll, lambda: RespondHandler(bytes, "raw", b""), LIMITS)
    VARIANTS["C"] = measure
if hasattr(socket, "AF_UNIX"):
    VARIANTS["unix"] = unix
if hasattr(os, "fork"):
    ECHOES["workers"] = workers
    VARIANTS["workers, a port for each"] = partial(workers, "--reuse-port")
