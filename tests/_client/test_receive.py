"""`halloo receive` as a process, also together with `halloo send`."""

import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, suppress
from pathlib import Path

import pytest

from tests.peers import reset
from tests.programs import PYTHON, Terminal, listening_port, run, started

RECEIVE = (PYTHON, "-m", "halloo", "receive")
SEND = (PYTHON, "-m", "halloo", "send")
RANDOM = hashlib.shake_256(b"halloo").digest(5_000_000)


@pytest.mark.parametrize("data", [b"Hello world", RANDOM], ids=["short", "5 MB"])
def test_received_data_is_printed(data: bytes) -> None:
    with started(*RECEIVE, "127.0.0.1:0") as receiver, ThreadPoolExecutor() as pool:
        assert receiver.stderr
        line = receiver.stderr.readline().decode()  # before a client connects
        port = listening_port(receiver)
        assert line == f"listening on tcp://127.0.0.1:{port}\n"
        sender = pool.submit(run, *SEND, f"127.0.0.1:{port}", input=data)
        output, errors = receiver.communicate(timeout=10)
        assert (sender.result().returncode, sender.result().stderr) == (0, b"")
    identical = output == b"Received:  " + data + b"\n"
    assert (receiver.returncode, identical, errors) == (0, True, b"")


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_a_client_that_sends_nothing_or_fails_its_handshake_does_not_count(scheme: str) -> None:
    if scheme == "tls":
        pytest.importorskip("trustme")
    with started(*RECEIVE, f"{scheme}://127.0.0.1:0") as receiver:
        port = listening_port(receiver)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as scanner:
            place = "{}:{}".format(*scanner.getsockname())
            if scheme == "tls":
                scanner.sendall(b"GET / HTTP/1.0\r\n\r\n")
                while scanner.recv(100):
                    pass
        with socket.create_connection(("127.0.0.1", port)):  # silent
            options = ("--insecure",) if scheme == "tls" else ()
            assert run(*SEND, f"{scheme}://127.0.0.1:{port}", "Hello world", *options).returncode == 0
            output, errors = receiver.communicate(timeout=10)
    assert (receiver.returncode, output) == (0, b"Received:  Hello world\n")
    fact = "does not speak TLS" if scheme == "tls" else "closed the connection without sending anything"
    assert errors.decode().splitlines()[-1] == f"halloo: {place} {fact}; waiting for another client"


@pytest.mark.parametrize(
    ("sent", "output", "message"),
    [
        (b"", b"", "no client sent anything to {place} within 0.5 seconds; allow more with --timeout"),
        (b"Hello", b"Received:  Hello\n", "sent nothing within 0.5 seconds"),
    ],
)
def test_a_silent_client_is_an_error_after_the_timeout(sent: bytes, output: bytes, message: str) -> None:
    with started(*RECEIVE, "127.0.0.1:0", "-W", "500ms") as receiver:
        port = listening_port(receiver)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(sent)
            shown, errors = receiver.communicate(timeout=10)
    assert (receiver.returncode, shown) == (1, output)
    assert message.format(place=f"127.0.0.1:{port}") in errors.decode().splitlines()[-1]


@pytest.mark.parametrize("pauses", [True, False])
def test_a_deadline_bounds_a_client_that_falls_silent_or_never_pauses(*, pauses: bool) -> None:
    def send(client: socket.socket) -> None:
        client.sendall(b"Hello")
        with suppress(ConnectionError):
            while not pauses:
                client.sendall(bytes(65536))

    discarding = ("sh", "-c", '"$@" > /dev/null', "sh")
    with (
        started(*discarding, *RECEIVE, "127.0.0.1:0", "-w", "2s") as receiver,
        socket.create_connection(("127.0.0.1", listening_port(receiver))) as client,
        ThreadPoolExecutor() as pool,
    ):
        sending = pool.submit(send, client)
        _, errors = receiver.communicate(timeout=10)
        sending.result()
    assert receiver.returncode == 1
    assert errors.splitlines()[-1].endswith(b" did not end before the deadline; allow more with --deadline")


def test_data_before_a_reset_is_printed_before_the_error() -> None:
    with started(*RECEIVE, "127.0.0.1:0") as receiver:
        assert receiver.stdout
        with socket.create_connection(("127.0.0.1", listening_port(receiver))) as client:
            client.sendall(b"Hello")
            output = b"".join(receiver.stdout.read(1) for _ in range(16))
            assert output == b"Received:  Hello"
            reset(client)
        output, errors = receiver.communicate(timeout=10)
    assert (receiver.returncode, output) == (1, b"\n")
    assert errors.splitlines()[-1].startswith(b"halloo: ")
    assert b" ended the connection with a reset" in errors.splitlines()[-1]


def test_no_client_within_the_timeout_is_an_error() -> None:
    for scheme, fact in (("tcp", "no client sent anything to"), ("udp", "no datagram arrived at")):
        result = run(*RECEIVE, f"{scheme}://127.0.0.1:0", "-W", "50ms")
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr.decode().splitlines()[-1].startswith(f"halloo: {fact} 127.0.0.1:")


def test_control_characters_are_escaped_on_a_terminal() -> None:
    with Terminal(*RECEIVE, "127.0.0.1:0") as terminal:
        terminal.read_until(b"\r\n")
        with socket.create_connection(("127.0.0.1", listening_port(terminal.process))) as client:
            client.sendall(b"\x1b[2Jred")
        assert terminal.read_to_end() == rb"Received:  \x1b[2Jred" + b"\r\n"
        assert terminal.wait() == 0


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_control_characters_of_a_path_are_escaped(tmp_path: Path) -> None:
    with chdir(tmp_path):
        result = run(*RECEIVE, "unix:a\x1b[31m\nb", "-W", "50ms")
    first, last = result.stderr.decode().splitlines()
    assert first == r"listening on unix:a\x1b[31m\nb"
    assert last.startswith(r"halloo: no client sent anything to a\x1b[31m\nb within")


def test_ctrl_c_ends_the_wait_without_a_traceback() -> None:
    with Terminal(*RECEIVE, "127.0.0.1:0") as terminal:
        terminal.read_until(b"\r\n")
        terminal.interrupt()
        assert terminal.read_to_end().strip() in (b"^C", b"")
        assert terminal.wait() in (0, 130)


@pytest.mark.parametrize("message", ["Hello world", ""])
def test_over_udp_one_datagram_is_printed(message: str) -> None:
    with started(*RECEIVE, "udp://127.0.0.1:0") as receiver:
        port = listening_port(receiver, "udp")
        sender = run(*SEND, f"udp://127.0.0.1:{port}", message)
        output, errors = receiver.communicate(timeout=10)
    assert (sender.returncode, sender.stderr) == (0, b"")
    assert (receiver.returncode, output) == (0, f"Received:  {message}\n".encode())
    assert errors.decode() == f"listening on udp://127.0.0.1:{port}\n"
