"""Peers that a client may meet, good and bad: each takes a connection, does as its name says, and closes it.

Those of datagrams take as many as come, from anybody.

Knows raw sockets and one thread. Knows nothing of halloo: a server that is wrong must not depend on the right one.
"""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

PATIENCE = 20  # seconds; a peer that waits longer than that waits for nothing


@contextmanager
def peer(*acts: Callable[[socket.socket], object]) -> Iterator[int]:
    """Give the port on which a thread takes one client for each act, in turn, acts, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def serve() -> None:
            for act in acts:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(PATIENCE)
                    act(connection)

        thread = threading.Thread(target=serve, name="peer")
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


@contextmanager
def silent() -> Iterator[int]:
    """Give the port of a peer that says nothing: clients reach its queue, but nobody takes them from it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def full(*, room: bool = False) -> Iterator[tuple[str, int]]:
    """Give the address of a server that lets nobody in, or with `room` one client, and is silent: as Linux has it."""
    with socket.socket() as busy, socket.socket() as first:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)  # room for one
        if not room:
            first.connect(busy.getsockname())
        yield busy.getsockname()


def unused_port() -> int:
    """Give a port on which nothing listens: it was free a moment ago, and the system hands out others first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def mailbox() -> socket.socket:
    """Open a socket for datagrams, on a free port of this machine."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.bind(("127.0.0.1", 0))
    return sock


@contextmanager
def correspondent(answers: Callable[[bytes], Iterable[bytes]]) -> Iterator[int]:
    """Give the port on which a thread sends back, for each datagram, what `answers` makes of it."""
    with mailbox() as sock, mailbox() as caller:

        def serve() -> None:
            while True:
                data, sender = sock.recvfrom(65536)
                if sender == caller.getsockname():
                    return
                for answer in answers(data):
                    sock.sendto(answer, sender)

        thread = threading.Thread(target=serve, name="correspondent")
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            caller.sendto(b"that is all", sock.getsockname())
            thread.join()


def once(datagram: bytes) -> list[bytes]:
    """Answer a datagram as an echo does."""
    return [datagram]


def unused_datagram_port() -> int:
    """Give a port that no datagram reaches anybody on: it was free a moment ago, as for `unused_port`."""
    with mailbox() as sock:
        port: int = sock.getsockname()[1]
        return port


def everything(connection: socket.socket) -> bytes:
    """Read to the client's end."""
    pieces = bytearray()
    while piece := connection.recv(65536):
        pieces += piece
    return bytes(pieces)


def echoing(connection: socket.socket) -> None:
    """Send back each piece, and close after the client's end."""
    while piece := connection.recv(65536):
        connection.sendall(piece)


def hanging_up_midway(connection: socket.socket) -> None:
    """Send back two lines, and close after the third."""
    with connection.makefile("rb") as lines:
        for _ in range(2):
            connection.sendall(lines.readline())
        lines.readline()


def halving(connection: socket.socket) -> None:
    """Send back half of what the client sent."""
    data = everything(connection)
    connection.sendall(data[: len(data) // 2])


def closing(connection: socket.socket) -> None:
    """Close as soon as something came."""
    connection.recv(65536)


def resetting(connection: socket.socket) -> None:
    """Read to the client's end, and answer with a reset."""
    everything(connection)
    linger_not_at_all = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not_at_all)


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Send the answer after the client's end, whatever it sent."""

    def act(connection: socket.socket) -> None:
        everything(connection)
        connection.sendall(answer)

    return act
