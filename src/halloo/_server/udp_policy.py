"""Decide which datagrams are answered, to stop reflection and loops. Pure: no I/O, no clock, no randomness.

Times are seconds on the caller's clock.

A datagram with a spoofed source makes an echo server send to a third party (VU#417980, CVE-2024-2169). So nothing is
answered that comes from the port of a service which would answer back, and untrusted senders (those that are not
loopback, link-local or private) get a limited number of answers in a short window. Memory is bounded.
"""

import ipaddress
from collections.abc import Collection
from functools import lru_cache

from halloo._core.limits import Access, Host, Limits, TokenBucket, is_near, plain

# Ports whose services answer any datagram, or amplify it: no client sends from one.
SERVICE_PORTS = frozenset({0, 7, 9, 13, 17, 19, 37, 53, 69, 111, 123, 137, 161, 389, 1900, 5353, 11211})
WINDOW = 0.1  # seconds
MAX_PER_WINDOW = 200  # datagrams answered to one untrusted sender in a window: 2000 a second
MAX_HOSTS = 4096  # so that a flood of spoofed senders does not grow the table
BROADCAST = ipaddress.IPv4Address("255.255.255.255")
IPV6_PREFIX_LENGTH = 56  # bits, one customer's prefix (RFC 6177), within which addresses are free


class UdpPolicy:
    """The rules for one socket.

    A host in `trusted_hosts` that sends from a port not in `ports` may be answered without calling `refusal_reason`.
    """

    def __init__(self, limits: Limits, own_ports: Collection[int]) -> None:
        """Apply `limits`; `own_ports` are the ports of this server."""
        self.ports = frozenset(own_ports) if limits.any_port else SERVICE_PORTS.union(own_ports)
        self.trusted_hosts: set[str] = set()
        self._own_ports = frozenset(own_ports)
        self._access = Access(limits.allow, limits.deny)
        self._bucket = TokenBucket(limits.rate_limit) if limits.rate_limit else None
        # A list of one number: the datagrams of this window or, with a rate, the state of the token bucket.
        self._usage: dict[str, list[float]] = {}
        self._usage_by_host: dict[str, list[float]] = {}  # the same lists by host, for those seen in this window
        self._window_end = 0.0
        self._classify = lru_cache(maxsize=MAX_HOSTS)(self._classify_uncached)

    def refusal_reason(self, host: str, port: int, datagrams: int, size: int, now: float) -> str | None:
        """Return why these datagrams, of `size` bytes in all, are not answered; None if they are."""
        if port in self.ports:
            return "own_port" if port in self._own_ports else "service_port"
        usage = self._usage_by_host.get(host)
        if usage is None or now >= self._window_end:
            usage, reason = self._find_usage(host, now)
            if usage is None:
                return reason
        used, bucket = usage[0], self._bucket
        if bucket is None:
            usage[0] = used + datagrams
            return "rate_limit" if used + datagrams > MAX_PER_WINDOW else None
        if bucket.pause(used, now) > 0:
            return "rate_limit"
        usage[0] = bucket.take(used, now, size or datagrams)  # an empty one costs a token too
        return None

    def _find_usage(self, host: str, now: float) -> tuple[list[float] | None, str | None]:
        """Return the usage of a host; without one, the reason for refusing it, None if it is trusted."""
        reason, key = self._classify(host)
        if reason or not key:
            return None, reason
        if now >= self._window_end:
            self._start_window(now)
        usage = self._usage.get(key)
        if usage is None:
            if len(self._usage) >= MAX_HOSTS:
                return None, "rate_limit"
            usage = self._usage[key] = [0.0]
        if len(self._usage_by_host) < MAX_HOSTS:
            self._usage_by_host[host] = usage
        return usage, None

    def _classify_uncached(self, host: str) -> tuple[str | None, str]:
        """Return why a host is refused, or the key by which its usage is counted, empty for a trusted host."""
        address = plain(host)
        if address.is_multicast or address.is_unspecified or address == BROADCAST:
            return "sender", ""
        if self._access and not self._access.permits(host):
            return "denied", ""
        if self._bucket or not is_near(host):
            return None, _usage_key(address)
        if len(self.trusted_hosts) < MAX_HOSTS:
            self.trusted_hosts.add(host)
        return None, ""

    def _start_window(self, now: float) -> None:
        """Start a window; hosts that are over their rate are kept.

        A full table is cleared: otherwise spoofed senders far over their rate would keep all others out for as long.
        """
        self._window_end = now + WINDOW
        self._usage_by_host.clear()
        if self._bucket and len(self._usage) < MAX_HOSTS:
            self._usage = {whose: account for whose, account in self._usage.items() if account[0] > now}
        else:
            self._usage.clear()


def _usage_key(address: Host) -> str:
    if address.version == 4:  # noqa: PLR2004 - the IP version
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX_LENGTH), strict=False))
