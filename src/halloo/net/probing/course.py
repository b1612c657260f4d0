"""One target of a prober: the way there, what its probes came to, and what a probe is.

Knows a lane and an account.
"""

from dataclasses import dataclass

from halloo.core.account import Account
from halloo.net.probing.lanes import Lane


@dataclass(frozen=True, slots=True)
class Course:
    """A lane and its account.

    With `reconnect` each probe has a connection of its own; with `connect` that is all there is to a probe.
    """

    lane: Lane
    account: Account
    reconnect: bool = False
    connect: bool = False

    @property
    def stream(self) -> bool:
        """Whether nothing gets lost or overtakes on the way, and a connection has an end."""
        return self.lane.dial.address.scheme != "udp"

    @property
    def apart(self) -> bool:
        """Whether each probe has a connection of its own."""
        return self.reconnect or self.connect

    @property
    def held(self) -> bool:
        """Whether the next probe cannot leave: the connection still belongs to the last one."""
        return self.apart and self.account.tally.awaited > 0
