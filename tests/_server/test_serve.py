"""The public ways to serve: in the background, until interrupted, and on the tutorial's own socket."""

import inspect
import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

import halloo
from halloo._core import applicable
from halloo._core.address import Address
from halloo._core.probe import Probes, read_timestamp
from halloo._core.tls_options import ClientTLS
from halloo._net.connector import dial
from halloo._server import http
from tests.programs import PYTHON, activated_argv, listening_port, run, started

TIMEOUT = 20  # seconds without a byte, after which the test fails
PROBE = Probes(run=7, size=200).encode(0, 0)


def connected(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=TIMEOUT)


def exchange(client: socket.socket, data: bytes) -> bytes:
    """Send the data and then EOF; return everything received."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    pieces = bytearray()
    while piece := client.recv(65536):
        pieces += piece
    return bytes(pieces)


# In the background.


def test_serving_echoes_inside_its_with_block() -> None:
    with halloo.Server() as server, connected(server.address.port) as client:
        assert exchange(client, b"hello") == b"hello"


def test_serving_binds_a_free_loopback_port() -> None:
    with halloo.Server() as one, halloo.Server() as other:
        assert one.address.port != other.address.port
        assert all(address.loopback for address in (*one.addresses, *other.addresses))


def test_serving_listens_on_every_given_address() -> None:
    with halloo.Server("127.0.0.1:0", ("127.0.0.1", 0)) as server:
        assert len(server.addresses) == 2
        for address in server.addresses:
            with connected(address.port) as client:
                assert exchange(client, b"hello") == b"hello"


def test_serving_can_be_limited_to_one_family() -> None:
    with halloo.Server(family=4) as server:
        assert [address.host for address in server.addresses] == ["127.0.0.1"]


def test_serving_answers_with_the_respond_function() -> None:
    with halloo.Server(respond=bytes.upper, greeting=b"hi\n") as server, connected(server.address.port) as client:
        assert exchange(client, b"hello\r\n") == b"hi\nHELLO\r\n"


def test_serving_greets_and_echoes_lines_without_respond() -> None:
    with halloo.Server(greeting=b"hi\n") as server, connected(server.address.port) as client:
        assert exchange(client, b"hello\n") == b"hi\nhello\n"


def test_serving_answers_chunks_with_raw_framing() -> None:
    with (
        halloo.Server(respond=lambda chunk: chunk[::-1], framing="raw") as server,
        connected(server.address.port) as client,
    ):
        assert exchange(client, b"hello") == b"olleh"


def test_serving_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with halloo.Server() as server, connected(server.address.port) as client:
        assert exchange(client, b"hello") == b"hello"
    assert capfd.readouterr() == ("", "")


def test_serving_refuses_an_unknown_framing_and_leaves_nothing_open() -> None:
    with (
        pytest.raises(halloo.UsageError, match="framing must be 'line', 'raw' or 'length', not 'words'"),
        halloo.Server(greeting=b"x", framing="words"),  # type: ignore[arg-type]  # the subject of this test
    ):
        pass


def test_serving_refuses_a_framing_without_respond() -> None:
    with pytest.raises(halloo.UsageError, match=r"^framing is for respond, and none is given"):
        halloo.Server(framing="length")


FOR_EVERY_ADDRESS = {
    halloo.Limits: {"max_bytes", "rate_limit", "buffer"},
    halloo.listen: {"addresses", "buffer", "reuse_port"},
    halloo.Server: {"addresses", "respond", "framing", "limits", "timestamps", "busy_poll", "drain"},
    halloo.serve: {"addresses", "respond", "framing", "limits", "timestamps", "busy_poll", "drain"}
    | {"workers", "reuse_port", "stats", "metrics", "quiet", "log"},
}


@pytest.mark.parametrize("function", FOR_EVERY_ADDRESS)
def test_each_option_is_for_every_address_or_has_a_rule(function: Any) -> None:  # noqa: ANN401 - functions and classes
    ruled = {name for rule in applicable.RULES for name in rule.options}
    assert set(inspect.signature(function).parameters) - ruled == FOR_EVERY_ADDRESS[function]


def test_serving_closes_when_its_with_block_raises() -> None:
    with pytest.raises(ZeroDivisionError), halloo.Server() as server:
        raise ZeroDivisionError
    with pytest.raises(ConnectionRefusedError):
        connected(server.address.port)


def test_serving_stamps_probes_with_timestamps() -> None:
    for place in ("127.0.0.1:0", "udp://127.0.0.1:0"):
        with halloo.Server(place, timestamps=True) as server, dial(server.address, timeout=TIMEOUT) as connection:
            connection.send(PROBE)
            assert read_timestamp(connection.receive(timeout=TIMEOUT))


@pytest.mark.parametrize("replacement", [{"respond": bytes.upper}, {"greeting": b"hi\n"}], ids=["respond", "greeting"])
def test_serving_refuses_timestamps_with_respond_or_greeting(replacement: dict[str, Any]) -> None:
    message = "^timestamps is for the echo, and respond or greeting replaces it; leave one out$"
    with pytest.raises(halloo.UsageError, match=message), halloo.Server(timestamps=True, **replacement):
        pass


def test_serving_supports_busy_poll() -> None:
    with halloo.Server("127.0.0.1:0", "udp://127.0.0.1:0", busy_poll=True, timestamps=True) as server:
        for address in server.addresses:
            with dial(address, timeout=TIMEOUT) as connection:
                connection.send(PROBE)
                assert read_timestamp(connection.receive(timeout=TIMEOUT))


# Datagrams.


CONNECTION_LIMITS = [
    ({"idle_timeout": 5}, "idle_timeout"),
    ({"max_lifetime": 5}, "max_lifetime"),
    ({"stall_timeout": None}, "stall_timeout"),
    ({"max_connections": 5}, "max_connections"),
    ({"max_per_host": 5}, "max_per_host"),
    ({"max_memory": 5}, "max_memory"),
]


@pytest.mark.parametrize(("limit", "option"), CONNECTION_LIMITS, ids=[option for _, option in CONNECTION_LIMITS])
def test_serving_datagrams_refuses_connection_limits(limit: dict[str, Any], option: str) -> None:
    message = f"^{option} is for connections, and udp:// has none; leave it out, or serve tcp:// as well$"
    with pytest.raises(halloo.UsageError, match=message), halloo.Server("udp://0", limits=halloo.Limits(**limit)):
        pass


def test_serving_datagrams_and_connections_accepts_limits_of_both() -> None:
    limits = halloo.Limits(max_connections=5, max_bytes=100, any_port=True)
    with halloo.Server("tcp://127.0.0.1:0", "udp://127.0.0.1:0", limits=limits) as server:
        for address in server.addresses:
            with dial(address, timeout=TIMEOUT) as connection:
                connection.send(b"hello")
                assert connection.receive(timeout=TIMEOUT) == b"hello"


def test_serving_connections_refuses_datagram_limits() -> None:
    message, limits = "^any_port is for udp://, and no address is; leave it out$", halloo.Limits(any_port=True)
    with pytest.raises(halloo.UsageError, match=message), halloo.Server("tcp://127.0.0.1:0", limits=limits):
        pass


def test_several_workers_for_datagrams_refuse_a_greeting_and_close_each_listener() -> None:
    with pytest.raises(halloo.UsageError, match="greeting is for connections"):
        halloo.serve("udp://127.0.0.1:0", greeting=b"hi", workers=3)  # a socket left open would warn


def test_serving_datagrams_refuses_a_greeting() -> None:
    message = "^greeting is for connections, and udp:// has none"
    with pytest.raises(halloo.UsageError, match=message), halloo.Server("udp://127.0.0.1:0", greeting=b"hi"):
        pass


@pytest.mark.parametrize("framing", ["line", "raw", "length"])
def test_serving_answers_each_datagram_with_any_framing(framing: halloo.Framing) -> None:
    with (
        halloo.Server("udp://127.0.0.1:0", respond=bytes.upper, framing=framing) as server,
        halloo.connect_udp(server.address) as connection,
    ):
        for data in (b"two\nlines\n", b"", b"no end"):
            connection.send(data)
            assert connection.receive(timeout=TIMEOUT) == data.upper()


# The tutorial's server.


@pytest.fixture
def s() -> Iterator[socket.socket]:
    """The tutorial's listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        yield s


@pytest.fixture
def two_clients(s: socket.socket) -> Iterator[list[socket.socket]]:
    """Two clients that have sent b"hello" and EOF."""
    with ExitStack() as cleanup:
        clients = [cleanup.enter_context(connected(s.getsockname()[1])) for _ in range(2)]
        for client in clients:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
        yield clients


def test_server_returns_after_the_given_number_of_clients(s: socket.socket, two_clients: list[socket.socket]) -> None:
    snapshot = halloo.server(s, clients=2)
    assert (snapshot.accepted, snapshot.open, snapshot.sent_bytes) == (2, 0, 10)
    assert [client.recv(9) for client in two_clients] == [b"hello"] * 2


def test_server_prints_the_address_of_each_client(
    s: socket.socket, two_clients: list[socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    halloo.server(s, clients=2)
    assert capsys.readouterr().out == "".join(f"Connected by {client.getsockname()}\n" for client in two_clients)


@pytest.mark.usefixtures("two_clients")
def test_server_leaves_its_socket_open(s: socket.socket) -> None:
    halloo.server(s, clients=2)
    with connected(s.getsockname()[1]) as client:
        connection, peer = s.accept()
        with connection:
            assert peer == client.getsockname()


@pytest.mark.usefixtures("two_clients")
@pytest.mark.parametrize("timeout", [None, 0.0, 7.5])
def test_server_restores_the_sockets_timeout(s: socket.socket, timeout: float | None) -> None:
    s.settimeout(timeout)
    halloo.server(s, clients=2)
    assert s.gettimeout() == timeout


@pytest.mark.usefixtures("two_clients")
def test_server_can_serve_the_same_socket_again(s: socket.socket) -> None:
    for _ in range(2):
        assert halloo.server(s, clients=1).accepted == 1


def test_server_refuses_a_socket_of_tls() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with (
        context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as s,
        pytest.raises(halloo.UsageError, match=r"^s is a TLS socket"),
    ):
        halloo.server(s, clients=1)


def test_server_returns_on_sigint_and_leaves_its_socket_open() -> None:
    program = (
        "import halloo, socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as s:\n"
        "    print(s.getsockname()[1], flush=True)\n"
        "    halloo.server(s)\n"
        "    print('open' if s.fileno() >= 0 else 'closed')\n"
    )
    with started(PYTHON, "-c", program) as process:
        assert process.stdout
        with connected(int(process.stdout.readline())):
            assert process.stdout.readline().startswith(b"Connected by ('127.0.0.1', ")
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == b"open\n"
            assert process.wait(TIMEOUT) == 0


# Until interrupted.


posix = pytest.mark.skipif(sys.platform == "win32", reason="these signals cannot be sent to a process")
LOCAL = "import halloo; report = halloo.serve('127.0.0.1:0'); print(report.snapshot.sent_bytes)"


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_its_address_and_exits_with_0_on_a_signal(number: signal.Signals) -> None:
    with started(PYTHON, "-c", LOCAL) as process:
        assert process.stdout
        word, _, address = process.stdout.readline().decode().rstrip().rpartition(" ")
        assert word == "listening on"
        with connected(int(address.rpartition(":")[2])) as client:
            assert exchange(client, b"hello") == b"hello"
        process.send_signal(number)
        assert process.stdout.read() == b"5\n"
        assert process.wait(TIMEOUT) == 0


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_exits_with_0_on_a_signal_right_after_its_first_line(number: signal.Signals) -> None:
    with started(PYTHON, "-c", LOCAL) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"listening on ")
        process.send_signal(number)
        assert process.wait(TIMEOUT) == 0


@posix
def test_serve_prints_a_line_for_each_address() -> None:
    with started(PYTHON, "-c", "import halloo; halloo.serve('127.0.0.1:0', '127.0.0.1:0')") as process:
        assert process.stdout
        lines = [process.stdout.readline().decode() for _ in range(2)]
        for line in lines:
            assert line.startswith("listening on tcp://127.0.0.1:")
            with connected(int(line.rpartition(":")[2])) as client:
                assert exchange(client, b"hello") == b"hello"


@posix
def test_serve_logs_connections_as_json() -> None:
    with started(PYTHON, "-c", "import halloo; halloo.serve('127.0.0.1:0', log='json')") as process:
        assert process.stdout
        assert process.stderr
        with connected(int(process.stdout.readline().rpartition(b":")[2])) as client:
            assert exchange(client, b"hello") == b"hello"
            line = next(line for line in iter(process.stderr.readline, b"") if b"connected" in line)
            peer = list(client.getsockname())
            listener = json.loads(line)["data"]["listener"]
            assert json.loads(line)["data"] == {"peer": peer, "listener": listener}
            closed = json.loads(process.stderr.readline())["data"]
            assert closed.pop("duration_ns") > 0
            assert closed == {
                "peer": peer,
                "listener": listener,
                "reason": None,
                "received_bytes": 5,
                "sent_bytes": 5,
            }


@posix
def test_serve_continues_when_its_log_pipe_is_closed() -> None:
    with started(PYTHON, "-c", "import halloo; halloo.serve('127.0.0.1:0', log='json')") as process:
        assert process.stdout
        assert process.stderr
        port = int(process.stdout.readline().rpartition(b":")[2])
        process.stderr.close()
        for _ in range(2):
            with connected(port) as client:
                assert exchange(client, b"hello") == b"hello"


def test_serve_refuses_a_port_in_use(s: socket.socket) -> None:
    with pytest.raises(OSError, match=f"port {s.getsockname()[1]} on 127.0.0.1 is taken"):
        halloo.serve(Address("tcp", *s.getsockname()))


# The command line and its options.


SERVE = (PYTHON, "-m", "halloo", "serve", "127.0.0.1:0")


@contextmanager
def started_server(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start the command; yield its process and its port."""
    with started(*SERVE, *options) as process:
        assert process.stdout
        yield process, int(process.stdout.readline().rpartition(b":")[2])


def stop(process: subprocess.Popen[bytes]) -> list[str]:
    """Stop the process with SIGTERM, check that it exits with 0, and return its remaining lines on stderr."""
    process.terminate()
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    return errors.decode().splitlines()


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_serve_prints_statistics_at_each_interval(options: tuple[str, ...]) -> None:
    with started_server("--stats", "50ms", *options) as (process, port), connected(port) as client:
        assert process.stderr
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        line = next(line for line in iter(process.stderr.readline, b"") if line.startswith(b"1 open"))
        assert re.fullmatch(rb"1 open, \d+ clients/s, \d+ echoes/s, .*/s in, .*/s out\n", line)


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_serve_provides_metrics_for_prometheus(options: tuple[str, ...]) -> None:
    with started_server("--metrics", "127.0.0.1:0", *options) as (process, port):
        assert process.stderr
        place = re.match(rb"halloo: metrics at http://([\d.]+):(\d+)/metrics\n", process.stderr.readline())
        assert place
        with connected(port) as client:
            assert exchange(client, b"hello") == b"hello"
        pages = {}
        for path in ("/metrics", "/healthz"):
            connection = HTTPConnection("127.0.0.1", int(place[2]), timeout=TIMEOUT)
            connection.request("GET", path)
            pages[path] = connection.getresponse().read()
            connection.close()
        assert b"halloo_received_bytes_total 5.0\n" in pages["/metrics"]
        assert pages["/healthz"] == b"ok\n"
        assert b"127.0.0.1" not in pages["/metrics"]


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_clients_of_the_metrics_are_limited_in_number(options: tuple[str, ...]) -> None:
    with started_server("--metrics", "127.0.0.1:0", *options) as (process, _), ExitStack() as cleanup:
        assert process.stderr
        place = re.match(rb"halloo: metrics at http://[\d.]+:(\d+)/metrics\n", process.stderr.readline())
        assert place
        for _ in range(http.LIMITS.max_connections or 0):
            cleanup.enter_context(connected(int(place[1]))).sendall(b"GET /heal")
        further = cleanup.enter_context(connected(int(place[1])))
        assert further.recv(1) == b""


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_clients_that_the_server_denies_are_denied_the_metrics(options: tuple[str, ...]) -> None:
    with started_server("--metrics", "127.0.0.1:0", "--deny", "127.0.0.1", *options) as (process, _):
        assert process.stderr
        place = re.match(rb"halloo: metrics at http://[\d.]+:(\d+)/metrics\n", process.stderr.readline())
        assert place
        with connected(int(place[1])) as client:
            assert client.recv(1) == b""


@posix
def test_metrics_are_served_on_a_unix_socket(tmp_path: Path) -> None:
    with chdir(tmp_path), started_server("--metrics", "unix:pages", "-4", "--mode", "660") as (process, _):
        assert process.stderr
        assert process.stderr.readline() == b"halloo: metrics at /metrics of unix:pages\n"
        assert Path("pages").stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT)
            client.connect("pages")
            client.sendall(b"GET /healthz HTTP/1.0\n\n")
            with client.makefile("rb") as answer:
                assert answer.read().endswith(b"\r\n\r\nok\n")


@posix
def test_metrics_keep_to_the_family_of_the_server() -> None:
    with started_server("--metrics", "0", "-4") as (process, _):
        assert [line.rpartition(":")[0] for line in stop(process) if "metrics" in line] == [
            "halloo: metrics at http://127.0.0.1"
        ]


@pytest.mark.parametrize("scheme", ["tls", "udp"])
def test_metrics_are_refused_where_they_cannot_be_served(scheme: str, capfd: pytest.CaptureFixture[str]) -> None:
    message = f"^metrics is served over tcp:// or unix:, not {scheme}://; for TLS put a proxy in front of it$"
    with pytest.raises(halloo.UsageError, match=message):
        halloo.serve(0, metrics=f"{scheme}://127.0.0.1:0")
    assert capfd.readouterr() == ("", "")


@posix
def test_serve_logs_refused_and_closed_clients_as_json() -> None:
    with (
        started_server("--log", "json", "--max-connections", "1", "--max-bytes", "5") as (process, port),
        connected(port) as first,
    ):
        first.sendall(b"hello")
        assert first.recv(5) == b"hello"
        with connected(port) as second:
            assert second.recv(1) == b""
            refused = ["127.0.0.1", second.getsockname()[1]]
        first.sendall(b"x")
        assert first.recv(1) == b""
        ended = ["127.0.0.1", first.getsockname()[1]]
        first.close()
        events = [json.loads(line) for line in stop(process)]
    names = ("connected", "refused", "closed")
    clients = [(event["event"], event["data"]) for event in events if event["event"] in names]
    assert [(name, data["peer"], data.get("reason")) for name, data in clients] == [
        ("connected", ended, None),
        ("refused", refused, "max_connections"),
        ("closed", ended, "max_bytes"),
    ]
    assert {data["listener"] for _, data in clients} == {f"tcp://127.0.0.1:{port}"}


LIFETIME = """
import halloo, sys
from halloo.errors import HallooError

def respond(message):
    if message == b"raise":
        raise ValueError("\\x1b[31m\\udcff\\nforged")
    return message

halloo.serve(
    "tcp://127.0.0.1:0", "udp://127.0.0.1:0", "tls://127.0.0.1:0", respond=respond, log="json", stats=0.05, workers=2,
    tls=halloo.ServerTLS(cert=sys.argv[1]), limits=halloo.Limits(deny=("127.0.0.2",)), metrics="127.0.0.1:0",
)
"""


@posix
def test_every_line_of_a_json_log_is_an_event_over_a_whole_lifetime(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    cert = tmp_path / "server.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(cert))
    seen: list[dict[str, Any]] = []
    with started(PYTHON, "-c", LIFETIME, str(cert)) as process, ExitStack() as cleanup:
        assert process.stdout
        assert process.stderr
        tcp, udp, _ = (int(process.stdout.readline().rpartition(b":")[2]) for _ in range(3))

        def wait_for(name: str, count: int = 1) -> None:
            while sum(event["event"] == name for event in seen) < count:
                assert process.stderr
                seen.append(json.loads(process.stderr.readline()))

        client = cleanup.enter_context(connected(tcp))
        client.sendall(b"hello\nraise\n")
        assert client.makefile("rb").read() == b"hello\n"
        client.close()
        wait_for("closed")
        wait_for("respond_error")
        other = cleanup.enter_context(socket.create_connection(("127.0.0.1", tcp), TIMEOUT, ("127.0.0.2", 0)))
        assert other.recv(1) == b""
        sender = cleanup.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sender.sendto(b"hello", ("127.0.0.1", udp))
        wait_for("refused")
        wait_for("datagram_received")
        process.send_signal(signal.SIGHUP)
        wait_for("reloaded", 3)
        cert.write_text("")
        process.send_signal(signal.SIGHUP)
        wait_for("reload_failed")
        victim = next(event["data"]["pid"] for event in seen if event["event"] == "worker_started")
        os.kill(victim, signal.SIGKILL)
        wait_for("worker_started", 3)
        wait_for("stats")
        seen += [json.loads(line) for line in stop(process)]
    assert {event["event"] for event in seen} - {"hint"} == {  # which is for containers
        *("listening", "publishing", "connected", "closed", "refused", "datagram_received", "respond_error", "stats"),
        *("reloaded", "reload_failed", "worker_started", "worker_exited", "stopping", "stopped"),
    }
    assert all(re.fullmatch(r"[-0-9]{10}T[:0-9]{8}\.\d{6}Z", event["time"]) for event in seen)
    exited = next(event["data"] for event in seen if event["event"] == "worker_exited")
    assert exited == {"number": 1, "pid": victim, "reason": "SIGKILL", "open": 0}
    total = next(event["data"]["total"] for event in seen if event["event"] == "stopped")
    assert (total["worker_exits"], total["accepted_by_scheme"]) == (1, {"tcp": 1, "tls": 0, "unix": 0})
    raised = next(event for event in seen if event["event"] == "respond_error")
    assert raised["worker"] in (1, 2)
    assert raised["data"]["traceback"].endswith("  ValueError: \\x1b[31m\\udcff\n  forged")


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_serve_stamps_probes(options: tuple[str, ...]) -> None:
    with started_server("--timestamps", *options) as (process, port), connected(port) as client:
        for number in range(3):
            client.sendall(Probes(run=7, size=200).encode(number, 0))
            stamp = read_timestamp(client.recv(200))
            assert stamp
            assert (stamp.arrived, stamp.window) == (number + 1, (2 << number) - 1)
        assert stop(process)[-1].startswith("halloo: 1 client in ")


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_busy_polls_until_a_signal_and_answers_pending_data(
    options: tuple[str, ...], number: signal.Signals
) -> None:
    with started_server("--busy-poll", *options) as (process, port), connected(port) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        assert_busy(process)
        client.sendall(b"and one more")
        process.send_signal(number)
        assert client.recv(100) == b"and one more"
        assert client.recv(1) == b""
        assert process.wait(TIMEOUT) == 0


def assert_busy(process: subprocess.Popen[bytes]) -> None:
    """Wait until each serving process has used CPU time, which one that waits for events does not."""
    parent = psutil.Process(process.pid)
    for server in parent.children() or [parent]:
        start = server.cpu_times().user
        while server.cpu_times().user < start + 0.2:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.02)
                raise AssertionError("the server has exited")


@posix
def test_serve_prints_a_summary_with_refused_clients_at_the_end() -> None:
    with started_server("--deny", "127.0.0.0/8") as (process, port):
        with connected(port) as client:
            assert client.recv(1) == b""
        message = stop(process)[-1]
    assert re.fullmatch(r"halloo: 0 clients in \S+, 0 bytes in, 0 bytes out, refused: denied 1", message)


@posix
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--deny", "nowhere"), "'nowhere' is not a network"),
        (("--workers", "2", "--deny", "nowhere"), "'nowhere' is not a network"),
        (("--max-connections", "0"), "connections must be at least 1"),
        (("--workers", "0"), "'0' is not a number of workers"),
        (("tls://127.0.0.1:0", "--key", "key.pem"), "key needs"),
    ],
)
def test_serve_refuses_invalid_options(options: tuple[str, ...], message: str) -> None:
    done = run(*SERVE, *options)
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@posix
def test_serve_prints_the_fingerprint_of_a_generated_certificate() -> None:
    with started(PYTHON, "-m", "halloo", "serve", "tls://127.0.0.1:0") as process:
        assert process.stdout
        assert process.stderr
        message = re.fullmatch(rb".* by its fingerprint: ([0-9a-f]{64})\n", process.stderr.readline())
        assert message
        address = process.stdout.readline().decode().split()[-1]
        with halloo.connect(address, tls=ClientTLS(fingerprint=message[1].decode())) as connection:
            connection.send(b"hello")
            assert connection.receive_exactly(5) == b"hello"


@posix
@pytest.mark.parametrize(("scheme", "place"), [("tcp", ":"), ("udp", "udp://:")])
def test_serve_in_a_container_suggests_an_address_reachable_from_outside(scheme: str, place: str) -> None:
    with started("env", "container=test", PYTHON, "-m", "halloo", "serve", f"{scheme}://127.0.0.1:0") as process:
        assert process.stdout
        assert process.stderr
        port = process.stdout.readline().decode().rpartition(":")[2]
        hint = "halloo: this is loopback inside a container; to be reached from outside it: halloo serve"
        assert process.stderr.readline().decode() == f"{hint} {place}{port}"


SLOW = """
import halloo, threading
def respond(message):
    print("asked", flush=True)
    threading.Event().wait()
halloo.serve("127.0.0.1:0", respond=respond, framing="raw")
"""


@posix
def test_a_second_signal_ends_a_server_whose_respond_does_not_return() -> None:
    with started(PYTHON, "-c", SLOW) as process:
        assert process.stdout
        with connected(int(process.stdout.readline().rpartition(b":")[2])) as client:
            client.sendall(b"hello")
            assert process.stdout.readline() == b"asked\n"
            while process.poll() is None:  # one just before the program waits again does not wake it
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
        assert process.returncode == -signal.SIGINT


# Output that is not read.

CLIENTS = 200
RAISING = "import halloo; halloo.serve('127.0.0.1:0', respond=lambda message: 1 / 0, framing='raw')"


@pytest.fixture
def stopped_terminal() -> Iterator[int]:
    """Make a terminal that is stopped, as by ^S."""
    termios = pytest.importorskip("termios")
    ends = os.openpty()
    termios.tcflow(ends[1], termios.TCOOFF)
    yield ends[1]
    for end in ends:
        os.close(end)


@pytest.fixture
def full_pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


def assert_serves(*argv: str, stdout: int, stderr: int) -> None:
    """Start a server, have it serve many clients, and end it."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr) as process:
        try:
            port = listening_port(process)
            for _ in range(CLIENTS):
                with connected(port) as client:
                    client.sendall(b"hello")
                    client.recv(5)
            process.terminate()
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    "options",
    [("--log", "json"), (), ("--stats", "1ms"), ("--log", "json", "--workers", "2")],
    ids=["json", "text", "statistics", "workers"],
)
def test_serve_serves_and_ends_when_its_terminal_is_stopped(stopped_terminal: int, options: tuple[str, ...]) -> None:
    assert_serves(*SERVE, *options, stdout=subprocess.DEVNULL, stderr=stopped_terminal)


def test_serve_serves_and_ends_when_its_standard_output_is_full(full_pipe: int) -> None:
    assert_serves(*SERVE, stdout=full_pipe, stderr=subprocess.DEVNULL)


def test_serve_serves_and_ends_when_its_json_log_is_not_read(full_pipe: int) -> None:
    assert_serves(*SERVE, "--log", "json", stdout=subprocess.DEVNULL, stderr=full_pipe)


def test_serve_serves_and_ends_when_the_errors_of_respond_are_not_read(full_pipe: int) -> None:
    assert_serves(PYTHON, "-c", RAISING, stdout=subprocess.DEVNULL, stderr=full_pipe)


def test_server_serves_when_its_standard_output_is_full(full_pipe: int) -> None:
    program = f"import halloo, socket; halloo.server(socket.create_server(('127.0.0.1', 0)), clients={CLIENTS})"
    with subprocess.Popen([PYTHON, "-c", program], stdout=full_pipe) as process:
        port = listening_port(process)
        for _ in range(CLIENTS):
            with connected(port) as client:
                assert exchange(client, b"hello") == b"hello"
        assert process.wait(TIMEOUT) == 0


# Names of Unix sockets.

needs_abstract_names = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
NAMES = (b"\0halloo-%d", b"\0\xff\n\x1b[31m\0-%d", b"path\n\x1b[31m\xff-%d")


@needs_abstract_names
@pytest.mark.parametrize("options", [("--log", "json"), ()], ids=["json", "text"])
def test_serve_logs_a_client_of_any_name_and_echoes(options: tuple[str, ...], tmp_path: Path) -> None:
    terminal, output = os.openpty()
    argv = (PYTHON, "-m", "halloo", "serve", "unix:echo", *options)
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output, cwd=tmp_path)
    try:
        assert process.stdout
        assert process.stdout.readline().startswith(b"listening on unix:")
        for name in NAMES:
            with socket.socket(socket.AF_UNIX) as client, chdir(tmp_path):
                client.settimeout(TIMEOUT)
                client.bind(name % process.pid)
                client.connect("echo")
                assert exchange(client, b"hello") == b"hello"
        process.terminate()
        assert process.wait(TIMEOUT) == 0
        assert process.stdout.read() == b""
        lines = os.read(terminal, 1 << 16).decode("ascii").splitlines()
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)
        os.close(output)
    assert all(line.isprintable() for line in lines)
    assert sum(line.startswith("Connected by ") or '"event": "connected"' in line for line in lines) == 3


@needs_abstract_names
def test_serve_uses_an_abstract_socket_passed_by_systemd() -> None:
    name = b"\0halloo-%d" % os.getpid()
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(name)
        sock.listen()
        with activated(sock) as process:
            assert process.stdout
            assert process.stdout.readline() == b"listening on unix:@halloo-%d\n" % os.getpid()
            client.settimeout(TIMEOUT)
            client.connect(name)
            assert exchange(client, b"hello") == b"hello"


# Socket activation by systemd.


@contextmanager
def activated(sock: socket.socket, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command as systemd does, with a socket that already listens."""
    argv = activated_argv(sock, PYTHON, "-m", "halloo", "serve", *options)
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, pass_fds=[sock.fileno()], bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_serve_uses_the_socket_passed_by_systemd(s: socket.socket, options: tuple[str, ...]) -> None:
    with activated(s, *options) as process:
        assert process.stdout
        port = s.getsockname()[1]
        assert process.stdout.readline() == f"listening on tcp://127.0.0.1:{port}\n".encode()
        with connected(port) as client:
            assert exchange(client, b"hello") == b"hello"
        assert "1 client in" in stop(process)[-1]


@posix
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_the_socket_of_systemd_takes_clients_for_the_next_server(kind: int, options: tuple[str, ...]) -> None:
    with socket.socket(socket.AF_INET, kind) as sock, socket.socket(socket.AF_INET, kind) as client:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        with activated(sock, *options) as process:
            assert process.stdout
            assert process.stdout.readline()
            stop(process)
        client.settimeout(TIMEOUT)
        client.connect(sock.getsockname())
        client.send(b"hello")
        assert select.select([sock], [], [], TIMEOUT)[0]


@posix
def test_serve_leaves_the_socket_file_of_systemd() -> None:
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as sock:
        path = Path(folder) / "halloo"
        sock.bind(str(path))
        sock.listen()
        with activated(sock) as process:
            assert process.stdout
            assert process.stdout.readline() == f"listening on unix:{path}\n".encode()
            stop(process)
        assert path.exists()


@posix
def test_serve_ignores_sockets_meant_for_another_process(s: socket.socket) -> None:
    with started(
        "env", "LISTEN_FDS=1", f"LISTEN_PID={os.getpid()}", PYTHON, "-m", "halloo", "serve", "127.0.0.1:0"
    ) as process:
        assert process.stdout
        assert not process.stdout.readline().endswith(f":{s.getsockname()[1]}\n".encode())
