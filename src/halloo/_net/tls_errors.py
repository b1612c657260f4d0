"""The errors of TLS, apart from the others: they are kin of ssl.SSLError, and ssl is slow to import."""

import ssl

from halloo.errors import PeerError


class TlsError(PeerError, ssl.SSLError):
    """The TLS handshake or a record failed."""


class Untrusted(TlsError, ssl.SSLCertVerificationError):  # noqa: N818 - as in errors
    """One side does not trust the other's certificate, or was shown none."""
