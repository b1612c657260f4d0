"""Limits on what clients may use, and the decisions that keep them. Pure: no I/O, no clock, no randomness.

Times are seconds of whatever clock the caller reads.
"""

from dataclasses import dataclass, fields

from halloo._core import arguments
from halloo._core.hosts import HOST_PREFIX, Access, count_key

STALL = 60.0  # seconds
HANDSHAKE = 10.0  # seconds
MAX_BUFFER = 1 << 28  # bytes; each worker reads into one of this size
BURST = 0.25  # seconds of its rate that a connection may take at once after a pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients of a server may use. None is no limit; times are seconds, sizes bytes, rates bytes a second.

    idle_timeout: without a byte in either direction.
    max_lifetime: of a connection.
    stall_timeout: without reading an answer that is waiting.
    handshake_timeout: until TLS is agreed.
    max_connections: open at once; further ones are closed.
    max_per_host: open at once from one host; further ones are closed.
    host_prefix: bits that the IPv6 addresses of one host have in common, in every limit; in IPv4 an address is a host.
    max_bytes: received from one connection, or in one datagram.
    rate_limit: received from one connection, or in datagrams from one host; further ones are dropped.
    max_memory: answers waiting for all clients together.
    buffer: of the kernel in each direction, and of one read.
    allow: networks or addresses; when it names any, only their clients are accepted.
    deny: networks or addresses whose clients are never accepted.
    any_port: answer datagrams from the ports of other services too, which an attacker may have forged.

    Raises UsageError for a value that is none of these, AddressError for a network that is none.
    """

    idle_timeout: float | None = None
    max_lifetime: float | None = None
    stall_timeout: float | None = STALL
    handshake_timeout: float = HANDSHAKE
    max_connections: int | None = None
    max_per_host: int | None = None
    host_prefix: int = HOST_PREFIX
    max_bytes: int | None = None
    rate_limit: int | None = None
    max_memory: int | None = None
    buffer: int | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    any_port: bool = False

    def __post_init__(self) -> None:
        for name in ("idle_timeout", "max_lifetime", "stall_timeout", "handshake_timeout"):
            arguments.seconds(name, getattr(self, name), none=name != "handshake_timeout", positive=True)
        for name in ("max_connections", "max_per_host", "max_bytes", "rate_limit", "max_memory"):
            arguments.whole(name, getattr(self, name), 1, none=True)
        arguments.whole("host_prefix", self.host_prefix, 1, 128, unit=" bits")
        arguments.whole("buffer", self.buffer, 1, MAX_BUFFER, none=True, unit=" bytes")
        for name in ("allow", "deny"):
            networks = getattr(self, name)
            arguments.instance(name, networks, tuple, list, set, frozenset, what="a tuple of networks")
            object.__setattr__(self, name, tuple(networks))
        arguments.switches(any_port=self.any_port)
        Access(self.allow, self.deny)  # here, and not in each worker, a wrong network is reported

    @property
    def given(self) -> list[str]:
        """Name the limits set here to other values than by default."""
        return [field.name for field in fields(Limits) if getattr(self, field.name) != field.default]

    @property
    def limited(self) -> bool:
        """Whether a limit has to be checked at each read; the others cost an echoing connection nothing."""
        return any((self.idle_timeout, self.max_lifetime, self.max_bytes, self.rate_limit))

    @property
    def controls_admission(self) -> bool:
        """Whether a client may be refused."""
        return any((self.max_connections, self.max_per_host, self.allow, self.deny))


class AdmissionControl:
    """Decide which clients are accepted, and count those connected by host."""

    def __init__(self, limits: Limits) -> None:
        self._access = Access(limits.allow, limits.deny)
        self._max_connections = limits.max_connections
        self._max_per_host, self._host_prefix = limits.max_per_host, limits.host_prefix
        self._connected = 0
        self._by_host: dict[bytes, int] = {}

    def enter(self, host: str) -> str | None:
        """Accept a client and return None, or return the reason to refuse it.

        A Unix socket's client has no host, "": access to the socket's file is what it is admitted by.
        """
        if host and self._access and not self._access.permits(host):
            return "denied"
        if self._max_connections is not None and self._connected >= self._max_connections:
            return "max_connections"
        if host and self._max_per_host is not None:
            key = count_key(host, self._host_prefix)
            if self._by_host.get(key, 0) >= self._max_per_host:
                return "max_per_host"
            self._by_host[key] = self._by_host.get(key, 0) + 1
        self._connected += 1
        return None

    def leave(self, host: str) -> None:
        self._connected -= 1
        if host and self._max_per_host is not None:
            key = count_key(host, self._host_prefix)
            self._by_host[key] -= 1
            if not self._by_host[key]:
                del self._by_host[key]


class TokenBucket:
    """A rate in bytes a second. Its state is one number a connection: the time at which the bytes taken are paid for.

    This is the virtual scheduling form of the token bucket (GCRA, ITU-T I.371), which needs no refilling.
    """

    def __init__(self, rate: int) -> None:
        """Allow `rate` bytes a second, and BURST seconds of it at once, a byte at least."""
        self.burst = max(BURST, 1 / rate)
        self.burst_bytes = max(int(BURST * rate), 1)
        self.second_a_byte = 1 / rate

    def take(self, paid_until: float, now: float, size: int) -> float:
        return max(now, paid_until) + size * self.second_a_byte

    def pause(self, paid_until: float, now: float) -> float:
        """Return after how many seconds another burst may be taken; 0 or less is at once."""
        return paid_until - now - self.burst
