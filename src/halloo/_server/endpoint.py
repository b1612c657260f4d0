"""Describe the sockets of an echo server, each with what serves it."""

import select
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from halloo._net import socket_options
from halloo._server.counters import SCHEMES
from halloo._server.exchange import Handler
from halloo._server.poller import Poller, default_poller
from halloo._server.responder import Responder

if TYPE_CHECKING:
    from ssl import SSLContext

    from halloo._server.timestamps import ProbeTimestamper


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server socket and its service: the echo or a handler, in the clear or over TLS."""

    sock: socket.socket
    handler: Handler | None = None
    context: "SSLContext | None" = None
    responder: Responder | None = None  # for datagrams
    timestamper: "ProbeTimestamper | None" = None  # for datagrams
    address: str = ""  # for the log
    scheme: int = field(init=False)  # its number in SCHEMES

    def __post_init__(self) -> None:
        unix = hasattr(socket, "AF_UNIX") and self.sock.family == socket.AF_UNIX
        object.__setattr__(self, "scheme", SCHEMES.index("unix" if unix else "tls" if self.context else "tcp"))

    @property
    def stream(self) -> bool:
        """Whether it accepts connections; otherwise it receives datagrams."""
        return self.sock.type == socket.SOCK_STREAM


def with_timestamps(endpoints: Sequence[Endpoint]) -> tuple[list[Endpoint], Poller]:
    """Return the endpoints with timestamping handlers, and the poller that their loop needs."""
    from halloo._server.timestamps import (  # noqa: PLC0415 - most servers are for the plain echo
        ProbeTimestamper,
        TimestampingHandler,
        TimestampPoller,
    )

    timestamper = ProbeTimestamper()
    handler = TimestampingHandler(timestamper)
    # Accepted sockets inherit the option from their listener.
    kernel_times = [socket_options.stamps(endpoint.sock) for endpoint in endpoints if endpoint.stream]
    poller = TimestampPoller(timestamper) if any(kernel_times) and hasattr(select, "epoll") else default_poller()
    return [
        replace(each, handler=handler) if each.stream else replace(each, timestamper=timestamper) for each in endpoints
    ], poller
