"""A client's socket over TLS, as much of one as the contract uses.

Knows ssl and select. Knows nothing of halloo: a server that is wrong must not depend on the right one. What `send` has
taken is on its way, if need be while something else waits; an ssl.SSLSocket would lose answers at its own half-close.
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


class Encrypted:
    """Wraps a connected socket; the server has a certificate for localhost."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock, self._timeout = sock, sock.gettimeout()
        sock.setblocking(False)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_hostname="localhost")
        self._unsent = memoryview(b"")
        self._unread = bytearray()
        self._lock = threading.RLock()  # never held while anybody waits
        self.fileno = sock.fileno
        self.setsockopt = sock.setsockopt
        self.gettimeout = lambda: self._timeout
        self._done(self._tls.do_handshake)
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
        return self._done(lambda: self._read(size))

    def _read(self, size: int) -> bytes:
        if not self._unread:
            return self._tls.read(size)
        piece = bytes(self._unread[:size])
        del self._unread[:size]
        return piece

    def shutdown(self, _how: int) -> None:
        """Send close_notify, and read on."""
        with self._lock:
            self._take()
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        while self._unsent and self._timeout != 0:
            with self._lock:
                self._take()
            self._wait()

    def _done(self, act: Callable[[], T]) -> T:
        """Do it, waiting for the server as often as that takes."""
        while True:
            with self._lock:
                try:
                    done = act()
                except ssl.SSLZeroReturnError:
                    return cast("T", b"")  # to a reader, the end
                except ssl.SSLWantReadError:
                    self._flush()
                    fed = self._feed()
                else:
                    self._flush()
                    return done
            if not fed:
                self._wait(reading=True)

    def _take(self) -> None:
        """Read what is there: `unwrap` would throw it away, and the server could not go on writing, and so reading."""
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
        """Wait for room to write what is unsent, and for something to read where that is wanted."""
        if self._timeout == 0:
            raise BlockingIOError
        ready = select.select([self._sock] * reading, [self._sock] * bool(self._unsent), [], self._timeout)
        if not any(ready):
            raise TimeoutError
        with self._lock:
            self._flush()
