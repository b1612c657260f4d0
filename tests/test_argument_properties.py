"""An odd argument of a public function is used, or refused in one line that names it, and in a bounded time.

The parameters are read from the signatures: a new one fails here until VALUES has an entry for it.
"""

import inspect
import io
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import halloo
from halloo import testing
from tests.visits import odd_files

Options = dict[str, Any]


class Hostile:
    """An object of which nothing can be found out."""

    def _refuse(self, *_: object) -> NoReturn:
        raise RuntimeError("not now")

    __repr__ = __bool__ = __eq__ = __index__ = __int__ = __float__ = __len__ = _refuse
    __hash__ = None  # type: ignore[assignment]  # as Python does beside an __eq__ alone


class Array:
    """A whole number to some functions, and text of several lines and terminal codes to others."""

    def __index__(self) -> int:
        return 10**40

    def __repr__(self) -> str:
        return "array([1,\n       2])\x1b[31m"


class BytesPath:
    """A path that is not text."""

    def __fspath__(self) -> bytes:
        return b"missing"


def closed_socket() -> socket.socket:
    with socket.socket() as sock:
        return sock


# None of the text is a name that a name server could be asked for, nor a path to anything that matters.
NUMBERS = (0, -0.0, -1, 1, 5e-324, 1e-9, 1e9, 1e300, -1e300, 2**31, 2**63, 10**40, -(10**40), 10**5000)
OTHER_NUMBERS = (nan, inf, -inf, Decimal(1), Decimal("NaN"), Fraction(1, 3), 1j, True, False)
LONG = ("x" * 64, ".".join(["x"] * 200), "x" * 5000)
TEXTS = (" ", "\0", "\n", "a b\r\nc", "\x1b[31m\x9b", "{0}", "{place} x", "%s %d", "\ud800 ", "\udc80 ", "\u202e/")
OBJECTS = (None, ..., int, len, Hostile(), Array(), BytesPath(), Path("missing/\n"), Path(), range(3))
COLLECTIONS: tuple[object, ...] = (b"", b"\0", bytearray(b"x"), (), [], {}, ("a b",), ("", 70000), ("\0", 1), [None])
ODD = (*NUMBERS, *OTHER_NUMBERS, *TEXTS, *LONG, *OBJECTS, *COLLECTIONS)
ANYTHING = st.one_of(
    st.floats(),
    st.integers(max_value=0),
    st.text(st.characters(exclude_categories=["L", "N", "P"]), min_size=1),  # no host name, no other folder
    st.binary(),
    st.lists(st.none() | st.booleans() | st.floats()),
)

TIMES = (86_400 * 30, 0.01)
COUNTS = (2, 2**31 - 1, 2**62)
SIZES = (*COUNTS, 37, 65507, 65508)
UNIX = ("unix:", "unix:\ud800", f"unix:{'x' * 200}", "unix:folder")
ADDRESSES = ("http://x", "[::1", "::1%\n", "tcp://\0", "udp://0:", ("\n", 1), *UNIX)
FILES = ("missing", "folder", "binary", "empty", "certificate", "a\nb")
NETWORKS = (("10.0.0.0/8",), ("10.0.0.0/33",), ("\n",), ["::1"], (5,), "10.0.0.0/8")
TLS = (halloo.ClientTLS(), halloo.ServerTLS(), halloo.ClientTLS(insecure=True))
GOALS = (["p99>5ms"], ["p99"], "p99>5ms", [5], ["loss>{0}"], ["\n>5"])

# Values beside the ODD ones, by the name of the parameter.
VALUES: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("timeout", "deadline", "interval", "drain", "stats"), TIMES),
    **dict.fromkeys(("idle_timeout", "max_lifetime", "stall_timeout", "handshake_timeout"), TIMES),
    **dict.fromkeys(("count", "clients", "max_connections", "max_per_host", "rate_limit", "ttl", "dscp"), COUNTS),
    **dict.fromkeys(("size", "limit", "buffer", "max_bytes", "max_memory"), SIZES),
    **dict.fromkeys(("address", "addresses", "text", "metrics", "host", "bind"), ADDRESSES),
    **dict.fromkeys(("cert", "key", "ca", "client_ca", "path"), FILES),
    **dict.fromkeys(("data", "separator", "greeting"), ("text", memoryview(b"ab"), memoryview(b"ab")[::2])),
    **dict.fromkeys(("allow", "deny"), NETWORKS),
    **dict.fromkeys(("reuse_port", "timestamps", "busy_poll", "quiet", "reconnect", "connect", "df"), ("no",)),
    **dict.fromkeys(("size_sweep", "user_clock", "insecure", "any_port"), ("no",)),
    "interactive": (),
    "family": (4, 6, socket.AF_INET, 4.0),
    "fingerprint": ("00" * 32, ":".join(["0a"] * 32)),
    "flows": (2, 1001),
    "framing": ("raw", "length"),
    "goals": GOALS,
    "host_prefix": (64, 129),
    "limits": (halloo.Limits(),),
    "log": ("json", "xml"),
    "mode": (0o600, 0o1777),
    "port": (65535, 65536),
    "respond": (bytes.upper, lambda: b""),
    "s": (closed_socket(),),
    "scheme": ("udp", "unix", "TCP"),
    "sink": (SimpleNamespace(probe=print),),
    "tls": TLS,
    "workers": (2,),
}


@dataclass(frozen=True)
class Peers:
    """What the calls are made against: an echo, and a certificate with its key."""

    tcp: halloo.Address
    udp: halloo.Address
    certificate: str


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    trustme = pytest.importorskip("trustme")
    path = tmp_path_factory.mktemp("tls") / "certificate"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def peers(certificate: str) -> Iterator[Peers]:
    with halloo.Server("127.0.0.1:0", "udp://127.0.0.1:0") as server:
        yield Peers(server.addresses[0], server.addresses[1], certificate)


@pytest.fixture
def _files(peers: Peers, tmp_path: Path) -> Iterator[None]:
    with odd_files(tmp_path, Path(peers.certificate).read_bytes()):
        yield


class StoppingOutput(io.StringIO):
    """Standard output that requests a stop as soon as a server writes to it."""

    def write(self, text: str) -> int:
        if not self.getvalue():  # a second signal would end the server at once
            signal.raise_signal(signal.SIGTERM)
        return super().write(text)


def with_defaults(options: Options, **defaults: object) -> Options:
    return defaults | options


def use(opened: Any) -> None:  # noqa: ANN401 - anything that can be closed
    with opened:
        pass


def call_ping(peers: Peers, options: Options) -> None:
    address = peers.tcp
    if "tls" in options:
        address = halloo.Address("tls", "127.0.0.1", peers.tcp.port)
    elif {"df", "size_sweep"} & options.keys():
        address = peers.udp
    addresses = options.pop("addresses", [address])
    options = with_defaults(options, count=1, interval=0, deadline=0.05)
    halloo.ping(*addresses, **options)


def call_serve(_peers: Peers, options: Options) -> None:
    address = "tls://localhost:0" if "tls" in options else "localhost:0"
    with redirect_stdout(StoppingOutput()):
        halloo.serve(*options.pop("addresses", [address]), **options)


def call_server(_peers: Peers, options: Options) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        redirect_stdout(StoppingOutput()),
    ):
        halloo.server(**with_defaults(options, s=listener))


def call_limits(_peers: Peers, options: Options) -> None:
    """Echo a message within limits, which may end the connection, but not the server."""
    with halloo.Server("127.0.0.1:0", "udp://127.0.0.1:0", limits=halloo.Limits(**options)) as server:
        with suppress(halloo.PeerError), halloo.connect(server.address, timeout=0.2) as client:
            client.send(b"x")
            client.receive()
        with suppress(halloo.PeerError), halloo.connect_udp(server.addresses[1], timeout=0) as sender:
            sender.send(b"x")
        server.snapshot()


def call_client_tls(peers: Peers, options: Options) -> None:
    if "key" in options:
        options["cert"] = peers.certificate
    if "cert" in options:
        options["ca"] = peers.certificate  # quicker to read than the system's list
    tls = halloo.ClientTLS(**options)
    use(halloo.connect(f"tls://127.0.0.1:{peers.tcp.port}", tls=tls))


def call_server_tls(peers: Peers, options: Options) -> None:
    use(halloo.listen("tls://localhost:0", tls=halloo.ServerTLS(**with_defaults(options, cert=peers.certificate))))


def call_connection(method: str, _peers: Peers, options: Options) -> None:
    """Call a method of a connection that has received a line and the end."""
    required: dict[str, Options] = {
        "receive_exactly": {"size": 6},
        "receive_until": {"separator": b"\n"},
        "send": {"data": b"x"},
    }
    near, far = socket.socketpair()
    with far, halloo.Connection(near, halloo.Address("unix", path="/far"), timeout=0) as connection:
        far.sendall(b"hello\n")
        far.shutdown(socket.SHUT_WR)
        getattr(connection, method)(**required.get(method, {}) | options)


def call_datagrams(method: str, _peers: Peers, options: Options) -> None:
    """Call a method of a connection that has received a datagram."""
    required = {"data": b"x"} if method == "send" else {}
    with ExitStack() as stack:
        listener = stack.enter_context(halloo.listen("udp://127.0.0.1:0"))
        far = stack.enter_context(halloo.connect_udp(listener.address))
        far.send(b"hello")
        connection = stack.enter_context(listener.accept_udp(timeout=1))
        getattr(connection, method)(**required | options)


def call_listener(method: str, _peers: Peers, options: Options) -> None:
    """Call a method of a listener to which a client has connected, and another has sent a datagram."""
    with ExitStack() as stack:
        listener = stack.enter_context(halloo.listen("127.0.0.1:0", "udp://127.0.0.1:0"))
        stack.enter_context(halloo.connect(listener.address))
        stack.enter_context(halloo.connect_udp(listener.addresses[1])).send(b"hello")
        use(getattr(listener, method)(**options))


def connected(peers: Peers, options: Options) -> Options:
    """Add what a client needs: an address, of TLS where there are settings for it, and a bounded time."""
    scheme = "tls" if "tls" in options else "tcp"
    return {"address": halloo.Address(scheme, "127.0.0.1", peers.tcp.port), "timeout": 1} | options


def call_client(peers: Peers, options: Options) -> None:
    wanted = connected(peers, options) | ({"address": peers.udp} if "size" in options else {})
    halloo.client(**{"host": wanted.pop("address")} | wanted)


def call_listening(call: Callable[..., object], _peers: Peers, options: Options) -> None:
    address = "tls://localhost:0" if "tls" in options else "localhost:0"
    use(call(*options.pop("addresses", [address]), **options))


CALLS: dict[str, Callable[[Peers, Options], Any]] = {
    "client": call_client,
    "connect": lambda peers, options: use(halloo.connect(**connected(peers, options))),
    "connect_udp": lambda peers, options: use(halloo.connect_udp(**with_defaults(options, address=peers.udp))),
    "listen": partial(call_listening, halloo.listen),
    "ping": call_ping,
    "serve": call_serve,
    "server": call_server,
    "Server": partial(call_listening, halloo.Server),
    "Address": lambda _, options: halloo.Address(
        **with_defaults(options, scheme="unix" if "path" in options else "tcp")
    ),
    "Address.parse": lambda _, options: halloo.Address.parse(**options),
    "Limits": call_limits,
    "ClientTLS": call_client_tls,
    "ServerTLS": call_server_tls,
    "every_split": lambda _, options: list(testing.every_split(**options)),
}
METHODS = {
    "Connection": call_connection,
    "DatagramConnection": call_datagrams,
    "Listener": call_listener,
}
# What halloo makes and hands out, so that nobody else need call it; and methods for its own use.
MADE = {*METHODS, "ConnectReport", "PingReport", "ServeReport", "Snapshot"}
INTERNAL = {
    "Listener.accepting",
    "Listener.for_workers",
    "Listener.reopen",
    "Listener.refuse_new",
    "DatagramConnection.next_address",
    "Snapshot.of",
}


def callables() -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield the public functions, classes and methods, each with its name here."""
    yield from inspect.getmembers(testing, inspect.isfunction)
    for name in halloo.__all__:
        value = getattr(halloo, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value) and not issubclass(value, Exception):
            yield name, value
            methods = inspect.getmembers(value, lambda part: inspect.isfunction(part) or inspect.ismethod(part))
            yield from ((f"{name}.{key}", method) for key, method in methods if not key.startswith("_"))


def parameters() -> list[tuple[str, str]]:
    """Return each name of `callables` that a user calls with each of its parameters."""
    found = {name: inspect.signature(value) for name, value in callables() if name not in MADE | INTERNAL}
    return [(name, parameter) for name, each in found.items() for parameter in each.parameters if parameter != "self"]


def call(peers: Peers, name: str, options: Options) -> None:
    kind, _, method = name.partition(".")
    if kind in METHODS:
        METHODS[kind](method, peers, options)
    else:
        CALLS[name](peers, options)


def names(error: halloo.UsageError, parameter: str) -> bool:
    """Whether an error says which argument is at fault; what is wrong with an address or a goal is quoted."""
    quoting = isinstance(error, halloo.AddressError | halloo.UnitError) or "is not a goal" in error.fact
    return quoting or parameter in str(error).lower() or "port 0 is for servers" in error.fact


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(("name", "parameter"), parameters())
def test_an_odd_argument_is_used_or_refused_by_name(name: str, parameter: str, peers: Peers) -> None:
    def holds(value: object) -> None:
        refusal = ""
        try:
            call(peers, name, {parameter: [value] if parameter == "addresses" else value})
        except halloo.UsageError as error:
            refusal = str(error) if names(error, parameter) else f"without a name: {error}\n"
        except halloo.HallooError as error:
            refusal = str(error)
        assert refusal.isprintable()

    for value in (*ODD, *VALUES[parameter]):  # not as examples of hypothesis, which needs their repr
        holds(value)
    settings(max_examples=10)(given(ANYTHING)(holds))()
