"""The verbs as a person types them: the signature is the options, the docstring their help.

Each calls its command and gives the exit code; what there is to say beyond what the command prints is said here.
"""

import os
import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from halloo.cli.options import Four, Quiet, Reply, Six, Wait, family
from halloo.commands.connect import WAIT, client


def serve(
    *addresses: str, quiet: Quiet = False, log: Literal["text", "json"] = "text", ipv4: Four = False, ipv6: Six = False
) -> int:
    """Echo whatever clients send, until ^C or SIGTERM.

    Writes `listening on ADDRESS` for each address, and on a terminal a line for each client.

    Parameters
    ----------
    addresses
        Where to listen: 8888 (loopback, and what is taken when nothing is named), :8888 (every interface), host:8888,
        [::1]:8888; port 0 takes a free one.
    quiet
        No line for each client.
    log
        How each client's coming is told on standard error: as text on a terminal, or as JSON, an object a line.
    ipv4
        IPv4 alone.
    ipv6
        IPv6 alone.
    """
    from halloo.commands.serve import serve as run  # noqa: PLC0415 - the other verbs do not pay for it

    report = run(*addresses, quiet=quiet, log=log, family=family(ipv4, ipv6))
    if not quiet and log == "text":
        seen = report.snapshot
        if sys.stderr.isatty():
            print(file=sys.stderr)  # after the ^C that the terminal has shown
        clients = f"{seen.accepted} client{'s' * (seen.accepted != 1)}"
        print(f"halloo: {clients}, {seen.received_bytes} bytes in, {seen.sent_bytes} bytes out", file=sys.stderr)
    return 0


def connect(
    host: str = "localhost", /, port: int = 8888, *, wait: Wait = WAIT, ipv4: Four = False, ipv6: Six = False
) -> int:
    """Talk to an echo: type lines, or pipe any bytes through it.

    On a terminal a blank line, the end of input or ^C ends it. With piped input, what comes back is written exactly;
    less than was sent is an error.

    Parameters
    ----------
    host
        The server: host, host:8888, [::1]:8888 or 8888.
    port
        Its port, when it is not part of the address.
    wait
        How long an answer may take without any progress: 300ms, 1.5s, or seconds.
    ipv4
        IPv4 alone.
    ipv6
        IPv6 alone.
    """
    report = client(host, port, wait=wait, family=family(ipv4, ipv6))
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
    ipv4: Four = False,
    ipv6: Six = False,
) -> int:
    """Send one message and close, so that nothing of it is lost.

    Waits for the far end to close too, a second at most.

    Parameters
    ----------
    address
        The server: host, host:8888, [::1]:8888 or 8888.
    message
        What to send; standard input when it is left out.
    reply
        Wait for the answer and print it.
    wait
        How long an answer may take without any progress: 300ms, 1.5s, or seconds.
    ipv4
        IPv4 alone.
    ipv6
        IPv6 alone.
    """
    from halloo.commands.send import send as run  # noqa: PLC0415 - as above

    run(address, None if message is None else os.fsencode(message), reply=reply, wait=wait, family=family(ipv4, ipv6))
    return 0


def receive(
    address: str = "8888",
    /,
    *,
    wait: Annotated[Wait | None, Parameter(show_default=False)] = None,
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
    ipv4
        IPv4 alone.
    ipv6
        IPv6 alone.
    """
    from halloo.commands.receive import receive as run  # noqa: PLC0415 - as above

    run(address, wait=wait, family=family(ipv4, ipv6))
    return 0


def demo() -> int:
    """Show a server and a client at work, in one terminal."""
    from halloo.commands.demo import demo as run  # noqa: PLC0415 - as above

    report = run()
    return 0 if report.identical == report.messages else 1
