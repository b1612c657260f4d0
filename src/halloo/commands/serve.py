"""Serve the echo: until interrupted, in the background, or on a listening socket of one's own.

Knows servers and what they report. Prints what a person who starts one wants to see, and nothing else.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from halloo.core.addresses import Address
from halloo.net.answering import Answering, Respond
from halloo.net.lines import Lines
from halloo.net.listening import AddressLike, listen
from halloo.net.server import Server, interruptible
from halloo.net.table import Snapshot
from halloo.net.tcp import Loop, Peer

Log = Literal["text", "json"]


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
    quiet: bool = False,
    log: Log = "text",
) -> ServeReport:
    """Serve all clients at once until SIGINT or SIGTERM, on loopback port 8888 when no address is given.

    Prints `listening on ADDRESS` for each address on standard output, and on a terminal `Connected by` for each client
    on standard error. The answers are the echo, or `respond(message)`; see `serving`.
    Raises PortTaken, NotPermitted, NotLocal, AddressError.
    """
    began = time.monotonic()
    note = _note(log, quiet=quiet)
    with _server(addresses, family, respond, framing, greeting, note) as server:
        server.run(ready=lambda: _announce(server.addresses))
        return ServeReport(server.addresses, time.monotonic() - began, server.snapshot())


@contextmanager
def serving(
    *addresses: AddressLike,
    respond: Respond | None = None,
    framing: str = "lines",
    greeting: bytes = b"",
    family: int | None = None,
) -> Iterator[Server]:
    """Serve in the background while a `with` block runs, listening before it begins, closed when it ends.

    `respond(message: bytes) -> bytes | None` answers instead of the echo: once a line (`framing="lines"`; the ending is
    taken off and put on the answer again), once a chunk (`"raw"`), or once a message with a length of four bytes before
    it (`"length"`). None is no answer. An exception in it closes that one connection and is logged. `greeting` is sent
    first. Without addresses a free loopback port is taken.

    >>> with serving() as server, connect(server.address) as connection:
    ...     connection.send(b"hello")
    ...     connection.receive_exactly(5)
    b'hello'
    """
    with _server(addresses or (0,), family, respond, framing, greeting, None) as running:
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
    loop = Loop([s], clients=clients, on_open=lambda peer: print("Connected by", peer[:2], flush=True))
    try:
        with interruptible(loop):
            loop.run()
        return loop.snapshot()
    finally:
        loop.shutdown()
        s.settimeout(timeout)


def _server(  # noqa: PLR0917 - the public functions hand their keywords on
    addresses: tuple[AddressLike, ...],
    family: int | None,
    respond: Respond | None,
    framing: str,
    greeting: bytes,
    note: Callable[[Peer], None] | None,
) -> Server:
    plain = respond is None and not greeting
    conversation = None if plain else Answering(respond, framing, greeting)
    return Server(listen(*addresses, family=family), partial(Loop, conversation=conversation, on_open=note))


def _announce(addresses: tuple[Address, ...]) -> None:
    with suppress(OSError):  # nobody may be there to read it; the server serves all the same
        for address in addresses:
            print(f"listening on {address}", flush=True)
        if inside_container() and all(address.loopback for address in addresses):
            print(_HINT, file=sys.stderr, flush=True)


def _note(log: Log, *, quiet: bool) -> Callable[[Peer], None] | None:
    """Choose how a client's coming is told, if it is."""
    write = Lines(2)
    if log == "json":
        return lambda peer: write(json.dumps({"event": "connected", "data": {"peer": list(peer[:2])}}))
    if quiet or not sys.stderr.isatty():
        return None
    return lambda peer: write(f"Connected by {peer[:2]}")


_HINT = "halloo: this is loopback inside a container; to be reached from outside it: halloo serve :8888"


def inside_container() -> bool:
    """Whether the usual marks of a container are there."""
    return "container" in os.environ or Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
