"""The verbs as a person types them: the signature is the options, the docstring their help.

Each calls its command and gives the exit code; what there is to say beyond what the command prints is said here.
"""

import os
import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from halloo._cli.options import (
    ClientTlsFlags,
    Families,
    LimitFlags,
    Quiet,
    Reply,
    ReusePort,
    Seconds,
    ServerTlsFlags,
    Size,
    Spin,
    Stamp,
    Timeout,
)
from halloo._cli.options import workers as number_of_workers
from halloo._client.connect import WAIT, client

DRAIN = 10.0  # seconds
BOTH, DEFAULT_TLS, DEFAULT_SERVER_TLS, DEFAULT_LIMITS = Families(), ClientTlsFlags(), ServerTlsFlags(), LimitFlags()


def serve(
    *addresses: str,
    bounds: LimitFlags = DEFAULT_LIMITS,
    drain: Seconds = DRAIN,
    workers: str = "1",
    reuse_port: ReusePort = False,
    shown: ServerTlsFlags = DEFAULT_SERVER_TLS,
    stats: Annotated[Seconds | None, Parameter(show_default=False)] = None,
    metrics: Annotated[str | None, Parameter(metavar="ADDRESS")] = None,
    quiet: Quiet = False,
    log: Literal["text", "json"] = "text",
    timestamps: Stamp = False,
    busy_poll: Spin = False,
    families: Families = BOTH,
) -> int:
    """Echo whatever clients send, until ^C or SIGTERM.

    Writes `listening on ADDRESS` for each address, and on a terminal a line for each client. At the end everything
    received is answered first; a second ^C does not wait for that.

    Parameters
    ----------
    addresses
        Where to listen: 8888 (loopback, which is taken when nothing is named), :8888 (every interface), host:8888,
        [::1]:8888, udp://8888, tls://host:8888, unix:/path; port 0 takes a free one.
    drain
        How long the end may take for what is owed.
    workers
        Processes that serve; auto is one for each core.
    reuse_port
        A listening socket for each worker instead of one for all (SO_REUSEPORT).
    stats
        A line on standard error every so often.
    metrics
        An address to serve /metrics (Prometheus) and /healthz on.
    quiet
        No line for each client.
    log
        How clients' coming and going is told on standard error: as text on a terminal, or as JSON, an object a line.
    timestamps
        Tell the probes of `halloo ping` when they came and left, and which have come; each worker counts its own.
    busy_poll
        Never sleep, so that nobody waits until it has woken up; each process takes a whole core.
    """
    from halloo._server.log import totals  # noqa: PLC0415 - as above
    from halloo._server.serve import serve as run  # noqa: PLC0415 - the other verbs do not pay for it

    report = run(
        *addresses,
        family=families.one,
        limits=bounds,
        tls=shown,
        drain=drain,
        workers=number_of_workers(workers),
        reuse_port=reuse_port,
        stats=stats,
        metrics=metrics,
        quiet=quiet,
        log=log,
        timestamps=timestamps,
        busy_poll=busy_poll,
    )
    if not quiet and log == "text":
        if sys.stderr.isatty():
            print(file=sys.stderr)  # after the ^C that the terminal has shown
        print(f"halloo: {totals(report.snapshot)}", file=sys.stderr)
    return 0


def connect(
    host: str = "localhost",
    /,
    port: int = 8888,
    *,
    timeout: Timeout = WAIT,
    size: Annotated[Size, Parameter(show_default=False)] = None,
    trust: ClientTlsFlags = DEFAULT_TLS,
    families: Families = BOTH,
) -> int:
    """Talk to an echo: type lines, or pipe any bytes through it.

    On a terminal a blank line, the end of input or ^C ends it. With piped input, what comes back is written exactly;
    less than was sent is an error. Over udp:// each line is a datagram, and how many were lost is told.

    Parameters
    ----------
    host
        The server: host, host:8888, [::1]:8888 or 8888; udp://host, tls://host:8888, unix:/path.
    port
        Its port, when it is not part of the address.
    timeout
        How long an answer may take without any progress: 300ms, 1.5s, or seconds.
    size
        Over udp://, cut what is piped into datagrams of so many bytes, not into lines: 500, 1KiB.
    """
    report = client(host, port, timeout=timeout, size=size, family=families.one, tls=trust.warned())
    if report.lost_datagrams:
        lost, sent = report.lost_datagrams, report.sent_datagrams
        print(f"halloo: {lost} of {sent} datagrams did not come back ({100 * lost / sent:.3g} %)", file=sys.stderr)
        return int(lost == sent)
    if not report.finished:
        print(f"halloo: all came back, but {report.address.place} did not close the connection", file=sys.stderr)
    return 0


def send(
    address: str,
    message: str | None = None,
    /,
    *,
    reply: Reply = False,
    timeout: Timeout = WAIT,
    trust: ClientTlsFlags = DEFAULT_TLS,
    families: Families = BOTH,
) -> int:
    """Send one message and close, so that nothing of it is lost.

    Waits for the far end to close too, a second at most. Over udp:// the message is one datagram.

    Parameters
    ----------
    address
        The server: host, host:8888, [::1]:8888 or 8888; udp://host, tls://host:8888, unix:/path.
    message
        What to send; standard input when it is left out.
    reply
        Timeout for the answer and print it.
    timeout
        How long an answer may take without any progress: 300ms, 1.5s, or seconds.
    """
    from halloo._client.send import send as run  # noqa: PLC0415 - as above

    data = None if message is None else os.fsencode(message)
    run(address, data, reply=reply, timeout=timeout, family=families.one, tls=trust.warned())
    return 0


def receive(
    address: str = "8888",
    /,
    *,
    timeout: Annotated[Timeout | None, Parameter(show_default=False)] = None,
    shown: ServerTlsFlags = DEFAULT_SERVER_TLS,
    families: Families = BOTH,
) -> int:
    """Timeout for one client, print what it sends, and end.

    Over udp:// that is one datagram.

    Parameters
    ----------
    address
        Where to listen, as for serve.
    timeout
        How long to wait for the client; for ever when left out.
    """
    from halloo._client.receive import receive as run  # noqa: PLC0415 - as above

    run(address, timeout=timeout, family=families.one, tls=shown)
    return 0


def demo() -> int:
    """Show a server and a client at work, in one terminal."""
    from halloo._client.demo import demo as run  # noqa: PLC0415 - as above

    report = run()
    return 0 if report.identical == report.messages else 1
