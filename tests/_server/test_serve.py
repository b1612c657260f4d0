"""Serving as a user meets it: in the background, until interrupted, and on the tutorial's own socket."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

import halloo
from halloo._core.address import Address
from halloo._core.probe import Probes, read_timestamp
from halloo._core.tls_options import ClientTLS
from halloo._net.connector import dial
from tests.programs import PYTHON, run, started

PATIENCE = 20  # seconds without a byte after which a client gives up, and its test has failed
PROBE = Probes(run=7, size=200).encode(0, 0)


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
    with halloo.Server() as server, dialled(server.address.port) as client:
        assert asked(client, b"hello") == b"hello"


def test_serving_takes_a_free_port_on_loopback() -> None:
    with halloo.Server() as one, halloo.Server() as other:
        assert one.address.port != other.address.port
        assert all(address.loopback for address in (*one.addresses, *other.addresses))


def test_serving_listens_on_every_address_it_is_given() -> None:
    with halloo.Server("127.0.0.1:0", ("127.0.0.1", 0)) as server:
        assert len(server.addresses) == 2
        for address in server.addresses:
            with dialled(address.port) as client:
                assert asked(client, b"hello") == b"hello"


def test_serving_can_be_kept_to_one_family() -> None:
    with halloo.Server(family=4) as server:
        assert [address.host for address in server.addresses] == ["127.0.0.1"]


def test_serving_answers_with_a_function() -> None:
    with halloo.Server(respond=bytes.upper, greeting=b"hi\n") as server, dialled(server.address.port) as client:
        assert asked(client, b"hello\r\n") == b"hi\nHELLO\r\n"


def test_serving_greets_and_echoes_lines_without_a_function() -> None:
    with halloo.Server(greeting=b"hi\n") as server, dialled(server.address.port) as client:
        assert asked(client, b"hello\n") == b"hi\nhello\n"


def test_serving_answers_chunks() -> None:
    with (
        halloo.Server(respond=lambda chunk: chunk[::-1], framing="raw") as server,
        dialled(server.address.port) as client,
    ):
        assert asked(client, b"hello") == b"olleh"


def test_serving_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with halloo.Server() as server, dialled(server.address.port) as client:
        assert asked(client, b"hello") == b"hello"
    assert capfd.readouterr() == ("", "")


def test_serving_refuses_an_unknown_framing_and_leaves_nothing() -> None:
    with (
        pytest.raises(halloo.UsageError, match="framing must be 'line', 'raw' or 'length', not 'words'"),
        halloo.Server(greeting=b"x", framing="words"),  # type: ignore[arg-type]  # the point of the test
    ):
        pass


def test_serving_closes_when_its_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), halloo.Server() as server:
        raise ZeroDivisionError
    with pytest.raises(ConnectionRefusedError):
        dialled(server.address.port)


def test_serving_stamps_probes_when_told_to() -> None:
    for place in ("127.0.0.1:0", "udp://127.0.0.1:0"):
        with halloo.Server(place, timestamps=True) as server, dial(server.address, timeout=PATIENCE) as connection:
            connection.send(PROBE)
            assert read_timestamp(connection.receive(timeout=PATIENCE))


@pytest.mark.parametrize("instead", [{"respond": bytes.upper}, {"greeting": b"hi\n"}], ids=["respond", "greeting"])
def test_serving_stamps_nothing_but_the_echo(instead: dict[str, Any]) -> None:
    said = "^timestamps is for the echo, and respond or greeting replaces it; leave one out$"
    with pytest.raises(halloo.UsageError, match=said), halloo.Server(timestamps=True, **instead):
        pass


def test_serving_may_spin() -> None:
    with halloo.Server("127.0.0.1:0", "udp://127.0.0.1:0", busy_poll=True, timestamps=True) as server:
        for address in server.addresses:
            with dial(address, timeout=PATIENCE) as connection:
                connection.send(PROBE)
                assert read_timestamp(connection.receive(timeout=PATIENCE))


# Of datagrams.


VAIN = [
    ({"idle_timeout": 5}, "idle_timeout"),
    ({"max_lifetime": 5}, "max_lifetime"),
    ({"stall_timeout": None}, "stall_timeout"),
    ({"handshake_timeout": 5}, "handshake_timeout"),
    ({"max_connections": 5}, "max_connections"),
    ({"max_per_host": 5}, "max_per_host"),
    ({"max_memory": 5}, "max_memory"),
]


@pytest.mark.parametrize(("limit", "option"), VAIN, ids=[option for _, option in VAIN])
def test_serving_datagrams_refuses_a_limit_of_connections(limit: dict[str, Any], option: str) -> None:
    said = f"^{option} is for connections, and udp:// has none; leave it out, or serve tcp:// as well$"
    with pytest.raises(halloo.UsageError, match=said), halloo.Server("udp://0", limits=halloo.Limits(**limit)):
        pass


def test_serving_datagrams_beside_connections_takes_limits_for_either() -> None:
    limits = halloo.Limits(max_connections=5, max_bytes=100, any_port=True)
    with halloo.Server("tcp://127.0.0.1:0", "udp://127.0.0.1:0", limits=limits) as server:
        for address in server.addresses:
            with dial(address, timeout=PATIENCE) as connection:
                connection.send(b"hello")
                assert connection.receive(timeout=PATIENCE) == b"hello"


def test_serving_connections_refuses_a_limit_of_datagrams() -> None:
    said, limits = "^any_port is for udp://, and no address is; leave it out$", halloo.Limits(any_port=True)
    with pytest.raises(halloo.UsageError, match=said), halloo.Server("tcp://127.0.0.1:0", limits=limits):
        pass


def test_serving_datagrams_cannot_greet() -> None:
    said = "^greeting is for connections, and udp:// has none"
    with pytest.raises(halloo.UsageError, match=said), halloo.Server("udp://127.0.0.1:0", greeting=b"hi"):
        pass


@pytest.mark.parametrize("framing", ["line", "raw", "length"])
def test_serving_answers_each_datagram_whatever_the_framing(framing: halloo.Framing) -> None:
    with (
        halloo.Server("udp://127.0.0.1:0", respond=bytes.upper, framing=framing) as server,
        halloo.connect_udp(server.address) as connection,
    ):
        for data in (b"two\nlines\n", b"", b"no end"):
            connection.send(data)
            assert connection.receive(timeout=PATIENCE) == data.upper()


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
            peer = list(client.getsockname())
            assert json.loads(line) == {"event": "connected", "data": {"peer": peer, "reason": None}}
            line = process.stderr.readline()
            assert json.loads(line) == {"event": "closed", "data": {"peer": peer, "reason": None}}


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


# The command with its options.


SERVE = (PYTHON, "-m", "halloo", "serve", "127.0.0.1:0")


@contextmanager
def started_server(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start the command; give its process and its port."""
    with started(*SERVE, *options) as process:
        assert process.stdout
        yield process, int(process.stdout.readline().rpartition(b":")[2])


def stopped(process: subprocess.Popen[bytes]) -> list[str]:
    """End it with SIGTERM, as it should; give the lines that it said since."""
    process.terminate()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return errors.decode().splitlines()


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_serve_says_every_so_often_how_things_stand(options: tuple[str, ...]) -> None:
    with started_server("--stats", "50ms", *options) as (process, port), dialled(port) as client:
        assert process.stderr
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        line = next(line for line in iter(process.stderr.readline, b"") if line.startswith(b"1 open"))
        assert re.fullmatch(rb"1 open, \d+ clients/s, \d+ echoes/s, .*/s in, .*/s out\n", line)


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_serve_gives_its_metrics_to_prometheus(options: tuple[str, ...]) -> None:
    with started_server("--metrics", "127.0.0.1:0", *options) as (process, port):
        assert process.stderr
        place = re.match(rb"halloo: metrics at http://([\d.]+):(\d+)/metrics\n", process.stderr.readline())
        assert place
        with dialled(port) as client:
            assert asked(client, b"hello") == b"hello"
        pages = {}
        for path in ("/metrics", "/healthz"):
            connection = HTTPConnection("127.0.0.1", int(place[2]), timeout=PATIENCE)
            connection.request("GET", path)
            pages[path] = connection.getresponse().read()
            connection.close()
        assert b"halloo_received_bytes_total 5.0\n" in pages["/metrics"]
        assert pages["/healthz"] == b"ok\n"


@posix
def test_serve_logs_who_was_refused_and_who_was_ended_in_json() -> None:
    with (
        started_server("--log", "json", "--max-connections", "1", "--max-bytes", "5") as (process, port),
        dialled(port) as first,
    ):
        first.sendall(b"hello")
        assert first.recv(5) == b"hello"
        with dialled(port) as second:
            assert second.recv(1) == b""
            refused = ["127.0.0.1", second.getsockname()[1]]
        first.sendall(b"x")
        assert first.recv(1) == b""
        ended = ["127.0.0.1", first.getsockname()[1]]
        first.close()
        events = [json.loads(line) for line in stopped(process) if line.startswith("{")]
    assert events == [
        {"event": "connected", "data": {"peer": ended, "reason": None}},
        {"event": "refused", "data": {"peer": refused, "reason": "max_connections"}},
        {"event": "closed", "data": {"peer": ended, "reason": "max_bytes"}},
    ]


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_serve_stamps_probes(options: tuple[str, ...]) -> None:
    with started_server("--timestamps", *options) as (process, port), dialled(port) as client:
        for number in range(3):
            client.sendall(Probes(run=7, size=200).encode(number, 0))
            stamp = read_timestamp(client.recv(200))
            assert stamp
            assert (stamp.arrived, stamp.window) == (number + 1, (2 << number) - 1)
        assert stopped(process)[-1].startswith("halloo: 1 clients in ")


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_spins_until_a_signal_and_answers_first_what_it_owes(
    options: tuple[str, ...], number: signal.Signals
) -> None:
    with started_server("--busy-poll", *options) as (process, port), dialled(port) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        assert_busy(process)
        client.sendall(b"and one more")
        process.send_signal(number)
        assert client.recv(100) == b"and one more"
        assert client.recv(1) == b""
        assert process.wait(PATIENCE) == 0


def assert_busy(process: subprocess.Popen[bytes]) -> None:
    """Wait until each process that serves has worked for a while, as none does that waits to be asked."""
    parent = psutil.Process(process.pid)
    for server in parent.children() or [parent]:
        begun = server.cpu_times().user
        while server.cpu_times().user < begun + 0.2:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.02)
                raise AssertionError("it has ended")


@posix
def test_serve_says_at_the_end_what_it_did_and_whom_it_turned_away() -> None:
    with started_server("--deny", "127.0.0.0/8") as (process, port):
        with dialled(port) as client:
            assert client.recv(1) == b""
        said = stopped(process)[-1]
    assert re.fullmatch(r"halloo: 0 clients in \S+, 0 bytes in, 0 bytes out, refused: denied 1", said)


@posix
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--deny", "nowhere"), "'nowhere' is not a network"),
        (("--workers", "2", "--deny", "nowhere"), "'nowhere' is not a network"),
        (("--max-connections", "0"), "connections must be at least 1"),
        (("--workers", "0"), "'0' is not a number of workers"),
        (("tls://127.0.0.1:0", "--key", "key.pem"), "key needs"),
    ],
)
def test_serve_refuses_what_cannot_be(options: tuple[str, ...], said: str) -> None:
    done = run(*SERVE, *options)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@posix
def test_serve_shows_the_fingerprint_of_a_certificate_that_it_made() -> None:
    with started(PYTHON, "-m", "halloo", "serve", "tls://127.0.0.1:0") as process:
        assert process.stdout
        assert process.stderr
        said = re.fullmatch(rb".*--fingerprint ([0-9a-f]{64})\n", process.stderr.readline())
        assert said
        address = process.stdout.readline().decode().split()[-1]
        with halloo.connect(address, tls=ClientTLS(fingerprint=said[1].decode())) as connection:
            connection.send(b"hello")
            assert connection.receive_exactly(5) == b"hello"


@posix
@pytest.mark.parametrize(("scheme", "place"), [("tcp", ":"), ("udp", "udp://:")])
def test_serve_says_in_a_container_how_to_be_reached_from_outside(scheme: str, place: str) -> None:
    with started("env", "container=test", PYTHON, "-m", "halloo", "serve", f"{scheme}://127.0.0.1:0") as process:
        assert process.stdout
        assert process.stderr
        port = process.stdout.readline().decode().rpartition(":")[2]
        hint = "halloo: this is loopback inside a container; to be reached from outside it: halloo serve"
        assert process.stderr.readline().decode() == f"{hint} {place}{port}"


# Sockets that systemd has opened.


ACTIVATED = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3)\n"
    "os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


@contextmanager
def activated(sock: socket.socket, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command as systemd does, with a socket that listens already."""
    argv = (PYTHON, "-c", ACTIVATED, str(sock.fileno()), PYTHON, "-m", "halloo", "serve", *options)
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, pass_fds=[sock.fileno()], bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_serve_takes_over_the_socket_that_systemd_has_opened(s: socket.socket, options: tuple[str, ...]) -> None:
    with activated(s, *options) as process:
        assert process.stdout
        port = s.getsockname()[1]
        assert process.stdout.readline() == f"listening on tcp://127.0.0.1:{port}\n".encode()
        with dialled(port) as client:
            assert asked(client, b"hello") == b"hello"
        assert "1 clients in" in stopped(process)[-1]


@posix
def test_serve_leaves_systemd_its_file() -> None:
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as sock:
        path = Path(folder) / "halloo"
        sock.bind(str(path))
        sock.listen()
        with activated(sock) as process:
            assert process.stdout
            assert process.stdout.readline() == f"listening on unix:{path}\n".encode()
            stopped(process)
        assert path.exists()


@posix
def test_serve_ignores_sockets_meant_for_another_process(s: socket.socket) -> None:
    with started(
        "env", "LISTEN_FDS=1", f"LISTEN_PID={os.getpid()}", PYTHON, "-m", "halloo", "serve", "127.0.0.1:0"
    ) as process:
        assert process.stdout
        assert not process.stdout.readline().endswith(f":{s.getsockname()[1]}\n".encode())
