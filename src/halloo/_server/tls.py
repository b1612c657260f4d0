"""TLS for the loop: a poller whose reads and writes are encrypted.

An incomplete record, or one that does not fit, is a BlockingIOError, so the handlers are the same as without TLS.
OpenSSL requires a retried write to offer the same bytes: the pending write keeps them.
"""

import errno
import os
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING

from halloo._server.poller import READ, WRITE, Poller

if TYPE_CHECKING:
    from halloo._server.tcp import Loop

MAX_RECORD = 16 * 1024  # bytes (RFC 8446, 5.1), and so the smallest read buffer


class TlsPoller:
    """A poller some of whose sockets are encrypted."""

    prefers_read = False
    min_read = MAX_RECORD  # with less, the rest of a record would stay inside OpenSSL, invisible to the poller

    def __init__(self, inner: Poller) -> None:
        self._inner = inner
        self._tls_sockets: dict[int, ssl.SSLSocket] = {}
        self.poll = inner.poll
        self.watch = inner.watch
        self.change = inner.change
        self.unwatch = inner.unwatch
        self.adopt = inner.adopt
        self.read = inner.read
        self.close = inner.close

    def wrap(self, sock: socket.socket, context: ssl.SSLContext) -> int:
        """Take over a socket to encrypt, as the server; `do_handshake` comes next.

        Raises ConnectionAbortedError if the client has disconnected already: wrapping would raise a less precise error.
        """
        try:
            sock.getpeername()
        except OSError as error:
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)) from error
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False)
        self._tls_sockets[wrapped.fileno()] = wrapped
        return wrapped.fileno()

    def do_handshake(self, fd: int) -> int:
        """Continue the handshake; return READ or WRITE to wait for, or 0 once it is done. Raises ssl.SSLError."""
        try:
            self._tls_sockets[fd].do_handshake()
        except ssl.SSLWantReadError:
            return READ
        except ssl.SSLWantWriteError:
            return WRITE
        return 0

    def readv(self, fd: int, buffers: Sequence[memoryview]) -> int:
        """Read into the one buffer; 0 is the peer's close_notify. Raises ssl.SSLEOFError at an end without one."""
        tls_socket = self._tls_sockets.get(fd)
        if tls_socket is None:
            return self._inner.readv(fd, buffers)
        try:
            # With a buffer it returns a count, which typeshed does not say. `recv_into` would only add checks.
            return tls_socket.read(len(buffers[0]), buffers[0])  # type: ignore[return-value]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def write(self, fd: int, data: memoryview | bytes) -> int:
        tls_socket = self._tls_sockets.get(fd)
        if tls_socket is None:
            return self._inner.write(fd, data)
        try:
            return tls_socket.write(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def close_notify(self, fd: int) -> None:
        """Send close_notify (RFC 8446, 6.1), without waiting for the peer's."""
        tls_socket = self._tls_sockets.get(fd)
        if tls_socket is None:
            return
        try:
            tls_socket.unwrap()
        except ssl.SSLWantWriteError as error:
            raise BlockingIOError from error
        except (ssl.SSLWantReadError, ValueError):
            pass  # ours is sent; the peer's is optional

    def shutdown_write(self, fd: int) -> None:
        """Shut down the sending side; nothing can be decrypted after it, so the inner poller takes the socket over."""
        tls_socket = self._tls_sockets.pop(fd, None)
        if tls_socket is not None:
            self._inner.adopt(socket.socket(tls_socket.family, tls_socket.type, tls_socket.proto, tls_socket.detach()))
        self._inner.shutdown_write(fd)

    def close_fd(self, fd: int) -> None:
        if fd in self._tls_sockets:
            self._inner.unwatch(fd)
            self.release_fd(fd)
        else:
            self._inner.close_fd(fd)

    def release_fd(self, fd: int) -> None:
        tls_socket = self._tls_sockets.pop(fd, None)
        if tls_socket is None:
            self._inner.release_fd(fd)
        else:
            tls_socket.close()


class HandshakeHandler:
    """The handler for HANDSHAKING; it puts a TlsPoller in front of the loop's poller."""

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._poller = loop.poller = TlsPoller(loop.poller)

    def wrap(self, sock: socket.socket, context: ssl.SSLContext) -> int:
        """Take over a socket to encrypt; return its descriptor."""
        return self._poller.wrap(sock, context)

    def advance(self, fd: int) -> None:
        """Continue a handshake; after invalid input the connection lingers, so that the client can read the alert."""
        try:
            wanted = self._poller.do_handshake(fd)
        except ssl.SSLError as error:
            self._loop.table.count(type(error).__name__)
            self._loop.closer.linger(fd, type(error).__name__)
        except OSError as error:
            self._loop.connection_failed(fd, error)
        else:
            if wanted:
                self._loop.poller.change(fd, wanted)
            else:
                self._loop.handshake_done(fd)
