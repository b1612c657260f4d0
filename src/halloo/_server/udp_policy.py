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

# Ports whose services answer any datagram, or amplify it: no client sends from one.
SERVICE_PORTS = frozenset(
    {0, 7, 9, 11, 13, 17, 19, 37, 53, 69, 111, 123, 137, 161, 389, 500, 520, 1434, 1900, 3702, 5060, 5353, 5683, 11211}
)
WINDOW = 0.1  # seconds
MAX_PER_WINDOW = 200  # datagrams answered to one untrusted host in a window: 2000 a second
NEW_PER_WINDOW = MAX_PER_WINDOW // 2  # of those, to senders that are new while others of the host are known
MAX_CLASSES = 1024  # hosts whose class is remembered: more would slow down a flood of new ones, by misses of the cache
SLOTS = 1 << 16  # for usage, chosen by a hash: in a flood, few hosts share one, and a share of a flood is small
MULTICAST = {4: range(0xE0, 0xF0), 16: range(0xFF, 0x100)}  # the first byte, by size
BROADCAST, NO_HOST4, NO_HOST6 = bytes((255, 255, 255, 255)), bytes(4), bytes(16)

KNOWN_AFTER = 1.0  # seconds from a sender's first datagram to the one by which it is known
FORGOTTEN_AFTER = 60.0  # seconds without a datagram
MAX_PORTS = 8  # of one host: its first ones, so that forged ones do not replace them
MAX_KNOWN_HOSTS = 4096
# Senders seen once; a flood of forged senders keeps others from becoming known, no known one from staying.
MAX_NEW = 4096

SILENCE = 1.5  # seconds; a loop ends if its round trip, with all delays in queues, is shorter
TEST_INTERVAL, MAX_TEST_INTERVAL = 10.0, 1000.0  # seconds of repetition before a test, at first and at most
PERIOD = TEST_INTERVAL / 2  # seconds in which a payload has to come back, or the sender does not repeat itself
SAMPLE_INTERVAL = 0.0005  # seconds
SAMPLED = 1024  # bytes at the beginning and at the end of a datagram by which its payload is recognised
MAX_REPEATING = 1024  # senders; a new one takes the place of one that is silent: by turns, more loops than that end too
MAX_PAYLOADS = 64  # of each sender in a period, of which one has to come back

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
                self._window_end = now + WINDOW
                memoryview(self._answered).cast("B")[:] = self._none_answered
            answered = self._answered[slot] + datagrams
            if answered > NEW_PER_WINDOW and (answered > MAX_PER_WINDOW or self._known.yields(slot, port, now)):
                return "rate_limit"
        elif bucket is None:
            if len(self.trusted_hosts) < MAX_CLASSES and not self._silent_until:
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

    def _classify(self, host: str) -> HostClass:
        if len(self._classes) >= MAX_CLASSES:
            self._classes.clear()
        found: HostClass
        if host[: host.find(".")] in self._ordinary:
            found = None, False, hash(host) % SLOTS
        elif (packed := pack(host))[0] in MULTICAST[len(packed)] or packed in (NO_HOST4, NO_HOST6, BROADCAST):
            found = "sender", False, 0
        elif self._access and not self._access.permits(host):
            found = "denied", False, 0
        else:
            ipv4 = len(packed) == 4  # noqa: PLR2004 - the bytes of an IPv4 address, perhaps of one mapped into IPv6
            counted = host.rpartition(":")[2] if ipv4 else counted_part(packed, self._host_prefix)
            found = None, packed in NEAR, hash(counted) % SLOTS
        self._classes[host] = found
        return found


class KnownSenders:
    """Senders, by host (whatever names one) and port, that come back.

    A flood forged in the name of a host, from other ports, is to leave the host's known senders a share. One from a
    sender's own address and port looks as the sender does.
    """

    def __init__(self) -> None:
        self._known: dict[int, dict[int, float]] = {}  # when each port of a host was last seen
        self._new: dict[tuple[int, int], float] = {}  # when each sender was first seen
        self._next_sweep = 0.0

    def seen(self, host: int, port: int, now: float) -> None:
        """Record a datagram, or a sample of them."""
        ports = self._known.get(host)
        if ports is not None and port in ports:
            ports[port] = now
            return
        if len(self._new) >= MAX_NEW:
            self._new.clear()
        if now - self._new.setdefault((host, port), now) >= KNOWN_AFTER:
            self._become_known(host, port, now)

    def yields(self, host: int, port: int, now: float) -> bool:
        """Whether a sender is new while others of its host are known."""
        ports = self._known.get(host)
        if ports is None:
            return False
        if port in ports:
            ports[port] = now
            return False
        return now - max(ports.values()) <= FORGOTTEN_AFTER

    def _become_known(self, host: int, port: int, now: float) -> None:
        del self._new[host, port]
        if host not in self._known and len(self._known) >= MAX_KNOWN_HOSTS and not self._sweep(now):
            return
        ports = self._known.setdefault(host, {})
        if len(ports) >= MAX_PORTS:
            oldest = min(ports, key=lambda each: ports[each])
            if now - ports[oldest] <= FORGOTTEN_AFTER:
                return
            del ports[oldest]
        ports[port] = now

    def _sweep(self, now: float) -> bool:
        """Forget hosts, at most once a second; return whether there is room."""
        if now >= self._next_sweep:
            self._next_sweep = now + 1
            self._known = {
                host: ports for host, ports in self._known.items() if now - max(ports.values()) <= FORGOTTEN_AFTER
            }
        return len(self._known) < MAX_KNOWN_HOSTS


class LoopDetector:
    """Finds echo loops at one socket: senders that send our own answers back.

    The caller is silent towards those in `silent_until` until that time. A loop and a client that repeats itself look
    alike: both bring payloads that were answered before. They differ once there is no answer: then nothing of the loop
    is left, while the client goes on. So a sender, an address with its port, whose payloads have come back for
    TEST_INTERVAL gets no answer for SILENCE; if it sends after that, the next test comes ten times later. A sender of
    fresh payloads is not tested. Only samples are examined, one in SAMPLE_INTERVAL is enough, so that the other
    datagrams cost nothing.
    """

    def __init__(self) -> None:
        self.silent_until: dict[tuple[str, int], float] = {}
        self._senders: dict[tuple[str, int], _Repetition] = {}  # the one sampled last is the last one

    def sample(self, sender: tuple[str, int], payload: int, now: float) -> bool:
        """Record the hash of a datagram that was just answered; return whether to be silent from now on."""
        senders = self._senders
        found = senders.pop(sender, None)
        if found is None:
            if len(senders) >= MAX_REPEATING:
                if now - senders[oldest := next(iter(senders))].last <= SILENCE:
                    return False
                del senders[oldest]
            found = _Repetition(now)
        senders[sender] = found
        if not found.is_due(payload, now):
            return False
        self.silent_until[sender] = now + SILENCE
        return True

    def is_silent(self, sender: tuple[str, int], now: float) -> bool:
        """Whether a sender gets no answer now; forget those whose silence is over."""
        silent = self.silent_until
        while silent and now >= silent[first := next(iter(silent))]:  # they end in the order in which they began
            del silent[first]
        return sender in silent


class _Repetition:
    """Since when a sender has repeated itself."""

    __slots__ = ("_interval", "_payloads", "_period_end", "_repeated", "_since", "last")

    def __init__(self, now: float) -> None:
        self._interval = TEST_INTERVAL
        self.last = self._since = self._period_end = now
        self._repeated = False
        self._payloads: set[int] = set()

    def is_due(self, payload: int, now: float) -> bool:
        """Record a payload; return whether the sender is to be tested now."""
        gap, self.last = now - self.last, now
        if gap > self._interval:
            self._interval = TEST_INTERVAL
        if gap > SILENCE:
            self._start_period(now, now)
        elif now >= self._period_end:
            self._start_period(now, self._since if self._repeated else now)
        if payload not in self._payloads:
            if len(self._payloads) < MAX_PAYLOADS:
                self._payloads.add(payload)
            return False
        self._repeated = True
        if now - self._since < self._interval:
            return False
        self._interval = min(10 * self._interval, MAX_TEST_INTERVAL)
        self._start_period(now, now)
        return True

    def _start_period(self, now: float, since: float) -> None:
        self._since, self._period_end = since, now + PERIOD
        self._repeated = False
        self._payloads.clear()
