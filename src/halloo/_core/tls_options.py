"""What either side of TLS shows and trusts. Pure: no I/O, no clock, no randomness.

Holds paths and switches; `_net.tls` reads the files and makes contexts.
"""

import re
from dataclasses import dataclass, fields
from typing import Protocol, cast

from halloo._core import arguments
from halloo.errors import UsageError


class PathLike(Protocol):
    """A path, as os.PathLike[str]."""

    def __fspath__(self) -> str:
        """Return the path as text."""


Path = str | PathLike


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTLS:
    """The certificate that a `tls://` server shows, and the clients that it accepts.

    cert: PEM file of the certificate, with its chain; without one, a certificate is made for this process alone, which
      needs the extra `tls`.
    key: PEM file of the private key; None where `cert` holds it.
    client_ca: PEM file of the CAs that clients have to show a certificate of (mutual TLS); None accepts every client.

    Raises UsageError for contradictory settings.
    """

    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        _check_paths(self, "cert", "key", "client_ca")

    def __bool__(self) -> bool:
        return (self.cert, self.client_ca) != (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTLS:
    """What a `tls://` client trusts, the system's CAs by default, and the certificate that it shows.

    ca: PEM file of the CAs to trust instead.
    fingerprint: SHA-256 of the server's certificate, hexadecimal, which is trusted whatever its name and issuer.
    insecure: whether any certificate is trusted.
    cert: PEM file of the client's own certificate, for mutual TLS.
    key: PEM file of its private key; None where `cert` holds it.

    Raises UsageError for contradictory settings.
    """

    ca: Path | None = None
    fingerprint: str | None = None
    insecure: bool = False
    cert: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        _check_paths(self, "ca", "cert", "key")
        arguments.switches(insecure=self.insecure)
        arguments.instance("fingerprint", self.fingerprint, str, type(None), what="text or None")
        given = [name for name in ("ca", "fingerprint", "insecure") if getattr(self, name)]
        if len(given) > 1:
            raise UsageError(
                "contradicts another option", f"give {given[0]}= or {given[1]}=, not both", argument=given[1]
            )
        if self.fingerprint is not None:
            object.__setattr__(self, "fingerprint", _plain_fingerprint(self.fingerprint))

    def __bool__(self) -> bool:
        return self.insecure or (self.ca, self.fingerprint, self.cert) != (None, None, None)


def given_name(tls: object) -> str:
    """Name what a `tls=` argument asks for: `tls.cert`, or `tls` for a context; "" for None and defaults."""
    if not isinstance(tls, ServerTLS | ClientTLS):
        return "" if tls is None else "tls"
    return next((f"tls.{field.name}" for field in fields(tls) if getattr(tls, field.name)), "")


def _check_paths(options: ServerTLS | ClientTLS, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if hasattr(value, "__fspath__"):
            value = cast("PathLike", value).__fspath__()
        if value is not None:
            arguments.path(name, value)
        object.__setattr__(options, name, value)
    if options.key is not None and options.cert is None:
        raise UsageError("needs the certificate that it belongs to", "give cert= as well", argument="key")


def _plain_fingerprint(text: str) -> str:
    """Write a fingerprint as hashlib does: without colons, in lower case."""
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        remedy = "give the SHA-256 of the certificate, 64 hexadecimal digits"
        raise UsageError(f"must be a SHA-256, not {arguments.shown(text)}", remedy, argument="fingerprint")
    return digits
