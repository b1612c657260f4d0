"""What routers and hosts report of datagrams that they did not deliver. Pure: no I/O, no clock, no randomness.

The sources are RFC 792 and RFC 4443 (ICMP), and ip(7) for the structure in which Linux passes a report on.
"""

import struct
from dataclasses import dataclass
from ipaddress import ip_address

#  0       4        5      6      7     8      12     16             struct sock_extended_err, in native order
#  | errno | origin | type | code | pad | info | data | socket address of the sender ...
_EXTENDED_ERROR = struct.Struct("=I4B2I")
_VERSIONS = {2: 4, 3: 6}  # SO_EE_ORIGIN_ICMP and SO_EE_ORIGIN_ICMP6
_ADDRESSES = {4: slice(4, 8), 6: slice(8, 24)}  # in struct sockaddr_in and sockaddr_in6

_TOO_BIG = "datagram too big"
_DESCRIPTIONS = {
    (4, 3, 0): "network unreachable",
    (4, 3, 1): "host unreachable",
    (4, 3, 2): "protocol unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 4): _TOO_BIG,
    (4, 3, 9): "prohibited",
    (4, 3, 10): "prohibited",
    (4, 3, 13): "prohibited",
    (4, 11, 0): "time to live exceeded",
    (4, 11, 1): "reassembly timed out",
    (6, 1, 0): "network unreachable",
    (6, 1, 1): "prohibited",
    (6, 1, 3): "host unreachable",
    (6, 1, 4): "port unreachable",
    (6, 2, 0): _TOO_BIG,
    (6, 3, 0): "time to live exceeded",
    (6, 3, 1): "reassembly timed out",
}
_REMEDIES = {
    "network unreachable": "check the route",
    "host unreachable": "check that the host is up",
    "port unreachable": "check that the server runs, and any firewall between",
    "prohibited": "check the firewalls between",
    "time to live exceeded": "check the TTL, and the route for a loop",
    _TOO_BIG: "send smaller datagrams, or allow fragmentation",
}


@dataclass(frozen=True, slots=True)
class IcmpReport:
    """One report: the IP version, the ICMP type and code, the sender, and the error number that Linux makes of it.

    `mtu` is the largest packet that the sender's next link takes, 0 where the report has none.
    """

    version: int
    type: int
    code: int
    router: str
    errno: int
    mtu: int = 0

    @property
    def description(self) -> str:
        known = _DESCRIPTIONS.get((self.version, self.type, self.code))
        return known or f"ICMP type {self.type} code {self.code}"

    @property
    def remedy(self) -> str:
        return _REMEDIES.get(self.description, "")

    @property
    def name(self) -> str:
        """The description as the name of a count, as errors have it.

        >>> IcmpReport(4, 11, 0, "192.0.2.1", 113).name
        'TimeToLiveExceeded'
        """
        return "".join(word[:1].upper() + word[1:] for word in self.description.split())

    @property
    def text(self) -> str:
        """The description, with the MTU if it is known."""
        return f"{self.description}, the next link takes packets of {self.mtu} bytes" if self.mtu else self.description


def parse_report(data: bytes) -> IcmpReport | None:
    """Decode a `struct sock_extended_err` with its sender; None if it is this machine's own error."""
    if len(data) < _EXTENDED_ERROR.size:
        return None
    number, origin, kind, code, _, info, _ = _EXTENDED_ERROR.unpack_from(data)
    version = _VERSIONS.get(origin)
    if version is None:
        return None
    address = data[_EXTENDED_ERROR.size :][_ADDRESSES[version]]
    router = str(ip_address(address)) if len(address) in (4, 16) else "unknown"
    mtu = info if (version, kind, code) in ((4, 3, 4), (6, 2, 0)) else 0
    return IcmpReport(version, kind, code, router, number, mtu)
