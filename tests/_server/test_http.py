"""Pages over HTTP, requested by a scraper and by faulty clients."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from itertools import count

import pytest

from halloo._net.listener import listen
from halloo._server.http import LIMITS, MAX_HEAD, HttpHandler, Page
from halloo._server.running import RunningServer, Service
from halloo.testing import every_split
from tests.stepping import Stage, pattern

TIMEOUT = 20  # seconds without a byte, after which the test fails
LARGE = 8 * 1024 * 1024
CONTENT: dict[str, Page] = {
    "/metrics": lambda: ("text/plain; version=0.0.4", b"halloo_open 1\n"),
    "/healthz": lambda: ("text/plain", b"ok\n"),
    "/large": lambda: ("text/plain", pattern(LARGE)),
}


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with RunningServer(listen("127.0.0.1:0"), Service(handler=HttpHandler(CONTENT))) as server:
        server.start()
        yield server


@pytest.fixture
def request_page(server: RunningServer) -> Iterator[Callable[..., HTTPResponse]]:
    with ExitStack() as cleanup:

        def request_page(method: str, path: str, **options: object) -> HTTPResponse:
            connection = HTTPConnection("127.0.0.1", server.address.port, timeout=TIMEOUT)
            cleanup.callback(connection.close)
            connection.request(method, path, **options)  # type: ignore[arg-type] # handed on
            return connection.getresponse()

        yield request_page


@pytest.fixture
def send_raw(server: RunningServer) -> Iterator[Callable[..., bytes]]:
    """Send pieces and return the first line of the response."""
    with ExitStack() as cleanup:

        def send_raw(*pieces: bytes) -> bytes:
            client = socket.create_connection(("127.0.0.1", server.address.port), timeout=TIMEOUT)
            cleanup.enter_context(client)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                client.sendall(piece)
            return cleanup.enter_context(client.makefile("rb")).readline()

        yield send_raw


Request = Callable[..., HTTPResponse]
SendRaw = Callable[..., bytes]


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/healthz?verbose"])
def test_a_page_has_its_content_type_and_length(request_page: Request, path: str) -> None:
    kind, content = CONTENT[path.partition("?")[0]]()
    response = request_page("GET", path)
    assert (response.status, response.reason) == (200, "OK")
    assert response.getheader("Content-Type") == kind
    assert response.getheader("Content-Length") == str(len(content))
    assert response.read() == content


def test_a_page_is_generated_for_each_request() -> None:
    numbers = count(1)
    with RunningServer(listen("127.0.0.1:0"), Service(handler=HttpHandler({"/": lambda: numbered(numbers)}))) as server:
        server.start()
        for expected in (b"1", b"2"):
            connection = HTTPConnection("127.0.0.1", server.address.port, timeout=TIMEOUT)
            connection.request("GET", "/")
            assert connection.getresponse().read() == expected
            connection.close()


def numbered(numbers: Iterator[int]) -> tuple[str, bytes]:
    return "text/plain", b"%d" % next(numbers)


def test_head_gives_no_content_but_its_length(request_page: Request) -> None:
    response = request_page("HEAD", "/healthz")
    assert (response.status, response.getheader("Content-Length"), response.read()) == (200, "3", b"")


def test_an_unknown_path_is_404_and_lists_the_pages(request_page: Request) -> None:
    response = request_page("GET", "/nowhere")
    assert response.status == 404
    assert b"/metrics" in response.read()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_405(request_page: Request, method: str) -> None:
    response = request_page(method, "/healthz", body=b"x")
    assert response.status == 405
    assert response.read() == b"only GET and HEAD are supported\n"


def test_a_page_larger_than_one_write_arrives_whole(request_page: Request) -> None:
    assert request_page("GET", "/large").read() == pattern(LARGE)


def test_one_connection_is_one_request(request_page: Request) -> None:
    response = request_page("GET", "/healthz")
    assert response.getheader("Connection") == "close"
    response.read()
    assert response.isclosed()


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"], ids=["crlf", "lf"])
def test_a_request_may_arrive_in_any_pieces(send_raw: SendRaw, ending: bytes) -> None:
    for pieces in every_split(b"GET /healthz HTTP/1.1" + ending + ending):
        assert send_raw(*pieces) == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "said", [b"halloo\r\n\r\n", b"GET /healthz\r\n\r\n", b"GET / SPDY/3\r\n\r\n", b"\r\n\r\n", b"\xff\x00\r\n\r\n"]
)
def test_an_invalid_request_is_400(send_raw: SendRaw, said: bytes) -> None:
    assert send_raw(said) == b"HTTP/1.1 400 Bad Request\r\n"


def test_endless_headers_are_431(send_raw: SendRaw) -> None:
    assert send_raw(b"GET / HTTP/1.1\r\nX: ", b"x" * MAX_HEAD) == b"HTTP/1.1 431 Headers Too Large\r\n"


@pytest.mark.parametrize(("size", "code"), [(MAX_HEAD, b"200"), (MAX_HEAD + 1, b"431")])
def test_headers_that_arrive_at_once_have_the_same_limit(size: int, code: bytes) -> None:
    with Stage(handler=HttpHandler(CONTENT)) as stage:
        client = stage.connect()
        client.sendall(b"GET /healthz HTTP/1.1\r\nX: ".ljust(size - 4, b"x") + b"\r\n\r\n")
        stage.settle()
        assert client.recv(100).split()[1] == code


def test_a_client_that_disconnects_amid_a_request_is_removed(server: RunningServer, request_page: Request) -> None:
    with socket.create_connection(("127.0.0.1", server.address.port), timeout=TIMEOUT) as client:
        client.sendall(b"GET /heal")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert request_page("GET", "/healthz").read() == b"ok\n"


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
