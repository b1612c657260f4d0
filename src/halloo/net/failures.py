"""Put the system's errors into halloo's words: an errno becomes a class, a sentence and a next step.

Knows errno(3) and getaddrinfo(3). Knows no socket: the caller says which address it was about.
"""

import errno
import os
import socket

from halloo.core.addresses import Address
from halloo.errors import (
    AddressError,
    HallooError,
    LocalError,
    NotLocal,
    NotPermitted,
    PeerError,
    Refused,
    Reset,
    TimedOut,
    UnknownHost,
    Unreachable,
)

_CONNECTING: dict[int, tuple[type[HallooError], str, str]] = {
    errno.ECONNREFUSED: (Refused, "nothing is listening on {place} (connection refused)", "{start}"),
    errno.ECONNRESET: (Reset, "{place} ended the connection with a reset", "look at the server's own messages"),
    errno.EPIPE: (Reset, "{place} has closed the connection", "look at the server's own messages"),
    errno.ECONNABORTED: (Reset, "the connection to {place} was aborted", "look at the server's own messages"),
    errno.ETIMEDOUT: (TimedOut, "{place} does not answer (timed out)", "check the address and any firewall between"),
    errno.EHOSTUNREACH: (Unreachable, "{place} cannot be reached (no route to host)", "check the address"),
    errno.ENETUNREACH: (Unreachable, "{place} cannot be reached (network is unreachable)", "{family}"),
    errno.EADDRNOTAVAIL: (Unreachable, "{place} cannot be reached from here (address not available)", "{family}"),
    errno.EACCES: (NotPermitted, "connecting to {place} is not permitted", "check the local firewall"),
    errno.EPERM: (NotPermitted, "connecting to {place} is not permitted", "check the local firewall"),
}


def unknown(address: Address, error: socket.gaierror | UnicodeError) -> UnknownHost:
    """Say that a name has no address, or is none."""
    number = error.errno if isinstance(error, socket.gaierror) else socket.EAI_NONAME
    reason = "try again later" if number == socket.EAI_AGAIN else "check the spelling, or give an IP address"
    return UnknownHost(
        f"no address is known for {address.host or 'localhost'!r}", reason, address=str(address), errno=number
    )


def connecting(address: Address, error: OSError) -> HallooError:
    """Say why a connection failed, or ended."""
    place = Address(address.scheme, address.host or "localhost", address.port, address.path).place
    kind, fact, remedy = _CONNECTING.get(
        error.errno or 0,
        (TimedOut if isinstance(error, TimeoutError) else PeerError, "{place} failed: {reason}", ""),
    )
    words = {
        "place": place,
        "reason": (error.strerror or str(error)).lower(),
        "start": f"start a server there with: halloo serve {_server(address)}".rstrip(),
        "family": "try the other family with -4 or -6" if address.host else "check the network",
    }
    return kind(fact.format(**words), remedy.format(**words), address=str(address), errno=error.errno)


def not_local(address: Address) -> NotLocal:
    """Say that the name to listen on has no address."""
    source = (
        ", which HALLOO_BIND names" if "HALLOO_BIND" in os.environ and address.host == os.environ["HALLOO_BIND"] else ""
    )
    remedy = "name one of this machine's own addresses, or every interface with: halloo serve :8888"
    return NotLocal(f"no address is known for {address.host!r}{source}", remedy, address=str(address))


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
        return NotLocal(f"{facts}: it is no address of this machine", remedy, address=str(address), errno=number)
    return LocalError(f"{facts}: {(error.strerror or str(error)).lower()}", address=str(address), errno=number)


def _server(address: Address) -> str:
    """Write the argument that makes `halloo serve` listen where a client looked."""
    default = address.port == Address().port
    if address.loopback or not address.host:
        return "" if default else str(address.port)
    return f":{address.port}"


def wrong_family(address: Address, family: int) -> AddressError:
    """Say that an IP address is not of the family that was asked for."""
    return AddressError(f"{address.host} is no IPv{family} address", f"leave -{family} out", address=str(address))
