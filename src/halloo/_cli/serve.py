"""The command `halloo serve`: its signature is the options, its docstring the help."""

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from halloo._cli import options
from halloo._cli.options import (
    BusyPoll,
    Families,
    LimitFlags,
    Mode,
    Quiet,
    ReusePort,
    Seconds,
    ServerTlsFlags,
    Timestamps,
)

DRAIN = 10.0  # seconds
MODE = 0o600
BOTH, DEFAULT_TLS, DEFAULT_LIMITS = Families(), ServerTlsFlags(), LimitFlags()


def serve(
    *addresses: str,
    limits: LimitFlags = DEFAULT_LIMITS,
    drain: Seconds = DRAIN,
    workers: Annotated[str, Parameter(metavar="COUNT")] = "1",
    reuse_port: ReusePort = False,
    tls: ServerTlsFlags = DEFAULT_TLS,
    stats: Annotated[Seconds | None, Parameter(show_default=False)] = None,
    metrics: Annotated[str | None, Parameter(metavar="ADDRESS")] = None,
    quiet: Quiet = False,
    log: Annotated[Literal["text", "json"] | None, Parameter(show_default=False)] = None,
    timestamps: Timestamps = False,
    busy_poll: BusyPoll = False,
    mode: Mode = MODE,
    families: Families = BOTH,
) -> int:
    """Echo what clients send, until ^C or SIGTERM.

    Prints `listening on ADDRESS` for each address, and on a terminal a line for each client. On shutdown, everything
    received is echoed first; a second ^C ends at once. The exit code is 1 if clients were cut off. SIGHUP ends it as
    well or, with --cert or --client-ca, reloads these files. For limits, `max` means no limit.

    Parameters
    ----------
    addresses
        Addresses to listen on: 8888 (loopback, the default), :8888 (every interface), host:8888, [::1]:8888,
        udp://8888, tls://host:8888, unix:/path; port 0 picks a free port.
    drain
        Maximum time to send pending data on shutdown.
    workers
        Number of worker processes; auto starts one for each available core. Each has the limits for itself.
    reuse_port
        Open a listening socket for each worker (SO_REUSEPORT) instead of one for all.
    stats
        Interval between lines of statistics on standard error.
    metrics
        Address on which to serve /metrics (Prometheus) and /healthz; needs the extra metrics.
    quiet
        Print neither a line for each client nor the totals.
    log
        Log each client on standard error, as text or as JSON, one object a line for every event; without this option,
        text on a terminal only.
    timestamps
        Write into each probe of `halloo ping` when it arrived and left, and which probes of its run have arrived; each
        worker counts its own.
    busy_poll
        Poll without ever sleeping, for lower latency; each process occupies a whole core.
    mode
        Permissions of the files of Unix sockets: 660 lets the group connect as well.
    """
    from halloo._output.lines import LineWriter  # noqa: PLC0415 - imported when the command runs, not for its help
    from halloo._server.log import format_totals  # noqa: PLC0415 - as above
    from halloo._server.serve import serve as run  # noqa: PLC0415 - as above

    options.check_ports_apart(addresses)
    report = run(
        *addresses,
        family=families.version,
        limits=limits,
        tls=tls,
        drain=drain,
        workers=options.workers(workers),
        reuse_port=reuse_port,
        stats=stats,
        metrics=metrics,
        quiet=quiet,
        log=log,
        timestamps=timestamps,
        busy_poll=busy_poll,
        mode=mode,
    )
    if not quiet and log != "json":
        with LineWriter(sys.stderr, folding=True) as write:
            if sys.stderr.isatty():
                write("")  # the terminal has written ^C at the start of this line
            write(f"halloo: {format_totals(report.snapshot)}")
    return 1 if "cut_off" in report.snapshot.ended else 0
