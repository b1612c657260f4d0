"""halloo: an echo server and client that show what really happened to your bytes.

>>> import halloo
>>> with halloo.Server() as server, halloo.connect(server.address) as connection:
...     connection.send(b"hello")
...     connection.receive_exactly(5)
b'hello'

Importing it costs nothing: each name below is imported from its module when it is first used.
"""

TYPE_CHECKING = False  # not from typing, whose import is most of a command's start before it handles ^C

if TYPE_CHECKING:  # for type checkers, what `_MODULES` says at run time; a test compares the two
    from halloo._client.connect import ConnectReport as ConnectReport
    from halloo._client.connect import client as client
    from halloo._core.address import Address as Address
    from halloo._core.address import AddressLike as AddressLike
    from halloo._core.arguments import ReadableBuffer as ReadableBuffer
    from halloo._core.framing import Framing as Framing
    from halloo._core.limits import Limits as Limits
    from halloo._core.tls_options import ClientTLS as ClientTLS
    from halloo._core.tls_options import ServerTLS as ServerTLS
    from halloo._net.connection import Connection as Connection
    from halloo._net.connector import connect as connect
    from halloo._net.connector import connect_udp as connect_udp
    from halloo._net.datagrams import DatagramConnection as DatagramConnection
    from halloo._net.listener import Listener as Listener
    from halloo._net.listener import listen as listen
    from halloo._net.tls_errors import TlsError as TlsError
    from halloo._net.tls_errors import Untrusted as Untrusted
    from halloo._ping.report import PingReport as PingReport
    from halloo._ping.run import ping as ping
    from halloo._server.counters import Snapshot as Snapshot
    from halloo._server.responder import Respond as Respond
    from halloo._server.serve import ServeReport as ServeReport
    from halloo._server.serve import serve as serve
    from halloo._server.serve import server as server
    from halloo._server.server import Server as Server
    from halloo.errors import AddressError as AddressError
    from halloo.errors import AddressInUse as AddressInUse
    from halloo.errors import AddressNotAvailable as AddressNotAvailable
    from halloo.errors import ConnectionClosed as ConnectionClosed
    from halloo.errors import HallooError as HallooError
    from halloo.errors import IncompleteRead as IncompleteRead
    from halloo.errors import LocalError as LocalError
    from halloo.errors import MessageTooLong as MessageTooLong
    from halloo.errors import MissingFile as MissingFile
    from halloo.errors import NotPermitted as NotPermitted
    from halloo.errors import PeerError as PeerError
    from halloo.errors import Refused as Refused
    from halloo.errors import Reset as Reset
    from halloo.errors import TimedOut as TimedOut
    from halloo.errors import Truncated as Truncated
    from halloo.errors import UnitError as UnitError
    from halloo.errors import UnknownHost as UnknownHost
    from halloo.errors import Unreachable as Unreachable
    from halloo.errors import Unsupported as Unsupported
    from halloo.errors import UsageError as UsageError

__version__ = "0.1.0"

_MODULES = {
    "_client.connect": "ConnectReport client",
    "_core.address": "Address AddressLike",
    "_core.arguments": "ReadableBuffer",
    "_core.framing": "Framing",
    "_core.limits": "Limits",
    "_core.tls_options": "ClientTLS ServerTLS",
    "_net.connection": "Connection",
    "_net.connector": "connect connect_udp",
    "_net.datagrams": "DatagramConnection",
    "_net.listener": "Listener listen",
    "_net.tls_errors": "TlsError Untrusted",
    "_ping.report": "PingReport",
    "_ping.run": "ping",
    "_server.counters": "Snapshot",
    "_server.responder": "Respond",
    "_server.serve": "ServeReport serve server",
    "_server.server": "Server",
    "errors": (
        "AddressError AddressInUse AddressNotAvailable ConnectionClosed HallooError IncompleteRead LocalError "
        "MessageTooLong MissingFile NotPermitted PeerError Refused Reset TimedOut Truncated UnitError "
        "UnknownHost Unreachable Unsupported UsageError"
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Import a public name from the module that defines it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'halloo' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as typing

    value = getattr(import_module(f"halloo.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
