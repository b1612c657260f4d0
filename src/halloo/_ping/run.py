"""Ping echoes: say whether each is reachable, intact and how late, and where the time goes.

Knows probers, and what a report is made of. How it is shown is for a Sink.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from math import isfinite
from typing import Any, Protocol

from halloo._core.address import Address, AddressLike, parse
from halloo._core.probe import LEAST, Probes
from halloo._core.tls_options import ClientTLS
from halloo._core.units import SECOND
from halloo._net.datagrams import MOST
from halloo._net.signals import StopRequest
from halloo._net.socket_options import SocketOptions
from halloo._output.json import system, version
from halloo._ping.flow import ConnectOptions, Flow, ProbeConnection
from halloo._ping.goals import Goal, goal, missed
from halloo._ping.mtu_sweep import MtuSweep
from halloo._ping.prober import Prober, both_clocks
from halloo._ping.report import Generator, PingReport, ProbeEvent, TargetReport
from halloo._ping.schedule import Schedule
from halloo._ping.tracker import ProbeTracker
from halloo.errors import HallooError, IncompleteRead, Reset, UsageError

COUNT, INTERVAL, WAIT, SIZE = 10, 1.0, 5.0, 128  # probes, seconds, seconds, bytes
_HIGHEST_DSCP, _HIGHEST_TTL, _FLOWS = 63, 255, 1000


class Sink(Protocol):
    """Who is told of a ping while it goes on."""

    def begin(self, report: PingReport, look: Callable[[], PingReport]) -> None:
        """Take note that the first probe is about to leave; `look` gives the report so far at any time."""

    def probe(self, event: ProbeEvent) -> None:
        """Take note of what became of a probe."""

    def interim(self, report: PingReport) -> None:
        """Show how things stand, since somebody asks (SIGQUIT)."""

    def end(self, report: PingReport) -> None:
        """Show what it came to."""


@dataclass(frozen=True, slots=True)
class PingConfig:
    """What a ping was asked for, checked."""

    addresses: tuple[Address, ...] = (Address(host="localhost"),)
    count: int | None = COUNT
    interval: float = INTERVAL
    timeout: float = WAIT
    deadline: float | None = None
    size: int = SIZE
    family: int | None = None
    tls: ClientTLS | None = None
    marking: SocketOptions = field(default_factory=SocketOptions)
    flows: int = 1
    reconnect: bool = False
    connect: bool = False
    size_sweep: bool = False
    busy_poll: bool = False
    user_clock: bool = False
    goals: Sequence[Goal] = ()

    def check(self) -> None:
        """Raise UsageError for what cannot be."""
        for cannot_be, fact, remedy in chain(self._kinds(), self._amounts(), self._marks(), self._schemes()):
            if cannot_be:
                raise UsageError(fact, remedy)

    def _kinds(self) -> Iterator[tuple[bool, str, str]]:
        marking = self.marking
        whole = {name: getattr(self, name) for name in ("count", "size", "family", "flows")}
        for name, value in {**whole, "dscp": marking.dscp, "ttl": marking.ttl}.items():
            given = name in ("size", "flows") or value is not None
            yield given and type(value) is not int, f"--{name} is a whole number, not {value!r}", f"write {name}=4"
        for name in ("interval", "timeout", "deadline"):
            value = getattr(self, name)
            finite = type(value) in (int, float) and isfinite(value)
            given = name != "deadline" or value is not None
            yield given and not finite, f"--{name} is a number of seconds, not {value!r}", f"write {name}=0.5"
        yield self.family not in (None, 4, 6), f"a family is 4 or 6, not {self.family}", "or None for any"

    def _amounts(self) -> Iterator[tuple[bool, str, str]]:
        yield (
            not LEAST <= self.size <= MOST,
            f"--size is {LEAST} to {MOST} bytes, not {self.size}",
            "64, 128 and 1KiB are usual",
        )
        yield self.count is not None and self.count < 1, "--count is at least 1", "leave it out to go on until ^C"
        yield self.interval < 0, "--interval is not less than nothing", "with 0 each probe follows the last answer"
        yield _nanoseconds(self.timeout) < 1, "--timeout is more than nothing", "5s is usual"
        past = self.deadline is not None and self.deadline <= 0
        yield past, "--deadline is more than nothing", "leave it out to go on until all is sent"
        # More flows would not be lines that a person reads.
        yield not 1 <= self.flows <= _FLOWS, f"--flows is 1 to {_FLOWS}, not {self.flows}", "8 show most of equal paths"

    def _marks(self) -> Iterator[tuple[bool, str, str]]:
        dscp, ttl = self.marking.dscp, self.marking.ttl
        unknown = dscp is not None and not 0 <= dscp <= _HIGHEST_DSCP
        yield unknown, f"--dscp is 0 to {_HIGHEST_DSCP}, not {dscp}", "or a name, such as EF"
        yield (
            ttl is not None and not 1 <= ttl <= _HIGHEST_TTL,
            f"--ttl is 1 to {_HIGHEST_TTL}, not {ttl}",
            "64 is usual",
        )

    def _schemes(self) -> Iterator[tuple[bool, str, str]]:
        schemes = {address.scheme for address in self.addresses}
        vain = bool(self.tls) and "tls" not in schemes
        yield vain, f"{self.addresses[0].scheme}: knows no certificates", "write tls:// before the host"
        option = "--connect" if self.connect else "--reconnect"
        vain = (self.connect or self.reconnect) and "udp" in schemes
        yield vain, f"{option} is for connections, and udp:// has none", "leave it out, or ping tcp://"
        option = "--size-sweep" if self.size_sweep else "--df"
        vain = self.marking.df and schemes != {"udp"}
        yield vain, f"{option} is for datagrams", "write udp:// before the host, or leave it out"


def ping(
    *addresses: AddressLike,
    count: int | None = COUNT,
    interval: float = INTERVAL,
    timeout: float = WAIT,
    deadline: float | None = None,
    size: int = SIZE,
    family: int | None = None,
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
    """Send `count` probes to each echo, every `interval` seconds, and measure what comes back.

    A probe is `size` bytes, 37 to 65507, and is lost when it takes more than `timeout` seconds; with `interval=0` each
    follows the last answer; after `deadline` seconds it ends. `flows` connections or source ports are used in turn,
    each a target of its own with `count` probes. With `reconnect` every probe has a connection of its own; with
    `connect` it is nothing but that, to any port. `dscp` and `ttl` mark what is sent, `bind` is the address it leaves
    from, `df` forbids fragments; `size_sweep` looks for the largest datagram that returns, and does nothing else.
    `busy_poll` never sleeps: more exact, at the price of a core. Times are from sending to the kernel's
    receiving where the kernel tells, unless `user_clock`. A dead target is in the report. docs/ping.md says what
    each number is. Raises UsageError, UnknownHost.

    >>> with halloo.serving() as server:
    ...     report = halloo.ping(server.address, count=3, interval=0)
    >>> report.targets[0].received
    3
    """
    wanted = PingConfig(
        addresses=tuple(parse(address) for address in addresses or ("localhost",)),
        count=count,
        interval=interval,
        timeout=timeout,
        deadline=deadline,
        size=size,
        family=family,
        tls=tls,
        marking=SocketOptions(dscp, ttl, bind, df or size_sweep),
        flows=flows,
        reconnect=reconnect,
        connect=connect,
        size_sweep=size_sweep,
        busy_poll=busy_poll,
        user_clock=user_clock,
        goals=tuple(goal(each) if isinstance(each, str) else each for each in goals),
    )
    wanted.check()
    with closing(StopRequest()) as wish, wish.of_signals() if sink else nullcontext():
        return _Run(wanted, sink, wish).report()


class _Run:
    """One ping, from the first connection to the report."""

    def __init__(self, wanted: PingConfig, sink: Sink | None, wish: StopRequest) -> None:
        self._wanted, self._sink, self._wish = wanted, sink, wish
        self._tell = sink.probe if sink else _unheard
        self._courses = _courses(wanted)
        self._pace = Schedule(_nanoseconds(wanted.interval), len(self._courses), wanted.count)
        self._prober = Prober(
            self._courses,
            self._pace,
            wish,
            self._tell,
            deadline_ns=None if wanted.deadline is None else _nanoseconds(wanted.deadline),
            busy_poll=wanted.busy_poll,
        )
        self._sweeps: list[MtuSweep] = []
        self._version, self._system = version(), system()  # now, since they take files, of which flows may leave none
        self._began, self._busy = both_clocks(), 0

    def report(self) -> PingReport:
        """Do it. What was found before an error of the sink has gone to it, too."""
        with closing(self._prober):
            self._began, self._busy = both_clocks(), time.process_time_ns()
            self._prober.open()
            try:
                if self._sink:
                    self._sink.begin(self.look(), self.look)
                self._measure()
            except HallooError:
                raise
            except OSError:  # whoever read the lines has left, or the disk is full; another file is still worth writing
                self._wish.stop = True
                with suppress(OSError):
                    self._end()
                raise
            return self._end()

    def look(self) -> PingReport:
        """Say what was found so far."""
        return self._found(histogram=False)

    def _measure(self) -> None:
        if self._wanted.size_sweep:
            self._sweeps = [self._sweep(place, course) for place, course in enumerate(self._courses)]
            for sweep in self._sweeps:
                sweep.run(self._interim)
        else:
            self._prober.run(self._interim)

    def _sweep(self, place: int, course: Flow) -> MtuSweep:
        timeout, deadline = _nanoseconds(self._wanted.timeout), self._wanted.deadline
        end = None if deadline is None else self._began.steady_ns + _nanoseconds(deadline)
        target = course.tracker.report()
        return MtuSweep(
            course.connection, target, self._wish, self._tell, wait_ns=timeout, chance=_chance, place=place, end_ns=end
        )

    def _interim(self) -> None:
        if self._sink:
            self._sink.interim(_judged(self.look(), self._wanted))

    def _end(self) -> PingReport:
        found = replace(self._found(histogram=True), interrupted=self._wish.stop)
        report = _judged(found, self._wanted)
        if self._sink:
            self._sink.end(report)
        return report

    def _found(self, *, histogram: bool) -> PingReport:
        self._prober.look()
        passed, pace = both_clocks().steady_ns - self._began.steady_ns, self._pace
        cpu = 100 * (time.process_time_ns() - self._busy) / max(passed, 1)
        usual = _USUAL | ({"count": None} if self._sink else {})  # a command goes on until ^C
        targets = [sweep.report() for sweep in self._sweeps]
        targets = targets or [course.tracker.report(histogram=histogram) for course in self._courses]
        return PingReport(
            targets=tuple(targets),
            started_ns=self._began.wall_ns,
            duration_ns=passed,
            generator=Generator(
                pace.planned, pace.late, pace.behind, pace.skipped_waiting, pace.lateness.summary(), cpu
            ),
            effective=(effective := _effective(self._wanted)),
            supplied={name: value for name, value in effective.items() if value != usual[name]},
            system=self._system,
            version=self._version,
        )


def _nanoseconds(seconds: float) -> int:
    return int(seconds * SECOND)


def _chance() -> int:
    """Give the number of a run, which nobody can guess who does not see its probes."""
    return int.from_bytes(os.urandom(4))


def _unheard(_event: ProbeEvent) -> None:
    """Tell nobody."""


def _courses(wanted: PingConfig) -> list[Flow]:
    ways = [(address, flow) for address in wanted.addresses for flow in range(wanted.flows)]
    return [_course(place, address, flow, wanted) for place, (address, flow) in enumerate(ways)]


def _course(place: int, address: Address, flow: int, wanted: PingConfig) -> Flow:
    address = replace(address, host=address.host or "localhost") if address.path is None else address
    label = f"{address} flow {flow + 1}" if wanted.flows > 1 else str(address)
    run = _chance()
    wait = wanted.timeout if wanted.deadline is None else min(wanted.timeout, wanted.deadline)
    tls = wanted.tls if address.scheme == "tls" else None
    dial = ConnectOptions(address, wait, wanted.marking, wanted.family, tls, wanted.user_clock)
    account = ProbeTracker(
        place,
        Probes(run, wanted.size),
        _nanoseconds(wanted.timeout),
        TargetReport(label, str(address), None, None),
        one_connection=not wanted.reconnect,
    )
    return Flow(ProbeConnection(dial, run=run, size=wanted.size), account, wanted.reconnect, wanted.connect)


def _judged(report: PingReport, wanted: PingConfig) -> PingReport:
    """Say of each target that never answered why, and which goals were missed."""
    targets = report.targets if wanted.connect else tuple(_explained(target) for target in report.targets)
    sentences = [sentence for target in targets for goal in wanted.goals if (sentence := missed(goal, target))]
    return replace(report, targets=targets, missed=tuple(sentences))


def _explained(target: TargetReport) -> TargetReport:
    """Name a far end that lets connections in, and does not echo: it was silent long enough, or ended them all."""
    echoes = target.received or target.late or target.corrupt
    if echoes or target.address.startswith("udp:") or "connect" not in target.phases:
        return target
    if not (target.timed_out or target.errors) or target.errors.keys() - {IncompleteRead.__name__, Reset.__name__}:
        return target
    place = parse(target.address).place
    return replace(target, failure=f"{place} accepts but does not echo; add --connect")


def _effective(wanted: PingConfig) -> dict[str, Any]:
    """Give the options in effect, as JSON has them."""
    marking = wanted.marking
    plain = ("count", "size", "family", "flows", "reconnect", "connect", "size_sweep", "busy_poll", "user_clock")
    return {
        "addresses": [str(address) for address in wanted.addresses],
        "interval_ns": _nanoseconds(wanted.interval),
        "timeout_ns": _nanoseconds(wanted.timeout),
        "deadline_ns": None if wanted.deadline is None else _nanoseconds(wanted.deadline),
        **{name: getattr(wanted, name) for name in plain},
        **{name: getattr(marking, name) for name in ("dscp", "ttl", "bind", "df")},
        "goals": [goal.text for goal in wanted.goals],
    }


_USUAL = _effective(PingConfig())
