"""State what either end of TLS shows, and whom it believes. Pure: no I/O, no clock, no randomness.

Knows the names of files. Knows no certificate: `net.certificates` reads or makes them.
"""

from dataclasses import dataclass

from halloo.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTLS:
    """What a server shows, and what it asks of its clients: paths of PEM files; without `cert` one is made."""

    cert: str | None = None
    key: str | None = None
    client_ca: str | None = None

    def __post_init__(self) -> None:
        _owned(self.cert, self.key)

    def __bool__(self) -> bool:
        return (self.cert, self.client_ca) != (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTLS:
    """What a client believes, and what it shows: a CA's file, a fingerprint, or anything at all; a certificate."""

    ca: str | None = None
    fingerprint: str | None = None
    insecure: bool = False
    cert: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        _owned(self.cert, self.key)

    def __bool__(self) -> bool:
        return self.insecure or (self.ca, self.fingerprint, self.cert) != (None, None, None)


def _owned(cert: str | None, key: str | None) -> None:
    if key is not None and cert is None:
        raise UsageError("a key without its certificate", "add --cert FILE")
