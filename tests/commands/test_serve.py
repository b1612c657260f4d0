"""Serving as a user meets it: in the background, until interrupted, and on the tutorial's own socket."""

import json
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import halloo
from halloo.core.addresses import Address
from tests.programs import PYTHON, started

PATIENCE = 20  # seconds without a byte after which a client gives up, and its test has failed


def dialled(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=PATIENCE)


def asked(client: socket.socket, data: bytes) -> bytes:
    """Send the data and then the end; give all that came."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    pieces = bytearray()
    while piece := client.recv(65536):
        pieces += piece
    return bytes(pieces)


# In the background.


def test_serving_echoes_while_its_block_runs() -> None:
    with halloo.serving() as server, dialled(server.address.port) as client:
        assert asked(client, b"hello") == b"hello"


def test_serving_takes_a_free_port_on_loopback() -> None:
    with halloo.serving() as one, halloo.serving() as other:
        assert one.address.port != other.address.port
        assert all(address.loopback for address in (*one.addresses, *other.addresses))


def test_serving_listens_on_every_address_it_is_given() -> None:
    with halloo.serving("127.0.0.1:0", ("127.0.0.1", 0)) as server:
        assert len(server.addresses) == 2
        for address in server.addresses:
            with dialled(address.port) as client:
                assert asked(client, b"hello") == b"hello"


def test_serving_can_be_kept_to_one_family() -> None:
    with halloo.serving(family=4) as server:
        assert [address.host for address in server.addresses] == ["127.0.0.1"]


def test_serving_answers_with_a_function() -> None:
    with halloo.serving(respond=bytes.upper, greeting=b"hi\n") as server, dialled(server.address.port) as client:
        assert asked(client, b"hello\r\n") == b"hi\nHELLO\r\n"


def test_serving_greets_and_echoes_lines_without_a_function() -> None:
    with halloo.serving(greeting=b"hi\n") as server, dialled(server.address.port) as client:
        assert asked(client, b"hello\n") == b"hi\nhello\n"


def test_serving_answers_chunks() -> None:
    with (
        halloo.serving(respond=lambda chunk: chunk[::-1], framing="raw") as server,
        dialled(server.address.port) as client,
    ):
        assert asked(client, b"hello") == b"olleh"


def test_serving_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with halloo.serving() as server, dialled(server.address.port) as client:
        assert asked(client, b"hello") == b"hello"
    assert capfd.readouterr() == ("", "")


def test_serving_refuses_an_unknown_framing_and_leaves_nothing() -> None:
    with (
        pytest.raises(halloo.UsageError, match="'words' is no framing"),
        halloo.serving(greeting=b"x", framing="words"),
    ):
        pass


def test_serving_closes_when_its_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), halloo.serving() as server:
        raise ZeroDivisionError
    with pytest.raises(ConnectionRefusedError):
        dialled(server.address.port)


# The tutorial's server.


@pytest.fixture
def s() -> Iterator[socket.socket]:
    """The tutorial's listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        yield s


@pytest.fixture
def two(s: socket.socket) -> Iterator[list[socket.socket]]:
    """Two clients that have said hello and goodbye."""
    with ExitStack() as cleanup:
        clients = [cleanup.enter_context(dialled(s.getsockname()[1])) for _ in range(2)]
        for client in clients:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
        yield clients


def test_server_ends_after_so_many_clients(s: socket.socket, two: list[socket.socket]) -> None:
    snapshot = halloo.server(s, clients=2)
    assert (snapshot.accepted, snapshot.open, snapshot.sent_bytes) == (2, 0, 10)
    assert [client.recv(9) for client in two] == [b"hello"] * 2


def test_server_prints_who_connected(
    s: socket.socket, two: list[socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    halloo.server(s, clients=2)
    assert capsys.readouterr().out == "".join(f"Connected by {client.getsockname()}\n" for client in two)


@pytest.mark.usefixtures("two")
def test_server_leaves_its_socket_open(s: socket.socket) -> None:
    halloo.server(s, clients=2)
    with dialled(s.getsockname()[1]) as client:
        connection, peer = s.accept()
        with connection:
            assert peer == client.getsockname()


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("timeout", [None, 0.0, 7.5])
def test_server_restores_the_timeout(s: socket.socket, timeout: float | None) -> None:
    s.settimeout(timeout)
    halloo.server(s, clients=2)
    assert s.gettimeout() == timeout


@pytest.mark.usefixtures("two")
def test_server_can_serve_the_same_socket_again(s: socket.socket) -> None:
    for _ in range(2):
        assert halloo.server(s, clients=1).accepted == 1


def test_server_ends_when_interrupted_and_leaves_its_socket_open() -> None:
    program = (
        "import halloo, socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as s:\n"
        "    print(s.getsockname()[1], flush=True)\n"
        "    halloo.server(s)\n"
        "    print('open' if s.fileno() >= 0 else 'closed')\n"
    )
    with started(PYTHON, "-c", program) as process:
        assert process.stdout
        with dialled(int(process.stdout.readline())):
            assert process.stdout.readline().startswith(b"Connected by ('127.0.0.1', ")
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == b"open\n"
            assert process.wait(PATIENCE) == 0


# Until interrupted.


posix = pytest.mark.skipif(sys.platform == "win32", reason="no process can be sent these signals")
LOCAL = "import halloo; report = halloo.serve('127.0.0.1:0'); print(report.snapshot.sent_bytes)"


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_where_it_listens_and_ends_well_with_a_signal(number: signal.Signals) -> None:
    with started(PYTHON, "-c", LOCAL) as process:
        assert process.stdout
        word, _, address = process.stdout.readline().decode().rstrip().rpartition(" ")
        assert word == "listening on"
        with dialled(int(address.rpartition(":")[2])) as client:
            assert asked(client, b"hello") == b"hello"
        process.send_signal(number)
        assert process.stdout.read() == b"5\n"
        assert process.wait(PATIENCE) == 0


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_well_with_a_signal_that_follows_its_first_line_at_once(number: signal.Signals) -> None:
    with started(PYTHON, "-c", LOCAL) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"listening on ")
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0


@posix
def test_serve_prints_a_line_for_each_address() -> None:
    with started(PYTHON, "-c", "import halloo; halloo.serve('127.0.0.1:0', '127.0.0.1:0')") as process:
        assert process.stdout
        lines = [process.stdout.readline().decode() for _ in range(2)]
        for line in lines:
            assert line.startswith("listening on tcp://127.0.0.1:")
            with dialled(int(line.rpartition(":")[2])) as client:
                assert asked(client, b"hello") == b"hello"


@posix
def test_serve_logs_for_machines_in_json() -> None:
    with started(PYTHON, "-c", "import halloo; halloo.serve('127.0.0.1:0', log='json')") as process:
        assert process.stdout
        assert process.stderr
        with dialled(int(process.stdout.readline().rpartition(b":")[2])) as client:
            assert asked(client, b"hello") == b"hello"
            line = next(line for line in iter(process.stderr.readline, b"") if line.startswith(b"{"))
            assert json.loads(line) == {"event": "connected", "data": {"peer": list(client.getsockname())}}


@posix
def test_serve_goes_on_when_nobody_reads_what_it_logs() -> None:
    with started(PYTHON, "-c", "import halloo; halloo.serve('127.0.0.1:0', log='json')") as process:
        assert process.stdout
        assert process.stderr
        port = int(process.stdout.readline().rpartition(b":")[2])
        process.stderr.close()
        for _ in range(2):
            with dialled(port) as client:
                assert asked(client, b"hello") == b"hello"


def test_serve_refuses_a_port_that_is_taken(s: socket.socket) -> None:
    with pytest.raises(OSError, match=f"port {s.getsockname()[1]} on 127.0.0.1 is taken"):
        halloo.serve(Address("tcp", *s.getsockname()))
