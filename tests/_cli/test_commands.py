"""What the verbs add to their commands: summaries, exit codes and what the options mean."""

import dataclasses
import inspect
import json
import os
import re
import signal
import socket
import threading

import pytest

from halloo._cli import commands as verbs
from halloo._cli import options
from halloo._cli.main import VERBS
from halloo._core.limits import Limits
from halloo._core.tls_options import ClientTLS, ServerTLS
from tests.peers import correspondent, peer
from tests.programs import PYTHON, Terminal, listening_port, run, started

HALLOO = (PYTHON, "-m", "halloo")

# Windows ends a process where POSIX signals it, and a summary cannot come after that.
signals = pytest.mark.skipif(os.name == "nt", reason="needs signals")


@pytest.mark.parametrize("verb", VERBS)
def test_every_parameter_is_explained(verb: str) -> None:
    function = getattr(verbs, verb)
    explained = re.findall(r"^(\w+)$", (inspect.getdoc(function) or "").partition("-----\n")[2], re.MULTILINE)
    parameters = inspect.signature(function).parameters
    groups = [name for name, parameter in parameters.items() if dataclasses.is_dataclass(parameter.annotation)]
    assert explained == [name for name in parameters if name not in groups]


@pytest.mark.parametrize(
    "group", [options.Families, options.ClientTlsFlags, options.ServerTlsFlags, options.LimitFlags]
)
def test_every_option_of_a_group_is_explained(group: type) -> None:
    explained = re.findall(r'^    (\w+): .*\n    """.+"""$', inspect.getsource(group), re.MULTILINE)
    assert explained == [field.name for field in dataclasses.fields(group)]


@pytest.mark.parametrize(
    ("group", "value"),
    [(options.ClientTlsFlags, ClientTLS), (options.ServerTlsFlags, ServerTLS), (options.LimitFlags, Limits)],
)
def test_a_group_has_the_fields_and_defaults_of_its_value(group: type, value: type) -> None:
    assert dataclasses.asdict(group()) == dataclasses.asdict(value())


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_gives_an_exit_code(verb: str) -> None:
    assert inspect.signature(getattr(verbs, verb)).return_annotation is int


def test_serve_says_where_it_listens() -> None:
    with started(*HALLOO, "serve", "127.0.0.1:0") as server:
        assert server.stdout
        assert server.stdout.readline().decode() == f"listening on tcp://127.0.0.1:{listening_port(server)}\n"


@signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_serve_sums_up_when_it_is_stopped(number: signal.Signals) -> None:
    with started(*HALLOO, "serve", "127.0.0.1:0") as server:
        run(*HALLOO, "connect", f"127.0.0.1:{listening_port(server)}", input=b"Hello world")
        server.send_signal(number)
        _, errors = server.communicate(timeout=10)
    assert server.returncode == 0
    assert re.fullmatch(r"halloo: 1 clients? in \S+, 11 bytes in, 11 bytes out", errors.decode().splitlines()[-1])


def test_serve_tells_of_each_client_on_a_terminal() -> None:
    with Terminal(*HALLOO, "serve", "127.0.0.1:0") as terminal:
        terminal.read_until(b"listening on ")
        with socket.create_connection(("127.0.0.1", listening_port(terminal.process))) as client:
            terminal.read_until(f"\r\nConnected by {client.getsockname()}\r\n".encode())


@signals
def test_serve_keeps_quiet_when_told_to() -> None:
    with started(*HALLOO, "serve", "127.0.0.1:0", "--quiet") as server:
        run(*HALLOO, "connect", f"127.0.0.1:{listening_port(server)}", input=b"Hello world")
        server.terminate()
        _, errors = server.communicate(timeout=10)
    assert b"clients" not in errors
    assert b"Connected by" not in errors


def test_serve_tells_machines_of_each_client_in_json() -> None:
    with (
        started(*HALLOO, "serve", "127.0.0.1:0", "--log", "json") as server,
        socket.create_connection(("127.0.0.1", listening_port(server))) as client,
    ):
        assert server.stderr
        lines = iter(server.stderr.readline, b"")
        event = json.loads(next(line for line in lines if line.startswith(b"{")))
        assert event == {"event": "connected", "data": {"peer": list(client.getsockname()), "reason": None}}


@pytest.mark.parametrize(("flag", "host"), [("-4", "127.0.0.1"), ("-6", "[::1]")])
def test_a_family_may_be_asked_for_alone(flag: str, host: str) -> None:
    if flag == "-6" and not has_ipv6():
        pytest.skip("needs ::1")
    with started(*HALLOO, "serve", flag, "0") as server:
        assert server.stdout
        assert server.stdout.readline().decode() == f"listening on tcp://{host}:{listening_port(server)}\n"
        server.terminate()
        assert server.stdout.read() == b""


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_connect_takes_the_port_apart_from_the_host() -> None:
    with started(*HALLOO, "serve", "127.0.0.1:0") as server:
        port = str(listening_port(server))
        for arguments in (["127.0.0.1", port], ["127.0.0.1", "--port", port]):
            result = run(*HALLOO, "connect", *arguments, input=b"Hello world")
            assert (result.returncode, result.stdout) == (0, b"Hello world")


def test_connect_says_that_the_server_stayed() -> None:
    def staying(connection: socket.socket) -> None:
        connection.sendall(connection.recv(100))
        connection.recv(1)  # the client's end, which an echo would answer with its own
        over.wait(20)

    over = threading.Event()
    with peer(staying) as port:
        result = run(*HALLOO, "connect", f"127.0.0.1:{port}", "-W", "500ms", input=b"Hello world")
        over.set()
    said = f"halloo: all came back, but 127.0.0.1:{port} did not close the connection\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (0, b"Hello world", said)


def test_connect_says_how_many_datagrams_were_lost() -> None:
    with correspondent(lambda datagram: [datagram] if b"o" in datagram else []) as port:
        result = run(*HALLOO, "connect", f"udp://127.0.0.1:{port}", "-W", "50ms", input=b"one\ntwo\nthree\n")
    said = "halloo: 1 of 3 datagrams did not come back (33.3 %)\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (0, b"one\ntwo\n", said)


@pytest.mark.parametrize(
    ("answered", "said", "code"), [("one", "1 of 2 datagrams", 0), ("none", "2 of 2 datagrams", 1)]
)
def test_connect_says_after_a_conversation_how_many_datagrams_were_lost(answered: str, said: str, code: int) -> None:
    with (
        correspondent(lambda line: [line] if line.decode() == f"{answered}\n" else []) as port,
        Terminal(*HALLOO, "connect", f"udp://127.0.0.1:{port}", "-W", "50ms") as terminal,
    ):
        for line in ("one\n", "two\n", "\n"):
            terminal.read_until(b"Send:")
            terminal.type(line)
        assert f"\r\nhalloo: {said} did not come back".encode() in terminal.read_to_end()
        assert terminal.wait() == code
