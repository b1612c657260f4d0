"""The verbs as a person types them: the signature is the options, the docstring their help.

Each calls its command and gives the exit code; what there is to say beyond what the command prints is said here.
"""

import os
import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from halloo.cli.options import (
    Four,
    Insecure,
    Most,
    Networks,
    Quiet,
    Rate,
    Reply,
    Seconds,
    Six,
    Size,
    Timeout,
    Wait,
    certificates,
    family,
    switch,
    trust,
)
from halloo.cli.options import workers as number_of_workers
from halloo.commands.connect import WAIT, client
from halloo.core.limits import HANDSHAKE, STALL, Limits

DRAIN = 10.0  # seconds


def serve(
    *addresses: str,
    idle_timeout: Timeout = None,
    max_lifetime: Timeout = None,
    stall_timeout: Timeout = STALL,
    handshake_timeout: Seconds = HANDSHAKE,
    max_connections: Most = None,
    max_per_host: Most = None,
    max_bytes: Size = None,
    rate_limit: Rate = None,
    max_memory: Size = None,
    buffer: Size = None,
    allow: Networks = (),
    deny: Networks = (),
    drain: Seconds = DRAIN,
    workers: str = "1",
    reuse_port: Annotated[bool, switch("--reuse-port")] = False,
    cert: str | None = None,
    key: str | None = None,
    client_ca: str | None = None,
    stats: Annotated[Seconds | None, Parameter(show_default=False)] = None,
    metrics: str | None = None,
    quiet: Quiet = False,
    log: Literal["text", "json"] = "text",
    ipv4: Four = False,
    ipv6: Six = False,
) -> int:
    """Echo whatever clients send, until ^C or SIGTERM.

    Writes `listening on ADDRESS` for each address, and on a terminal a line for each client. At the end everything
    received is answered first; a second ^C does not wait for that.

    Parameters
    ----------
    addresses
        Where to listen: 8888 (loopback, which is taken when nothing is named), :8888 (every interface), host:8888,
        [::1]:8888, tls://host:8888, unix:/path; port 0 takes a free one.
    idle_timeout
        End a connection on which no byte went either way for so long: 300ms, 1.5s, 1h30m, or seconds.
    max_lifetime
        End a connection after so long.
    stall_timeout
        End a connection whose client has not read for so long what it is owed.
    handshake_timeout
        End a connection that has not agreed on TLS after so long.
    max_connections
        So many connections at once; the next one is closed, and counted.
    max_per_host
        So many connections at once from one address.
    max_bytes
        End a connection that has sent so much: 500, 64KiB, 1MB.
    rate_limit
        Read so much a second from each connection: 64KiB/s.
    max_memory
        Owe so much to all clients together; beyond, the largest debtor is ended.
    buffer
        Let the kernel hold so much of a connection each way, and read so much at a time.
    allow
        Networks that may come in, and no others: 10.0.0.0/8, fd00::/8, one address.
    deny
        Networks that may not, even if they are allowed.
    drain
        How long the end may take for what is owed.
    workers
        Processes that serve; auto is one for each core.
    reuse_port
        A listening socket for each worker instead of one for all (SO_REUSEPORT).
    cert
        The certificate for tls:// (PEM); without one a throw-away certificate is made.
    key
        Its key, when it is not in the same file.
    client_ca
        Ask clients for a certificate that this CA has issued.
    stats
        A line on standard error every so often.
    metrics
        An address to serve /metrics (Prometheus) and /healthz on.
    quiet
        No line for each client.
    log
        How clients' coming and going is told on standard error: as text on a terminal, or as JSON, an object a line.
    ipv4
        IPv4 alone.
    ipv6
        IPv6 alone.
    """
    from halloo.commands.serve import serve as run  # noqa: PLC0415 - the other verbs do not pay for it
    from halloo.net.certificates import Certificates  # noqa: PLC0415 - nor for ssl
    from halloo.report.stats import totals  # noqa: PLC0415 - as above

    report = run(
        *addresses,
        family=family(ipv4, ipv6),
        limits=Limits(
            idle_timeout=idle_timeout,
            max_lifetime=max_lifetime,
            stall_timeout=stall_timeout,
            handshake_timeout=handshake_timeout,
            max_connections=max_connections,
            max_per_host=max_per_host,
            max_bytes=max_bytes,
            rate_limit=rate_limit,
            max_memory=max_memory,
            buffer=buffer,
            allow=allow,
            deny=deny,
        ),
        certificates=Certificates(cert=cert, key=key, client_ca=client_ca),
        drain=drain,
        workers=number_of_workers(workers),
        reuse_port=reuse_port,
        stats=stats,
        metrics=metrics,
        quiet=quiet,
        log=log,
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
    wait: Wait = WAIT,
    ca: str | None = None,
    fingerprint: str | None = None,
    insecure: Insecure = False,
    cert: str | None = None,
    key: str | None = None,
    ipv4: Four = False,
    ipv6: Six = False,
) -> int:
    """Talk to an echo: type lines, or pipe any bytes through it.

    On a terminal a blank line, the end of input or ^C ends it. With piped input, what comes back is written exactly;
    less than was sent is an error.

    Parameters
    ----------
    host
        The server: host, host:8888, [::1]:8888 or 8888; tls://host:8888, unix:/path.
    port
        Its port, when it is not part of the address.
    wait
        How long an answer may take without any progress: 300ms, 1.5s, or seconds.
    ca
        Believe a tls:// server whose certificate this CA has issued (PEM).
    fingerprint
        Believe the tls:// server whose certificate has this SHA-256, and no other.
    insecure
        Believe any tls:// server.
    cert
        The certificate to show to a tls:// server that asks for one (PEM).
    key
        Its key, when it is not in the same file.
    ipv4
        IPv4 alone.
    ipv6
        IPv6 alone.
    """
    believed = trust(ca, fingerprint, insecure, cert, key)
    report = client(host, port, wait=wait, family=family(ipv4, ipv6), trust=believed)
    if not report.finished:
        print(f"halloo: all came back, but {report.address.place} did not close the connection", file=sys.stderr)
    return 0


def send(
    address: str,
    message: str | None = None,
    /,
    *,
    reply: Reply = False,
    wait: Wait = WAIT,
    ca: str | None = None,
    fingerprint: str | None = None,
    insecure: Insecure = False,
    cert: str | None = None,
    key: str | None = None,
    ipv4: Four = False,
    ipv6: Six = False,
) -> int:
    """Send one message and close, so that nothing of it is lost.

    Waits for the far end to close too, a second at most.

    Parameters
    ----------
    address
        The server: host, host:8888, [::1]:8888 or 8888; tls://host:8888, unix:/path.
    message
        What to send; standard input when it is left out.
    reply
        Wait for the answer and print it.
    wait
        How long an answer may take without any progress: 300ms, 1.5s, or seconds.
    ca
        Believe a tls:// server whose certificate this CA has issued (PEM).
    fingerprint
        Believe the tls:// server whose certificate has this SHA-256, and no other.
    insecure
        Believe any tls:// server.
    cert
        The certificate to show to a tls:// server that asks for one (PEM).
    key
        Its key, when it is not in the same file.
    ipv4
        IPv4 alone.
    ipv6
        IPv6 alone.
    """
    from halloo.commands.send import send as run  # noqa: PLC0415 - as above

    data = None if message is None else os.fsencode(message)
    believed = trust(ca, fingerprint, insecure, cert, key)
    run(address, data, reply=reply, wait=wait, family=family(ipv4, ipv6), trust=believed)
    return 0


def receive(
    address: str = "8888",
    /,
    *,
    wait: Annotated[Wait | None, Parameter(show_default=False)] = None,
    cert: str | None = None,
    key: str | None = None,
    client_ca: str | None = None,
    ipv4: Four = False,
    ipv6: Six = False,
) -> int:
    """Wait for one client, print what it sends, and end.

    Parameters
    ----------
    address
        Where to listen, as for serve.
    wait
        How long to wait for the client; for ever when left out.
    cert
        The certificate for tls:// (PEM); without one a throw-away certificate is made.
    key
        Its key, when it is not in the same file.
    client_ca
        Ask the client for a certificate that this CA has issued.
    ipv4
        IPv4 alone.
    ipv6
        IPv6 alone.
    """
    from halloo.commands.receive import receive as run  # noqa: PLC0415 - as above

    shown = certificates(cert, key, client_ca)
    run(address, wait=wait, family=family(ipv4, ipv6), certificates=shown)
    return 0


def demo() -> int:
    """Show a server and a client at work, in one terminal."""
    from halloo.commands.demo import demo as run  # noqa: PLC0415 - as above

    report = run()
    return 0 if report.identical == report.messages else 1
