"""Remember which senders come back. Pure: no I/O, no clock, no randomness.

Times are seconds on the caller's clock. A flood forged in the name of a host, from other ports, is to leave the host's
known senders a share. One from a sender's own address and port looks as the sender does.
"""

KNOWN_AFTER = 1.0  # seconds from a sender's first datagram to the one by which it is known
FORGOTTEN_AFTER = 60.0  # seconds without a datagram
MAX_PORTS = 8  # of one host: its first ones, so that forged ones do not replace them
MAX_HOSTS = 4096
MAX_NEW = (
    4096  # senders seen once; a flood of forged senders keeps others from becoming known, no known one from staying
)


class KnownSenders:
    """Senders by host, whatever names one, and port."""

    def __init__(self) -> None:
        """Start with none."""
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
        if host not in self._known and len(self._known) >= MAX_HOSTS and not self._sweep(now):
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
        return len(self._known) < MAX_HOSTS
