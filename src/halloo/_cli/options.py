"""The options of the verbs: how their text becomes a value, and those that belong together as one value.

A group is a value that a command takes; its fields are options, and what stands below a field is their help.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter, Token

from halloo._core.limits import HANDSHAKE, STALL, Limits
from halloo._core.tls_options import ClientTLS, ServerTLS
from halloo._core.units import SECOND, count, duration, rate, size
from halloo.errors import UnitError, UsageError


def _seconds(_type: object, tokens: Sequence[Token]) -> float:
    return duration(tokens[0].value) / SECOND


def switch(*names: str) -> Parameter:
    """Describe a switch that is only ever turned on."""
    return Parameter(name=names, negative=(), show_default=False)


def _reader(convert: Callable[..., Any], shown: Callable[[Any], str]) -> Parameter:
    return Parameter(converter=convert, show_default=shown, metavar="DURATION")


def _timeout(text: str) -> float | None:
    return None if text == "max" else duration(text) / SECOND


def _file(_type: object, tokens: Sequence[Token]) -> str:
    place = tokens[0].value
    if place.startswith("-") and place != "-":
        raise UsageError(f"{place!r} is an option, and a file was expected", f"write ./{place} if it is one")
    return place


def _limit(read: Callable[[str], float | None], metavar: str) -> Parameter:
    """Describe a limit, for which `max` is none."""
    return Parameter(
        converter=lambda _type, tokens: read(tokens[0].value),
        show_default=lambda value: "max" if value is None else f"{value:g}s",
        metavar=metavar,
    )


Seconds = Annotated[float, _reader(_seconds, lambda value: f"{value:g}s")]
Timeout = Annotated[Seconds, Parameter(name=("--timeout", "-W"))]
Quiet = Annotated[bool, switch("--quiet", "-q")]
Reply = Annotated[bool, switch("--reply")]
ReusePort = Annotated[bool, switch("--reuse-port")]
Stamp = Annotated[bool, switch("--timestamps")]
Spin = Annotated[bool, switch("--busy-poll")]
Most = Annotated[int | None, _limit(count, "COUNT")]
Size = Annotated[int | None, _limit(size, "SIZE")]
Rate = Annotated[int | None, _limit(rate, "RATE")]
OptionalDuration = Annotated[float | None, _limit(_timeout, "DURATION")]
Networks = Annotated[
    tuple[str, ...], Parameter(consume_multiple=True, negative=(), show_default=False, metavar="NETWORK")
]
# A hyphen may begin it, for one alone is standard output.
File = Annotated[str | None, Parameter(converter=_file, allow_leading_hyphen=True, metavar="FILE")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Families:
    """Which of the two families of addresses is meant."""

    ipv4: Annotated[bool, switch("-4", "--ipv4")] = False
    """IPv4 alone."""
    ipv6: Annotated[bool, switch("-6", "--ipv6")] = False
    """IPv6 alone."""

    @property
    def one(self) -> int | None:
        """The version of the one family, 4 or 6; both are as good as none."""
        if self.ipv4 == self.ipv6:
            return None
        return 4 if self.ipv4 else 6


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ClientTlsFlags(ClientTLS):
    """Trust, as options of a client."""

    ca: File = None
    """Believe a tls:// server whose certificate this CA has issued (PEM)."""
    fingerprint: Annotated[str | None, Parameter(metavar="HEX")] = None
    """Believe the tls:// server whose certificate has this SHA-256, and no other."""
    insecure: Annotated[bool, switch("--insecure")] = False
    """Believe any tls:// server."""
    cert: File = None
    """The certificate to show to a tls:// server that asks for one (PEM)."""
    key: File = None
    """Its key, when it is not in the same file."""

    def warned(self) -> ClientTLS:
        """Give itself, after a warning when anybody is believed."""
        if self.insecure and not self.fingerprint:
            print("halloo: --insecure: nobody knows who answers; it may be anybody on the way", file=sys.stderr)
        return self


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServerTlsFlags(ServerTLS):
    """ServerTLS, as options of a server."""

    cert: File = None
    """The certificate for tls:// (PEM); without one a throw-away certificate is made."""
    key: File = None
    """Its key, when it is not in the same file."""
    client_ca: File = None
    """Ask clients for a certificate that this CA has issued."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LimitFlags(Limits):
    """Limits, as options of a server."""

    idle_timeout: OptionalDuration = None
    """End a connection on which no byte went either way for so long: 300ms, 1.5s, 1h30m, or seconds."""
    max_lifetime: OptionalDuration = None
    """End a connection after so long."""
    stall_timeout: OptionalDuration = STALL
    """End a connection whose client has not read for so long what it is owed."""
    handshake_timeout: Seconds = HANDSHAKE
    """End a connection that has not agreed on TLS after so long."""
    max_connections: Most = None
    """So many connections at once; the next one is closed, and counted."""
    max_per_host: Most = None
    """So many connections at once from one address."""
    max_bytes: Size = None
    """End a connection that has sent more than so much, answer no datagram that is longer: 500, 64KiB, 1MB."""
    rate_limit: Rate = None
    """Read so much a second from each connection, answer so much in datagrams of each host: 64KiB/s."""
    max_memory: Size = None
    """Owe so much to all clients together; beyond, the largest debtor is ended."""
    buffer: Size = None
    """Let the kernel hold so much of a connection each way, and read so much at a time."""
    allow: Networks = ()
    """Networks that may come in, and no others: 10.0.0.0/8, fd00::/8, one address."""
    deny: Networks = ()
    """Networks that may not, even if they are allowed."""
    any_port: Annotated[bool, switch("--any-port")] = False
    """Answer datagrams from the ports of other services, too, which may answer back for ever."""


def workers(text: str) -> int:
    """Read a number of processes; `auto` is one for each core that this process may use. Raises UnitError."""
    if text == "auto":
        cores = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
        return len(cores)
    number = count(text)
    if not number:
        raise UnitError(f"{text!r} is no number of workers", "write 1, 4 or auto")
    return number
