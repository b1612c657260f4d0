"""The tutorial's programs run as separate processes: in two terminals, with long messages, Ctrl-C and errors."""

import ast
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle

import pytest

from tests.peers import reset
from tests.programs import EXAMPLES, PYTHON, Terminal, listening_port, run, started

# Each 1024th byte of this text is in the middle of a character.
LONG = "x" + "ż" * 3000

CLIENTS = [("echoclient.py",), ("echo_functions.py", "client"), ("echoclient_safe.py",)]
SERVERS = [("echoserver.py",), ("echo_functions.py", "server")]
PAIRS = list(zip(CLIENTS, cycle(SERVERS)))  # each program, though not each with each


def example(name: str, *arguments: str | int) -> list[str]:
    # -X dev reports unclosed sockets on standard error; -X utf8 is for pipes on Windows.
    return [PYTHON, "-X", "dev", "-X", "utf8", str(EXAMPLES / name), *map(str, arguments)]


def lines(output: bytes) -> list[str]:
    return output.decode().splitlines()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, list[str], list[str]]:
    """Close the input and return exit code, output and errors."""
    output, errors = process.communicate(timeout=20)
    return process.returncode, lines(output), lines(errors)


def type_into(process: subprocess.Popen[bytes], text: str) -> None:
    assert process.stdin
    process.stdin.write(text.encode())


def line_from(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout
    return process.stdout.readline().decode().rstrip()


@contextmanager
def listening_peer() -> Iterator[tuple[socket.socket, int]]:
    """Listen in the test itself, as the peer of the program."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        s.settimeout(20)
        yield s, s.getsockname()[1]


def accepted(s: socket.socket) -> socket.socket:
    connection, _ = s.accept()
    connection.settimeout(20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def received(s: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (chunk := s.recv(65536)):
        data += chunk
    return bytes(data)


# In two terminals, as in the tutorial


def test_the_server_prints_what_the_client_sent_and_both_end() -> None:
    with started(*example("server.py", 0)) as server:
        port = listening_port(server)
        client = run(*example("client.py", port))
        assert (client.returncode, client.stdout, client.stderr) == (0, b"", b"")
        assert ended(server) == (0, ["Received:  Hello world"], [])


@pytest.mark.parametrize(("client", "server"), PAIRS, ids=" ".join)
def test_each_typed_line_is_echoed_until_a_blank_one(client: tuple[str, ...], server: tuple[str, ...]) -> None:
    with started(*example(*server, 0)) as serving:
        port = listening_port(serving)
        with Terminal(*example(*client, "localhost", port)) as terminal:
            assert terminal.read_until(b"Send:") == b"Send:"
            terminal.type("Hello world\n")
            assert terminal.read_until(b"Send:") == b"Hello world\r\nReceived 'Hello world'\r\nSend:"
            terminal.type("it's ż\n")
            assert terminal.read_until(b"Send:").decode() == "it's ż\r\nReceived \"it's ż\"\r\nSend:"
            terminal.type("\n")
            assert terminal.read_to_end() == b"\r\n"
            assert terminal.wait() == 0
        code, output, errors = ended(serving)
        assert (code, errors) == (0, [])
        assert len(output) == 1
        assert output[0].startswith("Connected by ('127.0.0.1', ")


def test_the_exceptions_program_prints_its_five_lines() -> None:
    result = run(*example("exceptions.py"))
    assert (result.returncode, lines(result.stdout), result.stderr) == (0, ["1", "2", "division by 0", "4", "5"], b"")


def test_the_programs_make_the_calls_that_they_teach_in_their_order() -> None:
    taught = {
        "client.py": "socket connect send close",
        "server.py": "socket setsockopt bind listen accept recv close",
        "echoserver.py": "socket setsockopt bind listen accept recv sendall",
    }
    for program, calls in taught.items():
        tree = ast.parse((EXAMPLES / program).read_text(encoding="utf-8"))
        attributes = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        methods = sorted((f.lineno, f.attr) for f in attributes if isinstance(f, ast.Attribute))
        assert [name for _, name in methods if name in calls.split()] == calls.split()


def test_the_second_exceptions_program_skips_lines_after_an_error_and_ends_without_try() -> None:
    result = run(*example("exceptions_more.py"))
    assert result.returncode == 1
    assert lines(result.stdout) == [
        "dividing 9 by 3",
        "the result is 3.0",
        "this line is skipped after an error",
        "else: no error",
        "finally: always",
        "dividing 9 by 0",
        "except: division by 0",
        "finally: always",
        "the message is 'Hello world'",
        "except: the message is empty",
        "1",
        "2",
    ]
    assert lines(result.stderr)[0] == "Traceback (most recent call last):"
    assert lines(result.stderr)[-1] == "ZeroDivisionError: division by zero"


def test_a_datagram_is_echoed_and_the_server_prints_its_sender() -> None:
    with started(*example("udp_server.py", 0)) as server:
        client = run(*example("udp_client.py", "localhost", listening_port(server, "udp")))
        assert (client.returncode, lines(client.stdout), client.stderr) == (0, ["Received 'Hello world'"], b"")
        assert line_from(server).startswith("Received b'Hello world' from ('127.0.0.1', ")


# Long messages, in pieces


def test_the_server_joins_the_pieces_of_a_message() -> None:
    with started(*example("server.py", 0)) as server:
        with connected(listening_port(server)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in LONG.encode():
                client.send(bytes([byte]))
        assert ended(server) == (0, ["Received:  " + LONG], [])


@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_a_line_that_is_not_text_ends_the_client_with_a_sentence(client: tuple[str, ...]) -> None:
    with listening_peer() as (_, port):
        result = run(*example(*client, "127.0.0.1", port), input=b"caf\xe9\n")
    message = ["The line is not valid text, and was not sent."]
    assert (result.returncode, lines(result.stderr)) == (1, message)


@pytest.mark.parametrize(("client", "server"), PAIRS, ids=" ".join)
def test_a_long_line_from_a_pipe_is_echoed_completely(client: tuple[str, ...], server: tuple[str, ...]) -> None:
    with started(*example(*server, 0)) as serving:
        result = run(*example(*client, "localhost", listening_port(serving)), input=f"{LONG}\nend".encode())
        assert (result.returncode, result.stderr) == (0, b"")
        assert lines(result.stdout) == [f"Send:Received '{LONG}'", "Send:Received 'end'", "Send:"]
        assert ended(serving)[0] == 0


@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_the_client_joins_the_pieces_of_the_echo(client: tuple[str, ...]) -> None:
    with listening_peer() as (s, port), started(*example(*client, "127.0.0.1", port)) as process:
        type_into(process, f"{LONG}\n")
        with accepted(s) as connection:
            for byte in received(connection, len(LONG.encode())):
                connection.send(bytes([byte]))
            assert ended(process) == (0, [f"Send:Received '{LONG}'", "Send:"], [])


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
def test_the_server_echoes_everything_received_before_a_half_close(server: tuple[str, ...]) -> None:
    with started(*example(*server, 0)) as serving, connected(listening_port(serving)) as client:
        client.sendall(LONG.encode())
        client.shutdown(socket.SHUT_WR)
        assert received(client, 1_000_000) == LONG.encode()
        assert ended(serving)[0] == 0


def test_a_datagram_of_any_size_is_echoed_completely() -> None:
    with (
        started(*example("udp_server.py", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        address = ("127.0.0.1", listening_port(server, "udp"))
        for size in (0, 1, 1025, 9000, 65507):
            client.sendto(b"x" * size, address)
            assert client.recvfrom(65535) == (b"x" * size, address)


# Ctrl-C


@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_ctrl_c_at_the_prompt_ends_a_client_without_a_traceback(client: tuple[str, ...]) -> None:
    with listening_peer() as (_, port), Terminal(*example(*client, "127.0.0.1", port)) as terminal:
        terminal.read_until(b"Send:")
        terminal.interrupt()
        assert terminal.read_to_end() == b"^C\r\n"
        assert terminal.wait() == 0


@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_ctrl_c_ends_a_client_waiting_for_the_echo(client: tuple[str, ...]) -> None:
    with listening_peer() as (s, port), Terminal(*example(*client, "127.0.0.1", port)) as terminal:
        terminal.read_until(b"Send:")
        terminal.type("Hello world\n")
        with accepted(s) as connection:
            assert received(connection, 11) == b"Hello world"
            terminal.read_until(b"Hello world\r\n")
            terminal.interrupt()
            assert terminal.read_to_end() == b"^C\r\n"
            assert terminal.wait() == 0


@pytest.mark.parametrize("server", [("server.py",), *SERVERS, ("udp_server.py",)], ids=" ".join)
def test_ctrl_c_ends_a_server_waiting_for_a_client(server: tuple[str, ...]) -> None:
    with Terminal(*example(*server, 0)) as terminal:
        listening_port(terminal.process, "udp" if server == ("udp_server.py",) else "tcp")
        terminal.interrupt()
        assert terminal.read_to_end().strip() == b"^C"
        assert terminal.wait() == 0


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
def test_a_server_stopped_with_ctrl_c_can_be_restarted_on_its_port_at_once(server: tuple[str, ...]) -> None:
    with Terminal(*example(*server, 0)) as first:
        port = listening_port(first.process)
        with connected(port) as client:
            client.sendall(b"Hello world")
            assert received(client, 11) == b"Hello world"
            first.read_until(b"Connected by ('127.0.0.1', ")
            first.interrupt()
            assert b"Traceback" not in first.read_to_end()
            assert first.wait() == 0
            assert client.recv(1) == b""
    # The server closed first, so its side of the connection occupies the port for a minute (TIME_WAIT).
    with started(*example(*server, port)) as second:
        assert listening_port(second) == port
        with connected(port) as client:
            client.sendall(b"again")
            assert received(client, 5) == b"again"
        assert ended(second)[0] == 0


# Errors


def test_a_refused_connection_is_one_sentence() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        result = run(*example("echoclient_safe.py", "127.0.0.1", port))
    assert (result.returncode, result.stdout) == (1, b"")
    assert lines(result.stderr) == [f"Nothing listens on port {port} of 127.0.0.1; is the server running?"]


def test_a_reset_is_one_sentence() -> None:
    with listening_peer() as (s, port), started(*example("echoclient_safe.py", "127.0.0.1", port)) as client:
        type_into(client, "Hello world\n")
        with accepted(s) as connection:
            received(connection, 11)
            reset(connection)
        assert ended(client) == (1, ["Send:"], ["127.0.0.1 reset the connection."])


def test_a_server_that_never_replies_is_one_sentence() -> None:
    with listening_peer() as (_, port):
        result = run(*example("echoclient_safe.py", "127.0.0.1", port, "0.2"), input=b"Hello world\n")
    assert (result.returncode, lines(result.stdout)) == (1, ["Send:"])
    assert lines(result.stderr) == ["127.0.0.1 did not answer within 0.2 seconds."]


def test_an_unknown_host_or_an_invalid_address_is_one_sentence() -> None:
    # Longer than a host name may be: the resolver rejects it without asking a name server.
    host = ".".join(["nowhere"] * 40)
    for arguments in ([host], ["localhost", "99999"], ["localhost", "port"], ["x" * 64, "8888"]):
        result = run(*example("echoclient_safe.py", *arguments))
        assert (result.returncode, result.stdout, len(lines(result.stderr))) == (1, b"", 1)
        if host in arguments:
            assert lines(result.stderr) == [f"The host name {host} is not known; is it spelt right?"]


@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_an_early_close_is_one_sentence_after_the_received_part(client: tuple[str, ...]) -> None:
    with listening_peer() as (s, port), started(*example(*client, "127.0.0.1", port)) as process:
        type_into(process, "Hello world\n")
        with accepted(s) as connection:
            received(connection, 11)
            connection.sendall(b"Hello")
        code, output, errors = ended(process)
        assert (code, output) == (1, ["Send:Received 'Hello'"])
        assert len(errors) == 1
        assert errors[0].startswith("The server closed the connection")


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
def test_the_server_reports_a_reset_in_one_sentence(server: tuple[str, ...]) -> None:
    with started(*example(*server, 0)) as serving:
        client = connected(listening_port(serving))
        assert line_from(serving).startswith("Connected by ")
        reset(client)
        code, _, errors = ended(serving)
        assert (code, len(errors)) == (1, 1)


def test_a_datagram_without_reply_is_one_sentence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        result = run(*example("udp_client.py", "127.0.0.1", port))
    assert (result.returncode, result.stdout) == (1, b"")
    assert lines(result.stderr) == [f"No reply from port {port} of 127.0.0.1; is the server running?"]


def test_a_client_that_has_gone_does_not_end_the_datagram_server() -> None:
    with started(*example("udp_server.py", 0)) as server:
        port = listening_port(server, "udp")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.sendto(b"gone", ("127.0.0.1", port))
        assert line_from(server).startswith("Received b'gone' from ")
        assert run(*example("udp_client.py", "127.0.0.1", port)).returncode == 0


@pytest.mark.parametrize("program", [*CLIENTS, ("echo_functions.py",)], ids=" ".join)
def test_a_missing_host_prints_one_usage_line(program: tuple[str, ...]) -> None:
    result = run(*example(*program))
    assert (result.returncode, result.stdout) == (2, b"")
    assert len(lines(result.stderr)) == 1
    assert result.stderr.startswith(f"usage: python {program[0]} ".encode())
