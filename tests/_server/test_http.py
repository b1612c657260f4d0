"""Pages over HTTP, requested by a scraper and by faulty clients."""

import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from itertools import count

import pytest

from halloo._net.listener import listen
from halloo._server.http import LIMITS, MAX_HEAD, HttpHandler, Page
from halloo._server.running import RunningServer, Service
from halloo.testing import every_split
from tests.peers import payload
from tests.stepping import Stage

TIMEOUT = 20  # seconds without a byte, after which the test fails
LARGE = 8 * 1024 * 1024
NUMBERS = count(1)
CONTENT: dict[str, Page] = {
    "/metrics": lambda: ("text/plain; version=0.0.4", b"halloo_open 1\n"),
    "/healthz": lambda: ("text/plain", b"ok\n"),
    "/count": lambda: ("text/plain", b"%d" % next(NUMBERS)),
    "/large": lambda: ("text/plain", payload(LARGE)),
}


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with RunningServer(listen("127.0.0.1:0"), Service(handler=HttpHandler(CONTENT))) as server:
        server.start()
        yield server


def requested(server: RunningServer, method: str, path: str, body: bytes | None = None) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.address.port, timeout=TIMEOUT)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def status_line(server: RunningServer, *pieces: bytes) -> bytes:
    """Send pieces and return the first line of the response."""
    with socket.create_connection(("127.0.0.1", server.address.port), timeout=TIMEOUT) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        with client.makefile("rb") as response:
            return response.readline()


def test_a_page_has_its_content_type_and_length_and_ends_its_connection(server: RunningServer) -> None:
    for path in ("/metrics", "/healthz", "/healthz?verbose"):
        kind, content = CONTENT[path.partition("?")[0]]()
        for method in ("GET", "HEAD"):
            response, body = requested(server, method, path)
            assert (response.status, response.reason) == (200, "OK")
            assert response.getheader("Content-Type") == kind
            assert response.getheader("Content-Length") == str(len(content))
            assert response.getheader("Connection") == "close"
            assert body == (content if method == "GET" else b"")


def test_a_page_is_generated_for_each_request(server: RunningServer) -> None:
    assert [requested(server, "GET", "/count")[1] for _ in range(2)] == [b"1", b"2"]


def test_a_page_larger_than_one_write_arrives_whole(server: RunningServer) -> None:
    assert requested(server, "GET", "/large")[1] == payload(LARGE)


def test_unknown_paths_and_methods_are_refused(server: RunningServer) -> None:
    response, body = requested(server, "GET", "/nowhere")
    assert (response.status, body) == (404, b"available: /metrics, /healthz, /count, /large\n")
    for method in ("POST", "DELETE"):
        response, body = requested(server, method, "/healthz", b"x")
        assert (response.status, body) == (405, b"only GET and HEAD are supported\n")


def test_a_request_may_arrive_in_any_pieces(server: RunningServer) -> None:
    for ending in (b"\r\n", b"\n"):
        for pieces in every_split(b"GET /healthz HTTP/1.1" + ending + ending):
            assert status_line(server, *pieces) == b"HTTP/1.1 200 OK\r\n"


def test_an_invalid_request_is_400(server: RunningServer) -> None:
    for line in (b"halloo", b"GET /healthz", b"GET / SPDY/3", b"", b"\xff\x00"):
        assert status_line(server, line + b"\r\n\r\n") == b"HTTP/1.1 400 Bad Request\r\n"


def test_endless_headers_are_431(server: RunningServer) -> None:
    line = b"HTTP/1.1 431 Headers Too Large\r\n"
    assert status_line(server, b"GET / HTTP/1.1\r\nX: ", b"x" * MAX_HEAD) == line


@pytest.mark.parametrize(("size", "code"), [(MAX_HEAD, b"200"), (MAX_HEAD + 1, b"431")])
def test_headers_that_arrive_at_once_have_the_same_limit(size: int, code: bytes) -> None:
    with Stage(handler=HttpHandler(CONTENT)) as stage:
        client = stage.connect()
        client.sendall(b"GET /healthz HTTP/1.1\r\nX: ".ljust(size - 4, b"x") + b"\r\n\r\n")
        stage.settle()
        assert client.recv(100).split()[1] == code


def test_a_client_that_disconnects_amid_a_request_is_removed(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.address.port), timeout=TIMEOUT) as client:
        client.sendall(b"GET /heal")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert requested(server, "GET", "/healthz")[1] == b"ok\n"


def test_half_a_request_is_closed_after_its_time() -> None:
    with Stage(LIMITS, handler=HttpHandler(CONTENT)) as stage:
        client = stage.connect()
        client.sendall(b"GET /heal")
        stage.settle()
        stage.elapse_in_steps(29)
        client.sendall(b"th")  # one more piece is no more time
        stage.settle()
        assert stage.snapshot.open == 1
        stage.elapse_in_steps(2)
        assert client.recv(1) == b""
        assert stage.snapshot.ended == {"max_lifetime": 1}
