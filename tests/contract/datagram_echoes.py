"""List the datagram echoes that the contract holds for: how to start them, and at which addresses.

Besides halloo's own there are two others: the reference, which proves the contract itself, and the benchmark's C
program. To add one, add a line to ECHOES or VARIANTS.
"""

import os
import select
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import pytest

import halloo
from bench import servers
from halloo._core.limits import Limits
from halloo._net.datagrams import DATAGRAM_ROOM, QUEUE
from halloo._net.listener import listen
from halloo._server.poller import Epoll, Poller, Selector
from halloo._server.running import RunningServer
from halloo._server.udp import UDP_GRO
from tests.contract.echoes import LIMITS, PollerService
from tests.programs import PYTHON, started

LINUX = sys.platform.startswith("linux")
FOUR, SIX = ("127.0.0.1",), ("::1",)
MANY = ("127.0.0.1", "127.0.0.2", "127.3.2.1") if LINUX else FOUR  # Linux: all of 127/8 is local


@dataclass(frozen=True, slots=True)
class Echo:
    """The addresses of a running echo: a port at each of the hosts, all of one family."""

    hosts: tuple[str, ...]
    port: int


@contextmanager
def looping(
    poller: Callable[[], Poller],
    place: str = "udp://127.0.0.1:0",
    hosts: tuple[str, ...] = FOUR,
    *,
    limits: Limits | None = None,
    batches: bool = True,
) -> Iterator[Echo]:
    """Run halloo's loop."""
    listener = listen(place)
    with RunningServer(listener, PollerService(poller=poller, limits=limits or Limits())) as server:
        if not batches:
            for sock in listener.sockets:
                sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 0)
        server.start()
        yield Echo(hosts, server.address.port)


@contextmanager
def public(
    place: str, hosts: tuple[str, ...], respond: Callable[[bytes], bytes] | None = None, *, timestamps: bool = False
) -> Iterator[Echo]:
    """Run the public server."""
    with halloo.Server(place, respond=respond, timestamps=timestamps) as server:
        yield Echo(hosts, server.address.port)


@contextmanager
def reference() -> Iterator[Echo]:
    """Run a minimal implementation of the contract."""
    stopping = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while not stopping.is_set():
                with suppress(ConnectionError):  # Windows reports a closed earlier sender so
                    data, peer = sock.recvfrom(DATAGRAM_ROOM)
                    sock.sendto(data, peer)

        thread = threading.Thread(target=serve, name="reference")
        thread.start()
        try:
            yield Echo(FOUR, sock.getsockname()[1])
        finally:
            stopping.set()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", sock.getsockname())
                thread.join()


@contextmanager
def program(*argv: str, hosts: tuple[str, ...] = FOUR) -> Iterator[Echo]:
    """Run a program that prints its address."""
    with started(*argv) as process:
        assert process.stdout
        yield Echo(hosts, int(process.stdout.readline().rpartition(b":")[2]))


def command(place: str, hosts: tuple[str, ...], *options: str) -> AbstractContextManager[Echo]:
    """Run the command."""
    return program(PYTHON, "-m", "halloo", "serve", place, "-q", *options, hosts=hosts)


def measure(form: str) -> AbstractContextManager[Echo]:
    """Run the C program of the benchmark, compiled as the benchmark does."""
    if shutil.which(servers.CC) is None:
        pytest.skip(f"needs a C compiler: {servers.CC} is not installed")
    return program(str(servers.build("udp.c")), form)


# The whole contract holds for these.
ECHOES: dict[str, Callable[[], AbstractContextManager[Echo]]] = {
    "reference": reference,
    "selectors": partial(looping, Selector),
}
# For these, which differ from one of the others in a part, its core is tested.
VARIANTS: dict[str, Callable[[], AbstractContextManager[Echo]]] = {
    "selectors, IPv6": partial(looping, Selector, "udp://[::1]:0", SIX),
    "selectors, everywhere": partial(looping, Selector, "udp://:0", MANY),
    "selectors, limits": partial(looping, Selector, limits=LIMITS),
    "timestamps": partial(public, "udp://127.0.0.1:0", FOUR, timestamps=True),
    "timestamps, IPv6": partial(public, "udp://[::1]:0", SIX, timestamps=True),
    "timestamps, everywhere": partial(public, "udp://:0", MANY, timestamps=True),
    "respond": partial(public, "udp://127.0.0.1:0", FOUR, bytes),
    "respond, everywhere": partial(public, "udp://:0", MANY, bytes),
}
if hasattr(select, "epoll"):
    ECHOES |= {"epoll": partial(looping, Epoll), "epoll, everywhere": partial(looping, Epoll, "udp://:0", MANY)}
    VARIANTS |= {
        "epoll, IPv6": partial(looping, Epoll, "udp://[::1]:0", SIX),
        "epoll, everywhere, IPv6": partial(looping, Epoll, "udp://:0", SIX),
        "epoll, limits": partial(looping, Epoll, limits=LIMITS),
        "epoll, limits, everywhere": partial(looping, Epoll, "udp://:0", MANY, limits=LIMITS),
        "epoll, no batches": partial(looping, Epoll, batches=False),
        "epoll, no batches, everywhere": partial(looping, Epoll, "udp://:0", MANY, batches=False),
        "C, plain": partial(measure, "plain"),
        "C, batch": partial(measure, "batch"),
    }
if LINUX:
    VARIANTS["selectors, no batches"] = partial(looping, Selector, batches=False)
if hasattr(os, "fork"):
    ECHOES["workers"] = partial(command, "udp://:0", MANY, "--workers", "2", "--reuse-port")
    VARIANTS["workers, one port"] = partial(command, "udp://127.0.0.1:0", FOUR, "--workers", "2")
