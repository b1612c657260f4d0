"""Make TLS contexts for either end: from files, or with a throw-away certificate known by its fingerprint.

Knows ssl, and trustme where a certificate has to be made. TLS 1.2 and newer; ALPN is left alone.
"""

import hashlib
import ssl
from collections.abc import Callable
from typing import TypeVar

from halloo.core.trust import Certificates, Trust
from halloo.errors import LocalError, Unsupported

T = TypeVar("T")
NAMES = ("localhost", "127.0.0.1", "::1")


def server_context(files: Certificates) -> tuple[ssl.SSLContext, str]:
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


def client_context(trust: Trust) -> ssl.SSLContext:
    """Make a client's context; a fingerprint is compared after the handshake, by whoever shakes hands."""
    context = _load(lambda: ssl.create_default_context(cafile=trust.ca), trust.ca or "the system's list of CAs")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if trust.insecure or trust.fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if trust.cert:
        cert = trust.cert
        _load(lambda: context.load_cert_chain(cert, trust.key), cert)
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
