"""Floods, each in a process of its own: `python -m bench.soak.floods NAME PORT COUNT`. Prints what it did as JSON.

Each is bounded by its count, and by FLOOD_SECONDS.
"""

from __future__ import annotations

import _ssl
import contextlib
import ctypes
import json
import os
import socket
import ssl
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from bench.soak.clients import RESET
from bench.soak.server import DENIED

if TYPE_CHECKING:
    from collections.abc import Callable

FLOOD_SECONDS = 20
DATAGRAM = 64  # bytes
BURST = 20  # datagrams, and a pause after them: 10 000 a second, which any server can answer
BURST_SECONDS = 0.002
POINTER = ctypes.sizeof(ctypes.c_void_p)


def resets(port: int, count: int) -> Counter[str]:
    """Connect, send a little, and reset at once."""
    done: Counter[str] = Counter()
    for _ in range(count):
        with socket.socket() as sock:
            sock.settimeout(FLOOD_SECONDS)
            sock.connect(("127.0.0.1", port))
            sock.send(b"x" * 100)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        done["connections"] += 1
        done["offered"] += 100
    return done


def half_closes(port: int, count: int) -> Counter[str]:
    """Connect, half-close without a byte, and wait for the server's end."""
    done: Counter[str] = Counter()
    for _ in range(count):
        done["connections"] += 1
        with contextlib.suppress(ConnectionError), socket.socket() as sock:  # its worker was killed
            sock.settimeout(FLOOD_SECONDS)
            sock.connect(("127.0.0.1", port))
            sock.shutdown(socket.SHUT_WR)
            done["wrong"] += bool(sock.recv(1))
    return done


def no_reader(port: int, count: int) -> Counter[str]:
    """Send as much as the server takes without reading, on some connections at once, and reset."""
    done: Counter[str] = Counter()
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    end = time.monotonic() + 1
    while time.monotonic() < end:
        for sock in socks:
            with contextlib.suppress(OSError):
                done["offered"] += sock.send(bytes(1 << 16), socket.MSG_DONTWAIT)
        time.sleep(0.005)
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()
    return done + Counter(connections=count)


def denied(port: int, count: int) -> Counter[str]:
    """Connect from a denied address; each connection must end without a byte."""
    done: Counter[str] = Counter()
    for _ in range(count):
        with socket.socket() as sock:
            sock.settimeout(FLOOD_SECONDS)
            sock.bind((DENIED, 0))
            sock.connect(("127.0.0.1", port))
            try:
                done["wrong" if sock.recv(1) else "denied"] += 1
            except ConnectionError:  # its worker was killed
                done["cut"] += 1
    return done


def datagrams(port: int, count: int, source: str = "127.0.0.1") -> Counter[str]:
    """Send datagrams at a bounded rate, and compare each reply with what was sent."""
    done: Counter[str] = Counter()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
        body = os.urandom(DATAGRAM - 8)
        for number in range(count):
            sock.send(number.to_bytes(8, "big") + body)
            if number % BURST == BURST - 1:
                done += receive_datagrams(sock, body, 0, count)
                time.sleep(BURST_SECONDS)
        done += receive_datagrams(sock, body, 0.5, count)
    return done + Counter(datagrams=count)


def receive_datagrams(sock: socket.socket, body: bytes, seconds: float, count: int) -> Counter[str]:
    """Receive until nothing has come for so many seconds."""
    found: Counter[str] = Counter()
    sock.settimeout(seconds)
    with contextlib.suppress(BlockingIOError, TimeoutError):
        while True:
            data = sock.recv(65_536)
            right = data[8:] == body and int.from_bytes(data[:8], "big") < count
            found["replies" if right else "wrong"] += 1
    return found


def denied_datagrams(port: int, count: int) -> Counter[str]:
    """Send datagrams from a denied address; none may be answered."""
    done = datagrams(port, count, DENIED)
    return Counter(denied_datagrams=count, wrong=done["replies"] + done["wrong"])


def key_updates(port: int, count: int) -> Counter[str]:
    """Send TLS 1.3 KeyUpdate records at once (RFC 8446, 4.6.3), until the server closes."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    with socket.create_connection(("127.0.0.1", port), timeout=FLOOD_SECONDS) as sock:
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65_536))
        write_key_updates(tls, count)
        with contextlib.suppress(OSError):  # the server may close at any record
            sock.sendall(outgoing.read())
            while sock.recv(65_536):
                pass
    return Counter(connections=1, key_updates=count)


def write_key_updates(tls: ssl.SSLObject, count: int) -> None:
    """Write them to the outgoing BIO; the ssl module has no name for OpenSSL's SSL_key_update."""
    key_update = ctypes.CDLL(_ssl.__file__).SSL_key_update
    key_update.argtypes, key_update.restype = (ctypes.c_void_p, ctypes.c_int), ctypes.c_int
    # PySSLSocket in CPython's Modules/_ssl.c: the header of an object, then Socket, ssl and ctx.
    fields = id(tls._sslobj) + object.__basicsize__  # type: ignore[attr-defined]  # noqa: SLF001  # no public name
    assert ctypes.c_void_p.from_address(fields + 2 * POINTER).value == id(tls.context)  # noqa: S101  # see above
    connection = ctypes.c_void_p.from_address(fields + POINTER).value
    for _ in range(count):
        key_update(connection, 0)
        tls.do_handshake()


# Name -> function, the scheme of the port, and the count of one flood.
FLOODS: dict[str, tuple[Callable[[int, int], Counter[str]], str, int]] = {
    "resets": (resets, "tcp", 1000),
    "half-closes": (half_closes, "tcp", 500),
    "no reader": (no_reader, "tcp", 20),
    "denied flood": (denied, "tcp", 500),
    "datagram flood": (datagrams, "udp", 10_000),
    "denied datagrams": (denied_datagrams, "udp", 10_000),
    "KeyUpdates": (key_updates, "tls", 20_000),
}

if __name__ == "__main__":
    try:
        print(json.dumps(FLOODS[sys.argv[1]][0](int(sys.argv[2]), int(sys.argv[3]))))
    except OSError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(1)
