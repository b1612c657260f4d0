"""The public names match docs/api.md, have docstrings, refuse wrong arguments and pass type checkers."""

import ast
import builtins
import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import halloo
from halloo import errors

TOP = Path(__file__).parent.parent
ROW = re.compile(r"\| `(\w+)` \| (.+?) \|(?: (.+?) \| (\d) \|)?")


@cache
def documented() -> dict[str, dict[str, re.Match[str]]]:
    """Return the rows of each section of docs/api.md, by name."""
    sections = (TOP / "docs/api.md").read_text(encoding="utf-8").split("\n## ")[1:]
    found = {
        text.partition("\n")[0]: [row for line in text.split("\n") if (row := ROW.match(line))] for text in sections
    }
    return {title: {row[1]: row for row in rows} for title, rows in found.items()}


# The table.


def test_the_documented_names_match_dunder_all() -> None:
    names = [name for rows in documented().values() for name in rows]
    assert sorted(names) == sorted(halloo.__all__)


def test_each_error_has_the_documented_bases_and_exit_code() -> None:
    known = {"gaierror": socket.gaierror} | vars(builtins) | vars(ssl) | vars(errors)
    known["TlsError"] = halloo.TlsError
    for name, row in documented()["Errors"].items():
        kind = getattr(halloo, name)
        bases = [known.get(text) for text in re.findall(r"`(?:\w+\.)?(\w+)`", row[3])]
        assert (list(kind.__bases__), kind.exit_code) == (bases, int(row[4]))


def test_the_imports_for_type_checkers_match_those_at_run_time() -> None:
    tree = ast.parse(Path(halloo.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.asname: str(node.module).removeprefix("halloo.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name  # exported again (PEP 484)
    }
    assert imported == halloo._HOMES


KINDS_PROGRAM = """
import importlib, json, pkgutil, types, halloo
for module in pkgutil.walk_packages(halloo.__path__, "halloo."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name.split(".")[0] == "halloo":
                raise
def kind(value):
    return "Functions" if isinstance(value, types.FunctionType) else "Types" if not isinstance(value, type) else (
        "Errors" if issubclass(value, Exception) else "Classes")
print(json.dumps({name: kind(getattr(halloo, name)) for name in halloo.__all__}))
"""


def test_each_name_has_the_documented_kind_after_importing_every_module() -> None:
    done = subprocess.run([sys.executable, "-c", KINDS_PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: title for title, rows in documented().items() for name in rows}


def test_each_public_name_and_method_has_a_docstring() -> None:
    for name in (name for title in ("Functions", "Classes", "Errors") for name in documented()[title]):
        value = getattr(halloo, name)
        members = vars(value).items() if isinstance(value, type) else []
        parts = {name: value} | {f"{name}.{key}": part for key, part in members if not key.startswith("_")}
        kinds = (FunctionType, property, classmethod, type)
        parts = {key: part for key, part in parts.items() if isinstance(part, kinds)}
        assert [key for key, part in parts.items() if not (part.__doc__ or "").strip()] == []


# Wrong arguments.


WRONG_SECONDS = ["1", float("nan"), -1, float("inf"), True]
WRONG_FAMILIES = [socket.AF_INET, "4", 5, True]
ADDRESS = "127.0.0.1:1"


Case = tuple[str, Callable[..., object], tuple[object, ...], dict[str, object]]  # the argument at fault, and a call


def cases() -> list[Case]:
    found: list[Case] = []
    timed: list[tuple[Callable[..., object], str]] = [
        (halloo.connect, "timeout"),
        (halloo.connect_udp, "timeout"),
        (halloo.client, "timeout"),
    ]
    timed += [(halloo.ping, name) for name in ("timeout", "interval", "deadline")]
    timed += [(halloo.serve, "drain"), (halloo.serve, "stats"), (halloo.Server, "drain")]
    found += [(name, call, (ADDRESS,), {name: value}) for call, name in timed for value in WRONG_SECONDS]
    families: list[Callable[..., object]] = [
        halloo.connect,
        halloo.connect_udp,
        halloo.listen,
        halloo.serve,
        halloo.Server,
        halloo.client,
        halloo.ping,
    ]
    found += [("family", call, (ADDRESS,), {"family": value}) for call in families for value in WRONG_FAMILIES]
    found += [("address", call, (value,), {}) for call in families for value in (5.5, None, b"host", True, "a b")]
    found += [("port", call, (value,), {}) for call in families for value in (-1, 65536)]
    secured: list[Callable[..., object]] = [halloo.connect, halloo.client]
    found += [("tls", call, ("tls://127.0.0.1:1",), {"tls": 5}) for call in secured]
    secured = [halloo.listen, halloo.serve, started]
    found += [("tls", call, ("tls://127.0.0.1:0",), {"tls": 5}) for call in secured]
    found += [("workers", halloo.serve, (0,), {"workers": value}) for value in (0, -1, 1.5, "2")]
    found += [("clients", halloo.server, (socket.socket,), {"clients": value}) for value in (0, "2")]
    found += [("s", halloo.server, (value,), {}) for value in (5, "8888", None)]
    served: list[Callable[..., object]] = [halloo.Server, halloo.serve]
    found += [("framing", call, (0,), {"framing": v}) for call in served for v in ("lines", 5)]
    found += [("greeting", call, (0,), {"greeting": v}) for call in served for v in ("hi", 5)]
    found += [("buffer", halloo.listen, (0,), {"buffer": value}) for value in (0, "1")]
    found += [("size", halloo.client, ("udp://127.0.0.1:1",), {"size": value}) for value in (0, "1", 65508)]
    found += [("count", halloo.ping, (ADDRESS,), {"count": value}) for value in (0, "1", 1.5)]
    found += [
        ("respond", halloo.Server, (), {"respond": 5}),
        ("limits", halloo.Server, (), {"limits": 5}),
        ("log", halloo.serve, (0,), {"log": "xml"}),
        ("port", halloo.client, ("127.0.0.1", "x"), {}),
        ("flows", halloo.ping, (ADDRESS,), {"flows": 0}),
        ("bind", halloo.ping, (ADDRESS,), {"bind": 5}),
        ("tls", halloo.connect, ("tls://127.0.0.1:1",), {"tls": halloo.ServerTLS()}),
        ("tls", halloo.listen, ("tls://127.0.0.1:0",), {"tls": halloo.ClientTLS(insecure=True)}),
        ("idle_timeout", halloo.Limits, (), {"idle_timeout": float("nan")}),
        ("allow", halloo.Limits, (), {"allow": "10.0.0.0/8"}),
        ("any_port", halloo.Limits, (), {"any_port": 1}),
        ("host_prefix", halloo.Limits, (), {"host_prefix": "64"}),
    ]
    return found


def started(*addresses: Any, **options: Any) -> halloo.Server:  # noqa: ANN401 - wrong types on purpose
    return halloo.Server(*addresses, **options).start()


def test_a_wrong_argument_is_refused_by_name() -> None:
    for argument, call, values, keywords in cases():
        with pytest.raises(halloo.UsageError) as caught:
            call(*values, **keywords)
        assert argument in str(caught.value)


@pytest.mark.parametrize("name", ["receive", "receive_exactly", "receive_until", "receive_line", "send", "send_eof"])
def test_a_wrong_argument_of_a_connection_method_is_refused_by_name(name: str) -> None:
    required = {"receive_exactly": (1,), "receive_until": (b"\n",), "send": (b"",)}.get(name, ())
    wrong: list[tuple[str, tuple[object, ...], dict[str, object]]] = [
        (bound, required, {bound: value}) for bound in ("timeout", "deadline") for value in WRONG_SECONDS
    ]
    own: dict[str, list[tuple[str, tuple[object, ...], dict[str, object]]]] = {
        "receive": [("limit", (value,), {}) for value in (0, -1, 1.5, "3", None, True)],
        "receive_line": [("limit", (value,), {}) for value in (0, -1, 1.5, "3", None, True)],
        "receive_exactly": [("size", (value,), {}) for value in (-1, 1.5, "3", None, True)],
        "receive_until": [("separator", (value,), {}) for value in ("x", 5, b"")] + [("limit", (b"ab", 1), {})],
        "send": [("data", (value,), {}) for value in (5, "text", None, [1])],
        "send_eof": [],
    }
    wrong += own[name]
    with halloo.Server() as server, halloo.connect(server.address) as connection:
        for argument, values, keywords in wrong:
            with pytest.raises(halloo.UsageError, match=f"^{argument} (must|is)"):
                getattr(connection, name)(*values, **keywords)
        with pytest.raises(halloo.TimedOut):  # nothing was sent
            connection.receive(timeout=0)


def test_server_refuses_a_socket_that_does_not_listen() -> None:
    message = r"^s is a socket that does not listen; call s\.bind and s\.listen first$"
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as s, pytest.raises(halloo.UsageError, match=message):
            halloo.server(s)


# Type checkers.


RIGHT = """
import asyncio
import socket
import ssl
from pathlib import Path

import halloo


def shout(message: bytes) -> bytes | None:
    return message.upper()


answer: halloo.Respond = shout
framing: halloo.Framing = "line"
place: halloo.AddressLike = ("127.0.0.1", 8888)
data: halloo.ReadableBuffer = bytearray(b"hello")


def streams() -> bytes:
    limits = halloo.Limits(idle_timeout=5, max_connections=10)
    tls = halloo.ServerTLS(cert=Path("cert.pem"), key="key.pem")
    with halloo.Server("tls://localhost:0", respond=answer, framing=framing, limits=limits, tls=tls) as server:
        trusted = halloo.ClientTLS(fingerprint=server.fingerprint)
        with halloo.connect(server.address, tls=trusted, timeout=None) as connection:
            connection.send(data, timeout=5.0)
            connection.send_eof(deadline=2)
            chunks = list(connection)
            line: bytes = connection.receive_line()
            return line + b"".join(chunks) + connection.receive_until(b"!", 10, timeout=..., deadline=None)


def datagrams() -> bytes:
    with halloo.listen("udp://0", family=4) as listener, halloo.connect_udp(listener.address) as client:
        listening: halloo.Listener = listener
        client.send(memoryview(b"hello"))
        with listening.accept_udp(timeout=1) as served:
            peer: halloo.DatagramConnection = served
            return peer.receive()


def accept(listener: halloo.Listener) -> halloo.Connection:
    return listener.accept(timeout=1.5)


async def background() -> halloo.Snapshot:
    async with halloo.Server(8888, tls=ssl.create_default_context()) as server:
        await asyncio.sleep(1)
        return server.snapshot()


def reports(s: socket.socket) -> tuple[halloo.ServeReport, halloo.ConnectReport, halloo.PingReport, halloo.Snapshot]:
    address = halloo.Address.parse("udp://[::1]:9000")
    ends = halloo.serve(place, workers=2, drain=1), halloo.client(address, family=6)
    return *ends, halloo.ping(address, count=3, interval=0), halloo.server(s, clients=1)


def failure(error: halloo.HallooError) -> tuple[str, str, int]:
    match error:
        case halloo.AddressError() | halloo.UnitError() | halloo.Unsupported():
            return error.argument, error.fact, error.exit_code
        case halloo.UsageError():
            return "usage", error.remedy, 2
        case halloo.UnknownHost() | halloo.Unreachable() | halloo.Refused():
            return "peer", str(error.address), error.errno or 0
        case halloo.IncompleteRead() | halloo.Truncated() | halloo.MessageTooLong() | halloo.Reset():
            return "peer", error.partial.decode(), error.sent
        case halloo.Untrusted() | halloo.TlsError() | halloo.TimedOut() | halloo.PeerError():
            return "peer", str(error), 1
        case halloo.AddressInUse() | halloo.AddressNotAvailable() | halloo.NotPermitted() | halloo.MissingFile():
            return "local", error.blame, 2
        case halloo.ConnectionClosed() | halloo.LocalError():
            return "local", "closed", 2
        case _:
            return "", "", 0
"""

WRONG = """
import halloo

with halloo.Server() as server, halloo.connect(server.address) as connection:
    halloo.conect("localhost")  # wrong
    halloo.connect(5.5)  # wrong
    halloo.Server(framing="lines")  # wrong
    halloo.Server(family=5)  # wrong
    connection.send("text")  # wrong
    connection.recieve()  # wrong
    connection.receive_exactly("5")  # wrong
    connection.receive(timeout="5")  # wrong
    halloo.connect("tls://localhost", tls=halloo.ServerTLS())  # wrong
    halloo.ServerTLS("cert.pem")  # wrong
    halloo.Limits(max_connection=5)  # wrong
    server.adress  # wrong
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write correct and wrong uses of the public names, and the settings of both type checkers."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "right.py").write_text(RIGHT, encoding="utf-8")
    (folder / "wrong.py").write_text(WRONG, encoding="utf-8")
    settings = {"typeCheckingMode": "strict", "include": ["*.py"], "extraPaths": [str(TOP / "src")]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\n", encoding="utf-8")
    return folder


CHECKERS = {
    "mypy": ["mypy", "--no-error-summary", "--hide-error-context", "--config-file=mypy.ini", "right.py", "wrong.py"],
    "basedpyright": ["basedpyright", "--level", "error", "--pythonpath", sys.executable],
}


def test_the_type_checked_example_uses_every_public_name() -> None:
    assert set(re.findall(r"halloo\.(\w+)", RIGHT)) == set(halloo.__all__)


@pytest.mark.parametrize("checker", [pytest.param("mypy", marks=pytest.mark.conformance), "basedpyright"])
def test_type_checkers_accept_correct_uses_and_reject_wrong_ones(checker: str, checked: Path) -> None:
    pytest.importorskip(checker)
    command = [sys.executable, "-m", *CHECKERS[checker]]
    environment = os.environ | {"MYPYPATH": str(TOP / "src")}
    done = subprocess.run(command, cwd=checked, env=environment, capture_output=True, text=True, check=False)
    reported = set(re.findall(r"(\w+\.py):(\d+):(?:\d+)?.*error", done.stdout))
    expected = {("wrong.py", str(at)) for at, line in enumerate(WRONG.split("\n"), 1) if line.endswith("# wrong")}
    assert reported == expected, done.stdout + done.stderr
