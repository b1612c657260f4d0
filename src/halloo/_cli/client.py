"""The commands connect, send, receive and demo: the signatures are the options, the docstrings the help."""

import os
from typing import Annotated

from cyclopts import Parameter

from halloo._cli.options import (
    ClientTlsFlags,
    Deadline,
    Families,
    Prompt,
    Reply,
    ServerTlsFlags,
    Size,
    Timeout,
    port_apart,
)
from halloo._client.connect import TIMEOUT, client
from halloo._output.terminal import say

BOTH, DEFAULT_TLS, DEFAULT_SERVER_TLS = Families(), ClientTlsFlags(), ServerTlsFlags()


def connect(
    host: str = "localhost",
    /,
    port: int = 8888,
    *,
    timeout: Timeout = TIMEOUT,
    deadline: Deadline = None,
    size: Annotated[Size, Parameter(show_default=False)] = None,
    prompt: Prompt = False,
    tls: ClientTlsFlags = DEFAULT_TLS,
    families: Families = BOTH,
) -> int:
    """Send lines to an echo server and print the replies, or pipe data through it.

    On a terminal, a blank line, the end of input or ^C ends the session. Replies to piped input are written unchanged;
    fewer bytes, or datagrams, than were sent are an error; other bytes, or more, are not. Over udp:// each line is a
    datagram.

    Parameters
    ----------
    host
        Server address: host, host:8888, [::1]:8888 or 8888; udp://host, tls://host:8888, unix:/path.
    port
        Port, if it is not part of the address.
    timeout
        Maximum time to connect, then without progress while a reply is pending: 300ms, 1.5s, or seconds. Bytes beyond
        those sent are no progress.
    deadline
        Maximum time in all.
    size
        Over udp://, split piped input into datagrams of this size instead of lines: 500, 1KiB.
    prompt
        Prompt for lines even if standard input is no terminal, as in the console of an IDE.
    """
    report = client(
        host,
        port,
        timeout=timeout,
        deadline=deadline,
        size=size,
        family=families.version,
        tls=tls.with_warning(),
        interactive=prompt or None,
    )
    if report.lost_datagrams:
        lost, sent = report.lost_datagrams, report.sent_datagrams
        fact = f"{lost} of {sent} datagrams did not come back ({100 * lost / sent:.3g} %)"
        say(f"{fact}; if the server refused them, its own messages say so")
        return 1
    if not report.finished and report.sent_bytes:
        more = ", and more" if report.received_bytes > report.sent_bytes else ""
        say(f"all bytes came back{more}, but {report.address.place} did not close the connection")
    return 0


def send(
    address: str,
    message: str | None = None,
    /,
    *,
    reply: Reply = False,
    timeout: Timeout = TIMEOUT,
    deadline: Deadline = None,
    tls: ClientTlsFlags = DEFAULT_TLS,
    families: Families = BOTH,
) -> int:
    """Send one message and close the connection, without losing any of it.

    Waits for the server to close as well, without --reply for a second at most. Over udp:// the message is one
    datagram.

    Parameters
    ----------
    address
        Server address: host, host:8888, [::1]:8888 or 8888; udp://host, tls://host:8888, unix:/path.
    message
        Message to send; standard input if omitted. Write -- before one that begins with a hyphen.
    reply
        Wait for the reply and print it.
    timeout
        Maximum time to connect, then without progress while a reply is pending: 300ms, 1.5s, or seconds. Bytes beyond
        those sent are no progress.
    deadline
        Maximum time in all.
    """
    from halloo._client.send import send as run  # noqa: PLC0415 - imported when the command runs, not for its help

    if message is not None and (joined := port_apart(address, message)):
        say(f"{message} is sent as the message; for the port write: {joined}")
    data = None if message is None else os.fsencode(message)
    tls_options = tls.with_warning()
    run(address, data, reply=reply, timeout=timeout, deadline=deadline, family=families.version, tls=tls_options)
    return 0


def receive(
    address: str = "8888",
    /,
    *,
    timeout: Annotated[Timeout | None, Parameter(show_default=False)] = None,
    deadline: Deadline = None,
    tls: ServerTlsFlags = DEFAULT_SERVER_TLS,
    families: Families = BOTH,
) -> int:
    """Accept one client, print what it sends, and exit.

    A client that sends nothing does not count, and the next one is accepted. Over udp:// it is one datagram.

    Parameters
    ----------
    address
        Address to listen on, as for serve.
    timeout
        Maximum time to wait for the first byte of a client, and then for each further one; no limit if omitted.
    deadline
        Maximum time in all.
    """
    from halloo._client.receive import receive as run  # noqa: PLC0415 - as above

    run(address, timeout=timeout, deadline=deadline, family=families.version, tls=tls)
    return 0


def demo() -> int:
    """Show a server and a client at work in one terminal."""
    from halloo._client.demo import demo as run  # noqa: PLC0415 - as above

    report = run()
    return 0 if report.identical == report.messages else 1
