"""Errors by their real causes: each is caught as the kin in the standard library that a program would name."""

import errno
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

import halloo
from halloo import ClientTLS, ServerTLS
from tests.peers import TIMEOUT, peer, reset, silent, unused_port

INSECURE = ClientTLS(insecure=True)
MOMENT = 0.05  # seconds
Cause = Callable[[], object]


def reset_later(connection: socket.socket) -> None:
    connection.recv(1)
    reset(connection)


def close(connection: socket.socket) -> None:
    connection.recv(65536)  # all of it: otherwise the close would be a reset


def client_of(act: Callable[[socket.socket], object], scheme: str, use: Callable[[halloo.Connection], object]) -> Cause:
    def cause() -> None:
        tls = INSECURE if scheme == "tls" else None
        with (
            peer(act) as port,
            halloo.connect(f"{scheme}://127.0.0.1:{port}", tls=tls, timeout=TIMEOUT) as connection,
        ):
            connection.send(b"x")
            use(connection)

    return cause


def refused(scheme: str, tls: ClientTLS | None = None) -> Cause:
    return lambda: halloo.connect(f"{scheme}://127.0.0.1:{unused_port()}", tls=tls, timeout=TIMEOUT)


def refused_datagram() -> None:
    with halloo.connect_udp(f"127.0.0.1:{unused_port()}", timeout=TIMEOUT) as client:
        client.send(b"x")
        client.receive()


def silent_handshake() -> None:
    with silent() as port:
        halloo.connect(f"tls://127.0.0.1:{port}", tls=INSECURE, timeout=MOMENT)


def silent_stream() -> None:
    with silent() as port, halloo.connect(f"127.0.0.1:{port}", timeout=MOMENT) as connection:
        connection.receive()


def no_client() -> None:
    with halloo.listen(0) as listener:
        listener.accept(timeout=MOMENT)


def untrusted() -> None:
    with halloo.Server("tls://127.0.0.1:0") as server:
        halloo.connect(server.address, timeout=TIMEOUT)


def accepted(act: Callable[[socket.socket], object]) -> Cause:
    """Accept a client that connects, acts and closes before its TLS handshake."""

    def cause() -> None:
        with halloo.listen("tls://127.0.0.1:0") as listener:
            with socket.create_connection(("127.0.0.1", listener.address.port)) as client:
                act(client)
            listener.accept(timeout=TIMEOUT)

    return cause


def closed_here() -> None:
    with halloo.Server() as server, halloo.connect(server.address) as connection:
        connection.close()
        connection.receive()


def taken() -> None:
    with halloo.listen("127.0.0.1:0") as listener:
        halloo.listen(listener.address)


CAUSES: dict[str, tuple[Cause, tuple[type[BaseException], ...], int | None]] = {
    "no such name": (lambda: halloo.connect("a..b:1"), (socket.gaierror,), socket.EAI_NONAME),
    "no such name, udp": (lambda: halloo.connect_udp("a..b:1"), (socket.gaierror,), socket.EAI_NONAME),
    "refused, tcp": (refused("tcp"), (ConnectionRefusedError,), errno.ECONNREFUSED),
    "refused, tls": (refused("tls", INSECURE), (ConnectionRefusedError,), errno.ECONNREFUSED),
    "refused, udp": (refused_datagram, (ConnectionRefusedError,), errno.ECONNREFUSED),
    "no unix socket": (lambda: halloo.connect("unix:missing"), (ConnectionRefusedError,), errno.ENOENT),
    "below a file": (lambda: halloo.connect("unix:file/x"), (ConnectionRefusedError,), errno.ENOTDIR),
    "reset, tcp": (
        client_of(reset_later, "tcp", lambda c: c.receive()),
        (ConnectionResetError,),
        errno.ECONNRESET,
    ),
    "reset in the handshake": (client_of(reset_later, "tls", print), (ConnectionResetError,), errno.ECONNRESET),
    "end in the handshake": (client_of(close, "tls", print), (EOFError,), None),
    "early end": (client_of(close, "tcp", lambda c: c.receive_exactly(5)), (EOFError,), None),
    "silent, tcp": (silent_stream, (TimeoutError,), None),
    "silent in the handshake": (silent_handshake, (TimeoutError,), errno.ETIMEDOUT),
    "no client": (no_client, (TimeoutError,), None),
    "untrusted": (untrusted, (ssl.SSLCertVerificationError,), None),
    "a client without tls": (accepted(lambda c: c.sendall(b"GET / HTTP/1.1\r\n\r\n")), (ssl.SSLError,), None),
    "a client that resets": (accepted(reset), (ConnectionError,), None),
    "a client that closes": (accepted(lambda _: None), (EOFError,), None),
    "closed here": (closed_here, (ConnectionAbortedError,), errno.ECONNABORTED),
    "port taken": (taken, (OSError,), errno.EADDRINUSE),
    "no folder": (lambda: halloo.listen("unix:none/x"), (FileNotFoundError,), errno.ENOENT),
    "no ca": (lambda: halloo.connect("tls://:1", tls=ClientTLS(ca="none")), (FileNotFoundError,), errno.ENOENT),
    "no cert": (lambda: halloo.listen("tls://:0", tls=ServerTLS(cert="none")), (FileNotFoundError,), errno.ENOENT),
    "no certificate in it": (lambda: halloo.listen("tls://:0", tls=ServerTLS(cert="file")), (OSError,), None),
    "too long": (lambda: halloo.connect("unix:" + 200 * "x"), (OSError,), None),
}


@pytest.mark.parametrize(("cause", "kin", "number"), CAUSES.values(), ids=CAUSES)
def test_an_error_is_caught_as_the_standard_library_s(
    cause: Cause,
    kin: tuple[type[BaseException], ...],
    number: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"no certificate")
    with pytest.raises(halloo.HallooError) as caught:
        cause()
    assert [each for each in kin if not isinstance(caught.value, each)] == []
    if number is not None:
        assert caught.value.errno == number
    assert caught.value.errno is None or caught.value.errno in errno.errorcode or caught.value.errno < 0


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is permitted to root")
def test_what_is_not_permitted_is_a_permission_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        halloo.listen(f"unix:{tmp_path}/x")
