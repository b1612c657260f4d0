"""Speak TLS over one socket, in the shape of a socket: what cannot be done at once is a BlockingIOError.

Knows ssl, threads, and how to wait. An ssl.SSLSocket would not do: it loses what is on its way when it ends its own
direction (RFC 8446, 6.1), and two threads may not use it at once. Nobody who waits to read here waits for a write of
OpenSSL's own: handshakes are waited for to their end, and renegotiation is off.
"""

import errno
import hashlib
import hmac
import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

from halloo._core.address import Address
from halloo._core.tls_options import ClientTLS, ServerTLS
from halloo._net import error_mapping
from halloo._net.readiness import Awaited, Steps, finished, moment
from halloo.errors import LocalError, Unsupported, Untrusted, UsageError

CHUNK = 64 * 1024  # bytes encrypted, or taken from the kernel, at a time


class TlsSocket:
    """A connected socket that does not block, encrypted: one thread may send while another receives.

    A `send` that met a BlockingIOError is repeated with the same bytes: some are encrypted already, and on their way.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_hostname: str | None = None) -> None:
        """Take over a socket: as the client of the named server, or as the server where no name is given."""
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_hostname is None, server_hostname=server_hostname
        )
        self._lock = threading.Lock()  # never held while anybody waits
        self._unsent = memoryview(b"")  # encrypted, and not yet taken by the kernel
        self._accepted = 0  # how many of the sender's bytes that stands for
        self._unread = bytearray()  # decrypted to make room for our end
        self._failure: ssl.SSLError | None = None  # OpenSSL tells it once, and then pretends to a clean end
        self.family = sock.family
        self.fileno = sock.fileno
        self.getpeername = sock.getpeername
        self.getsockname = sock.getsockname
        self.getsockopt = sock.getsockopt
        self.setblocking = sock.setblocking
        self.setsockopt = sock.setsockopt

    def shaking(self, until_ns: int | None) -> Steps[None]:
        """Agree with the peer, until a moment. Raises ssl.SSLError, TimeoutError, ConnectionError."""
        while not self._agreed():
            if not (yield Awaited(self._sock, bool(self._unsent), until_ns)):
                raise TimeoutError(errno.ETIMEDOUT, "the TLS handshake takes too long")

    def fingerprint(self) -> str:
        """Give the SHA-256 of the peer's certificate, empty when it has shown none."""
        shown = self._tls.getpeercert(binary_form=True)
        return fingerprint(shown) if shown else ""

    def send(self, data: bytes | memoryview, /) -> int:
        """Encrypt some of it, and give how much once the kernel has all of that."""
        with self._lock:
            if not self._accepted:
                self._accepted = self._tls.write(data[:CHUNK])
            self._flush()
            accepted, self._accepted = self._accepted, 0
            return accepted

    def recv(self, size: int, /) -> bytes:
        """Give what has come, empty after the peer's close_notify. Raises ssl.SSLEOFError for an end without one."""
        with self._lock:
            with suppress(OSError):  # no room yet; or the peer has gone, and what it left can still be read
                self._flush()
            if self._unread:
                piece = bytes(self._unread[:size])
                del self._unread[:size]
                return piece
            while True:
                try:
                    return self._read(size)
                except ssl.SSLWantReadError:
                    self._feed()

    def shutdown(self, how: int, /) -> None:
        """End our direction with close_notify, and read on (SHUT_WR); or both without a word (SHUT_RDWR)."""
        if how != socket.SHUT_WR:
            self._sock.shutdown(how)
            return
        with self._lock:
            with suppress(ssl.SSLError):  # nothing more has come
                while piece := self._read(CHUNK):  # `unwrap` would throw it away
                    self._unread += piece
            with suppress(ssl.SSLError):  # ours is said; the peer's will be found by `recv`
                self._tls.unwrap()
            self._flush()

    def close(self) -> None:
        """Close it, with close_notify if there is room for one at once."""
        with suppress(OSError):
            self.recv(CHUNK)  # a session ticket left unread would turn the close into a reset
        with suppress(OSError):
            self.shutdown(socket.SHUT_WR)
        self._sock.close()

    def _agreed(self) -> bool:
        """Take the handshake as far as it goes without waiting; whether that is its end."""
        try:
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    self._flush()
                    self._feed()
                else:
                    self._flush()
                    return True
        except BlockingIOError:
            return False
        except ssl.SSLError:
            with suppress(OSError):
                self._flush()  # the alert that tells the peer why
            raise

    def _read(self, size: int) -> bytes:
        if self._failure:
            raise self._failure
        try:
            return self._tls.read(size)
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            self._failure = error
            raise

    def _feed(self) -> None:
        """Let OpenSSL have what has come, or the end. Raises BlockingIOError when nothing has."""
        if data := self._sock.recv(CHUNK):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        """Let the kernel have what is encrypted. Raises BlockingIOError when it does not take it all."""
        while self._unsent or self._outgoing.pending:
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read())
            self._unsent = self._unsent[self._sock.send(self._unsent) :]


def securing(
    sock: socket.socket, context: ssl.SSLContext, *, until_ns: int | None, server_hostname: str | None = None
) -> Steps[TlsSocket]:
    """Shake hands. The socket is closed when that fails: ssl.SSLError, TimeoutError, ConnectionError."""
    stream = TlsSocket(sock, context, server_hostname=server_hostname)
    try:
        yield from stream.shaking(until_ns)
    except BaseException:
        sock.close()
        raise
    return stream


class TlsClient:
    """Shakes hands with the server at an address, as far as it is to be trusted."""

    def __init__(self, address: Address, tls: ClientTLS) -> None:
        """Read the files first. Raises LocalError, UsageError."""
        self._address = address
        # An address of one's own network names the interface too (fe80::1%eth0), which no certificate can.
        self._name = (address.host or "localhost").partition("%")[0]
        self._context = client_context(tls)
        self._expected = None if tls.fingerprint is None else _plain(tls.fingerprint)

    def shaking(self, sock: socket.socket, until_ns: int | None) -> Steps[socket.socket]:
        """Give the socket, encrypted. It is closed when that fails: Untrusted, TimedOut, Reset, PeerError."""
        try:
            stream = yield from securing(sock, self._context, until_ns=until_ns, server_hostname=self._name)
        except OSError as error:
            raise error_mapping.shaking(self._address, error) from error
        shown = stream.fingerprint()
        if self._expected is not None and not hmac.compare_digest(shown, self._expected):
            stream.close()
            fact = f"the certificate of {self._address.place} has another fingerprint, {shown}"
            raise Untrusted(fact, error_mapping.TRUST, address=str(self._address))
        return cast("socket.socket", stream)  # it has all of the shape that a Connection needs


class TlsServer:
    """Shakes hands with clients."""

    def __init__(self, tls: ServerTLS) -> None:
        """Read the files, or make a certificate. Raises LocalError, Unsupported."""
        self.context, self.fingerprint = server_context(tls)

    def shake(self, sock: socket.socket, peer: Address, timeout: float | None) -> socket.socket:
        """Give the socket, encrypted. It is closed when that fails: Untrusted, TimedOut, Reset, PeerError."""
        try:
            steps = securing(sock, self.context, until_ns=moment(timeout))
            return cast("socket.socket", finished(steps))  # as above
        except OSError as error:
            raise error_mapping.shaking(peer, error, trust="give --client-ca FILE") from error


def _plain(text: str) -> str:
    """Write a fingerprint as hashlib does: without colons, and small. Raises UsageError."""
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise UsageError(f"{text!r} is no fingerprint", "give the SHA-256 of the certificate, 64 hexadecimal digits")
    return digits


T = TypeVar("T")
NAMES = ("localhost", "127.0.0.1", "::1")


def server_context(files: ServerTLS) -> tuple[ssl.SSLContext, str]:
    """Make a server's context, and give the fingerprint of its certificate (SHA-256, hexadecimal).

    Raises LocalError when a file cannot be used, Unsupported when a certificate has to be made and trustme is missing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A client that only writes would meet a ticket unread at its close, and reset the connection.
    context.num_tickets = 0
    if files.client_ca:
        _load(lambda: context.load_verify_locations(files.client_ca), files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    if files.cert is None:
        return context, _throw_away(context)
    cert = files.cert
    _load(lambda: context.load_cert_chain(cert, files.key), cert)
    with open(cert, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - a path as the user wrote it
        text = file.read()
    start = text.index(ssl.PEM_HEADER)
    return context, fingerprint(
        ssl.PEM_cert_to_DER_cert(text[start : text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)])
    )


def client_context(tls: ClientTLS) -> ssl.SSLContext:
    """Make a client's context; a fingerprint is compared after the handshake, by whoever shakes hands."""
    context = _load(lambda: ssl.create_default_context(cafile=tls.ca), tls.ca or "the system's list of CAs")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if tls.insecure or tls.fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert:
        cert = tls.cert
        _load(lambda: context.load_cert_chain(cert, tls.key), cert)
    return context


def fingerprint(der: bytes) -> str:
    """Give the SHA-256 of a certificate as openssl prints it, without the colons."""
    return hashlib.sha256(der).hexdigest()


def _throw_away(context: ssl.SSLContext) -> str:
    try:
        import trustme  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        remedy = "give --cert and --key, or: pip install 'halloo[tls]'"
        raise Unsupported("making a certificate needs trustme", remedy) from None
    issued = trustme.CA().issue_cert(*NAMES)
    issued.configure_cert(context)
    return fingerprint(ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode()))


def _load(load: Callable[[], T], path: str) -> T:
    try:
        return load()
    except (OSError, ssl.SSLError) as error:
        raise LocalError(f"{path} cannot be used: {error.strerror or error}", "name a PEM file") from error
