"""Put the system's errors into halloo's words: an errno becomes a class, a sentence and a next step.

Knows errno(3), getaddrinfo(3) and OpenSSL's reasons. Knows no socket: the caller says which address it was about.
"""

import errno
import os
import socket
from dataclasses import replace

from halloo._core.address import Address
from halloo.errors import (
    AddressError,
    AddressNotAvailable,
    HallooError,
    IncompleteRead,
    LocalError,
    NotPermitted,
    PeerError,
    Refused,
    Reset,
    TimedOut,
    UnknownHost,
    Unreachable,
    Untrusted,
)

Words = tuple[type[HallooError], str, str]

LOOK = "look at the server's own messages"
SILENT = "check that an echo is there, and any firewall between; or allow more time with -W"
TRUST = "give --ca FILE, --fingerprint HEX, or --insecure"
_CONNECTING: dict[int, Words] = {
    errno.ECONNREFUSED: (Refused, "nothing is listening on {place} (connection refused)", "{start}"),
    errno.ENOENT: (Refused, "nothing is listening on {place} (no such file)", "{start}"),
    errno.EAGAIN: (TimedOut, "{place} lets nobody in (its queue is full)", LOOK),  # only connect(2) on a Unix socket
    errno.ECONNRESET: (Reset, "{place} ended the connection with a reset", LOOK),
    errno.EPIPE: (Reset, "{place} has closed the connection", LOOK),
    errno.ECONNABORTED: (Reset, "the connection to {place} was aborted", LOOK),
    errno.ETIMEDOUT: (TimedOut, "{place} does not answer (timed out)", "check the address and any firewall between"),
    errno.EHOSTUNREACH: (Unreachable, "{place} cannot be reached (no route to host)", "check the address"),
    errno.ENETUNREACH: (Unreachable, "{place} cannot be reached (network is unreachable)", "{family}"),
    errno.EADDRNOTAVAIL: (Unreachable, "{place} cannot be reached from here (address not available)", "{family}"),
    errno.EACCES: (NotPermitted, "connecting to {place} is not permitted", "{permission}"),
    errno.EPERM: (NotPermitted, "connecting to {place} is not permitted", "{permission}"),
}

_PLAIN: Words = (PeerError, "{place} does not speak TLS", "use tcp://")
_UNASKED: Words = (Untrusted, "{place} wants a certificate of ours", "add --cert FILE --key FILE")
_UNBELIEVED: Words = (Untrusted, "{place} does not accept our certificate ({reason})", "ask which one it trusts")
_SECURING: dict[str, Words] = {
    "CERTIFICATE_VERIFY_FAILED": (Untrusted, "the certificate of {place} is not trusted ({reason})", "{trust}"),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (Untrusted, "{place} shows no certificate", "it has to"),
    "UNEXPECTED_EOF_WHILE_READING": (
        IncompleteRead,
        "{place} broke off without TLS's goodbye; bytes may be missing",
        LOOK,
    ),
    "HTTP_REQUEST": _PLAIN,
    "UNEXPECTED_MESSAGE": _PLAIN,  # our own ClientHello: a plain echo
    "WRONG_VERSION_NUMBER": _PLAIN,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _UNASKED,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (PeerError, "{place} refuses our TLS", "perhaps it wants --cert FILE --key FILE"),
    "SSLV3_ALERT_BAD_CERTIFICATE": _UNBELIEVED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _UNBELIEVED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _UNBELIEVED,
    "TLSV1_ALERT_UNKNOWN_CA": _UNBELIEVED,
}
_SSL_EOF = 8  # SSL_ERROR_EOF, Python's own: OpenSSL 1.1 gives no reason with it


def unknown(address: Address, error: socket.gaierror | UnicodeError) -> UnknownHost:
    """Say that a name has no address, or is none."""
    number = error.errno if isinstance(error, socket.gaierror) else socket.EAI_NONAME
    reason = "try again later" if number == socket.EAI_AGAIN else "check the spelling, or give an IP address"
    return UnknownHost(
        f"no address is known for {address.host or 'localhost'!r}", reason, address=str(address), errno=number
    )


def unresolved(address: Address) -> TimedOut:
    """Say that the resolver takes too long."""
    fact = f"the resolver does not say where {address.host or 'localhost'!r} is (timed out)"
    return TimedOut(fact, "try again later, or give an IP address", address=str(address), errno=errno.ETIMEDOUT)


def connecting(address: Address, error: OSError) -> HallooError:
    """Say why a connection failed, or ended."""
    if hasattr(error, "library"):  # an ssl.SSLError, whose errno means something else
        return _sentence(address, error, _secured(error))
    kind = TimedOut if isinstance(error, TimeoutError) else PeerError
    return _sentence(address, error, _CONNECTING.get(error.errno or 0, (kind, "{place} failed: {reason}", "")))


def shaking(address: Address, error: OSError, *, trust: str = TRUST) -> HallooError:
    """Say why a TLS handshake failed; `trust` is the next step where the peer's certificate was not believed."""
    remedy = "perhaps it does not speak TLS: use tcp://"
    if isinstance(error, TimeoutError):
        return _sentence(address, error, (TimedOut, "{place} does not finish the TLS handshake in time", remedy))
    if isinstance(error, ConnectionError):
        return _sentence(address, error, (Reset, "{place} ended the connection in the TLS handshake", remedy))
    kind, fact, step = _secured(error)
    if kind is IncompleteRead:
        kind, fact, step = IncompleteRead, "{place} ended the connection in the TLS handshake", remedy
    return _sentence(address, error, (kind, fact, step), trust)


def _secured(error: OSError) -> Words:
    reason = "UNEXPECTED_EOF_WHILE_READING" if error.errno == _SSL_EOF else getattr(error, "reason", None)
    return _SECURING.get(str(reason), (PeerError, "TLS with {place} failed ({reason})", LOOK))


def _sentence(address: Address, error: OSError, words: Words, trust: str = "") -> HallooError:
    kind, fact, remedy = words
    unix = address.path is not None
    number = None if hasattr(error, "library") else error.errno
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error.strerror or str(error)
    values = {
        "place": address.path or replace(address, host=address.host or "localhost").place,
        "reason": reason.lower().replace("_", " ").rstrip("."),
        "start": f"start a server there with: halloo serve {_server(address)}".rstrip(),
        "family": "try the other family with -4 or -6" if address.host else "check the network",
        "permission": "ask its owner, or see its rights with: ls -l" if unix else "check the local firewall",
        "trust": trust,
    }
    return kind(fact.format(**values), remedy.format(**values), address=str(address), errno=number)


def not_local(address: Address) -> AddressNotAvailable:
    """Say that the name to listen on has no address."""
    source = (
        ", which HALLOO_BIND names" if "HALLOO_BIND" in os.environ and address.host == os.environ["HALLOO_BIND"] else ""
    )
    remedy = "name one of this machine's own addresses, or every interface with: halloo serve :8888"
    return AddressNotAvailable(f"no address is known for {address.host!r}{source}", remedy, address=str(address))


def listening(address: Address, error: OSError) -> LocalError:
    """Say why an address cannot be listened on; for a port that is taken see `holders`."""
    facts, number = f"cannot listen on {address.place}", error.errno
    if number in (errno.EACCES, errno.EPERM):
        remedy = f"ports below 1024 belong to the administrator, choose another: halloo serve {8000 + address.port}"
        if address.port >= 1024:  # noqa: PLR2004 - the first port that needs no privilege, ip(7)
            remedy = "choose another port, or see what reserves this one"
        return NotPermitted(f"{facts} (permission denied)", remedy, address=str(address), errno=number)
    if number in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        remedy = "name one of its own addresses, or every interface with: halloo serve :8888"
        return AddressNotAvailable(
            f"{facts}: it is no address of this machine", remedy, address=str(address), errno=number
        )
    return LocalError(f"{facts}: {(error.strerror or str(error)).lower()}", address=str(address), errno=number)


def _server(address: Address) -> str:
    """Write the argument that makes `halloo serve` listen where a client looked."""
    if address.path is not None:
        return str(address)
    scheme = "" if address.scheme == "tcp" else f"{address.scheme}://"
    default = address.port == Address().port and not scheme
    if address.loopback or not address.host:
        return "" if default else f"{scheme}{address.port}"
    return f"{scheme}:{address.port}"


def wrong_family(address: Address, family: int) -> AddressError:
    """Say that an IP address is not of the family that was asked for."""
    return AddressError(f"{address.host} is no IPv{family} address", f"leave -{family} out", address=str(address))
