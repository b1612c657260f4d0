"""Decide which datagrams are answered, to stop reflection and loops. Pure: no I/O, no clock, no randomness.

Times are seconds on the caller's clock.

A datagram with a spoofed source makes an echo server send to a third party (VU#417980, CVE-2024-2169). So nothing is
answered that comes from the port of a service which would answer back, or from an echo loop, and untrusted senders
(those that are not loopback, link-local or private) get a limited number of answers in a short window. A rate limit
applies besides. Usage is counted in a fixed number of slots, so that forged senders neither fill a table nor cost more.
"""

from array import array
from collections.abc import Collection

from halloo._core.hosts import NEAR, Access, counted_part, pack
from halloo._core.limits import Limits, TokenBucket
from halloo._server.known_senders import KnownSenders
from halloo._server.udp_loops import SAMPLE_INTERVAL, LoopDetector

# Ports whose services answer any datagram, or amplify it: no client sends from one.
SERVICE_PORTS = frozenset(
    {0, 7, 9, 11, 13, 17, 19, 37, 53, 69, 111, 123, 137, 161, 389, 500, 520, 1434, 1900, 3702, 5060, 5353, 5683, 11211}
)
WINDOW = 0.1  # seconds
MAX_PER_WINDOW = 200  # datagrams answered to one untrusted host in a window: 2000 a second
NEW_PER_WINDOW = MAX_PER_WINDOW // 2  # of those, to senders that are new while others of the host are known
MAX_HOSTS = 1024  # whose class is remembered: more would slow down a flood of new ones, by misses of the cache
SLOTS = 1 << 16  # for usage, chosen by a hash: in a flood, few hosts share one, and a share of a flood is small
MULTICAST = {4: range(0xE0, 0xF0), 16: range(0xFF, 0x100)}  # the first byte, by size
BROADCAST, NO_HOST4, NO_HOST6 = bytes((255, 255, 255, 255)), bytes(4), bytes(16)
SAMPLED = 1024  # bytes at the beginning and at the end of a datagram by which its payload is recognised


# How IPv4 addresses begin that are neither near nor no sender, as most are: in a flood there is no time for more.
ORDINARY = frozenset(map(str, {*range(1, 255)}.difference(NEAR.first_bytes(), MULTICAST[4])))

HostClass = tuple[str | None, bool, int]  # why it is refused, whether it is trusted, and its slot


class UdpPolicy:
    """The rules for one socket.

    A host in `trusted_hosts` that sends from a port not in `ports` may be answered without calling `refusal_reason`.
    From `next_sample` on, one of the datagrams received is to be passed to `sample`.
    """

    def __init__(self, limits: Limits, own_ports: Collection[int]) -> None:
        """Apply `limits`; `own_ports` are the ports of this server."""
        self.ports = frozenset(own_ports) if limits.any_port else SERVICE_PORTS.union(own_ports)
        self.trusted_hosts: set[str] = set()
        self.next_sample = 0.0
        self._loops = LoopDetector()
        self._silent_until = self._loops.silent_until
        self._known = KnownSenders()
        self._own_ports = frozenset(own_ports)
        self._access = Access(limits.allow, limits.deny)
        self._ordinary = ORDINARY if not self._access else frozenset()
        self._host_prefix = limits.host_prefix
        self._bucket = TokenBucket(limits.rate_limit) if limits.rate_limit else None
        self._half_burst = self._bucket.burst / 2 if self._bucket else 0.0
        self._answered = array("I", bytes(4 * SLOTS))  # datagrams in this window
        self._none_answered = bytes(4 * SLOTS)
        self._paid_until = array("d", bytes(8 * SLOTS if self._bucket else 0))  # see TokenBucket
        self._window_end = 0.0
        self._classes: dict[str, HostClass] = {}

    def refusal_reason(self, host: str, port: int, datagrams: int, size: int, now: float) -> str | None:  # noqa: C901, PLR0911 - see below
        """Return why these datagrams, of `size` bytes in all, are not answered; None if they are.

        New senders leave half of each limit to the known ones of their host.
        """
        # Long, and with TokenBucket's arithmetic written out: calls would double what a datagram costs here.
        if port in self.ports:
            return "own_port" if port in self._own_ports else "service_port"
        refusal, near, slot = self._classes.get(host) or self._classify(host)
        if refusal:
            return refusal
        if self._silent_until and self._loops.is_silent((host, port), now):
            return "loop"
        bucket, answered = self._bucket, 0
        if not near:
            if now >= self._window_end:
                self._start_window(now)
            answered = self._answered[slot] + datagrams
            if answered > NEW_PER_WINDOW and (answered > MAX_PER_WINDOW or self._known.yields(slot, port, now)):
                return "rate_limit"
        elif bucket is None:
            if len(self.trusted_hosts) < MAX_HOSTS and not self._silent_until:
                self.trusted_hosts.add(host)
            return None
        if bucket:
            paid_until = self._paid_until[slot]
            unpaid = paid_until - now
            if unpaid > self._half_burst and (unpaid > bucket.burst or self._known.yields(slot, port, now)):
                return "rate_limit"
            cost = (size or datagrams) * bucket.second_a_byte  # an empty one costs a token too
            self._paid_until[slot] = cost + (paid_until if unpaid > 0 else now)
        if answered:
            self._answered[slot] = answered
        return None

    def sample(self, host: str, port: int, datagram: memoryview, now: float) -> None:
        """Look for loops and known senders in a sample of the datagrams received."""
        self.next_sample = now + SAMPLE_INTERVAL
        refusal, near, slot = self._classes.get(host) or self._classify(host)
        if port in self.ports or refusal or (self._silent_until and self._loops.is_silent((host, port), now)):
            return
        if self._bucket or not near:
            self._known.seen(slot, port, now)
        if len(datagram) > 2 * SAMPLED:
            payload = hash((len(datagram), bytes(datagram[:SAMPLED]), bytes(datagram[-SAMPLED:])))
        else:
            payload = hash(bytes(datagram))
        if self._loops.sample((host, port), payload, now):
            self.trusted_hosts.discard(host)

    def _start_window(self, now: float) -> None:
        self._window_end = now + WINDOW
        memoryview(self._answered).cast("B")[:] = self._none_answered

    def _classify(self, host: str) -> HostClass:
        if len(self._classes) >= MAX_HOSTS:
            self._classes.clear()
        if host[: host.find(".")] in self._ordinary:
            found: HostClass = None, False, hash(host) % SLOTS
        else:
            found = self._classify_special(host, pack(host))
        self._classes[host] = found
        return found

    def _classify_special(self, host: str, packed: bytes) -> HostClass:
        if packed[0] in MULTICAST[len(packed)] or packed in (NO_HOST4, NO_HOST6, BROADCAST):
            return "sender", False, 0
        if self._access and not self._access.permits(host):
            return "denied", False, 0
        ipv4 = len(packed) == 4  # noqa: PLR2004 - the bytes of an IPv4 address, perhaps of one mapped into IPv6
        counted = host.rpartition(":")[2] if ipv4 else counted_part(packed, self._host_prefix)
        return None, packed in NEAR, hash(counted) % SLOTS
