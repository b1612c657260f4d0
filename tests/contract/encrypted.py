"""A client socket over TLS, with the methods that the contract uses.

Uses ssl and select and no part of halloo: a faulty server must not depend on the correct one. Data that `send` has
taken will be sent, if necessary while another call waits; an ssl.SSLSocket would lose answers at its half-close.
"""

import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TypeVar, cast

T = TypeVar("T")

RECORD = 16 * 1024


class TlsSocket:
    """Wraps a connected socket; the server has a certificate for localhost."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock, self._timeout = sock, sock.gettimeout()
        sock.setblocking(False)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_hostname="localhost")
        self._unsent = memoryview(b"")
        self._unread = bytearray()
        self._lock = threading.RLock()  # never held while waiting
        self.fileno = sock.fileno
        self.setsockopt = sock.setsockopt
        self.gettimeout = lambda: self._timeout
        self._retry(self._tls.do_handshake)
        while self._unsent:
            self._wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def setblocking(self, blocking: bool) -> None:
        self._timeout = None if blocking else 0.0

    def close(self) -> None:
        self._sock.close()

    def send(self, data: bytes | memoryview) -> int:
        while True:
            with self._lock:
                self._flush()
                if not self._unsent:
                    taken = self._tls.write(data[:RECORD])
                    self._flush()
                    return taken
            self._wait()

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self.send(rest) :]

    def recv(self, size: int) -> bytes:
        return self._retry(lambda: self._read(size))

    def _read(self, size: int) -> bytes:
        if not self._unread:
            return self._tls.read(size)
        piece = bytes(self._unread[:size])
        del self._unread[:size]
        return piece

    def shutdown(self, _how: int) -> None:
        """Send close_notify; reading goes on."""
        with self._lock:
            self._read_available()
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        while self._unsent and self._timeout != 0:
            with self._lock:
                self._read_available()
            self._wait()

    def _retry(self, act: Callable[[], T]) -> T:
        """Call an operation, waiting for the server as often as needed."""
        while True:
            with self._lock:
                try:
                    done = act()
                except ssl.SSLZeroReturnError:
                    return cast("T", b"")  # the end of the stream
                except ssl.SSLWantReadError:
                    self._flush()
                    fed = self._feed()
                else:
                    self._flush()
                    return done
            if not fed:
                self._wait(reading=True)

    def _read_available(self) -> None:
        """Read the available data: `unwrap` would discard it, and the server could not go on writing."""
        more = True
        while more:
            with suppress(ssl.SSLError):
                while piece := self._tls.read(RECORD):
                    self._unread += piece
            more = self._feed()

    def _flush(self) -> None:
        if self._goes.pending:
            self._unsent = memoryview(bytes(self._unsent) + self._goes.read())
        with suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]

    def _feed(self) -> bool:
        try:
            data = self._sock.recv(4 * RECORD)
        except BlockingIOError:
            return False
        if data:
            self._came.write(data)
        else:
            self._came.write_eof()
        return bool(data)

    def _wait(self, *, reading: bool = False) -> None:
        """Wait for room to send pending data, or for data to read if that is wanted."""
        if self._timeout == 0:
            raise BlockingIOError
        ready = select.select([self._sock] * reading, [self._sock] * bool(self._unsent), [], self._timeout)
        if not any(ready):
            raise TimeoutError
        with self._lock:
            self._flush()
