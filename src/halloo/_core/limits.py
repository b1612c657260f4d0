"""State what one client may take, and decide whether it is too much. Pure: no I/O, no clock, no randomness.

Knows numbers. Knows no socket and no clock: times are seconds on whatever clock the caller reads.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache

from halloo.errors import AddressError, UsageError

STALL = 60.0  # seconds
HANDSHAKE = 10.0  # seconds
BURST = 0.25  # seconds of its rate that a connection may take at once after a pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server puts up with; None is no limit. Times are seconds, sizes bytes, the rate bytes a second."""

    idle_timeout: float | None = None  # without a byte either way
    max_lifetime: float | None = None  # of a connection
    stall_timeout: float | None = STALL  # without reading what it is owed
    handshake_timeout: float = HANDSHAKE  # until TLS is agreed
    max_connections: int | None = None
    max_per_host: int | None = None
    max_bytes: int | None = None  # received from one connection, or in one datagram
    rate_limit: int | None = None  # received from one connection, or in datagrams from one host
    max_memory: int | None = None  # owed to all clients together
    buffer: int | None = None  # of the kernel, each way, and of one read
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    any_port: bool = False  # answer datagrams from the ports of other services, too

    def __post_init__(self) -> None:
        for name in Limits.__slots__:  # a subclass's would be its own alone
            value = getattr(self, name)
            if isinstance(value, int | float) and value is not False and value <= 0:
                raise UsageError(f"{name.replace('_', ' ')} must be more than 0, not {value:g}", "leave it out, or max")
        Access(self.allow, self.deny)  # a network that is none is told at once, and not by each worker

    @property
    def of_connections(self) -> list[str]:
        """Name what is limited here that datagrams do not have."""
        known = {field.name: field.default for field in fields(Limits)}
        names = ("idle_timeout", "max_lifetime", "stall_timeout", "handshake_timeout", "max_connections")
        return [name for name in (*names, "max_per_host", "max_memory") if getattr(self, name) != known[name]]

    @property
    def limited(self) -> bool:
        """Whether each connection has to be watched while it flows; the other limits cost a flowing one nothing."""
        return any((self.idle_timeout, self.max_lifetime, self.max_bytes, self.rate_limit))

    @property
    def controls_admission(self) -> bool:
        """Whether somebody may be turned away at the door."""
        return any((self.max_connections, self.max_per_host, self.allow, self.deny))


class AdmissionControl:
    """Decide who comes in, and count who is there by host."""

    def __init__(self, limits: Limits) -> None:
        """Start with nobody there."""
        self._access = Access(limits.allow, limits.deny)
        self._most = limits.max_connections
        self._most_per_host = limits.max_per_host
        self._here = 0
        self._by_host: dict[str, int] = {}

    def enter(self, host: str) -> str | None:
        """Let a client in and give None, or the reason why not."""
        if self._access and not self._access.permits(host):
            return "denied"
        if self._most is not None and self._here >= self._most:
            return "max_connections"
        if self._most_per_host is not None:
            if self._by_host.get(host, 0) >= self._most_per_host:
                return "max_per_host"
            self._by_host[host] = self._by_host.get(host, 0) + 1
        self._here += 1
        return None

    def leave(self, host: str) -> None:
        """Note that a client that was let in has gone."""
        self._here -= 1
        if self._most_per_host is not None:
            self._by_host[host] -= 1
            if not self._by_host[host]:
                del self._by_host[host]


class TokenBucket:
    """A rate in bytes a second, kept as one number a connection: the time at which all it took would be paid for.

    This is the virtual scheduling form of the token bucket (ITU-T I.371, GCRA).
    """

    def __init__(self, rate: int) -> None:
        """Allow `rate` bytes a second, and BURST seconds of it at once, a byte at least."""
        self.burst = max(BURST, 1 / rate)
        self.burst_bytes = max(int(BURST * rate), 1)
        self._second_a_byte = 1 / rate

    def take(self, paid: float, now: float, size: int) -> float:
        """Take `size` bytes and give the new `paid`."""
        return (max(now, paid)) + size * self._second_a_byte

    def pause(self, paid: float, now: float) -> float:
        """Say after how many seconds another burst may be taken; 0 or less is at once."""
        return paid - now - self.burst


MAPPED = 96  # bits before the IPv4 address in ::ffff:10.0.0.1 (RFC 4291, 2.5.5.2)
Host = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 1918, RFC 4193. Not `is_private`: which networks that names differs between versions of Python.
PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))


def network(text: str) -> Network:
    """Read `10.0.0.0/8`, `fd00::/8` or a single address. Raises AddressError."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise AddressError(f"{text!r} is not a network", "write 10.0.0.0/8, fd00::/8 or one address") from None
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= MAPPED and found[0].ipv4_mapped:
        return ipaddress.ip_network(f"{found[0].ipv4_mapped}/{found.prefixlen - MAPPED}")
    return found


def plain(host: str) -> Host:
    """Read a host as getpeername(2) writes it: without an interface, and as IPv4 where it is that, mapped into IPv6.

    Raises ValueError.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    return (address.version == 6 and address.ipv4_mapped) or address  # noqa: PLR2004 - the IP version


class Access:
    """Who may come in: when `allow` names anything, only those; and never those of `deny`."""

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        """Read both lists. Raises AddressError."""
        self._allow = tuple(network(text) for text in allow)
        self._deny = tuple(network(text) for text in deny)
        self.permits = lru_cache(maxsize=1024)(self._permits)

    def __bool__(self) -> bool:
        return bool(self._allow or self._deny)

    def _permits(self, host: str) -> bool:
        """Judge one IP address as getpeername(2) writes it."""
        try:
            address = plain(host)
        except ValueError:
            return not self._allow  # a Unix socket has no address; its file's mode says who may come in
        if any(address in net for net in self._deny):
            return False
        return not self._allow or any(address in net for net in self._allow)


def is_near(host: str) -> bool:
    """Whether an address is loopback, link-local or private; a name is not, except localhost."""
    if host == "localhost":
        return True
    try:
        address = plain(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local or any(address in net for net in PRIVATE)
