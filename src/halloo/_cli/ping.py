"""The command `halloo ping`: its signature and option groups are the options, their docstrings the help.

Opens the outputs: data goes to standard output or a file, text to standard error while standard output has data.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from halloo._cli import options
from halloo._cli.messages import with_flags
from halloo._cli.options import ClientTlsFlags, Count, Deadline, Families, File, Quiet, Seconds, Timeout, switch
from halloo._core.units import dscp, size
from halloo._output.files import STDOUT, appender, writer
from halloo._ping.goals import Goal, goal
from halloo._ping.report import PingReport, ProbeEvent
from halloo.errors import UnitError, UsageError

if TYPE_CHECKING:  # unused by other commands
    from halloo._ping.run import Sink

LOCALHOST = "localhost"
Dscp = Annotated[
    int | None, Parameter(converter=lambda _type, tokens: dscp(tokens[0].value), show_default=False, metavar="NAME")
]
ProbeSize = Annotated[
    int,
    Parameter(
        name=("--size", "-s"),
        converter=lambda _type, tokens: _probe_size(tokens[0].value),
        show_default=str,
        metavar="SIZE",
    ),
]
Number = Annotated[int | None, Parameter(show_default=False)]


def _probe_size(text: str) -> int:
    number = size(text)
    if number is None:
        raise UnitError("must be a size, not max", "write 500 or 1KiB, or find the largest with --size-sweep")
    return number


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScheduleFlags:
    """Number, timing and size of the probes, as options."""

    count: Annotated[Count, Parameter(name=("--count", "-c"))] = None
    """Number of probes to each address, and with --flows from each port; unlimited (until ^C) by default."""
    interval: Annotated[Seconds, Parameter(name=("--interval", "-i"))] = 1.0
    """Time between probes: 300ms, 1.5s, or seconds; with 0 each probe follows the last reply."""
    timeout: Timeout = 5.0
    """Time to wait for a reply before the probe counts as lost."""
    deadline: Deadline = None
    """Maximum duration of the whole run."""
    size: ProbeSize = 128
    """Size of a probe in bytes: 500, 1KiB."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MethodFlags:
    """How to probe, as options."""

    reconnect: Annotated[bool, switch("--reconnect")] = False
    """Open a connection for each probe, to measure name resolution, connect, TLS and first echo each time."""
    connect: Annotated[bool, switch("--connect")] = False
    """Only connect, without sending; works with any port, such as 443."""
    flows: int = 1
    """Number of source ports to use in turn, each with its own results: shows a bad one among equal paths."""
    df: Annotated[bool, switch("--df")] = False
    """Forbid fragmentation of datagrams."""
    size_sweep: Annotated[bool, switch("--size-sweep")] = False
    """Find the largest datagram that is echoed."""
    dscp: Dscp = None
    """DSCP of the packets: EF, AF11, CS1, LE, or 0 to 63."""
    ttl: Number = None
    """Time to live: the maximum number of hops."""
    bind: Annotated[str | None, Parameter(metavar="ADDRESS")] = None
    """Source address to send from."""
    busy_poll: Annotated[bool, switch("--busy-poll")] = False
    """Poll without sleeping: detects replies sooner, but uses a whole core."""
    user_clock: Annotated[bool, switch("--user-clock", "-U")] = False
    """Time replies when the program reads them, not by the kernel's timestamps."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PingOutputFlags:
    """Formats and destinations of the results, as options."""

    quiet: Quiet = False
    """Print only the summary."""
    time_stamps: Annotated[bool, switch("--time-stamps", "-D")] = False
    """Begin each line with the time of day, in seconds since 1970."""
    unit: Literal["ns", "us", "ms", "s"] | None = None
    """Unit for all times; scaled to each value by default."""
    live: Annotated[bool, switch("--live")] = False
    """On a terminal, show current numbers and a strip of the last probes instead of lines."""
    json: Annotated[bool, switch("--json")] = False
    """Write the report as JSON on standard output, and the text on standard error."""
    json_stream: Annotated[bool, switch("--json-stream")] = False
    """Write each event at once as a line of JSON; with it on standard output, the text is only the summary."""
    output: Annotated[File, Parameter(name=("--output", "-o"))] = None
    """File for the JSON, replaced by a report and appended to by a stream; - is standard output, .gz compresses it."""
    hdr: File = None
    """File for all round trips as an HdrHistogram log, such as rtt.hlog; needs the extra hdr."""
    fail_if: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False, metavar="GOAL")] = ()
    """Exit with code 3 if 'p99>5ms' (a lost probe is slower than any), 'loss>0.1%', 'corrupt>0' ...; repeatable."""

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The failure conditions. Raises UsageError."""
        return tuple(map(goal, self.fail_if))

    @property
    def json_destination(self) -> str | None:
        """The destination of the JSON; None without JSON output."""
        return self.output or (STDOUT if self.json or self.json_stream else None)


class MultiSink:
    """Passes each event to several sinks in order; the errors among them name flags, as those of the command."""

    def __init__(self, sinks: "Sequence[Sink]") -> None:
        self._sinks = sinks
        self._app = App()
        self._app.default(ping)

    def _with_flags(self, error: str) -> str:
        fact, separator, remedy = error.rpartition("; ")
        return f"{fact}{separator}{with_flags(remedy, self._app)}" if separator else error

    def _reported(self, report: PingReport) -> PingReport:
        targets = [
            replace(target, failure=target.failure and self._with_flags(target.failure)) for target in report.targets
        ]
        return replace(report, targets=tuple(targets))

    def begin(self, report: PingReport, look: Callable[[], PingReport]) -> None:
        for sink in self._sinks:
            sink.begin(report, look)

    def probe(self, event: ProbeEvent) -> None:
        if event.outcome == "error":
            event = replace(event, text=self._with_flags(event.text))
        for sink in self._sinks:
            sink.probe(event)

    def interim(self, report: PingReport) -> None:
        report = self._reported(report)
        for sink in self._sinks:
            sink.interim(report)

    def end(self, report: PingReport) -> None:
        """Pass on the report. An OSError of one sink, such as a full disk, is raised after the others have it.

        A reader that has left (EPIPE) is no error: both ends of a pipe get ^C, and either may be the first to exit.
        """
        report, failures = self._reported(report), list[OSError]()
        for sink in self._sinks:
            try:
                sink.end(report)
            except BrokenPipeError:
                continue
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]


@contextmanager
def open_sinks(flags: PingOutputFlags) -> "Iterator[Sink]":
    """Open all requested outputs. Raises LocalError, UsageError."""
    if flags.json and flags.json_stream:
        raise UsageError("--json and --json-stream exclude each other", "give one of them")
    hdr, json = flags.hdr, flags.json_destination
    if hdr is not None and json is not None and Path(hdr).resolve() == Path(json).resolve():
        shared = "standard output" if hdr == STDOUT else hdr
        raise UsageError(f"--hdr and the JSON cannot share {shared}", "name another file for one of them: --hdr FILE")
    from halloo._ping.json import PingStream, ReportSink, ping_json  # noqa: PLC0415 - unused by other commands

    with ExitStack() as stack:
        sinks: list[Sink] = []  # data first: a closed pipe must not stop it
        if json is not None and flags.json_stream:
            sinks.append(PingStream(stack.enter_context(appender(json))))
        elif json is not None:
            sinks.append(ReportSink(stack.enter_context(writer(json)), ping_json))
        if hdr is not None:
            from halloo._ping.hdr import hdr_log  # noqa: PLC0415 - optional output

            sinks.append(ReportSink(stack.enter_context(writer(hdr)), hdr_log))
        yield MultiSink([*sinks, _text_sink(flags, stack)])


def _text_sink(flags: PingOutputFlags, stack: ExitStack) -> "Sink":
    from halloo._ping.text import PingText  # noqa: PLC0415 - unused by other commands

    stream = sys.stderr if STDOUT in (flags.json_destination, flags.hdr) else sys.stdout
    live = flags.live and stream.isatty()
    quiet = flags.quiet or live or (flags.json_stream and flags.json_destination == STDOUT)
    text = PingText(stream, quiet=quiet, time_stamps=flags.time_stamps, unit=flags.unit)
    if not live:
        return text
    from halloo._ping.live import PingLive  # noqa: PLC0415 - slow to import

    return stack.enter_context(PingLive(stream, text, time.monotonic_ns, unit=flags.unit))


SCHEDULE, METHOD, OUTPUT = ScheduleFlags(), MethodFlags(), PingOutputFlags()
DEFAULT_TLS, BOTH = ClientTlsFlags(), Families()


def ping(
    *addresses: str,
    schedule: ScheduleFlags = SCHEDULE,
    method: MethodFlags = METHOD,
    output: PingOutputFlags = OUTPUT,
    tls: ClientTlsFlags = DEFAULT_TLS,
    families: Families = BOTH,
) -> int:
    """Measure reachability, intact bytes and round trips of an echo server, and where the time goes.

    Works with any echo server. Several addresses are probed in turn and compared. ^C ends the run with a summary;
    SIGQUIT prints an intermediate one.

    Parameters
    ----------
    addresses
        Addresses to ping, localhost by default: host, host:8888, [::1]:8888, 8888, udp://host, tls://host:8888 or
        unix:/path.
    """
    from halloo._ping.run import ping as run  # noqa: PLC0415 - unused by other commands

    options.check_ports_apart(addresses)
    goals = output.goals
    with open_sinks(output) as sink:
        report = run(
            *(addresses or (LOCALHOST,)),
            **vars(schedule),
            **vars(method),
            family=families.version,
            tls=tls.with_warning(),
            goals=goals,
            sink=sink,
        )
    return report.exit_code
