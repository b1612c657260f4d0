"""The tutorial's programs, in separate processes: as in its two terminals, and where the tutorial itself went wrong."""

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.programs import EXAMPLES, PYTHON, Terminal, listening_port, run, started

# Text whose every 1024th byte is in the middle of a character.
LONG = "x" + "ż" * 3000

CLIENTS = [("echoclient.py",), ("echo_functions.py", "client"), ("echoclient_safe.py",)]
SERVERS = [("echoserver.py",), ("echo_functions.py", "server")]


def example(name: str, *arguments: str | int) -> list[str]:
    # -X dev shows a socket that was not closed, on standard error; -X utf8 is for pipes on Windows.
    return [PYTHON, "-X", "dev", "-X", "utf8", str(EXAMPLES / name), *map(str, arguments)]


def lines(output: bytes) -> list[str]:
    return output.decode().splitlines()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, list[str], list[str]]:
    """Exit code, output and errors, after the end of the input."""
    output, errors = process.communicate(timeout=20)
    return process.returncode, lines(output), lines(errors)


def type_into(process: subprocess.Popen[bytes], text: str) -> None:
    assert process.stdin
    process.stdin.write(text.encode())


def line_from(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout
    return process.stdout.readline().decode().rstrip()


@contextmanager
def peer() -> Iterator[tuple[socket.socket, int]]:
    """Listen in the test itself, as the other side."""
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


def reset(connection: socket.socket) -> None:
    linger_not_at_all = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not_at_all)
    connection.close()


# The two terminals of the tutorial


def test_the_server_prints_what_the_client_sent_and_both_end() -> None:
    with started(*example("server.py", 0)) as server:
        port = listening_port(server)
        client = run(*example("client.py", port))
        assert (client.returncode, client.stdout, client.stderr) == (0, b"", b"")
        assert ended(server) == (0, ["Received:  Hello world"], [])


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_each_line_typed_comes_back_until_a_blank_one(client: tuple[str, ...], server: tuple[str, ...]) -> None:
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


def test_a_datagram_comes_back_and_the_server_says_from_whom() -> None:
    with started(*example("udp_server.py", 0)) as server:
        client = run(*example("udp_client.py", "localhost", listening_port(server, "udp")))
        assert (client.returncode, lines(client.stdout), client.stderr) == (0, ["Received 'Hello world'"], b"")
        assert line_from(server).startswith("Received b'Hello world' from ('127.0.0.1', ")


# Long messages, and pieces


def test_the_server_puts_a_message_together_from_its_pieces() -> None:
    with started(*example("server.py", 0)) as server:
        with connected(listening_port(server)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in LONG.encode():
                client.send(bytes([byte]))
        assert ended(server) == (0, ["Received:  " + LONG], [])


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_a_long_line_in_a_pipe_comes_back_whole(client: tuple[str, ...], server: tuple[str, ...]) -> None:
    with started(*example(*server, 0)) as serving:
        result = run(*example(*client, "localhost", listening_port(serving)), input=f"{LONG}\nend".encode())
        assert (result.returncode, result.stderr) == (0, b"")
        assert lines(result.stdout) == [f"Send:Received '{LONG}'", "Send:Received 'end'", "Send:"]
        assert ended(serving)[0] == 0


@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_the_client_puts_the_echo_together_from_its_pieces(client: tuple[str, ...]) -> None:
    with peer() as (s, port), started(*example(*client, "127.0.0.1", port)) as process:
        type_into(process, f"{LONG}\n")
        with accepted(s) as connection:
            for byte in received(connection, len(LONG.encode())):
                connection.send(bytes([byte]))
            assert ended(process) == (0, [f"Send:Received '{LONG}'", "Send:"], [])


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
def test_the_server_echoes_all_that_came_before_a_half_close(server: tuple[str, ...]) -> None:
    with started(*example(*server, 0)) as serving, connected(listening_port(serving)) as client:
        client.sendall(LONG.encode())
        client.shutdown(socket.SHUT_WR)
        assert received(client, 1_000_000) == LONG.encode()
        assert ended(serving)[0] == 0


@pytest.mark.parametrize("size", [0, 1, 1025, 9000, 65507])
def test_a_datagram_of_any_size_comes_back_whole(size: int) -> None:
    with (
        started(*example("udp_server.py", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        address = ("127.0.0.1", listening_port(server, "udp"))
        client.sendto(b"x" * size, address)
        assert client.recvfrom(65535) == (b"x" * size, address)


# Ctrl-C


@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_ctrl_c_at_the_prompt_ends_a_client_quietly(client: tuple[str, ...]) -> None:
    with peer() as (_, port), Terminal(*example(*client, "127.0.0.1", port)) as terminal:
        terminal.read_until(b"Send:")
        terminal.interrupt()
        assert terminal.read_to_end() == b"^C\r\n"
        assert terminal.wait() == 0


@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_ctrl_c_ends_a_client_that_waits_for_the_echo(client: tuple[str, ...]) -> None:
    with peer() as (s, port), Terminal(*example(*client, "127.0.0.1", port)) as terminal:
        terminal.read_until(b"Send:")
        terminal.type("Hello world\n")
        with accepted(s) as connection:
            assert received(connection, 11) == b"Hello world"
            terminal.read_until(b"Hello world\r\n")
            terminal.interrupt()
            assert terminal.read_to_end() == b"^C\r\n"
            assert terminal.wait() == 0


@pytest.mark.parametrize("server", [("server.py",), *SERVERS, ("udp_server.py",)], ids=" ".join)
def test_ctrl_c_ends_a_server_that_waits_for_a_client(server: tuple[str, ...]) -> None:
    with Terminal(*example(*server, 0)) as terminal:
        listening_port(terminal.process, "udp" if server == ("udp_server.py",) else "tcp")
        terminal.interrupt()
        assert terminal.read_to_end().strip() == b"^C"
        assert terminal.wait() == 0


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
def test_a_server_stopped_with_ctrl_c_has_its_port_again_at_once(server: tuple[str, ...]) -> None:
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
    # The server closed first, and so its side of the connection keeps the port for a minute.
    with started(*example(*server, port)) as second:
        assert listening_port(second) == port
        with connected(port) as client:
            client.sendall(b"again")
            assert received(client, 5) == b"again"
        assert ended(second)[0] == 0


# What can go wrong


def test_a_port_where_nothing_listens_is_a_sentence() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        result = run(*example("echoclient_safe.py", "127.0.0.1", port))
    assert (result.returncode, result.stdout) == (1, b"")
    assert lines(result.stderr) == [f"Nothing listens on port {port} of 127.0.0.1; is the server running?"]


def test_an_unknown_host_is_a_sentence() -> None:
    # Longer than any name may be: this is known without asking a name server.
    host = ".".join(["nowhere"] * 40)
    result = run(*example("echoclient_safe.py", host))
    assert (result.returncode, result.stdout) == (1, b"")
    assert lines(result.stderr) == [f"No host is known by the name {host}; is it spelt right?"]


def test_a_reset_is_a_sentence() -> None:
    with peer() as (s, port), started(*example("echoclient_safe.py", "127.0.0.1", port)) as client:
        type_into(client, "Hello world\n")
        with accepted(s) as connection:
            received(connection, 11)
            reset(connection)
        assert ended(client) == (1, ["Send:"], ["127.0.0.1 broke the connection off."])


def test_a_server_that_never_answers_is_a_sentence() -> None:
    with peer() as (_, port):
        result = run(*example("echoclient_safe.py", "127.0.0.1", port, "0.2"), input=b"Hello world\n")
    assert (result.returncode, lines(result.stdout)) == (1, ["Send:"])
    assert lines(result.stderr) == ["127.0.0.1 did not answer within 0.2 seconds."]


@pytest.mark.parametrize("arguments", [("localhost", "99999"), ("localhost", "port"), ("x" * 64, "8888")])
def test_an_address_that_cannot_be_is_a_sentence(arguments: tuple[str, str]) -> None:
    result = run(*example("echoclient_safe.py", *arguments))
    assert (result.returncode, result.stdout) == (1, b"")
    assert len(lines(result.stderr)) == 1


@pytest.mark.parametrize("client", CLIENTS, ids=" ".join)
def test_a_server_that_closes_early_is_a_sentence_after_what_did_come(client: tuple[str, ...]) -> None:
    with peer() as (s, port), started(*example(*client, "127.0.0.1", port)) as process:
        type_into(process, "Hello world\n")
        with accepted(s) as connection:
            received(connection, 11)
            connection.sendall(b"Hello")
        code, output, errors = ended(process)
        assert (code, output) == (1, ["Send:Received 'Hello'"])
        assert len(errors) == 1
        assert errors[0].startswith("The server closed the connection")


@pytest.mark.parametrize("server", SERVERS, ids=" ".join)
def test_a_client_that_resets_is_a_sentence_of_the_server(server: tuple[str, ...]) -> None:
    with started(*example(*server, 0)) as serving:
        client = connected(listening_port(serving))
        assert line_from(serving).startswith("Connected by ")
        reset(client)
        code, _, errors = ended(serving)
        assert (code, len(errors)) == (1, 1)


def test_a_datagram_that_is_not_answered_is_a_sentence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        result = run(*example("udp_client.py", "127.0.0.1", port))
    assert (result.returncode, result.stdout) == (1, b"")
    assert lines(result.stderr) == [f"Nothing came back from port {port} of 127.0.0.1; is the server running?"]


def test_a_client_that_went_away_does_not_end_the_datagram_server() -> None:
    with started(*example("udp_server.py", 0)) as server:
        port = listening_port(server, "udp")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.sendto(b"gone", ("127.0.0.1", port))
        assert line_from(server).startswith("Received b'gone' from ")
        assert run(*example("udp_client.py", "127.0.0.1", port)).returncode == 0


@pytest.mark.parametrize("program", [*CLIENTS, ("echo_functions.py",)], ids=" ".join)
def test_a_missing_host_is_a_line_about_the_usage(program: tuple[str, ...]) -> None:
    result = run(*example(*program))
    assert (result.returncode, result.stdout) == (2, b"")
    assert len(lines(result.stderr)) == 1
    assert result.stderr.startswith(f"usage: python {program[0]} ".encode())
