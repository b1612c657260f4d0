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
    from halloo.commands.connect import client
    from halloo.commands.ping import ping
    from halloo.commands.serve import serve, server, serving
    from halloo.core.addresses import Address
    from halloo.core.limits import Limits
    from halloo.core.roundtrips import PingReport
    from halloo.core.trust import Certificates, Trust
    from halloo.errors import HallooError, LocalError, PeerError, UsageError
    from halloo.net.connecting import connect
    from halloo.net.connection import Connection
    from halloo.net.listening import Listener, listen
    from halloo.net.serving.server import Server
    from halloo.net.serving.table import Snapshot

__version__ = "0.1.0"

__all__ = [
    "Address",
    "Certificates",
    "Connection",
    "HallooError",
    "Limits",
    "Listener",
    "LocalError",
    "PeerError",
    "PingReport",
    "Server",
    "Snapshot",
    "Trust",
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
    "Address": "core.addresses",
    "Certificates": "core.trust",
    "Connection": "net.connection",
    "HallooError": "errors",
    "Limits": "core.limits",
    "Listener": "net.listening",
    "LocalError": "errors",
    "PeerError": "errors",
    "PingReport": "core.roundtrips",
    "Server": "net.serving.server",
    "Snapshot": "net.serving.table",
    "Trust": "core.trust",
    "UsageError": "errors",
    "client": "commands.connect",
    "connect": "net.connecting",
    "listen": "net.listening",
    "ping": "commands.ping",
    "serve": "commands.serve",
    "server": "commands.serve",
    "serving": "commands.serve",
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
