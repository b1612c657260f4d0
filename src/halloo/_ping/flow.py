"""One target of probes: an address, or one of several source ports to it."""

from dataclasses import dataclass

from halloo._core.address import Address
from halloo._ping.config import PingConfig
from halloo._ping.connection import ProbeConnection
from halloo._ping.delays import Instant
from halloo._ping.tracker import ProbeTracker
from halloo.errors import HallooError


@dataclass(frozen=True, slots=True)
class Connecting:
    """A connection is being made; a probe waits for it, to be sent at `planned`, unless that is None."""

    planned: Instant | None


@dataclass(frozen=True, slots=True)
class Failed:
    """Connecting failed before there was a probe; the first one is to report the error."""

    error: HallooError


@dataclass(slots=True, eq=False)
class Flow:
    """An address, the tracker of its probes, and the state of its connection: None is closed."""

    address: Address
    config: PingConfig
    run: int  # the number that tells its probes from those of other runs
    tracker: ProbeTracker
    state: ProbeConnection | Connecting | Failed | None = None

    @property
    def connection(self) -> ProbeConnection | None:
        """The open connection; None while there is none."""
        return self.state if isinstance(self.state, ProbeConnection) else None

    @property
    def stream(self) -> bool:
        """Whether the transport is reliable and ordered, and a connection can end."""
        return self.address.scheme != "udp"

    @property
    def one_shot(self) -> bool:
        """Whether each probe has its own connection."""
        return self.config.reconnect or self.config.connect

    @property
    def busy(self) -> bool:
        """Whether the next probe cannot be sent: the connection is not open yet, or the last probe still uses it."""
        return isinstance(self.state, Connecting) or (self.one_shot and self.tracker.counters.pending > 0)

    def describe(self) -> None:
        """Have the tracker report what is known of the open connection."""
        if connection := self.connection:
            self.tracker.clock = "kernel" if connection.kernel_timestamps and not self.config.connect else "user"
            self.tracker.update_target(**connection.describe())
