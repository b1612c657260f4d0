"""Decide which addresses may come in: networks allowed and networks denied, denial winning.

Knows IP networks. Knows no socket and no resolver: a name could change between two looks at it.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from halloo.errors import AddressError

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
