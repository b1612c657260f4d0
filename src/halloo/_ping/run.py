"""Ping echo servers: reachability, intact bytes, round trips, and where the time goes.

Makes the flows, runs them and builds the report. A Sink presents it.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from typing import Protocol, runtime_checkable

from halloo._core import arguments
from halloo._core.address import AddressLike, parse
from halloo._core.arguments import Family
from halloo._core.probe import Probes
from halloo._core.tls_options import ClientTLS, given_name
from halloo._net import unix
from halloo._net.signals import StopRequest
from halloo._output.json import system, version
from halloo._ping.config import COUNT, INTERVAL, SIZE, TIMEOUT, PingConfig, parse_goals
from halloo._ping.flow import Flow
from halloo._ping.goals import Goal, missed
from halloo._ping.mtu_sweep import MtuSweep
from halloo._ping.receiver import SurplusLimit
from halloo._ping.report import Generator, PingReport, ProbeEvent, TargetReport
from halloo._ping.scheduler import Scheduler, system_clocks
from halloo._ping.tracker import ProbeTracker
from halloo.errors import IncompleteRead, PeerError, Reset


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
    options = locals() | {
        "addresses": tuple(parse(address) for address in addresses or ("localhost",)),
        "goals": parse_goals(goals),
    }
    del options["sink"]
    arguments.instance("sink", sink, Sink, type(None), what="a Sink or None")
    config = PingConfig(**options)
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
        self._scheduler = Scheduler(self._flows, config, stop_request, self._on_event)
        self._sweeps: list[MtuSweep] = []
        self._version, self._system = version(), system()  # read now: later the flows may use up all file descriptors
        self._started, self._cpu_start_ns = system_clocks(), 0

    def run(self) -> PingReport:
        """Run the ping and return its report. If one output fails, the others still get the results so far."""
        with closing(self._scheduler):
            self._started, self._cpu_start_ns = system_clocks(), time.process_time_ns()
            self._scheduler.open()
            try:
                if self._sink:
                    self._sink.begin(self._snapshot(), self._snapshot)
                if self._config.size_sweep:
                    self._sweep()
                else:
                    self._scheduler.run(self._interim)
            except PeerError:
                raise
            except OSError as error:  # a full disk, or a reader that has left; the other outputs are still written
                if not (self._stop_request.stop and isinstance(error, BrokenPipeError)):  # ^C ends the reader as well
                    self._stop_request.stop = True
                    with suppress(OSError):
                        self._end()
                    raise
            return self._end()

    def _sweep(self) -> None:
        deadline = self._config.deadline_ns
        end_ns = None if deadline is None else self._started.steady_ns + deadline
        self._sweeps = [
            MtuSweep(flow, self._stop_request, self._on_event, random_run=_random_run, index=index, end_ns=end_ns)
            for index, flow in enumerate(self._flows)
        ]
        for sweep in self._sweeps:
            sweep.run(self._interim)

    def _snapshot(self) -> PingReport:
        return self._report(histogram=False)

    def _interim(self) -> None:
        if self._sink:
            self._sink.interim(_with_verdicts(self._snapshot(), self._config))

    def _end(self) -> PingReport:
        report = replace(self._report(histogram=True), interrupted=self._stop_request.stop)
        report = _with_verdicts(report, self._config)
        if self._sink:
            self._sink.end(report)
        return report

    def _report(self, *, histogram: bool) -> PingReport:
        self._scheduler.refresh()
        elapsed, schedule = system_clocks().steady_ns - self._started.steady_ns, self._scheduler.schedule
        cpu = 100 * (time.process_time_ns() - self._cpu_start_ns) / max(elapsed, 1)
        targets = [sweep.report() for sweep in self._sweeps]
        return PingReport(
            targets=tuple(targets or (flow.tracker.report(histogram=histogram) for flow in self._flows)),
            started_ns=self._started.wall_ns,
            duration_ns=elapsed,
            generator=Generator(
                planned=schedule.planned,
                late=schedule.late,
                behind=schedule.behind,
                skipped_waiting=schedule.skipped_waiting,
                lateness=schedule.lateness.summary(),
                cpu_percent=cpu,
            ),
            effective=self._config.effective(),
            supplied=self._config.supplied(count=None if self._sink else COUNT),  # the command runs until ^C
            system=self._system,
            version=self._version,
        )


def _ignore(_event: ProbeEvent) -> None:
    pass


def _random_run() -> int:
    """Return a run number that cannot be guessed without seeing its probes."""
    return int.from_bytes(os.urandom(4))


def _make_flows(config: PingConfig) -> list[Flow]:
    flows = list[Flow]()
    for address in config.addresses:
        if address.path is None:
            address = replace(address, host=address.host or "localhost")  # noqa: PLW2901 - an empty host is this one
        for port in range(1, config.flows + 1):
            label = f"{address} flow {port}" if config.flows > 1 else str(address)
            run, target = _random_run(), TargetReport(label, str(address), None, None)
            tracker = ProbeTracker(
                len(flows),
                Probes(run, config.size),
                config.timeout_ns,
                target,
                one_connection=not config.reconnect,
            )
            flows.append(Flow(address, config, run, tracker))
    return flows


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
