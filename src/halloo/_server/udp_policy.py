"""Decide which datagrams are answered, to stop reflection and loops. Pure: no I/O, no clock, no randomness.

Knows addresses, ports and counts. Knows no socket and no clock: times are seconds on whatever clock the caller reads.

Whoever writes a false sender's address into a datagram makes us answer somebody else (VU#417980, CVE-2024-2169). So
nothing is answered that asks from the port of a service which would answer back; and strangers, that is everybody who
is not loopback, link-local or private, get so many answers in a short window. What is remembered of them is bounded.
"""

import ipaddress
from collections.abc import Collection
from functools import lru_cache

from halloo._core.limits import Access, Host, Limits, TokenBucket, is_near, plain

# Ports whose services answer whatever they are sent, or with much more than that: no client sends from one.
SERVICES = frozenset({0, 7, 9, 13, 17, 19, 37, 53, 69, 111, 123, 137, 161, 389, 1900, 5353, 11211})
WINDOW = 0.1  # seconds
MOST = 200  # datagrams answered to one stranger in a window, that is 2000 a second
REMEMBERED = 4096  # hosts, so that a flood of false senders does not grow the table
EVERYBODY = ipaddress.IPv4Address("255.255.255.255")
CUSTOMER = 56  # bits of an IPv6 address that one customer has (RFC 6177); a new address within them costs nothing


class UdpPolicy:
    """The rules for one socket.

    A host among `friends` that asks from a port not among `ports` may be answered without a call of `refuses`.
    """

    def __init__(self, limits: Limits, own: Collection[int]) -> None:
        """Answer within `limits`; `own` are the ports of this server."""
        self.ports = frozenset(own) if limits.any_port else SERVICES.union(own)
        self.friends: set[str] = set()
        self._own = frozenset(own)
        self._access = Access(limits.allow, limits.deny)
        self._meter = TokenBucket(limits.rate_limit) if limits.rate_limit else None
        # An account holds one number: the datagrams of this window or, with a rate, when all would be paid for.
        self._taken: dict[str, list[float]] = {}
        self._accounts: dict[str, list[float]] = {}  # the same by host, of those heard in this window
        self._until = 0.0
        self._known = lru_cache(maxsize=REMEMBERED)(self._meet)

    def refuses(self, host: str, port: int, datagrams: int, size: int, now: float) -> str | None:
        """Say why so many datagrams, of `size` bytes together, are not answered; None when they are."""
        if port in self.ports:
            return "own_port" if port in self._own else "service_port"
        account = self._accounts.get(host)
        if account is None or now >= self._until:
            account, reason = self._open(host, now)
            if account is None:
                return reason
        taken, meter = account[0], self._meter
        if meter is None:
            account[0] = taken + datagrams
            return "rate_limit" if taken + datagrams > MOST else None
        if meter.pause(taken, now) > 0:
            return "rate_limit"
        account[0] = meter.take(taken, now, size or datagrams)  # empty ones are not for nothing
        return None

    def _open(self, host: str, now: float) -> tuple[list[float] | None, str | None]:
        """Find the account of a host; where there is none, the reason why it is refused, None for a friend."""
        reason, whose = self._known(host)
        if reason or not whose:
            return None, reason
        if now >= self._until:
            self._forget(now)
        account = self._taken.get(whose)
        if account is None:
            if len(self._taken) >= REMEMBERED:
                return None, "rate_limit"
            account = self._taken[whose] = [0.0]
        if len(self._accounts) < REMEMBERED:
            self._accounts[host] = account
        return account, None

    def _meet(self, host: str) -> tuple[str | None, str]:
        """Find out why a host is refused, and on whose account it is counted: on nobody's (empty) among friends."""
        address = plain(host)
        if address.is_multicast or address.is_unspecified or address == EVERYBODY:
            return "sender", ""
        if self._access and not self._access.permits(host):
            return "denied", ""
        if self._meter or not is_near(host):
            return None, _account(address)
        if len(self.friends) < REMEMBERED:
            self.friends.add(host)
        return None, ""

    def _forget(self, now: float) -> None:
        """Begin a new window; who has still to pay for what it took is remembered.

        A full table is not: false senders with large debts would keep everybody else out for as long.
        """
        self._until = now + WINDOW
        self._accounts.clear()
        if self._meter and len(self._taken) < REMEMBERED:
            self._taken = {whose: account for whose, account in self._taken.items() if account[0] > now}
        else:
            self._taken.clear()


def _account(address: Host) -> str:
    if address.version == 4:  # noqa: PLR2004 - the IP version
        return str(address)
    return str(ipaddress.ip_network((address, CUSTOMER), strict=False))
