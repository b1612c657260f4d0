"""Turn the system's errors into halloo's: a class, a sentence and a next step.

Maps errno(3), getaddrinfo(3) and OpenSSL's reasons; uses no socket: the caller passes the address.
"""

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from halloo._core.address import Address, is_ip, zone_fault
from halloo._core.icmp import IcmpReport
from halloo.errors import (
    AddressError,
    AddressNotAvailable,
    HallooError,
    IncompleteRead,
    LocalError,
    MissingFile,
    NotPermitted,
    PeerError,
    Refused,
    Reset,
    TimedOut,
    UnknownHost,
    Unreachable,
)

Words = tuple[type[HallooError], str, str]

LOOK = "look at the server's own messages"
SILENT = "check that an echo is there, and any firewall between; or allow more time with timeout="
PORTS = "close other connections, or allow more ports (on Linux: sysctl net.ipv4.ip_local_port_range)"
MEMORY = "close other connections, or end other programs"
DESCRIPTORS = "raise the limit with: ulimit -n"
SYSTEM_WIDE = "end other programs, or raise the limit with: sysctl fs.file-max"
OWN = "name one of its own addresses, or every interface, as in :8888"
LOOPBACK_DOWN = "check that the loopback interface is up, with this address: ip addr show lo"
TRUST = "give ca=, fingerprint= or insecure=True"
_CONNECTING: dict[int, Words] = {
    errno.ECONNREFUSED: (Refused, "nothing is listening on {place} (connection refused)", "{start}"),
    errno.ENOENT: (Refused, "nothing is listening on {place} (no such file)", "{start}"),
    errno.ENOTDIR: (Refused, "nothing is listening on {place} (a part of it is no folder)", "{start}"),
    errno.EAGAIN: (TimedOut, "{place} accepts no connection (its queue is full)", LOOK),  # of Unix sockets
    errno.ECONNRESET: (Reset, "{place} ended the connection with a reset", LOOK),
    errno.ENOTCONN: (Reset, "{place} has ended the connection", LOOK),
    errno.EPIPE: (Reset, "{place} has closed the connection", LOOK),
    errno.ECONNABORTED: (Reset, "the connection to {place} was aborted", LOOK),
    errno.ETIMEDOUT: (TimedOut, "{place} does not answer (timed out)", "check the address and any firewall between"),
    errno.EHOSTUNREACH: (Unreachable, "{place} cannot be reached (no route to host)", "check the address"),
    errno.ENETUNREACH: (Unreachable, "{place} cannot be reached (network is unreachable)", "{family}"),
    errno.EADDRNOTAVAIL: (Unreachable, "{place} cannot be reached from here (address not available)", "{family}"),
    errno.EACCES: (NotPermitted, "connecting to {place} is not permitted", "{permission}"),
    errno.EPERM: (NotPermitted, "connecting to {place} is not permitted", "{permission}"),
    errno.EADDRINUSE: (AddressNotAvailable, "no local port is free for a connection to {place}", PORTS),
    errno.ENOBUFS: (LocalError, "this machine has no memory left for a connection to {place}", MEMORY),
    errno.ENOMEM: (LocalError, "this machine has no memory left for a connection to {place}", MEMORY),
    errno.EMFILE: (LocalError, "no file descriptor is left for a connection to {place}", DESCRIPTORS),
    errno.ENFILE: (LocalError, "no file descriptor is left on this machine for a connection to {place}", SYSTEM_WIDE),
}

# Which of several errors says most. Unreachable comes last: many machines have no route for one of the families.
_DECISIVE: tuple[type[HallooError], ...] = (Refused, TimedOut, LocalError, PeerError, Unreachable)
MAX_NAMED = 8  # addresses in one error

_OUTDATED = {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED
_SSL_EOF = 8  # SSL_ERROR_EOF, Python's own: OpenSSL 1.1 gives no reason with it


def unknown(address: Address, error: socket.gaierror | UnicodeError) -> UnknownHost:
    """Return the error for a name that has no address, or is not a name."""
    number = error.errno if isinstance(error, socket.gaierror) else socket.EAI_NONAME
    fact = f"no address is known for {address.host or 'localhost'!r}"
    remedy = "try again later" if number == socket.EAI_AGAIN else "check the spelling, or give an IP address"
    if fault := zone_fault(address.host or ""):
        fact, remedy = f"{fact}: {fault[0]}", fault[1]
    return UnknownHost(fact, remedy, address=str(address), errno=number)


def overdue(address: Address, fact: str) -> TimedOut:
    """Return the error for work with a peer that has not ended at its deadline; `fact` is what the peer did."""
    return TimedOut(f"{address.place} {fact} before the deadline", "allow more with deadline=", address=str(address))


def connecting(address: Address, error: OSError) -> HallooError:
    """Return the error for a connection that failed, or ended."""
    if isinstance(error, HallooError):
        return error
    if hasattr(error, "library"):  # an ssl.SSLError, whose errno means something else
        return _sentence(address, error, _secured(error))
    if fault := _lacking_zone(address, error):
        fact = f"{address.place} cannot be reached: {fault[0]}"
        return Unreachable(fact, fault[1], address=str(address), errno=error.errno)
    kind = TimedOut if isinstance(error, TimeoutError) else PeerError
    return _sentence(address, error, _CONNECTING.get(error.errno or 0, (kind, "{place} failed: {reason}", "")))


def all_failed(address: Address, failures: Sequence[tuple[Address, OSError]]) -> HallooError:
    """Return the error for a name, none of whose addresses could be connected to: its fact names each, with the reason.

    Its class, number and remedy are those of the failure that says most: an answer says more than silence.
    """
    errors = [connecting(address, error) for _, error in failures]
    same = len({(type(error), error.errno) for error in errors}) == 1
    if len(errors) == 1 or (same and address.loopback):  # two addresses, one machine
        return errors[0]
    # Unreachable is a PeerError too, and ranks as what it is.
    decisive = min(errors, key=lambda error: max(n for n, kind in enumerate(_DECISIVE) if isinstance(error, kind)))
    facts = [connecting(at, error).fact for at, error in failures[:MAX_NAMED]]
    more = len(failures) - len(facts)
    facts += [f"{more} more fail too"] if more else []
    fact = f"no address of {address.host} can be connected to: {', '.join(facts)}"
    return type(decisive)(fact, decisive.remedy, address=str(address), errno=decisive.errno)


def undelivered(address: Address, report: IcmpReport) -> HallooError:
    """Return the error for a datagram that a router or a host reports as not delivered."""
    if report.errno != errno.ECONNREFUSED:
        return Unreachable(f"{report.router} reports: {report.text}", report.remedy, address=str(address))
    if report.router == address.host:
        return connecting(address, ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)))
    fact = f"{report.router} refuses datagrams to {address.place} ({report.description})"
    return Refused(fact, report.remedy, address=str(address), errno=report.errno)


def shaking(address: Address, error: OSError, *, trust: str = TRUST) -> HallooError:
    """Return the error for a failed TLS handshake; `trust` is the next step when the certificate is not trusted."""
    remedy = "perhaps it does not speak TLS: use tcp://"
    if isinstance(error, TimeoutError):
        return _sentence(address, error, (TimedOut, "{place} does not finish the TLS handshake in time", remedy))
    if isinstance(error, ConnectionError):
        return _sentence(address, error, (Reset, "{place} ended the connection in the TLS handshake", remedy))
    words = _secured(error)
    if getattr(error, "verify_code", 0) in _OUTDATED:
        trust = "have it renewed, or set the clock of this machine"
    if words[0] is IncompleteRead:
        words = (IncompleteRead, "{place} ended the connection in the TLS handshake", remedy)
    return _sentence(address, error, words, trust)


@cache
def _tls_words() -> dict[str, Words]:
    from halloo._net.tls_errors import TlsError, Untrusted  # noqa: PLC0415 - ssl is slow to import

    plain: Words = (TlsError, "{place} does not speak TLS", "use tcp://")
    missing: Words = (Untrusted, "{place} requires a certificate", "give cert= and key=")
    rejected: Words = (Untrusted, "{place} does not accept our certificate ({reason})", "ask which CA it trusts")
    cut: Words = (IncompleteRead, "{place} closed without close_notify; data may be truncated", LOOK)
    return {
        "CERTIFICATE_VERIFY_FAILED": (Untrusted, "the certificate of {place} is not trusted ({reason})", "{trust}"),
        "PEER_DID_NOT_RETURN_A_CERTIFICATE": (Untrusted, "{place} shows no certificate", "the server requires one"),
        "UNEXPECTED_EOF_WHILE_READING": cut,
        "HTTP_REQUEST": plain,
        "UNEXPECTED_MESSAGE": plain,  # our own ClientHello: a plain echo
        "WRONG_VERSION_NUMBER": plain,
        "TLSV13_ALERT_CERTIFICATE_REQUIRED": missing,
        "SSLV3_ALERT_HANDSHAKE_FAILURE": (TlsError, "{place} refuses our TLS", "perhaps it needs cert= and key="),
        "SSLV3_ALERT_BAD_CERTIFICATE": rejected,
        "SSLV3_ALERT_CERTIFICATE_EXPIRED": rejected,
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN": rejected,
        "TLSV1_ALERT_UNKNOWN_CA": rejected,
        "": (TlsError, "TLS with {place} failed ({reason})", LOOK),
    }


def _secured(error: OSError) -> Words:
    reason = "UNEXPECTED_EOF_WHILE_READING" if error.errno == _SSL_EOF else getattr(error, "reason", None)
    words = _tls_words()
    return words.get(str(reason), words[""])


def _sentence(address: Address, error: OSError, words: Words, trust: str = "") -> HallooError:
    kind, fact, remedy = words
    number = None if hasattr(error, "library") else error.errno
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error.strerror or str(error)
    values = {
        "place": address.path or replace(address, host=address.host or "localhost").place,
        "reason": reason.lower().replace("_", " ").rstrip("."),
        "start": f"start a server there with: halloo serve {_server(address)}".rstrip(),
        "family": _another_way(address, error.errno),
        "permission": "ask its owner, or see its rights with: ls -l"
        if address.path is not None
        else "check the local firewall, and that it is no broadcast address",  # which is never permitted (ip(7))
        "trust": trust,
    }
    return kind(fact.format(**values), remedy.format(**values), address=str(address), errno=number)


def _another_way(address: Address, number: int | None) -> str:
    host = address.host or ""
    if address.loopback and number in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
        return LOOPBACK_DOWN
    if zone := host.partition("%")[2]:
        return f"check that this interface exists and is up: ip link show {zone}"
    return "try the other family with family=" if host and not is_ip(host) else "check the address and the network"


def _lacking_zone(address: Address, error: OSError) -> tuple[str, str] | None:
    host = address.host or ""
    return zone_fault(host) if error.errno == errno.EINVAL and "%" not in host else None


def not_local(address: Address, error: socket.gaierror | UnicodeError) -> AddressNotAvailable:
    """Return the error for a name to listen on that has no address."""
    source = ", which HALLOO_BIND names" if address.host == os.environ.get("HALLOO_BIND") else ""
    remedy = "name one of this machine's own addresses, or every interface, as in :8888"
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        remedy = "try again later, or give an IP address"
    fact = f"no address is known for {address.host!r}{source}"
    if fault := zone_fault(address.host or ""):
        fact, remedy = f"{fact}: {fault[0]}", fault[1]
    return AddressNotAvailable(fact, remedy, address=str(address))


def listening(address: Address, error: OSError) -> LocalError:
    """Return the error for an address that cannot be listened on; for a port in use see `port_owner`."""
    fact, number = f"cannot listen on {address.place}", error.errno
    if fault := _lacking_zone(address, error):
        return AddressNotAvailable(f"{fact}: {fault[0]}", fault[1], address=str(address), errno=number)
    if number in (errno.EACCES, errno.EPERM):
        if address.path is not None:
            remedy = "choose a path in a folder that this user may write to"
        elif address.port < 1024:  # noqa: PLR2004 - the first port that needs no privilege, ip(7)
            another = replace(address, port=8000 + address.port)
            remedy = f"ports below 1024 are for the administrator, choose another, such as {another}"
        else:
            remedy = "choose another port, or see what reserves this one"
        return NotPermitted(f"{fact} (permission denied)", remedy, address=str(address), errno=number)
    if number in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENODEV):
        fact, remedy = f"{fact}: it is not an address of this machine", LOOPBACK_DOWN if address.loopback else OWN
        return AddressNotAvailable(fact, remedy, address=str(address), errno=number)
    remedy = "choose a path in a folder that exists" if address.path is not None else ""
    kind = MissingFile if number == errno.ENOENT else LocalError
    return kind(f"{fact}: {(error.strerror or str(error)).lower()}", remedy, address=str(address), errno=number)


def _server(address: Address) -> str:
    """Return the argument with which `halloo serve` listens at a client's address."""
    if address.path is not None:
        return str(address)
    scheme = "" if address.scheme == "tcp" else f"{address.scheme}://"
    default = address.port == Address().port and not scheme
    if address.loopback or not address.host:
        return "" if default else f"{scheme}{address.port}"
    return f"{scheme}:{address.port}"


def wrong_family(address: Address, family: int) -> AddressError:
    """Return the error for an IP address of the other family."""
    return AddressError(f"{address.host} is not an IPv{family} address", "leave family= out", address=str(address))
