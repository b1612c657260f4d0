"""Parse and format addresses: `8888`, `[::1]:8888`, `udp://host`. Pure: no I/O, no clock, no randomness.

Whether a host exists is for the resolver to find out.
"""

import ipaddress
import re
from dataclasses import dataclass

from halloo._core import arguments
from halloo._core.arguments import shown
from halloo.errors import AddressError, UsageError

PORT = 8888  # the tutorial's
SCHEMES = ("tcp", "udp", "tls", "unix")
LOOPBACK = ("127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")
BROADCAST = "255.255.255.255"

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_NAME = re.compile(r"[\w.-]+")  # of any script: the resolver turns it into ASCII
_FORMS = "write host, host:8888, [::1]:8888, 8888 or udp://host:8888"
_HIGHEST_PORT = 65535
_LOCAL_GROUPS = ipaddress.IPv6Network("ff02::/16")  # multicast of one link (RFC 4291, 2.7)
_PORT_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on or to connect to.

    `scheme` is tcp, udp, tls or unix. `host` is None where only a port was given (loopback for a server, localhost for
    a client), and empty for every interface. `path` is set for `unix` alone. `Address.parse(str(address))` equals
    `address`. Raises UsageError for parts that no address has.
    """

    scheme: str = "tcp"
    host: str | None = None
    port: int = PORT
    path: str | None = None

    def __post_init__(self) -> None:
        arguments.instance("scheme", self.scheme, str, what="text")
        for name in ("host", "path"):
            arguments.instance(name, getattr(self, name), str, type(None), what="text or None")
        if self.scheme not in SCHEMES:
            remedy = f"the scheme is one of {', '.join(SCHEMES)}; Address.parse reads {_FORMS.removeprefix('write ')}"
            raise AddressError(f"{shown(self.scheme)} is not a scheme", remedy)
        if (self.scheme == "unix") != (self.path is not None):
            raise AddressError("path is for the scheme unix, which needs one", "Address('unix', path='/run/echo')")
        if self.host and (" " in self.host or not self.host.isprintable()):
            raise AddressError(f"must be a host, not {shown(self.host)}", argument="host")
        if self.path:  # the kernel's name of a client's socket is empty
            arguments.path("path", self.path)
        arguments.whole("port", self.port, 0, _HIGHEST_PORT)

    @classmethod
    def parse(cls, text: "AddressLike") -> "Address":
        """Parse an address as the command line spells it; a port number, a (host, port) pair or an Address will do.

        >>> Address.parse("udp://[::1]:9000")
        Address(scheme='udp', host='::1', port=9000, path=None)

        Raises AddressError.
        """
        return parse(text)

    @property
    def sockaddr(self) -> tuple[str, int] | str:
        """The address as the socket module takes it, in `connect` or `bind`: (host, port), or a Unix socket's path."""
        return (self.host or "", self.port) if self.path is None else self.path

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}" if self.path.startswith("//") else f"unix:{self.path}"
        return f"{self.scheme}://{self.place}"

    @property
    def place(self) -> str:
        """Host and port, or the path, without the scheme: `127.0.0.1:8888`, `[::1]:8888`, `/run/echo`."""
        if self.path is not None:
            return self.path
        if self.host is None:
            return str(self.port)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether the address is this machine's own, as far as its spelling tells."""
        if self.host in (None, "localhost") or self.path is not None:
            return True
        return is_ip(self.host or "") and ipaddress.ip_address(self.host or "").is_loopback


AddressLike = str | int | tuple[str, int] | Address


def parse(text: AddressLike) -> Address:
    """Do the work of `Address.parse`."""
    match text:
        case Address():
            return text
        case bool():
            pass
        case int():
            return Address(port=_port(shown(text), shown(text)))
        case (str(host), int(port), *_):
            return Address(host=_host(host, host), port=_port(shown(port), f"{host}:{shown(port)}"))
        case str():
            return _spelled(text)
    raise AddressError(f"{shown(text)} is not an address", _FORMS)


def is_ip(host: str) -> bool:
    """Tell an IP address from a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_group(host: str) -> bool:
    """Tell a multicast or broadcast address, to which clients cannot connect, from others."""
    return is_ip(host) and (ipaddress.ip_address(host).is_multicast or host == BROADCAST)


def collides(one: Address, other: Address) -> bool:
    """Tell whether two addresses to listen on, IP addresses or paths, claim the same port or file."""
    if one.path is not None or not one.port:
        return one.path is not None and one.path == other.path
    kinds = {(each.scheme == "udp", ":" in (each.host or ""), each.port) for each in (one, other)}
    return len(kinds) == 1 and (one.host == other.host or one.host in EVERYWHERE or other.host in EVERYWHERE)


def zone_fault(host: str) -> tuple[str, str] | None:
    """Say what is wrong where an IPv6 address names an interface, or lacks one (RFC 4007, 11): a fact and a remedy.

    It is for a host that the system has refused: whether the interface exists is not known here.
    """
    plain, percent, zone = host.partition("%")
    try:
        address = ipaddress.IPv6Address(plain)
    except ValueError:
        return None
    if not (address.is_link_local or address in _LOCAL_GROUPS):
        return (f"only link-local addresses name an interface, not {plain}", f"write {plain}") if percent else None
    fact = f"this machine has no interface {shown(zone)}" if percent else f"{plain} may be on any interface"
    return fact, f"say which interface, as in {plain}%eth0"


def _spelled(text: str) -> Address:
    if text.lower().startswith("unix:"):
        return _unix(text)
    scheme, rest = "tcp", text
    if found := _SCHEME.match(text):
        scheme, rest = found[1].lower(), text[found.end() :]
        if scheme not in SCHEMES:
            raise AddressError(f"{shown(text)} has an unknown scheme", "use tcp://, udp://, tls:// or unix:/path")
        if not rest:
            raise AddressError(f"{shown(text)} names no host", _FORMS)
    if "/" in rest:
        raise AddressError(*_with_slash(rest, text))
    if rest.isascii() and rest.isdecimal():
        return Address(scheme, None, _port(rest, text))
    host, port = _split(rest, text)
    return Address(scheme, host, PORT if port is None else _port(port, text))


def _with_slash(rest: str, text: str) -> tuple[str, str]:
    """Return the fact and the remedy for a slash behind the scheme: of a file, a network or a web address."""
    before, _, after = rest.partition("/")
    if before in ("", ".", "..", "~"):
        return f"{shown(text)} is a path", f"a Unix socket is written unix:{shown(rest)[1:-1]}"
    if is_ip(before) and after.isdecimal():
        return f"{shown(text)} is a network, not an address", "networks are for allow= and deny= of a server"
    return f"{shown(text)} has a path, and only unix: has one", f"leave out {shown(rest[len(before) :])}"


def _unix(text: str) -> Address:
    path = text[len("unix:") :].removeprefix("//")
    try:
        arguments.path("path", path)
    except UsageError:
        raise AddressError(f"{shown(text)} names no socket file", "write unix:/path/to/socket") from None
    return Address("unix", None, 0, path)


def _split(rest: str, text: str) -> tuple[str, str | None]:
    """Split host and port; the port is None when there is none."""
    if rest.startswith("["):
        inside, bracket, after = rest[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise AddressError(f"{shown(text)} is not an address", "an IPv6 address with a port is written [::1]:8888")
        return _host(inside, text), after[1:] if after else None
    if rest.count(":") > 1:
        return _host(rest, text), None
    host, colon, port = rest.partition(":")
    return _host(host, text), port if colon else None


def _host(host: str, text: str) -> str:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            remedy = "an IPv6 address with a port is written [::1]:8888"
            raise AddressError(f"{shown(text)} is not an IPv6 address", remedy) from None
        if not _NAME.fullmatch(host.partition("%")[2] or "lo"):
            raise AddressError(f"{shown(text)} names no interface after the %", "write fe80::1%eth0")
    elif host and not _NAME.fullmatch(host):
        raise AddressError(f"{shown(text)} is not an address", _FORMS)
    return host


def _port(port: str, text: str) -> int:
    if not (port.isascii() and port.isdecimal() and len(port) <= _PORT_DIGITS) or int(port) > _HIGHEST_PORT:
        remedy = f"a port is a number from 0 to {_HIGHEST_PORT}"
        raise AddressError(f"{shown(text)} has no valid port", f"{remedy}, not a name" if port.isalpha() else remedy)
    return int(port)
