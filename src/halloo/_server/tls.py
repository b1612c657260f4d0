"""Speak TLS for the loop: the same reads and writes, encrypted on the way.

Knows ssl and the poller below. A record that is not whole yet, or does not fit, is a BlockingIOError like any other, so
the acts need not know. A retried write gives the same bytes, as OpenSSL wants: a debt keeps them.
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

RECORD = 16 * 1024  # bytes of a record at most (RFC 8446, 5.1), and so of one read at least


class TlsPoller:
    """A poller some of whose sockets are encrypted; it has the shape of any other."""

    small = False
    least = RECORD  # the rest of a record would stay inside OpenSSL, where no poller sees it

    def __init__(self, below: Poller) -> None:
        """Stand on another poller."""
        self._below = below
        self._secured: dict[int, ssl.SSLSocket] = {}
        self.poll = below.poll
        self.watch = below.watch
        self.change = below.change
        self.forget = below.forget
        self.adopt = below.adopt
        self.read = below.read
        self.in_flight = below.in_flight
        self.close = below.close

    def secure(self, sock: socket.socket, context: ssl.SSLContext) -> int:
        """Take a socket over that is to be encrypted, as the server's end; `shake` comes next.

        Raises ConnectionAbortedError when the client has gone already, which wrapping would tell less well.
        """
        try:
            sock.getpeername()
        except OSError as error:
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)) from error
        secured = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False)
        self._secured[secured.fileno()] = secured
        return secured.fileno()

    def shake(self, fd: int) -> int:
        """Go on with the handshake; give what it waits for, READ or WRITE, or 0 after it. Raises ssl.SSLError."""
        try:
            self._secured[fd].do_handshake()
        except ssl.SSLWantReadError:
            return READ
        except ssl.SSLWantWriteError:
            return WRITE
        return 0

    def readv(self, fd: int, buffers: Sequence[memoryview]) -> int:
        """Read into the one buffer; 0 is the peer's close_notify. Raises ssl.SSLEOFError for an end without one."""
        secured = self._secured.get(fd)
        if secured is None:
            return self._below.readv(fd, buffers)
        try:
            # With a buffer it gives a count, which typeshed does not say. `recv_into` would only ask more questions.
            return secured.read(len(buffers[0]), buffers[0])  # type: ignore[return-value]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def write(self, fd: int, data: memoryview | bytes) -> int:
        """Write all of a record or nothing."""
        secured = self._secured.get(fd)
        if secured is None:
            return self._below.write(fd, data)
        try:
            return secured.write(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def close_notify(self, fd: int) -> None:
        """Send close_notify (RFC 8446, 6.1); the peer's is not waited for."""
        secured = self._secured.get(fd)
        if secured is None:
            return
        try:
            secured.unwrap()
        except ssl.SSLWantWriteError as error:
            raise BlockingIOError from error
        except (ssl.SSLWantReadError, ValueError):
            pass  # ours is sent; the peer's may come or not

    def shutdown_write(self, fd: int) -> None:
        """Send our end; nothing can be decrypted after it, so from now on the socket is the poller's below."""
        secured = self._secured.pop(fd, None)
        if secured is not None:
            self._below.adopt(socket.socket(secured.family, secured.type, secured.proto, secured.detach()))
        self._below.shutdown_write(fd)

    def close_fd(self, fd: int) -> None:
        """Close a socket of either kind."""
        secured = self._secured.pop(fd, None)
        if secured is None:
            self._below.close_fd(fd)
        else:
            self._below.forget(fd)
            secured.close()


class Handshakes:
    """The act SHAKING, and the change of a loop's poller that makes encrypted connections look like any other."""

    def __init__(self, loop: "Loop") -> None:
        """Put TLS between a loop and its poller."""
        self._loop = loop
        self._secure = loop.poller = TlsPoller(loop.poller)

    def begin(self, sock: socket.socket, context: ssl.SSLContext) -> int:
        """Take over a socket that is to be encrypted, and give its descriptor."""
        return self._secure.secure(sock, context)

    def act(self, fd: int) -> None:
        """Go on with a handshake; what is no TLS gets an alert, which leaving lets it read."""
        try:
            wanted = self._secure.shake(fd)
        except ssl.SSLError as error:
            self._loop.table.count(type(error).__name__)
            self._loop.closer.linger(fd, type(error).__name__)
        except OSError as error:
            self._loop.lose(fd, error)
        else:
            if wanted:
                self._loop.poller.change(fd, wanted)
            else:
                self._loop.handshake_done(fd)
