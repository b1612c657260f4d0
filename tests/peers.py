"""Peers for client tests, correct and faulty: each accepts a connection, behaves as its name says, and closes it.

Datagram peers receive any number of datagrams from any sender.

Raw sockets and one thread, without halloo: a faulty server must not depend on the correct one. At the end is what their
tests and those of servers send, compare and do.
"""

import hashlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

import pytest

TIMEOUT = 20  # seconds


@contextmanager
def peer(*handlers: Callable[[socket.socket], object]) -> Iterator[int]:
    """Yield the port on which a thread accepts one client for each handler, in turn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT)

        def serve() -> None:
            for act in handlers:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(TIMEOUT)
                    act(connection)

        thread = threading.Thread(target=serve, name="peer")
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


@contextmanager
def silent() -> Iterator[int]:
    """Yield the port of a listener that never accepts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def full(*, room: bool = False) -> Iterator[tuple[str, int]]:
    """Yield the address of a listener with a full backlog, or with `room` for one more client (Linux)."""
    with socket.socket() as busy, socket.socket() as first:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)  # room for one
        if not room:
            first.connect(busy.getsockname())
        yield busy.getsockname()


def unused_port() -> int:
    """Return a port on which nothing listens: it was just free, and the system assigns others first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def datagram_socket() -> socket.socket:
    """Open a datagram socket on a free local port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(TIMEOUT)
    sock.bind(("127.0.0.1", 0))
    return sock


@contextmanager
def datagram_peer(answers: Callable[[bytes], Iterable[bytes]]) -> Iterator[int]:
    """Yield the port on which a thread answers each datagram with `answers(datagram)`."""
    with datagram_socket() as sock, datagram_socket() as control:

        def serve() -> None:
            while True:
                data, sender = sock.recvfrom(65536)
                if sender == control.getsockname():
                    return
                for answer in answers(data):
                    sock.sendto(answer, sender)

        thread = threading.Thread(target=serve, name="correspondent")
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            control.sendto(b"stop", sock.getsockname())
            thread.join()


@contextmanager
def datagram_flood(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Yield the port on which a thread answers the first datagram with `answer(datagram)` again and again."""
    with datagram_socket() as sock, datagram_socket() as control:
        over = threading.Event()

        def serve() -> None:
            data, sender = sock.recvfrom(65536)
            while not over.is_set():
                with suppress(ConnectionError):  # the client has closed
                    sock.sendto(answer(data), sender)

        thread = threading.Thread(target=serve, name="flood")
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            over.set()
            control.sendto(b"stop", sock.getsockname())
            thread.join()


def echo_datagram(datagram: bytes) -> list[bytes]:
    """Answer a datagram as an echo server does."""
    return [datagram]


def unused_datagram_port() -> int:
    """Return a port without a datagram socket; as for `unused_port`, it was just free."""
    with datagram_socket() as sock:
        port: int = sock.getsockname()[1]
        return port


def receive_all(connection: socket.socket) -> bytes:
    """Read to the client's end."""
    data = bytearray()
    while chunk := connection.recv(65536):
        data += chunk
    return bytes(data)


def echoing(connection: socket.socket) -> None:
    """Echo each piece, and close after the client's end."""
    while piece := connection.recv(65536):
        connection.sendall(piece)


def closing_midway(connection: socket.socket) -> None:
    """Echo two lines, and close after the third."""
    with connection.makefile("rb") as lines:
        for _ in range(2):
            connection.sendall(lines.readline())
        lines.readline()


def halving(connection: socket.socket) -> None:
    """Send back half of the client's data."""
    data = receive_all(connection)
    connection.sendall(data[: len(data) // 2])


def flooding(connection: socket.socket) -> None:
    """Send without a pause, and read nothing, until the client closes."""
    with suppress(OSError):
        while True:
            connection.sendall(b"A" * 65536)


def closing(connection: socket.socket) -> None:
    """Close after the first data."""
    connection.recv(65536)


def resetting(connection: socket.socket) -> None:
    """Read to the client's end, and reset the connection."""
    receive_all(connection)
    reset(connection)


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Send a fixed answer after the client's end."""

    def act(connection: socket.socket) -> None:
        receive_all(connection)
        connection.sendall(answer)

    return act


def reset(sock: socket.socket) -> None:
    """Reset the connection: close(2) sends RST with a linger time of 0."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0))
    sock.close()


@cache
def payload(size: int) -> bytes:
    """Make pseudo-random bytes, the same in every run: no two pieces are alike."""
    return hashlib.shake_128(b"halloo").digest(size)


def assert_same(received: bytes, sent: bytes) -> None:
    """Compare, and report the first difference: pytest would take minutes over so many bytes."""
    if received != sent:
        parting = next((at for at, (a, b) in enumerate(zip(received, sent, strict=False)) if a != b), len(received))
        pytest.fail(f"{len(received)} of {len(sent)} bytes received back, the same up to byte {parting}")
