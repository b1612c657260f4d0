"""The options of a ping, checked once where they enter."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from halloo._core import applicable, arguments
from halloo._core.address import Address
from halloo._core.arguments import Family
from halloo._core.probe import MIN_SIZE
from halloo._core.tls_options import ClientTLS, given_name
from halloo._core.units import FOR_EVER, MAX_DSCP, SECOND
from halloo._net.datagrams import MAX_DATAGRAM
from halloo._net.socket_options import SocketOptions
from halloo._ping.goals import Goal, goal
from halloo.errors import UsageError

COUNT, INTERVAL, TIMEOUT, SIZE = 10, 1.0, 5.0, 128  # probes, seconds, seconds, bytes
MAX_TTL = 255
MAX_FLOWS = 1000  # the report has a line for each: more would be unreadable
# Options without effect beside another.
VAIN = (
    ("size_sweep", "is for probes of one size", ("count", "interval", "size", "busy_poll")),
    ("connect", "is for probes, and none is sent", ("size", "user_clock", "reconnect")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PingConfig:
    """The options of `halloo.ping`, which explains them. Raises UsageError if one is invalid."""

    addresses: tuple[Address, ...] = (Address(host="localhost"),)
    interval: float = INTERVAL
    timeout: float = TIMEOUT
    deadline: float | None = None
    count: int | None = COUNT
    size: int = SIZE
    family: Family | None = None
    flows: int = 1
    reconnect: bool = False
    connect: bool = False
    size_sweep: bool = False
    busy_poll: bool = False
    user_clock: bool = False
    dscp: int | None = None
    ttl: int | None = None
    bind: str | None = None
    df: bool = False
    goals: tuple[Goal, ...] = ()
    tls: ClientTLS | None = None

    def __post_init__(self) -> None:
        self._check_values()
        self._check_schemes()
        for method, fact, vain in VAIN:
            for name in vain if getattr(self, method) else ():
                if getattr(self, name) not in (None, _DEFAULTS[name]):  # the command's count is None
                    raise UsageError(fact, f"leave it out, or {method}=", argument=name)

    @property
    def interval_ns(self) -> int:
        return _nanoseconds(self.interval)

    @property
    def timeout_ns(self) -> int:
        return _nanoseconds(self.timeout)

    @property
    def deadline_ns(self) -> int | None:
        return None if self.deadline is None else _nanoseconds(self.deadline)

    @property
    def socket_options(self) -> SocketOptions:
        return SocketOptions(self.dscp, self.ttl, self.bind, self.df or self.size_sweep)

    def effective(self) -> dict[str, Any]:
        """Return the options as the JSON report has them."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "tls"}
        values |= {
            "addresses": [str(address) for address in self.addresses],
            "df": self.socket_options.df,
            "goals": [goal.text for goal in self.goals],
        }
        times = {"interval": self.interval_ns, "timeout": self.timeout_ns, "deadline": self.deadline_ns}
        return {(f"{name}_ns" if name in times else name): times.get(name, value) for name, value in values.items()}

    def supplied(self, *, count: int | None) -> dict[str, Any]:
        """Return the effective options that are not the usual ones; the usual `count` differs between the callers."""
        usual = PingConfig(count=count).effective()
        return {name: value for name, value in self.effective().items() if value != usual[name]}

    def _check_values(self) -> None:
        seconds, whole = arguments.seconds, arguments.whole
        seconds("interval", self.interval, none=False)
        seconds("timeout", self.timeout, none=False, positive=True, remedy="5 seconds is usual")
        seconds("deadline", self.deadline, positive=True, remedy="omit it to run until all probes are sent")
        whole("count", self.count, 1, none=True, remedy="omit it to run until ^C")
        whole("size", self.size, MIN_SIZE, MAX_DATAGRAM, unit=" bytes", remedy="64, 128 and 1KiB are usual")
        whole("flows", self.flows, 1, MAX_FLOWS, remedy="8 cover most sets of equal paths")
        whole("dscp", self.dscp, 0, MAX_DSCP, none=True, remedy="46 is EF, expedited forwarding")
        whole("ttl", self.ttl, 1, MAX_TTL, none=True, remedy="64 is usual")
        SocketOptions(bind=self.bind)  # checks its type
        arguments.family(self.family)
        arguments.switches(reconnect=self.reconnect, connect=self.connect, size_sweep=self.size_sweep)
        arguments.switches(busy_poll=self.busy_poll, user_clock=self.user_clock, df=self.df)

    def _check_schemes(self) -> None:
        schemes = {address.scheme for address in self.addresses}
        applicable.check(schemes, [name for name in ("dscp", "ttl", "bind") if getattr(self, name)])
        if given_name(self.tls) and "tls" not in schemes:
            fact = f"TLS options do not apply to {self.addresses[0].scheme}://"
            raise UsageError(fact, "write tls:// before the host, or omit them")
        if (self.connect or self.reconnect) and "udp" in schemes:
            name = "connect" if self.connect else "reconnect"
            raise UsageError("needs connections, and udp:// has none", "omit it, or ping tcp://", argument=name)
        if self.socket_options.df and schemes != {"udp"}:
            name = "size_sweep" if self.size_sweep else "df"
            raise UsageError("needs datagrams", "write udp:// before the host, or omit it", argument=name)


_DEFAULTS = {field.name: field.default for field in fields(PingConfig)}


def parse_goals(goals: Sequence[Goal | str]) -> tuple[Goal, ...]:
    """Parse the goals that are text. Raises UsageError."""
    what = "a list of goals such as 'p99>5ms'"
    arguments.instance("goals", goals, list, tuple, what=what)
    for each in goals:
        arguments.instance("goals", each, str, Goal, what=what)
    return tuple(goal(each) if isinstance(each, str) else each for each in goals)


def _nanoseconds(seconds: float) -> int:
    return int(min(seconds, FOR_EVER) * SECOND)
