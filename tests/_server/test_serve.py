"""`serve` until a signal, as a process of its own, and the tutorial's `server` on a socket of the caller's."""

import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest

import halloo
from halloo._core.address import Address
from halloo._core.probe import Probes, read_timestamp
from halloo._core.tls_options import ClientTLS
from halloo._server import http
from tests.peers import receive_all
from tests.programs import PYTHON, Terminal, activated_argv, listening_port, run, started

TIMEOUT = 20  # seconds without a byte, after which the test fails
COMMAND = (PYTHON, "-m", "halloo", "serve")

posix = pytest.mark.skipif(sys.platform == "win32", reason="these signals cannot be sent to a process")
alone_and_workers = pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])


def connected(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), TIMEOUT, (source, 0))


def exchange(client: socket.socket, data: bytes = b"hello") -> bytes:
    """Send the data and then EOF; return everything received."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    return receive_all(client)


class Serving:
    """A server in a process, the first of its addresses, and its lines on standard error."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        assert process.stderr
        self.process, self.output = process, process.stdout
        self.address = self.next_address()
        self.errors = (line.decode().rstrip("\n") for line in iter(process.stderr.readline, b""))

    def next_address(self) -> str:
        line = self.output.readline().decode()
        assert line.startswith("listening on "), line
        return line.removeprefix("listening on ").rstrip("\n")

    @property
    def port(self) -> int:
        return port_of(self.address)

    def stop(self) -> list[str]:
        """Stop the process with SIGTERM, check that it exits with 0, and return its remaining lines on stderr."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=TIMEOUT)
        assert self.process.returncode == 0
        return errors.decode().splitlines()


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@contextmanager
def serving(*options: str, argv: Sequence[str] = (*COMMAND, "127.0.0.1:0")) -> Iterator[Serving]:
    with started(*argv, *options) as process:
        yield Serving(process)


# The tutorial's server.


@pytest.fixture
def s() -> Iterator[socket.socket]:
    """The tutorial's listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        yield s


@contextmanager
def two_clients(s: socket.socket) -> Iterator[list[socket.socket]]:
    """Connect two clients that have sent b"hello" and EOF."""
    with ExitStack() as cleanup:
        clients = [cleanup.enter_context(connected(s.getsockname()[1])) for _ in range(2)]
        for client in clients:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
        yield clients


def test_server_serves_so_many_clients_prints_them_and_leaves_its_socket_as_it_was(
    s: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    for timeout in (None, 0.0, 7.5):
        s.settimeout(timeout)
        with two_clients(s) as clients:
            snapshot = halloo.server(s, clients=2)
            assert (snapshot.accepted, snapshot.open, snapshot.sent_bytes) == (2, 0, 10)
            assert [client.recv(9) for client in clients] == [b"hello"] * 2
            assert capsys.readouterr().out == "".join(f"Connected by {each.getsockname()}\n" for each in clients)
        assert s.gettimeout() == timeout
    with connected(s.getsockname()[1]) as client, s.accept()[0] as connection:
        assert connection.getpeername() == client.getsockname()
    with two_clients(s):  # of which the second is left for the next call
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
        "    print('listening on :', s.getsockname()[1], flush=True)\n"
        "    halloo.server(s)\n"
        "    print('open' if s.fileno() >= 0 else 'closed')\n"
    )
    with serving(argv=(PYTHON, "-c", program)) as server, connected(server.port):
        assert server.output.readline().startswith(b"Connected by ('127.0.0.1', ")
        server.process.send_signal(signal.SIGINT)
        assert server.output.read() == b"open\n"
        assert server.process.wait(TIMEOUT) == 0


# Until a signal.


HINT = "halloo: this is loopback inside a container; to be reached from outside it: halloo serve"


@posix
def test_serve_prints_each_address_and_returns_a_report_on_sigint() -> None:
    program = "import halloo; report = halloo.serve('127.0.0.1:0', '127.0.0.1:0'); print(report.snapshot.sent_bytes)"
    sockets_of_another_process = ("LISTEN_FDS=1", f"LISTEN_PID={os.getpid()}")
    with serving(argv=("env", "container=test", *sockets_of_another_process, PYTHON, "-c", program)) as server:
        for port in (server.port, port_of(server.next_address())):
            with connected(port) as client:
                assert exchange(client) == b"hello"
        assert next(server.errors) == f"{HINT} :{server.port}"
        server.process.send_signal(signal.SIGINT)
        assert server.output.read() == b"10\n"
        assert server.process.wait(TIMEOUT) == 0


@posix
def test_serve_prints_the_fingerprint_of_a_generated_certificate_and_hints_in_a_container() -> None:
    with serving(argv=("env", "container=test", *COMMAND, "tls://127.0.0.1:0")) as server:
        message = re.fullmatch(r".* by its fingerprint: ([0-9a-f]{64})", next(server.errors))
        assert message
        assert next(server.errors) == f"{HINT} tls://:{server.port}"
        tls = ClientTLS(fingerprint=message[1])
        with halloo.connect(f"tls://127.0.0.1:{server.port}", tls=tls) as connection:
            connection.send(b"hello")
            assert connection.receive_exactly(5) == b"hello"


@posix
@pytest.mark.parametrize(
    ("options", "number"), [((), signal.SIGTERM), (("--workers", "2"), signal.SIGINT)], ids=["alone", "workers"]
)
def test_serve_busy_polls_until_a_signal_and_answers_pending_data(
    options: tuple[str, ...], number: signal.Signals
) -> None:
    with serving("--busy-poll", *options) as server, connected(server.port) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        assert_busy(server.process)
        client.sendall(b"and one more")
        server.process.send_signal(number)
        assert client.recv(100) == b"and one more"
        assert client.recv(1) == b""
        assert server.process.wait(TIMEOUT) == 0


def assert_busy(process: subprocess.Popen[bytes]) -> None:
    """Wait until each serving process has used CPU time, which one that waits for events does not."""
    parent = psutil.Process(process.pid)
    for server in parent.children() or [parent]:
        start = server.cpu_times().user
        while server.cpu_times().user < start + 0.2:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.02)
                raise AssertionError("the server has exited")


SLOW = """
import halloo, threading
def respond(message):
    print("asked", flush=True)
    threading.Event().wait()
halloo.serve("127.0.0.1:0", respond=respond, framing="raw")
"""


@posix
def test_a_second_signal_ends_a_server_whose_respond_does_not_return() -> None:
    with serving(argv=(PYTHON, "-c", SLOW)) as server, connected(server.port) as client:
        client.sendall(b"hello")
        assert server.output.readline() == b"asked\n"
        while server.process.poll() is None:  # one just before the program waits again does not wake it
            server.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                server.process.wait(0.05)
        assert server.process.returncode == -signal.SIGINT


# What is refused.


def test_serve_refuses_a_port_in_use(s: socket.socket) -> None:
    with pytest.raises(OSError, match=f"port {s.getsockname()[1]} on 127.0.0.1 is taken"):
        halloo.serve(Address("tcp", *s.getsockname()))


def test_several_workers_for_datagrams_refuse_a_greeting_and_close_each_listener() -> None:
    with pytest.raises(halloo.UsageError, match="greeting is for connections"):
        halloo.serve("udp://127.0.0.1:0", greeting=b"hi", workers=3)  # a socket left open would warn


def test_metrics_are_refused_where_they_cannot_be_served(capfd: pytest.CaptureFixture[str]) -> None:
    for scheme in ("tls", "udp"):
        message = f"^metrics is served over tcp:// or unix:, not {scheme}://; for TLS put a proxy in front of it$"
        with pytest.raises(halloo.UsageError, match=message):
            halloo.serve(0, metrics=f"{scheme}://127.0.0.1:0")
    assert capfd.readouterr() == ("", "")


def test_an_invalid_option_ends_the_command_with_one_line() -> None:
    for options, message in (
        (("--workers", "0"), "'0' is not a number of workers"),
        (("--workers", "2", "--deny", "nowhere"), "'nowhere' is not a network"),
        (("tls://127.0.0.1:0", "--key", "key.pem"), "key needs"),
    ):
        done = run(*COMMAND, "127.0.0.1:0", *options)
        assert done.returncode == 2
        assert message in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1


# Counts and events.


@posix
@alone_and_workers
def test_clients_are_counted_in_statistics_totals_and_metrics_whose_clients_are_limited(
    options: tuple[str, ...],
) -> None:
    options = ("--stats", "50ms", "--metrics", "0", "-4", "--timestamps", "--deny", "127.0.0.2", *options)
    with serving(*options) as server, ExitStack() as cleanup:
        place = re.fullmatch(r"halloo: metrics at http://127\.0\.0\.1:(\d+)/metrics", next(server.errors))
        assert place
        pages_port = int(place[1])
        with connected(server.port) as client:
            for number in range(3):
                client.sendall(Probes(run=7, size=200).encode(number, 0))
                stamp = read_timestamp(client.recv(200))
                assert stamp
                assert (stamp.arrived, stamp.window) == (number + 1, (2 << number) - 1)
            line = next(line for line in server.errors if line.startswith("1 open"))
            assert re.fullmatch(r"1 open, \d+ clients/s, \d+ echoes/s, .*/s in, .*/s out", line)
        for port in (server.port, pages_port):
            with connected(port, source="127.0.0.2") as denied:
                assert denied.recv(1) == b""
        page = requested(pages_port, "/metrics")
        assert b"halloo_received_bytes_total 600.0\n" in page
        assert b"127.0.0.1" not in page
        assert requested(pages_port, "/healthz") == b"ok\n"
        for _ in range(http.LIMITS.max_connections or 0):
            cleanup.enter_context(connected(pages_port)).sendall(b"GET /heal")
        assert cleanup.enter_context(connected(pages_port)).recv(1) == b""
        errors = server.stop()
    assert not any("metrics" in line for line in errors)  # on one address, by -4
    assert re.fullmatch(r"halloo: 1 client in \S+, 600 bytes in, 600 bytes out, refused: denied 1", errors[-1])


def requested(port: int, path: str) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request("GET", path)
    page = connection.getresponse().read()
    connection.close()
    return page


@posix
def test_metrics_are_served_on_a_unix_socket(tmp_path: Path) -> None:
    with chdir(tmp_path), serving("--metrics", "unix:pages", "-4", "--mode", "660") as server:
        assert next(server.errors) == "halloo: metrics at /metrics of unix:pages"
        assert Path("pages").stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT)
            client.connect("pages")
            client.sendall(b"GET /healthz HTTP/1.0\n\n")
            with client.makefile("rb") as answer:
                assert answer.read().endswith(b"\r\n\r\nok\n")


@posix
def test_serve_continues_when_its_log_pipe_is_closed() -> None:
    with serving("--log", "json") as server:
        assert server.process.stderr
        server.process.stderr.close()
        for _ in range(2):
            with connected(server.port) as client:
                assert exchange(client) == b"hello"


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
    with serving(argv=(PYTHON, "-c", LIFETIME, str(cert))) as server, ExitStack() as cleanup:
        udp, _ = port_of(server.next_address()), server.next_address()

        def wait_for(name: str, count: int = 1) -> None:
            while sum(event["event"] == name for event in seen) < count:
                seen.append(json.loads(next(server.errors)))

        client = cleanup.enter_context(connected(server.port))
        client.sendall(b"hello\nraise\n")
        assert client.makefile("rb").read() == b"hello\n"
        name = client.getsockname()
        client.close()
        wait_for("closed")
        wait_for("respond_error")
        assert cleanup.enter_context(connected(server.port, "127.0.0.2")).recv(1) == b""
        sender = cleanup.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sender.sendto(b"hello", ("127.0.0.1", udp))
        wait_for("refused")
        wait_for("datagram_received")
        server.process.send_signal(signal.SIGHUP)
        wait_for("reloaded", 3)
        cert.write_text("")
        server.process.send_signal(signal.SIGHUP)
        wait_for("reload_failed")
        victim = next(event["data"]["pid"] for event in seen if event["event"] == "worker_started")
        os.kill(victim, signal.SIGKILL)
        wait_for("worker_started", 3)
        wait_for("stats")
        seen += map(json.loads, server.stop())
    assert {event["event"] for event in seen} - {"hint"} == {  # which is for containers
        *("listening", "publishing", "connected", "closed", "refused", "datagram_received", "respond_error", "stats"),
        *("reloaded", "reload_failed", "worker_started", "worker_exited", "stopping", "stopped"),
    }
    assert all(re.fullmatch(r"[-0-9]{10}T[:0-9]{8}\.\d{6}Z", event["time"]) for event in seen)
    exited = next(event["data"] for event in seen if event["event"] == "worker_exited")
    assert exited == {"number": 1, "pid": victim, "reason": "SIGKILL", "open": 0}
    total = next(event["data"]["total"] for event in seen if event["event"] == "stopped")
    assert (total["worker_exits"], total["accepted_by_scheme"]) == (1, {"tcp": 1, "tls": 0, "unix": 0})
    [closed] = (event["data"] for event in seen if event["event"] == "closed")
    assert closed.pop("duration_ns") > 0
    listener = f"tcp://127.0.0.1:{server.port}"
    assert closed == {"peer": [*name], "listener": listener, "reason": "respond", "received_bytes": 12, "sent_bytes": 6}
    raised = next(event for event in seen if event["event"] == "respond_error")
    assert raised["worker"] in (1, 2)
    assert raised["data"]["traceback"].endswith("  ValueError: \\x1b[31m\\udcff\n  forged")


# Output that is not read.

CLIENTS = 30
RAISING = "import halloo; halloo.serve('127.0.0.1:0', respond=lambda message: 1 / 0, framing='raw')"
TUTORIAL = f"import halloo, socket; halloo.server(socket.create_server(('127.0.0.1', 0)), clients={CLIENTS})"


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


def assert_serves(*argv: str, log: int, output: int = subprocess.DEVNULL) -> None:
    """Start a server whose log is not read, have it serve many clients, and end it."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=log) as process:
        try:
            port = listening_port(process, timeout=TIMEOUT)
            for _ in range(CLIENTS):
                with connected(port) as client:
                    client.sendall(b"hello")
                    client.recv(5)
            process.terminate()
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    "options", [("--stats", "1ms"), ("--log", "json", "--workers", "2")], ids=["statistics", "workers"]
)
def test_serve_serves_and_ends_when_its_terminal_is_stopped(stopped_terminal: int, options: tuple[str, ...]) -> None:
    assert_serves(*COMMAND, "127.0.0.1:0", *options, log=stopped_terminal)


def test_serve_serves_and_ends_when_its_json_log_is_not_read(full_pipe: int) -> None:
    assert_serves(*COMMAND, "127.0.0.1:0", "--log", "json", log=full_pipe, output=full_pipe)


def test_serve_serves_and_ends_when_the_errors_of_respond_are_not_read(full_pipe: int) -> None:
    assert_serves(PYTHON, "-c", RAISING, log=full_pipe)


def test_server_serves_when_its_standard_output_is_full(full_pipe: int) -> None:
    with subprocess.Popen([PYTHON, "-c", TUTORIAL], stdout=full_pipe) as process:
        port = listening_port(process, timeout=TIMEOUT)
        for _ in range(CLIENTS):
            with connected(port) as client:
                assert exchange(client) == b"hello"
        assert process.wait(TIMEOUT) == 0


# Names of Unix sockets.

needs_abstract_names = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
NAMES = (b"\0halloo-%d", b"\0\xff\n\x1b[31m\0-%d", b"path\n\x1b[31m\xff-%d")


@needs_abstract_names
def test_serve_logs_a_client_of_any_name_on_a_terminal_and_echoes(tmp_path: Path) -> None:
    with chdir(tmp_path), Terminal(*COMMAND, "unix:echo") as terminal:
        screen = terminal.read_until(b"listening on unix:")
        for name in NAMES:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(TIMEOUT)
                client.bind(name % terminal.process.pid)
                client.connect("echo")
                assert exchange(client) == b"hello"
        terminal.process.terminate()
        screen += terminal.read_to_end()
        assert terminal.wait() == 0
    lines = screen.decode("ascii").splitlines()
    assert all(line.isprintable() for line in lines)
    assert sum(line.startswith("Connected by ") for line in lines) == 3


# Socket activation by systemd.


@contextmanager
def activated(sock: socket.socket, *options: str) -> Iterator[Serving]:
    """Start the command as systemd does, with a socket that already listens."""
    argv = activated_argv(sock, *COMMAND, *options)
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, pass_fds=[sock.fileno()], bufsize=0) as process:
        try:
            yield Serving(process)
        finally:
            process.kill()


@posix
@alone_and_workers
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_serve_uses_the_socket_of_systemd_and_leaves_it_for_the_next_server(
    kind: int, options: tuple[str, ...]
) -> None:
    with socket.socket(socket.AF_INET, kind) as sock, ExitStack() as cleanup:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()

        def client() -> socket.socket:
            client = cleanup.enter_context(socket.socket(socket.AF_INET, kind))
            client.settimeout(TIMEOUT)
            client.connect(sock.getsockname())
            client.send(b"hello")
            return client

        with activated(sock, *options) as server:
            assert server.address.endswith("://{}:{}".format(*sock.getsockname()))
            assert client().recv(5) == b"hello"
            assert re.search(r"\b1 (client|datagram) in ", server.stop()[-1])
        client()
        assert select.select([sock], [], [], TIMEOUT)[0]


@needs_abstract_names
@pytest.mark.parametrize("name", ["{folder}/halloo", "\0halloo-{pid}"], ids=["path", "abstract"])
def test_serve_uses_a_unix_socket_of_systemd_and_leaves_its_file(name: str, tmp_path: Path) -> None:
    name = name.format(folder=tmp_path, pid=os.getpid())
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(name)
        sock.listen()
        with activated(sock) as server:
            assert server.address == f"unix:{name.replace(chr(0), '@')}"
            client.settimeout(TIMEOUT)
            client.connect(name)
            assert exchange(client) == b"hello"
            server.stop()
        assert name[0] == "\0" or Path(name).exists()
