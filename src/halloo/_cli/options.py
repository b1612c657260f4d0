"""The options that several commands share: how their text is parsed, and the groups that several of them form.

A group is a dataclass: its fields are options, and the docstring below a field is the help of that option.
"""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from cyclopts import Parameter, Token

from halloo._core.address import parse
from halloo._core.arguments import Family, shown
from halloo._core.hosts import HOST_PREFIX
from halloo._core.limits import HANDSHAKE, STALL, Limits
from halloo._core.tls_options import ClientTLS, ServerTLS
from halloo._core.units import SECOND, count, duration, rate, size
from halloo._output.terminal import say
from halloo.errors import AddressError, UnitError, UsageError


def switch(*names: str) -> Parameter:
    """Describe a flag without a value and without a `--no-` form."""
    return Parameter(name=names, negative=(), show_default=False)


def _seconds(text: str) -> float:
    return duration(text) / SECOND


def _seconds_or_max(text: str) -> float | None:
    return None if text == "max" else _seconds(text)


def _file(_type: object, tokens: Sequence[Token]) -> str:
    path = tokens[0].value
    if not path:
        raise UsageError("needs the name of a file", "- is standard input or output")
    if path.startswith("-") and path != "-":
        raise UsageError(f"{path!r} is an option, not a file", f"write ./{path} for a file of that name")
    return path


def _mode(_type: object, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    if not re.fullmatch("0?[0-7]{3}", text):
        raise UsageError(f"must be three octal digits, not {shown(text)}", "600 is this user, 660 the group as well")
    return int(text, 8)


def _bits(_type: object, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    if not (text.isascii() and text.isdecimal() and len(text) < 4):  # noqa: PLR2004 - digits
        raise UsageError(f"must be 1 to 128 bits, not {shown(text)}", "write 56, without a slash")
    return int(text)


def _value(parse: Callable[[str], float | None], metavar: str) -> Parameter:
    return Parameter(
        converter=lambda _type, tokens: parse(tokens[0].value),
        show_default=lambda value: "max" if value is None else f"{value:g}s",
        metavar=metavar,
    )


Seconds = Annotated[float, _value(_seconds, "DURATION")]
Timeout = Annotated[Seconds, Parameter(name=("--timeout", "-W"))]
Quiet = Annotated[bool, switch("--quiet", "-q")]
Prompt = Annotated[bool, switch("--prompt")]
Reply = Annotated[bool, switch("--reply")]
ReusePort = Annotated[bool, switch("--reuse-port")]
Timestamps = Annotated[bool, switch("--timestamps")]
BusyPoll = Annotated[bool, switch("--busy-poll")]
Count = Annotated[int | None, _value(count, "COUNT")]
Size = Annotated[int | None, _value(size, "SIZE")]
Rate = Annotated[int | None, _value(rate, "RATE")]
Bits = Annotated[int, Parameter(converter=_bits, metavar="BITS")]
Mode = Annotated[int, Parameter(converter=_mode, show_default=lambda value: f"{value:o}", metavar="MODE")]
OptionalDuration = Annotated[float | None, _value(_seconds_or_max, "DURATION")]
Deadline = Annotated[OptionalDuration, Parameter(name=("--deadline", "-w"))]
Networks = Annotated[
    # One value for each flag: a list would take the addresses behind it for networks.
    tuple[str, ...], Parameter(consume_multiple=False, negative=(), show_default=False, metavar="NETWORK")
]
# A leading hyphen is allowed because "-" is standard output.
File = Annotated[str | None, Parameter(converter=_file, allow_leading_hyphen=True, metavar="FILE")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Families:
    """The IP versions that may be used."""

    ipv4: Annotated[bool, switch("-4", "--ipv4")] = False
    """Use IPv4 only."""
    ipv6: Annotated[bool, switch("-6", "--ipv6")] = False
    """Use IPv6 only."""

    @property
    def version(self) -> Family | None:
        """The only version allowed, 4 or 6; None when neither or both are given."""
        if self.ipv4 == self.ipv6:
            return None
        return 4 if self.ipv4 else 6


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ClientTlsFlags(ClientTLS):
    """ClientTLS as options."""

    ca: File = None
    """Trust tls:// servers whose certificate was issued by this CA (PEM)."""
    fingerprint: Annotated[str | None, Parameter(metavar="HEX")] = None
    """Trust only the tls:// server whose certificate has this SHA-256 fingerprint."""
    insecure: Annotated[bool, switch("--insecure")] = False
    """Do not verify the certificate of a tls:// server."""
    cert: File = None
    """Client certificate for tls:// servers that request one (PEM)."""
    key: File = None
    """Private key of the certificate, if it is not in the same file."""

    def with_warning(self) -> ClientTLS:
        """Return itself; warn on standard error if no certificate is verified."""
        if self.insecure and not self.fingerprint:
            say("--insecure: the server's identity is not verified; it may be an impostor")
        return self


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServerTlsFlags(ServerTLS):
    """ServerTLS as options."""

    cert: File = None
    """Certificate for tls:// (PEM); without it a temporary one is made, which needs the extra tls."""
    key: File = None
    """Private key of the certificate, if it is not in the same file."""
    client_ca: File = None
    """Require clients to present a certificate issued by this CA (PEM)."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LimitFlags(Limits):
    """Limits as options."""

    idle_timeout: OptionalDuration = None
    """Close a connection after this time without a byte in either direction: 300ms, 1.5s, 1h30m, or seconds."""
    max_lifetime: OptionalDuration = None
    """Maximum lifetime of a connection."""
    stall_timeout: OptionalDuration = STALL
    """Close a connection whose client has read none of its pending data for this time."""
    handshake_timeout: Seconds = HANDSHAKE
    """Maximum duration of a TLS handshake."""
    max_connections: Count = None
    """Maximum concurrent connections; further ones are closed and counted."""
    max_per_host: Count = None
    """Maximum concurrent connections from one host."""
    host_prefix: Bits = HOST_PREFIX
    """Length of the IPv6 prefix that counts as one host in every limit per host; an IPv4 address is one host."""
    max_bytes: Size = None
    """Close a connection after receiving more than this; do not answer longer datagrams: 500, 64KiB, 1MB."""
    rate_limit: Rate = None
    """Maximum rate of reading each connection, and of answering datagrams from each host: 64KiB/s."""
    max_memory: Size = None
    """Maximum pending data of all clients together; above it the connection with the most is closed."""
    buffer: Annotated[Size, Parameter(show_default=False)] = None
    """Kernel buffer for each direction of a connection, by default the system's choice, and size of one read."""
    allow: Networks = ()
    """Accept only clients in this network: 10.0.0.0/8, fd00::/8, or one address; repeat it for several."""
    deny: Networks = ()
    """Refuse clients in this network, even if --allow names them, and at --metrics too; repeat it for several."""
    any_port: Annotated[bool, switch("--any-port")] = False
    """Also answer datagrams from the ports of other services, which may reply endlessly."""


def port_apart(address: str, word: str) -> str | None:
    """Return `host:port` if a host without a port and the word after it can be read as these; else None."""
    if not (word.isascii() and word.isdecimal()) or address.isdecimal():
        return None
    scheme, separator, place = address.rpartition("://")
    host = f"[{place}]" if ":" in place and not place.startswith("[") else place
    joined = f"{scheme}{separator}{host}:{word}"
    with suppress(AddressError):  # the address has a port already, or is a path
        parse(joined)
        return joined
    return None


def check_ports_apart(addresses: Sequence[str]) -> None:
    """Refuse `host port` where several addresses may be given: it would mean two of them. Raises UsageError."""
    for address, word in pairwise(addresses):
        if joined := port_apart(address, word):
            other = f"localhost:{word}"
            fact = f"{word} after {shown(address)} would be another address, {other}"
            raise UsageError(fact, f"write {joined}" + (f", or {other} if that is meant" if joined != other else ""))


def workers(text: str) -> int:
    """Parse a number of processes; `auto` is one for each core that this process may use. Raises UnitError."""
    if text == "auto":
        cores = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
        return len(cores)
    number = count(text)
    if not number:
        raise UnitError(f"{text!r} is not a number of workers", "write 1, 4 or auto")
    return number
