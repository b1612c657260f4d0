"""halloo: an echo server and client that show what really happened to your bytes.

>>> import halloo
>>> with halloo.serving() as server, halloo.connect(server.address) as connection:
...     connection.send(b"hello")
...     connection.receive_exactly(5)
b'hello'

Importing it costs nothing: each name below is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from halloo._client.connect import client
    from halloo._core.address import Address
    from halloo._core.limits import Limits
    from halloo._core.tls_options import ClientTLS, ServerTLS
    from halloo._net.connection import Connection
    from halloo._net.connector import connect
    from halloo._net.listener import Listener, listen
    from halloo._ping.report import PingReport
    from halloo._ping.run import ping
    from halloo._server.connections import Snapshot
    from halloo._server.serve import serve, server, serving
    from halloo._server.server import Server
    from halloo.errors import HallooError, LocalError, PeerError, UsageError

__version__ = "0.1.0"

__all__ = [
    "Address",
    "ClientTLS",
    "Connection",
    "HallooError",
    "Limits",
    "Listener",
    "LocalError",
    "PeerError",
    "PingReport",
    "Server",
    "ServerTLS",
    "Snapshot",
    "UsageError",
    "client",
    "connect",
    "listen",
    "ping",
    "serve",
    "server",
    "serving",
]

_HOMES = {
    "Address": "_core.address",
    "ServerTLS": "_core.tls_options",
    "Connection": "_net.connection",
    "HallooError": "errors",
    "Limits": "_core.limits",
    "Listener": "_net.listener",
    "LocalError": "errors",
    "PeerError": "errors",
    "PingReport": "_ping.report",
    "Server": "_server.server",
    "Snapshot": "_server.connections",
    "Trust": "_core.tls_options",
    "UsageError": "errors",
    "client": "_client.connect",
    "connect": "_net.connector",
    "listen": "_net.listener",
    "ping": "_ping.run",
    "serve": "_server.serve",
    "server": "_server.serve",
    "serving": "_server.serve",
}


def __getattr__(name: str) -> object:
    """Fetch a public name from the module that defines it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'halloo' has no attribute {name!r}")
    value = getattr(import_module(f"halloo.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, fetched or not."""
    return sorted({*globals(), *__all__})
