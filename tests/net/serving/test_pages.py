"""A few pages over HTTP, as a scraper and a careless client ask for them."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from itertools import count

import pytest

from halloo.net.listening import listen
from halloo.net.serving.pages import LONGEST, Page, Pages
from halloo.net.serving.server import Server, Service
from halloo.testing import every_split
from tests.stepping import pattern

PATIENCE = 20  # seconds without a byte after which a client gives up, and its test has failed
LARGE = 8 * 1024 * 1024
CONTENT: dict[str, Page] = {
    "/metrics": lambda: ("text/plain; version=0.0.4", b"halloo_open 1\n"),
    "/healthz": lambda: ("text/plain", b"ok\n"),
    "/large": lambda: ("text/plain", pattern(LARGE)),
}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(listen("127.0.0.1:0"), Service(conversation=Pages(CONTENT))) as server:
        server.start()
        yield server


@pytest.fixture
def ask(server: Server) -> Iterator[Callable[..., HTTPResponse]]:
    with ExitStack() as cleanup:

        def ask(method: str, path: str, **options: object) -> HTTPResponse:
            connection = HTTPConnection("127.0.0.1", server.address.port, timeout=PATIENCE)
            cleanup.callback(connection.close)
            connection.request(method, path, **options)  # type: ignore[arg-type] # handed on
            return connection.getresponse()

        yield ask


@pytest.fixture
def tell(server: Server) -> Iterator[Callable[..., bytes]]:
    """Send pieces and give the first line of the answer."""
    with ExitStack() as cleanup:

        def tell(*pieces: bytes) -> bytes:
            client = socket.create_connection(("127.0.0.1", server.address.port), timeout=PATIENCE)
            cleanup.enter_context(client)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                client.sendall(piece)
            return cleanup.enter_context(client.makefile("rb")).readline()

        yield tell


Ask = Callable[..., HTTPResponse]
Tell = Callable[..., bytes]


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/healthz?verbose"])
def test_a_page_is_given_with_its_kind_and_length(ask: Ask, path: str) -> None:
    kind, content = CONTENT[path.partition("?")[0]]()
    response = ask("GET", path)
    assert (response.status, response.reason) == (200, "OK")
    assert response.getheader("Content-Type") == kind
    assert response.getheader("Content-Length") == str(len(content))
    assert response.read() == content


def test_a_page_is_made_anew_each_time() -> None:
    numbers = count(1)
    with Server(listen("127.0.0.1:0"), Service(conversation=Pages({"/": lambda: numbered(numbers)}))) as server:
        server.start()
        for expected in (b"1", b"2"):
            connection = HTTPConnection("127.0.0.1", server.address.port, timeout=PATIENCE)
            connection.request("GET", "/")
            assert connection.getresponse().read() == expected
            connection.close()


def numbered(numbers: Iterator[int]) -> tuple[str, bytes]:
    return "text/plain", b"%d" % next(numbers)


def test_head_gives_no_content_but_its_length(ask: Ask) -> None:
    response = ask("HEAD", "/healthz")
    assert (response.status, response.getheader("Content-Length"), response.read()) == (200, "3", b"")


def test_what_is_not_there_is_not_found_and_what_is_is_named(ask: Ask) -> None:
    response = ask("GET", "/nowhere")
    assert response.status == 404
    assert b"/metrics" in response.read()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(ask: Ask, method: str) -> None:
    response = ask(method, "/healthz", body=b"x")
    assert response.status == 405
    assert response.read() == b"only GET and HEAD\n"


def test_a_page_larger_than_the_system_takes_at_once_comes_whole(ask: Ask) -> None:
    assert ask("GET", "/large").read() == pattern(LARGE)


def test_one_connection_is_one_request(ask: Ask) -> None:
    response = ask("GET", "/healthz")
    assert response.getheader("Connection") == "close"
    response.read()
    assert response.isclosed()


def test_a_request_may_come_in_any_pieces(tell: Tell) -> None:
    for pieces in every_split(b"GET /healthz HTTP/1.1\r\n\r\n"):
        assert tell(*pieces) == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "said", [b"halloo\r\n\r\n", b"GET /healthz\r\n\r\n", b"GET / SPDY/3\r\n\r\n", b"\r\n\r\n", b"\xff\x00\r\n\r\n"]
)
def test_what_is_no_request_is_a_bad_one(tell: Tell, said: bytes) -> None:
    assert tell(said) == b"HTTP/1.1 400 Bad Request\r\n"


def test_a_head_that_never_ends_is_too_large(tell: Tell) -> None:
    assert tell(b"GET / HTTP/1.1\r\nX: ", b"x" * LONGEST) == b"HTTP/1.1 431 Headers Too Large\r\n"


def test_who_leaves_amid_a_request_is_forgotten(server: Server, ask: Ask) -> None:
    with socket.create_connection(("127.0.0.1", server.address.port), timeout=PATIENCE) as client:
        client.sendall(b"GET /heal")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert ask("GET", "/healthz").read() == b"ok\n"
