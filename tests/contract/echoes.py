"""Name every echo that the contract holds for: how to start it, and how to connect to it.

Knows loops, pollers and two foreign echoes: the reference, which proves the contract itself, and the C program that
speeds are measured by, which has to be right to be a measure. Knows no test.
An echo is a context manager that gives its `connect`; a new one is one more line in ECHOES, or in PROGRAMS.
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
from halloo._server.acceptor import Endpoint
from halloo._server.handlers import Handler, RespondHandler
from halloo._server.poller import FLOW, Epoll, Poller, Selector
from halloo._server.server import Server, Service
from halloo._server.tcp import Loop
from tests.contract.encrypted import Encrypted
from tests.programs import PYTHON, started

PATIENCE = 20  # seconds without a byte after which a client gives up, and its test has failed
LARGE = 1 << 40

# Every limit there is, each larger than anything that a client does here.
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


class Stuttering(Selector):
    """Reports everything but FLOW twice, so that each second event is stale: for a number closed, or given anew."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        ready = super().poll(timeout)
        return ready + [(fd, events) for fd, events in ready if events != FLOW]


@dataclass(frozen=True, kw_only=True)
class Choosing(Service):
    """Serves with a poller of one's choice."""

    poller: Callable[[], Poller]

    def loop(self, listener: Listener, *, row: MutableSequence[int] | None = None, shared: bool = False) -> Loop:
        posts = [Endpoint(sock, self.handler) for sock in listener.sockets]
        return Loop(posts, poller=self.poller(), limits=self.limits, row=row, shared=shared, busy_poll=self.busy_poll)


@contextmanager
def looping(
    poller: Callable[[], Poller],
    handler: Callable[[], Handler | None] = lambda: None,
    limits: Limits | None = None,
    *,
    busy_poll: bool = False,
) -> Iterator[Connect]:
    """Run halloo's own loop."""
    service = Choosing(poller=poller, handler=handler(), limits=limits or Limits(), busy_poll=busy_poll)
    with Server(listen("127.0.0.1:0"), service) as server:
        server.start()
        yield partial(connected, server.address.host, server.address.port)


@contextmanager
def unix() -> Iterator[Connect]:
    """Run the loop on a Unix socket."""
    with tempfile.TemporaryDirectory() as folder, halloo.serving(f"unix:{folder}/halloo") as server:

        def connect() -> socket.socket:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(cast("str", server.address.path))
            return sock

        yield connect


@contextmanager
def encrypted(limits: Limits | None = None, *, timestamps: bool = False) -> Iterator[Connect]:
    """Run the loop with TLS."""
    ca = trustme.CA()
    # Not the default context: it would read the system's list of CAs, which takes longer than the rest of most tests.
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    served.num_tickets = 0
    ca.issue_cert("localhost").configure_cert(served)
    ca.configure_trust(trusting)
    service = Service(context=served, limits=limits or Limits(), timestamps=timestamps)
    with Server(listen("tls://127.0.0.1:0"), service) as server:
        server.start()

        def connect() -> socket.socket:
            sock = connected(server.address.host, server.address.port)
            return cast("socket.socket", Encrypted(sock, trusting))  # it has all that is used

        yield connect


@contextmanager
def program(*argv: str) -> Iterator[Connect]:
    """Run a program that says where it listens."""
    with started(*argv) as process:
        assert process.stdout
        yield partial(connected, "127.0.0.1", int(process.stdout.readline().rpartition(b":")[2]))


def workers(*options: str) -> AbstractContextManager[Connect]:
    """Run the command, with several processes."""
    return program(PYTHON, "-m", "halloo", "serve", "127.0.0.1:0", "-q", "--workers", "2", *options)


def measure() -> AbstractContextManager[Connect]:
    """Run the C program of the benchmark, as the benchmark builds it."""
    if shutil.which(servers.CC) is None:
        pytest.skip(f"needs a C compiler: {servers.CC} is not installed")
    servers.C.prepare()
    return program(*servers.C.argv)


@contextmanager
def public(limits: Limits | None = None, *, timestamps: bool = False) -> Iterator[Connect]:
    """Run what a user of the library gets."""
    with halloo.serving(limits=limits, timestamps=timestamps) as server:
        yield partial(connected, server.address.host, server.address.port)


@contextmanager
def reference() -> Iterator[Connect]:
    """Run what the contract asks for in as few lines as asyncio needs. It ends when its clients have."""
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
        thread = threading.Thread(target=lambda: asyncio.run(serve(listener)), name="asyncio")
        thread.start()
        try:
            yield partial(connected, *listener.getsockname())
        finally:
            stopping.set()
            connected(*listener.getsockname()).close()  # the last one, accepted after all the others
            thread.join()


def connected(host: str | None, port: int) -> socket.socket:
    """Connect over TCP."""
    sock = socket.create_connection((host, port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces are to arrive as they are sent
    return sock


ECHOES: dict[str, Callable[[], AbstractContextManager[Connect]]] = {
    "selectors": partial(looping, Selector),
    "selectors, metered": partial(looping, Selector, limits=LIMITS),
    "stale events": partial(looping, Stuttering),
    "answering raw": partial(looping, Selector, lambda: RespondHandler(bytes, "raw", b"")),
    "selectors, spinning": partial(looping, Selector, busy_poll=True),
    "serving": public,
    "stamping": partial(public, timestamps=True),
    "stamping, metered": partial(public, LIMITS, timestamps=True),
    "tls": encrypted,
    "tls, metered": partial(encrypted, LIMITS),
    "tls, stamping": partial(encrypted, timestamps=True),
    "asyncio": reference,
}
if hasattr(select, "epoll"):
    ECHOES["epoll"] = partial(looping, Epoll)
    ECHOES["epoll, spinning"] = partial(looping, Epoll, busy_poll=True)
    ECHOES["epoll, metered"] = partial(looping, Epoll, limits=LIMITS)
    ECHOES["answering raw, epoll"] = partial(looping, Epoll, lambda: RespondHandler(bytes, "raw", b""))
    ECHOES["answering raw, epoll, metered"] = partial(looping, Epoll, lambda: RespondHandler(bytes, "raw", b""), LIMITS)
if hasattr(socket, "AF_UNIX"):
    ECHOES["unix"] = unix

# Echoes that are programs of their own. One that has started serves all the tests, as it would serve anybody.
PROGRAMS: dict[str, Callable[[], AbstractContextManager[Connect]]] = {}
if hasattr(select, "epoll"):
    PROGRAMS["C"] = measure
if hasattr(os, "fork"):
    PROGRAMS["workers"] = workers
    PROGRAMS["workers, a port for each"] = partial(workers, "--reuse-port")

# Of these, an answer does not tell that the process which has another client has taken a turn.
SEVERAL = {"workers", "workers, a port for each"}

# What an echo cannot be asked, and why.
INAPPLICABLE = {
    ("test_the_bytes_around_an_urgent_one_come_back", "unix"): "urgent data is TCP's",
    ("test_the_bytes_around_an_urgent_one_come_back", "tls"): "urgent data is TCP's, and a record knows none",
    ("test_the_bytes_around_an_urgent_one_come_back", "tls, metered"): "urgent data is TCP's, and a record knows none",
    ("test_the_bytes_around_an_urgent_one_come_back", "tls, stamping"): "urgent data is TCP's, and a record knows none",
}
