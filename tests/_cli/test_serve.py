"""What `halloo serve` adds to `halloo.serve()`: the totals, and what its options mean."""

import json
import os
import re
import signal
import socket
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.command import halloo
from tests.programs import PYTHON, Terminal, listening_port, started

SERVE = (PYTHON, "-m", "halloo", "serve")

# On Windows a signal ends the process, so that no summary can follow.
signals = pytest.mark.skipif(os.name == "nt", reason="needs signals")


def echo(client: socket.socket, message: bytes) -> None:
    client.settimeout(10)
    client.sendall(message)
    assert client.recv(100) == message


def test_the_help_does_not_call_the_buffer_unlimited_by_default() -> None:
    text = " ".join(halloo("serve", "--help").stdout.decode().split())
    assert " [default:" not in text.partition("--buffer")[2].partition(" --")[0]
    assert " [default: max]" in text.partition("--max-memory")[2].partition(" --buffer")[0]


@signals
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_the_exit_code_and_the_log_tell_that_a_client_was_cut_off(options: tuple[str, ...]) -> None:
    with (
        started(*SERVE, "127.0.0.1:0", "--log", "json", "--drain", "400ms", *options) as server,
        socket.socket() as answered,
        socket.socket() as not_reading,
    ):
        for client in (answered, not_reading):
            client.connect(("127.0.0.1", listening_port(server)))
        echo(answered, b"hello")
        not_reading.settimeout(0.2)
        with suppress(TimeoutError):  # the kernel takes no more
            not_reading.sendall(bytes(64 << 20))
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=10)
        events = [json.loads(line) for line in errors.splitlines()]
        (connected,) = (
            event["data"]
            for event in events
            if event["event"] == "connected" and event["data"]["peer"] == list(answered.getsockname())
        )
        assert connected["listener"] == "tcp://{}:{}".format(*answered.getpeername())
    assert server.returncode == 1
    closed = [event["data"]["reason"] for event in events if event["event"] == "closed"]
    assert sorted(closed) == ["cut_off", "drained"]
    assert events[-1]["event"] == "stopped"
    assert events[-1]["data"]["total"]["ended"] == {"cut_off": 1, "drained": 1}


@signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_serve_prints_its_address_and_totals_when_it_is_stopped(number: signal.Signals) -> None:
    with started(*SERVE, "127.0.0.1:0", "--log", "text") as server:
        assert server.stdout
        port = listening_port(server)
        assert server.stdout.readline().decode() == f"listening on tcp://127.0.0.1:{port}\n"
        with socket.create_connection(("127.0.0.1", port)) as client:
            echo(client, b"Hello world")
            server.send_signal(number)
            _, errors = server.communicate(timeout=10)
            *lines, totals = errors.decode().splitlines()
            assert f"Connected by {client.getsockname()}" in lines
    assert server.returncode == 0
    assert re.fullmatch(r"halloo: 1 client in \S+, 11 bytes in, 11 bytes out, ended: drained 1", totals)


@signals
def test_a_restart_loses_no_byte_that_had_arrived() -> None:
    message = bytes(range(250)) * 400
    with started(*SERVE, "127.0.0.1:0") as server, ExitStack() as cleanup:
        place = ("127.0.0.1", listening_port(server))
        server.send_signal(signal.SIGSTOP)  # what follows is held by the kernel alone, clients included
        clients = [cleanup.enter_context(socket.create_connection(place, 10)) for _ in range(20)]
        for client in clients:
            client.sendall(message)
        server.send_signal(signal.SIGTERM)
        server.send_signal(signal.SIGCONT)
        for client in clients:
            assert b"".join(iter(partial(client.recv, 65536), b"")) == message
        assert server.wait(10) == 0
        with started(*SERVE, f"127.0.0.1:{place[1]}") as restarted:
            assert listening_port(restarted) == place[1]


def test_serve_prints_a_line_for_each_client_on_a_terminal() -> None:
    with Terminal(*SERVE, "127.0.0.1:0") as terminal:
        terminal.read_until(b"listening on ")
        with socket.create_connection(("127.0.0.1", listening_port(terminal.process))) as client:
            terminal.read_until(f"\r\nConnected by {client.getsockname()}\r\n".encode())


@signals
def test_quiet_omits_clients_and_totals() -> None:
    with started(*SERVE, "127.0.0.1:0", "--quiet") as server:
        with socket.create_connection(("127.0.0.1", listening_port(server))) as client:
            echo(client, b"Hello world")
        server.terminate()
        _, errors = server.communicate(timeout=10)
    assert b"clients" not in errors
    assert b"Connected by" not in errors


def test_an_error_is_an_event_of_a_json_log() -> None:
    for wrong in ("0 --workers 0", "0 --unknown", "nowhere.invalid", "0 --metrics tls://:0"):
        for log in ("--log=json", "--log json"):
            done = halloo("serve", *log.split(), *wrong.split())
            assert done.returncode == 2
            assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["error"]


@pytest.mark.parametrize(("flag", "host"), [("-4", "127.0.0.1"), ("-6", "[::1]")])
def test_a_flag_selects_one_ip_version(flag: str, host: str) -> None:
    if flag == "-6" and not has_ipv6():
        pytest.skip("needs ::1")
    with started(*SERVE, flag, "0") as server:
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


USAGE_ERRORS = {
    "0 --reuse-port": "--reuse-port is for several workers, and there is one; give --workers as well",
    "unix:PATH --reuse-port --workers 2": "--reuse-port cannot open unix: more than once; leave it out",
    "0 --quiet --log text": "--quiet contradicts the log, a line for each client; leave one out",
    "0 --mode 660": "--mode is for unix:, and no address is; leave it out",
    "unix:PATH --mode rw": "--mode must be three octal digits, not 'rw'; 600 is this user, 660 the group as well",
    "unix:PATH -4": "-4 or -6 is for IP addresses, and unix: has none; leave it out",
    "0 --host-prefix 56": (
        "--host-prefix is for limits per host, and there is none; leave it out, or give --max-per-host as well"
    ),
    "udp://0 --host-prefix 129": "--host-prefix must be 1 to 128 bits, not 129",
    "udp://0 --host-prefix /56": "--host-prefix must be 1 to 128 bits, not '/56'; write 56, without a slash",
    "unix:PATH --max-per-host 2": "--max-per-host is for IP addresses, and unix: has none; leave it out",
    "0 --client-ca ca.pem": ("--client-ca is for tls://, and no address is; write tls:// before the host or the port"),
}


def test_an_option_that_does_not_apply_is_refused(tmp_path: Path) -> None:
    for line, message in USAGE_ERRORS.items():
        done = halloo("serve", *line.replace("PATH", str(tmp_path / "echo")).split())
        assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", f"halloo: {message}\n")
        assert not (tmp_path / "echo").exists()
