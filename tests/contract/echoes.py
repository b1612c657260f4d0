"""Name every echo that the contract holds for: how to start it, and how to connect to it.

Knows loops, pollers and one foreign echo, the reference, which proves the contract itself. Knows no test.
An echo is a context manager that gives its `connect`; a new one is one more line in ECHOES.
"""

import asyncio
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial

import halloo
from halloo.net.answering import Answering
from halloo.net.listening import BACKLOG, listen
from halloo.net.poller import Epoll, Poller, Selector
from halloo.net.server import Server
from halloo.net.tcp import Conversation, Loop

PATIENCE = 20  # seconds without a byte after which a client gives up, and its test has failed

Connect = Callable[[], socket.socket]


class Stuttering(Selector):
    """Reports everything twice, so that each second event is stale: for a number closed, or already given anew."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        return 2 * super().poll(timeout)


@contextmanager
def looping(
    poller: Callable[[], Poller], conversation: Callable[[], Conversation | None] = lambda: None
) -> Iterator[Connect]:
    """Run halloo's own loop."""
    with Server(listen("127.0.0.1:0"), partial(Loop, poller=poller(), conversation=conversation())) as server:
        server.start()
        yield partial(connected, server.address.host, server.address.port)


@contextmanager
def public() -> Iterator[Connect]:
    """Run what a user of the library gets."""
    with halloo.serving() as server:
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
    "stale events": partial(looping, Stuttering),
    "answering raw": partial(looping, Selector, lambda: Answering(bytes, "raw", b"")),
    "serving": public,
    "asyncio": reference,
}
if hasattr(select, "epoll"):
    ECHOES["epoll"] = partial(looping, Epoll)
    ECHOES["answering raw, epoll"] = partial(looping, Epoll, lambda: Answering(bytes, "raw", b""))
