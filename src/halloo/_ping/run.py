"""Ping echo servers: reachability, intact bytes, round trips, and where the time goes.

Runs probers and builds the report. A Sink presents it.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from halloo._core import applicable, arguments
from halloo._core.address import Address, AddressLike, parse
from halloo._core.arguments import Family
from halloo._core.probe import MIN_SIZE, Probes
from halloo._core.tls_options import ClientTLS, given_name
from halloo._core.units import FOR_EVER, SECOND
from halloo._net import unix
from halloo._net.datagrams import MAX_DATAGRAM
from halloo._net.signals import StopRequest
from halloo._net.socket_options import SocketOptions
from halloo._output.json import system, version
from halloo._ping.clocks import read_clocks
from halloo._ping.flow import ConnectOptions, Flow, ProbeConnection
from halloo._ping.goals import Goal, goal, missed
from halloo._ping.mtu_sweep import MtuSweep
from halloo._ping.prober import Prober
from halloo._ping.report import Generator, PingReport, ProbeEvent, TargetReport
from halloo._ping.schedule import Schedule
from halloo._ping.surplus import SurplusLimit
from halloo._ping.tracker import ProbeTracker
from halloo.errors import IncompleteRead, PeerError, Reset, UsageError

COUNT, INTERVAL, TIMEOUT, SIZE = 10, 1.0, 5.0, 128  # probes, seconds, seconds, bytes
_MAX_DSCP, _MAX_TTL, _MAX_FLOWS = 63, 255, 1000


# Options without effect beside another.
_VAIN = (
    ("size_sweep", "is for probes of one size", ("count", "interval", "size", "busy_poll")),
    ("connect", "is for probes, and none is sent", ("size", "user_clock", "reconnect")),
)
Checks = Iterator[tuple[bool, str, str, str]]  # whether invalid; argument, fact and remedy


@runtime_checkable
class Sink(Protocol):
    """The receiver of a ping's events."""

    def begin(self, report: PingReport, snapshot: Callable[[], PingReport]) -> None:
        """Handle the start, just before the first probe; `snapshot` returns the report so far at any time."""

    def probe(self, event: ProbeEvent) -> None:
        """Handle the outcome of a probe."""

    def interim(self, report: PingReport) -> None:
        """Show an intermediate report, requested by SIGQUIT."""

    def end(self, report: PingReport) -> None:
        """Show the final report."""


@dataclass(frozen=True, slots=True)
class PingConfig:
    """The arguments of a ping."""

    addresses: tuple[Address, ...] = (Address(host="localhost"),)
    count: int | None = COUNT
    interval: float = INTERVAL
    timeout: float = TIMEOUT
    deadline: float | None = None
    size: int = SIZE
    family: Family | None = None
    tls: ClientTLS | None = None
    socket_options: SocketOptions = field(default_factory=SocketOptions)
    flows: int = 1
    reconnect: bool = False
    connect: bool = False
    size_sweep: bool = False
    busy_poll: bool = False
    user_clock: bool = False
    goals: Sequence[Goal] = ()

    def check(self) -> None:
        arguments.seconds("interval", self.interval, none=False)
        arguments.seconds("timeout", self.timeout, none=False, positive=True, remedy="5 seconds is usual")
        arguments.seconds("deadline", self.deadline, positive=True, remedy="omit it to run until all probes are sent")
        self._check_numbers()
        arguments.family(self.family)
        arguments.switches(reconnect=self.reconnect, connect=self.connect, size_sweep=self.size_sweep)
        arguments.switches(busy_poll=self.busy_poll, user_clock=self.user_clock)
        for invalid, argument, fact, remedy in self._scheme_checks():
            if invalid:
                raise UsageError(fact, remedy, argument=argument)

    def _check_numbers(self) -> None:
        whole, options = arguments.whole, self.socket_options
        whole("count", self.count, 1, none=True, remedy="omit it to run until ^C")
        whole("size", self.size, MIN_SIZE, MAX_DATAGRAM, unit=" bytes", remedy="64, 128 and 1KiB are usual")
        # The report has a line for each flow: more would be unreadable.
        whole("flows", self.flows, 1, _MAX_FLOWS, remedy="8 cover most sets of equal paths")
        whole("dscp", options.dscp, 0, _MAX_DSCP, none=True, remedy="46 is EF, expedited forwarding")
        whole("ttl", options.ttl, 1, _MAX_TTL, none=True, remedy="64 is usual")

    def _scheme_checks(self) -> Checks:
        schemes = {address.scheme for address in self.addresses}
        applicable.check(schemes, [name for name in ("dscp", "ttl", "bind") if getattr(self.socket_options, name)])
        invalid = bool(given_name(self.tls)) and "tls" not in schemes
        fact = f"TLS options do not apply to {self.addresses[0].scheme}://"
        yield invalid, "", fact, "write tls:// before the host, or omit them"
        name = "connect" if self.connect else "reconnect"
        invalid = (self.connect or self.reconnect) and "udp" in schemes
        yield invalid, name, "needs connections, and udp:// has none", "omit it, or ping tcp://"
        name = "size_sweep" if self.size_sweep else "df"
        invalid = self.socket_options.df and schemes != {"udp"}
        yield invalid, name, "needs datagrams", "write udp:// before the host, or omit it"
        for method, fact, vain in _VAIN:
            for name in vain if getattr(self, method) else ():
                invalid = getattr(self, name) not in (None, getattr(_USUAL, name))  # the command's count is None
                yield invalid, name, fact, f"leave it out, or {method}="


def ping(
    *addresses: AddressLike,
    count: int | None = COUNT,
    interval: float = INTERVAL,
    timeout: float = TIMEOUT,
    deadline: float | None = None,
    size: int = SIZE,
    family: Family | None = None,
    tls: ClientTLS | None = None,
    dscp: int | None = None,
    ttl: int | None = None,
    bind: str | None = None,
    flows: int = 1,
    reconnect: bool = False,
    connect: bool = False,
    df: bool = False,
    size_sweep: bool = False,
    busy_poll: bool = False,
    user_clock: bool = False,
    goals: Sequence[Goal | str] = (),
    sink: Sink | None = None,
) -> PingReport:
    """Send `count` probes to each echo server, one every `interval` seconds, and measure the replies.

    `size` is the bytes of a probe, 37 to 65507. A probe without a reply after `timeout` seconds is lost. With
    `interval=0` each probe follows the last reply. After `deadline` seconds the run ends. `flows` is the number of
    connections or source ports to use in turn, each a target of its own with `count` probes. With `reconnect` every
    probe opens its own connection; with `connect` it does only that, to any port. `dscp` and `ttl` are set on the
    packets, `bind` is the source address, `df` forbids fragmentation. `size_sweep` only searches for the largest
    datagram that is echoed. `busy_poll` polls without sleeping: more exact, but it uses a whole core. A round trip ends
    at the kernel's receive timestamp where there is one, or with `user_clock` when the program reads the reply. An
    unreachable target is part of the report. docs/ping.md explains each number. Raises UsageError, UnknownHost.

    >>> with halloo.Server() as server:
    ...     report = halloo.ping(server.address, count=3, interval=0)
    >>> report.targets[0].received
    3
    """
    arguments.switches(df=df)
    arguments.instance("sink", sink, Sink, type(None), what="a Sink or None")
    config = PingConfig(
        addresses=tuple(parse(address) for address in addresses or ("localhost",)),
        count=count,
        interval=interval,
        timeout=timeout,
        deadline=deadline,
        size=size,
        family=family,
        tls=tls,
        socket_options=SocketOptions(dscp, ttl, bind, df or size_sweep),
        flows=flows,
        reconnect=reconnect,
        connect=connect,
        size_sweep=size_sweep,
        busy_poll=busy_poll,
        user_clock=user_clock,
        goals=_parsed(goals),
    )
    config.check()
    for address in config.addresses:
        if address.path is not None:
            unix.checked(address)  # as for the files below
    if config.tls is not None and given_name(config.tls):
        from halloo._net.tls import client_context  # noqa: PLC0415 - ssl is slow to import, and only tls:// needs it

        client_context(config.tls)  # a file that cannot be used is an error of the call, not of each probe
    with closing(StopRequest()) as stop_request, stop_request.of_signals() if sink else nullcontext():
        return _Run(config, sink, stop_request).run()


class _Run:
    def __init__(self, config: PingConfig, sink: Sink | None, stop_request: StopRequest) -> None:
        self._config, self._sink, self._stop_request = config, sink, stop_request
        self._on_event = SurplusLimit(sink.probe) if sink else _ignore
        self._flows = _make_flows(config)
        self._schedule = Schedule(_nanoseconds(config.interval), len(self._flows), config.count)
        self._prober = Prober(
            self._flows,
            self._schedule,
            stop_request,
            self._on_event,
            deadline_ns=None if config.deadline is None else _nanoseconds(config.deadline),
            busy_poll=config.busy_poll,
        )
        self._sweeps: list[MtuSweep] = []
        self._version, self._system = version(), system()  # read now: later the flows may use up all file descriptors
        self._started, self._cpu_start_ns = read_clocks(), 0

    def run(self) -> PingReport:
        """Run the ping and return its report. If one output fails, the others still get the results so far."""
        with closing(self._prober):
            self._started, self._cpu_start_ns = read_clocks(), time.process_time_ns()
            self._prober.open()
            try:
                if self._sink:
                    self._sink.begin(self.snapshot(), self.snapshot)
                self._measure()
            except PeerError:
                raise
            except OSError as error:  # a full disk, or a reader that has left; the other outputs are still written
                if not (self._stop_request.stop and isinstance(error, BrokenPipeError)):  # ^C ends the reader as well
                    self._stop_request.stop = True
                    with suppress(OSError):
                        self._end()
                    raise
            return self._end()

    def snapshot(self) -> PingReport:
        return self._report(histogram=False)

    def _measure(self) -> None:
        if self._config.size_sweep:
            self._sweeps = [self._sweep(index, flow) for index, flow in enumerate(self._flows)]
            for sweep in self._sweeps:
                sweep.run(self._interim)
        else:
            self._prober.run(self._interim)

    def _sweep(self, index: int, flow: Flow) -> MtuSweep:
        timeout, deadline = _nanoseconds(self._config.timeout), self._config.deadline
        end = None if deadline is None else self._started.steady_ns + _nanoseconds(deadline)
        target = flow.tracker.report()
        return MtuSweep(
            flow.connection,
            target,
            self._stop_request,
            self._on_event,
            timeout_ns=timeout,
            random_run=_random_run,
            index=index,
            end_ns=end,
        )

    def _interim(self) -> None:
        if self._sink:
            self._sink.interim(_with_verdicts(self.snapshot(), self._config))

    def _end(self) -> PingReport:
        report = replace(self._report(histogram=True), interrupted=self._stop_request.stop)
        report = _with_verdicts(report, self._config)
        if self._sink:
            self._sink.end(report)
        return report

    def _report(self, *, histogram: bool) -> PingReport:
        self._prober.refresh()
        elapsed, schedule = read_clocks().steady_ns - self._started.steady_ns, self._schedule
        cpu = 100 * (time.process_time_ns() - self._cpu_start_ns) / max(elapsed, 1)
        generator = Generator(
            schedule.planned, schedule.late, schedule.behind, schedule.skipped_waiting, schedule.lateness.summary(), cpu
        )
        defaults = _DEFAULTS | ({"count": None} if self._sink else {})  # the command runs until ^C
        targets = [sweep.report() for sweep in self._sweeps]
        targets = targets or [flow.tracker.report(histogram=histogram) for flow in self._flows]
        return PingReport(
            targets=tuple(targets),
            started_ns=self._started.wall_ns,
            duration_ns=elapsed,
            generator=generator,
            effective=(effective := _effective(self._config)),
            supplied={name: value for name, value in effective.items() if value != defaults[name]},
            system=self._system,
            version=self._version,
        )


def _parsed(goals: Sequence[Goal | str]) -> tuple[Goal, ...]:
    arguments.instance("goals", goals, list, tuple, what="a list of goals such as 'p99>5ms'")
    for each in goals:
        arguments.instance("goals", each, str, Goal, what="a list of goals such as 'p99>5ms'")
    return tuple(goal(each) if isinstance(each, str) else each for each in goals)


def _nanoseconds(seconds: float) -> int:
    return int(min(seconds, FOR_EVER) * SECOND)


def _random_run() -> int:
    """Return a run number that cannot be guessed without seeing its probes."""
    return int.from_bytes(os.urandom(4))


def _ignore(_event: ProbeEvent) -> None:
    pass


def _make_flows(config: PingConfig) -> list[Flow]:
    sources = [(address, port) for address in config.addresses for port in range(config.flows)]
    return [_make_flow(index, address, port, config) for index, (address, port) in enumerate(sources)]


def _make_flow(index: int, address: Address, port: int, config: PingConfig) -> Flow:
    address = replace(address, host=address.host or "localhost") if address.path is None else address
    label = f"{address} flow {port + 1}" if config.flows > 1 else str(address)
    run = _random_run()
    timeout = config.timeout if config.deadline is None else min(config.timeout, config.deadline)
    tls = config.tls if address.scheme == "tls" else None
    options = ConnectOptions(address, timeout, config.socket_options, config.family, tls, config.user_clock)
    tracker = ProbeTracker(
        index,
        Probes(run, config.size),
        _nanoseconds(config.timeout),
        TargetReport(label, str(address), None, None),
        one_connection=not config.reconnect,
    )
    return Flow(ProbeConnection(options, run=run, size=config.size), tracker, config.reconnect, config.connect)


def _with_verdicts(report: PingReport, config: PingConfig) -> PingReport:
    targets = report.targets if config.connect else tuple(_with_failure(target) for target in report.targets)
    report = replace(report, targets=targets)
    return replace(report, missed=tuple(sentence for goal in config.goals for sentence in missed(goal, report)))


def _with_failure(target: TargetReport) -> TargetReport:
    """Report a server that accepts but does not echo: it was silent for the timeout, or ended all connections."""
    echoed = target.received or target.late or target.corrupt
    if echoed or target.address.startswith("udp:") or "connect" not in target.phases:
        return target
    if not (target.timed_out or target.errors) or target.errors.keys() - {IncompleteRead.__name__, Reset.__name__}:
        return target
    place = parse(target.address).place
    return replace(target, failure=f"{place} accepts connections but does not echo; the connect option needs no echo")


def _effective(config: PingConfig) -> dict[str, Any]:
    socket_options = config.socket_options
    names = ("count", "size", "family", "flows", "reconnect", "connect", "size_sweep", "busy_poll", "user_clock")
    return {
        "addresses": [str(address) for address in config.addresses],
        "interval_ns": _nanoseconds(config.interval),
        "timeout_ns": _nanoseconds(config.timeout),
        "deadline_ns": None if config.deadline is None else _nanoseconds(config.deadline),
        **{name: getattr(config, name) for name in names},
        **{name: getattr(socket_options, name) for name in ("dscp", "ttl", "bind", "df")},
        "goals": [goal.text for goal in config.goals],
    }


_USUAL = PingConfig()
_DEFAULTS = _effective(_USUAL)
