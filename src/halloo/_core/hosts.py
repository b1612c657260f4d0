"""Read hosts as accept(2) and recvfrom(2) name them, and find their networks. Pure: no I/O, no clock, no randomness."""

import ipaddress
from collections.abc import Iterable
from socket import AF_INET, AF_INET6, inet_pton

from halloo._core import arguments
from halloo.errors import AddressError

MAPPED = 96  # bits before the IPv4 address in ::ffff:10.0.0.1 (RFC 4291, 2.5.5.2)
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
HOST_PREFIX = 64  # bits of an IPv6 address: within its /64 a client chooses addresses freely (RFC 4862)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def pack(host: str) -> bytes:
    """Return an address as 4 or 16 bytes: without its interface, and an IPv4-mapped IPv6 address as IPv4.

    Raises ValueError.
    """
    try:
        if ":" not in host:
            return inet_pton(AF_INET, host)
        packed = inet_pton(AF_INET6, host.partition("%")[0])
    except OSError:
        raise ValueError(f"{host!r} is not an address") from None
    return packed[12:] if packed.startswith(_MAPPED_PREFIX) else packed


def count_key(host: str, prefix: int) -> bytes:
    """Return what clients of one host have in common: IPv4 address, bits of the IPv6 address, or any other name."""
    try:
        return counted_part(pack(host), prefix)
    except ValueError:
        return host.encode(errors="surrogateescape")


def counted_part(packed: bytes, prefix: int) -> bytes:
    """Return the part of a packed address that names its host: all of IPv4, the first `prefix` bits of IPv6."""
    if len(packed) == 4:  # noqa: PLR2004 - the bytes of an IPv4 address
        return packed
    return (int.from_bytes(packed, "big") >> (128 - prefix)).to_bytes(16, "big")


class Networks:
    """A list of networks: `pack(host) in networks`."""

    def __init__(self, networks: Iterable[Network]) -> None:
        """Sort the networks by the size of their addresses and by their first byte: of most, no network is compared."""
        self._prefixes: dict[int, dict[int, list[tuple[int, int]]]] = {4: {}, 16: {}}  # lists of bits to drop, and rest
        for net in networks:
            shift = net.max_prefixlen - net.prefixlen
            prefix = int(net.network_address) >> shift
            for first in range(net[0].packed[0], net[-1].packed[0] + 1):
                self._prefixes[net.max_prefixlen // 8].setdefault(first, []).append((shift, prefix))

    def first_bytes(self) -> frozenset[int]:
        return frozenset().union(*self._prefixes.values())

    def __bool__(self) -> bool:
        return any(self._prefixes.values())

    def __contains__(self, packed: bytes) -> bool:
        prefixes = self._prefixes[len(packed)].get(packed[0])
        if prefixes is None:
            return False
        number = int.from_bytes(packed, "big")
        return any(number >> shift == prefix for shift, prefix in prefixes)


def network(text: str) -> Network:
    """Parse `10.0.0.0/8`, `fd00::/8` or a single address. Raises AddressError."""
    try:
        found = ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        fact = f"{arguments.shown(text)} is not a network"
        raise AddressError(fact, "write 10.0.0.0/8, fd00::/8 or one address") from None
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= MAPPED and found[0].ipv4_mapped:
        return ipaddress.ip_network(f"{found[0].ipv4_mapped}/{found.prefixlen - MAPPED}")
    return found


# Loopback, link-local, RFC 1918, RFC 4193. Not `is_private`: which networks that names differs between versions of
# Python.
_NEAR4 = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
NEAR = Networks(map(network, (*_NEAR4, "::1", "fe80::/10", "fc00::/7")))


class Access:
    """Access lists: when `allow` names any network, only its clients are accepted; those of `deny` never are."""

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self._allow = Networks(map(network, allow))
        self._deny = Networks(map(network, deny))

    def __bool__(self) -> bool:
        return bool(self._allow or self._deny)

    def permits(self, host: str) -> bool:
        try:
            packed = pack(host)
        except ValueError:
            return not self._allow  # a Unix socket's client has no address; the mode of the file controls access
        return packed not in self._deny and (not self._allow or packed in self._allow)


def is_near(host: str) -> bool:
    """Tell loopback, link-local and private addresses from others; of names, only localhost is near."""
    try:
        return pack(host) in NEAR
    except ValueError:
        return host == "localhost"
