"""The verb `halloo ping`: its signature and its groups are the options, their docstrings the help.

Which report goes where is decided here: data to standard output or a file, and talk to standard error when standard
output is taken.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from halloo._cli.options import ClientTlsFlags, Count, Families, File, OptionalDuration, Quiet, Seconds, Timeout, switch
from halloo._core.units import dscp, size
from halloo._output.files import STANDARD, opened
from halloo._ping.goals import Goal, goal
from halloo._ping.report import PingReport, ProbeEvent
from halloo.errors import UnitError, UsageError

if TYPE_CHECKING:  # the other verbs do not pay for it
    from halloo._ping.run import Sink

LOCALHOST = "localhost"
Dscp = Annotated[
    int | None, Parameter(converter=lambda _type, tokens: dscp(tokens[0].value), show_default=False, metavar="NAME")
]
Octets = Annotated[
    int,
    Parameter(
        name=("--size", "-s"),
        converter=lambda _type, tokens: _octets(tokens[0].value),
        show_default=str,
        metavar="SIZE",
    ),
]
Number = Annotated[int | None, Parameter(show_default=False)]


def _octets(text: str) -> int:
    octets = size(text)
    if octets is None:
        raise UnitError("a probe has some size", "write 500 or 1KiB, or find the largest with --size-sweep")
    return octets


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScheduleFlags:
    """How many probes, how often and how large, as options."""

    count: Annotated[Count, Parameter(name=("--count", "-c"))] = None
    """So many probes to each address (with --flows from each port); without it until ^C."""
    interval: Annotated[Seconds, Parameter(name=("--interval", "-i"))] = 1.0
    """From one probe to the next: 300ms, 1.5s, or seconds; with 0 each follows the last answer."""
    timeout: Timeout = 5.0
    """How long an answer may take before its probe is lost."""
    deadline: Annotated[OptionalDuration, Parameter(name=("--deadline", "-w"))] = None
    """End after so long, however many were sent."""
    size: Octets = 128
    """Bytes of a probe: 500, 1KiB."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MethodFlags:
    """What a probe is, as options."""

    reconnect: Annotated[bool, switch("--reconnect")] = False
    """A connection for each probe, so that name, connect, TLS and first echo are measured each time."""
    connect: Annotated[bool, switch("--connect")] = False
    """Connect only and send nothing, which works with any port: 443, say."""
    flows: int = 1
    """Ports to send from, in turn, each with a line of its own: among equal paths the bad one shows."""
    df: Annotated[bool, switch("--df")] = False
    """Let nobody on the way cut datagrams into fragments."""
    size_sweep: Annotated[bool, switch("--size-sweep")] = False
    """Find the largest datagram that comes back."""
    dscp: Dscp = None
    """How packets ask to be treated on their way: EF, AF11, CS1, LE, or 0 to 63."""
    ttl: Number = None
    """How many routers packets may pass."""
    bind: Annotated[str | None, Parameter(metavar="HOST")] = None
    """The address of this machine to send from."""
    busy_poll: Annotated[bool, switch("--busy-poll")] = False
    """Wait awake: answers are seen sooner, and a core is busy."""
    user_clock: Annotated[bool, switch("--user-clock", "-U")] = False
    """Time answers when this program sees them, not when the kernel does."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PingOutputFlags:
    """How the result is told, as options."""

    quiet: Quiet = False
    """The summary alone."""
    time_stamps: Annotated[bool, switch("--time-stamps", "-D")] = False
    """The time of day before each line: seconds since 1970."""
    unit: Literal["ns", "us", "ms", "s"] | None = None
    """Write all times in this unit."""
    live: Annotated[bool, switch("--live")] = False
    """On a terminal, the current numbers and a strip of the last probes in place of lines."""
    json: Annotated[bool, switch("--json")] = False
    """Write the report as JSON on standard output; the text then goes to standard error."""
    json_stream: Annotated[bool, switch("--json-stream")] = False
    """Write each event as JSON at once, one a line; on standard output, of the text only the summary is left."""
    output: Annotated[File, Parameter(name=("--output", "-o"))] = None
    """Write the JSON into a file; - is standard output, and .gz packs it."""
    hdr: File = None
    """Write all round trips as an HdrHistogram log, such as rtt.hlog."""
    fail_if: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False, metavar="GOAL")] = ()
    """Exit with 3 if so: 'p99>5ms', 'loss>0.1%', 'corrupt>0'; may be given again."""

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What must not happen. Raises UsageError."""
        return tuple(map(goal, self.fail_if))

    @property
    def place(self) -> str | None:
        """Where the JSON goes; None where none is asked for."""
        return self.output or (STANDARD if self.json or self.json_stream else None)


class MultiSink:
    """Sinks, told one after another."""

    def __init__(self, sinks: "Sequence[Sink]") -> None:
        """Tell these."""
        self._sinks = sinks

    def begin(self, report: PingReport, look: Callable[[], PingReport]) -> None:
        """Pass it on."""
        for sink in self._sinks:
            sink.begin(report, look)

    def probe(self, event: ProbeEvent) -> None:
        """Pass it on."""
        for sink in self._sinks:
            sink.probe(event)

    def interim(self, report: PingReport) -> None:
        """Pass it on."""
        for sink in self._sinks:
            sink.interim(report)

    def end(self, report: PingReport) -> None:
        """Pass it on to all: where one has lost its reader or its disk, the others have not."""
        failures = list[OSError]()
        for sink in self._sinks:
            try:
                sink.end(report)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]


@contextmanager
def telling(told: PingOutputFlags) -> "Iterator[Sink]":
    """Open all that is asked for. Raises LocalError, UsageError."""
    if told.hdr is not None and told.place is not None and Path(told.hdr).resolve() == Path(told.place).resolve():
        where = "standard output" if told.hdr == STANDARD else told.hdr
        raise UsageError(f"--hdr and the JSON cannot share {where}", "name another file for one of them: --hdr FILE")
    from halloo._ping.json import ReportSink  # noqa: PLC0415 - the other verbs do not pay for it

    with ExitStack() as stack:
        sinks: list[Sink] = []  # data before talk: whoever reads that may leave
        if told.place is not None:
            from halloo._ping.json import PingStream, write_json  # noqa: PLC0415 - seldom asked for

            stream = stack.enter_context(opened(told.place))
            sinks.append(PingStream(stream) if told.json_stream else ReportSink(stream, write_json))
        if told.hdr is not None:
            from halloo._ping.hdr import write_hdr  # noqa: PLC0415 - as above

            sinks.append(ReportSink(stack.enter_context(opened(told.hdr)), write_hdr))
        yield MultiSink([*sinks, _text(told, stack)])


def _text(told: PingOutputFlags, stack: ExitStack) -> "Sink":
    """Choose how it is told to a person."""
    from halloo._ping.text import PingText  # noqa: PLC0415 - the other verbs do not pay for it

    stream = sys.stderr if STANDARD in (told.place, told.hdr) else sys.stdout
    live = told.live and stream.isatty()
    quiet = told.quiet or live or (told.json_stream and told.place == STANDARD)
    text = PingText(stream, quiet=quiet, stamps=told.time_stamps, unit=told.unit)
    if not live:
        return text
    from halloo._ping.live import PingLive  # noqa: PLC0415 - slow to import

    return stack.enter_context(PingLive(stream, text, time.monotonic_ns, unit=told.unit))


SCHEDULE, METHOD, OUTPUT, DEFAULT_TLS, BOTH = (
    ScheduleFlags(),
    MethodFlags(),
    PingOutputFlags(),
    ClientTlsFlags(),
    Families(),
)


def ping(
    *addresses: str,
    pace: ScheduleFlags = SCHEDULE,
    method: MethodFlags = METHOD,
    told: PingOutputFlags = OUTPUT,
    trust: ClientTlsFlags = DEFAULT_TLS,
    families: Families = BOTH,
) -> int:
    """Measure an echo: is it there, are the bytes intact, how late are they, and where does the time go.

    Any echo will do. Several addresses are asked in turn and shown side by side. ^C ends it with a summary; the
    signal SIGQUIT asks for one meanwhile.

    Parameters
    ----------
    addresses
        Whom to ask, localhost when nobody is named: host, host:8888, [::1]:8888 or 8888; udp://host, tls://host:8888,
        unix:/path.
    """
    from halloo._ping.run import ping as run  # noqa: PLC0415 - the other verbs do not pay for it

    goals = told.goals
    with telling(told) as sink:
        report = run(
            *(addresses or (LOCALHOST,)),
            **vars(pace),
            **vars(method),
            family=families.version,
            tls=trust.with_warning(),
            goals=goals,
            sink=sink,
        )
    return report.exit_code
