"""TLS over one non-blocking socket, with a socket's methods, and the contexts for either side.

An ssl.SSLSocket would not do: it loses received data when it ends its own direction (RFC 8446, 6.1), and two threads
may not use it at once. A read never waits for a write of OpenSSL's own: the handshake is completed first, and
renegotiation is off.
"""

import errno
import hashlib
import hmac
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar, cast

from halloo._core import arguments
from halloo._core.address import Address
from halloo._core.tls_options import ClientTLS, ServerTLS
from halloo._net import error_mapping
from halloo._net.readiness import Awaited, Steps
from halloo._net.tls_errors import Untrusted
from halloo._net.tls_records import RecordFeed
from halloo.errors import LocalError, MissingFile, Unsupported, UsageError

CHUNK = 64 * 1024  # bytes encrypted, or read at a close, at a time


class TlsSocket:
    """A connected, encrypted socket that does not block; one thread may send while another receives.

    `send` may keep encrypted data that the kernel does not take: it is `pending` until further calls have passed it on.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_hostname: str | None = None) -> None:
        """Take over a socket: as the client of `server_hostname`, or as a server without one."""
        self.plain = self._sock = sock
        incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._records = RecordFeed(sock.recv, incoming)
        self._tls = context.wrap_bio(
            incoming, self._outgoing, server_side=server_hostname is None, server_hostname=server_hostname
        )
        self._lock = threading.Lock()  # never held during a wait
        self._unsent = memoryview(b"")  # encrypted, not yet handed to the kernel
        self._unread = bytearray()  # decrypted by `shutdown`
        self._failure: ssl.SSLError | None = None  # OpenSSL reports it once, then a clean end
        self.family = sock.family
        self.fileno = sock.fileno
        self.getpeername = sock.getpeername
        self.getsockname = sock.getsockname
        self.getsockopt = sock.getsockopt
        self.setblocking = sock.setblocking
        self.setsockopt = sock.setsockopt

    def shaking(self, until_ns: int | None) -> Steps[None]:
        """Do the handshake, until a time. Raises ssl.SSLError, TimeoutError, ConnectionError."""
        while not self._handshake():
            if not (yield Awaited([self._sock], bool(self._unsent), until_ns)):
                raise TimeoutError(errno.ETIMEDOUT, "the TLS handshake takes too long")

    def fingerprint(self) -> str:
        shown = self._tls.getpeercert(binary_form=True)
        return fingerprint(shown) if shown else ""

    def pending(self) -> bool:
        return bool(self._unsent or self._outgoing.pending)

    def send(self, data: bytes | memoryview, /) -> int:
        """Encrypt some of `data`, and return how much. Raises BlockingIOError while earlier data is pending."""
        with self._lock:
            self._flush()
            accepted = self._tls.write(data[:CHUNK]) if data else 0
            with suppress(BlockingIOError):
                self._flush()
            return accepted

    def recv(self, size: int, /) -> bytes:
        """Return received data, empty after the peer's close_notify. Raises ssl.SSLEOFError for an end without one."""
        with self._lock:
            with suppress(OSError):  # no room yet; or the peer has gone, and its data can still be read
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
        """End our direction with close_notify, and read on (SHUT_WR); or both without one (SHUT_RDWR)."""
        if how != socket.SHUT_WR:
            self._sock.shutdown(how)
            return
        with self._lock:
            with suppress(ssl.SSLError):  # nothing more to read
                while piece := self._read(CHUNK):  # `unwrap` would throw it away
                    self._unread += piece
            with suppress(ssl.SSLError):  # ours is sent; the peer's is for `recv` to find
                self._tls.unwrap()
            self._flush()

    def close(self) -> None:
        """Close, with close_notify if the kernel takes it at once."""
        with suppress(OSError):
            self.recv(CHUNK)  # a session ticket left unread would turn the close into a reset
        with suppress(OSError):
            self.shutdown(socket.SHUT_WR)
        self._sock.close()

    def _handshake(self) -> bool:
        """Take the handshake as far as it goes without waiting; return whether it is complete."""
        try:
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    self._flush()
                    self._feed()
                else:
                    self._records.without_data = 0
                    self._flush()
                    return True
        except BlockingIOError:
            return False
        except ssl.SSLError:
            with suppress(OSError):
                self._flush()  # the alert that gives the reason
            raise

    def _read(self, size: int) -> bytes:
        if self._failure:
            raise self._failure
        try:
            data = self._tls.read(size)
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            self._failure = error
            raise
        self._records.without_data = 0
        return data

    def _feed(self) -> None:
        """Pass the next record on. Raises BlockingIOError when there is none, ssl.SSLEOFError, TooManyRecords."""
        try:
            self._records.feed()
        except ssl.SSLError as error:
            self._failure = error
            raise

    def _flush(self) -> None:
        """Pass encrypted data to the kernel. Raises BlockingIOError when it does not take it all."""
        while self.pending():
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read())
            self._unsent = self._unsent[self._sock.send(self._unsent) :]


def securing(
    sock: socket.socket, context: ssl.SSLContext, *, until_ns: int | None, server_hostname: str | None = None
) -> Steps[TlsSocket]:
    """Do the handshake; the socket is closed when it fails. Raises ssl.SSLError, TimeoutError, ConnectionError."""
    stream = TlsSocket(sock, context, server_hostname=server_hostname)
    try:
        yield from stream.shaking(until_ns)
    except BaseException:
        sock.close()
        raise
    return stream


class TlsClient:
    """The client's side of the handshake with the server at an address."""

    def __init__(self, address: Address, tls: ClientTLS | ssl.SSLContext) -> None:
        self._address = address
        # A link-local address names its interface too (fe80::1%eth0), which no certificate can.
        self._name = (address.host or "localhost").partition("%")[0]
        self._context = client_context(tls)
        self._expected = tls.fingerprint if isinstance(tls, ClientTLS) else None

    def shaking(self, sock: socket.socket, until_ns: int | None) -> Steps[socket.socket]:
        """Return the socket, encrypted; it is closed on failure. Raises Untrusted, TlsError, TimedOut, Reset."""
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
    """The server's side of the handshake, and what clients may know of its certificate.

    `fingerprint` is the SHA-256 of the certificate, hexadecimal, and `ca_pem` what a client may trust to verify it, as
    PEM; both are None where the certificate is in an ssl.SSLContext, which does not show it.
    """

    def __init__(self, tls: ServerTLS | ssl.SSLContext, load: "LoadOwn | None" = None) -> None:
        """Read the files, or make a certificate unless `load` has one.

        Raises LocalError, MissingFile, Unsupported, UsageError.
        """
        self.fingerprint: str | None = None
        self.ca_pem: bytes | None = None
        self._tls = tls
        if isinstance(tls, ssl.SSLContext):
            self.context = _for_role(tls, ssl.PROTOCOL_TLS_SERVER, "servers")
            return
        arguments.instance("tls", tls, ServerTLS, what="ServerTLS or an ssl.SSLContext")
        context = self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        # A client that only writes would meet a ticket unread at its close, and reset the connection.
        context.num_tickets = 0
        if tls.client_ca:
            _load("client_ca", lambda: context.load_verify_locations(str(tls.client_ca)), tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        self._load_own = load or (partial(_load_own, tls) if tls.cert else _make_own())
        pem, self.ca_pem = self._load_own(context)
        start, end = pem.index(ssl.PEM_HEADER), pem.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)
        self.fingerprint = fingerprint(ssl.PEM_cert_to_DER_cert(pem[start:end]))

    def reloaded(self) -> "TlsServer":
        """Read the files again; a certificate that was made stays. Raises LocalError, MissingFile."""
        return TlsServer(self._tls, self._load_own)

    def shaking(self, sock: socket.socket, peer: Address, until_ns: int | None) -> Steps[socket.socket]:
        """Return the socket, encrypted; it is closed on failure. Raises Untrusted, TlsError, TimedOut, Reset."""
        try:
            stream = yield from securing(sock, self.context, until_ns=until_ns)
        except OSError as error:
            raise error_mapping.shaking(peer, error, trust="give client_ca=") from error
        return cast("socket.socket", stream)  # as above

    def client_context(self) -> ssl.SSLContext:
        """Make a context for clients that trusts this server's certificate and no other. Raises UsageError."""
        if self.ca_pem is None:
            raise UsageError("the certificate in an ssl.SSLContext is not known", "make the client's context yourself")
        context = ssl.create_default_context(cadata=self.ca_pem.decode(errors="replace"))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is enough, without its CA
        return context


T = TypeVar("T")
LoadOwn = Callable[[ssl.SSLContext], tuple[str, bytes]]  # returns the certificate as PEM, and what to trust
NAMES = ("localhost", "127.0.0.1", "::1")


def client_context(tls: ClientTLS | ssl.SSLContext) -> ssl.SSLContext:
    """Make a client's context; a fingerprint is compared after the handshake."""
    if isinstance(tls, ssl.SSLContext):
        return _for_role(tls, ssl.PROTOCOL_TLS_CLIENT, "clients")
    arguments.instance("tls", tls, ClientTLS, what="ClientTLS or an ssl.SSLContext")
    ca = None if tls.ca is None else str(tls.ca)
    context = _load("ca", lambda: ssl.create_default_context(cafile=ca), ca or "the system's list of CAs")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if tls.insecure or tls.fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert:
        _load_chain(context, tls)
    return context


def fingerprint(der: bytes) -> str:
    """Return the SHA-256 of a certificate as openssl prints it, without the colons."""
    return hashlib.sha256(der).hexdigest()


def _for_role(context: ssl.SSLContext, protocol: int, role: str) -> ssl.SSLContext:
    if context.protocol not in (protocol, ssl.PROTOCOL_TLS):
        raise UsageError(
            f"is an ssl.SSLContext that is not for {role}", f"use {role[:-1]}-side settings", argument="tls"
        )
    return context


def _load_own(tls: ServerTLS, context: ssl.SSLContext) -> tuple[str, bytes]:
    """Load the certificate; return its PEM twice: it is its own trust anchor."""
    _load_chain(context, tls)
    with open(str(tls.cert), "rb") as file:  # noqa: PTH123 - a path as the user wrote it
        pem = file.read()
    return pem.decode("ascii", errors="replace"), pem


def _make_own() -> LoadOwn:
    try:
        import trustme  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        remedy = "give cert= and key=, or: pip install trustme"
        raise Unsupported("making a certificate needs trustme", remedy) from None
    ca = trustme.CA()
    issued = ca.issue_cert(*NAMES)

    def load(context: ssl.SSLContext) -> tuple[str, bytes]:
        issued.configure_cert(context)
        return issued.cert_chain_pems[0].bytes().decode(), ca.cert_pem.bytes()

    return load


def _load_chain(context: ssl.SSLContext, tls: ServerTLS | ClientTLS) -> None:
    key = None if tls.key is None else str(tls.key)
    alone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # shows which of the two files is at fault
    _load("cert", lambda: alone.load_verify_locations(str(tls.cert)), tls.cert)
    path = tls.cert if key is None else key

    def encrypted() -> str:
        raise LocalError(f"the key in {path} is encrypted", "remove its pass phrase with: openssl pkey")

    # Without a callback, OpenSSL would ask for the pass phrase at the terminal.
    _load("key", lambda: context.load_cert_chain(str(tls.cert), key, encrypted), path, lacking="no private key in it")


_REASONS = {
    "NO_CERTIFICATE_OR_CRL_FOUND": "no certificate in it",
    "KEY_VALUES_MISMATCH": "its key is not that of the certificate",
}


def _load(argument: str, load: Callable[[], T], path: object, *, lacking: str = "no certificate in it") -> T:
    try:
        return load()
    except FileNotFoundError as error:
        raise MissingFile(f"{path} does not exist", f"name a PEM file with {argument}=", errno=error.errno) from error
    except LocalError:  # an encrypted key
        raise
    except OSError as error:
        reason, number = error.strerror or str(error), error.errno
        if isinstance(error, ssl.SSLError):  # whose text has OpenSSL's names and lines of Python's source
            number = None  # it is OpenSSL's own
            reason = _REASONS.get(error.reason or "", error.reason or lacking).replace("_", " ")
        fact = f"{path} cannot be used: {reason.lower()}"
        raise LocalError(fact, f"name a PEM file with {argument}=", errno=number) from error
