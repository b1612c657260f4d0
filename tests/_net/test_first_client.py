import socket
from contextlib import ExitStack

import pytest

from halloo._net.connector import connect, connect_udp
from halloo._net.first_client import first_client
from halloo._net.listener import Listener, listen
from halloo._net.readiness import deadline_ns
from tests.conditions import TIMEOUT
from tests.peers import reset

SHORT_TIMEOUT = 0.05  # seconds to wait for clients that stay silent


def first(listener: Listener, timeout: float = TIMEOUT, **options: int) -> tuple[bytes | None, list[str]]:
    """Return the first bytes of the first client, and why others were dropped."""
    dropped: list[str] = []
    found = first_client(listener, until_ns=deadline_ns(timeout), on_drop=dropped.append, **options)
    if not found:
        return None, dropped
    with found.connection:
        return found.data, dropped


def test_a_client_that_closes_without_a_byte_resets_or_is_silent_does_not_count(listener: Listener) -> None:
    with connect(listener.address) as scanner, connect(listener.address) as rude, connect(listener.address):
        places = [each.local_address.place for each in (scanner, rude)]
        scanner.close()
        reset(rude.socket)
        ends = "closed the connection without sending anything", "ended the connection with a reset"
        with connect(listener.address) as client:
            client.send(b"hello")
            assert first(listener) == (b"hello", [f"{place} {end}" for place, end in zip(places, ends, strict=True)])


def test_no_more_silent_clients_than_the_limit_are_held(listener: Listener) -> None:
    with ExitStack() as cleanup:
        silent = [cleanup.enter_context(connect(listener.address)) for _ in range(3)]
        client = cleanup.enter_context(connect(listener.address))
        client.send(b"hello")
        reason = "more than 2 clients have sent nothing; the oldest is dropped"
        assert first(listener, max_silent=2) == (b"hello", [reason])
        for each in silent:
            each.receive(timeout=TIMEOUT)  # all are closed afterwards
    with connect(listener.address):
        assert first(listener, SHORT_TIMEOUT) == (None, [])


@pytest.mark.parametrize("data", [b"hello", b""])
def test_a_datagram_counts_even_an_empty_one(data: bytes) -> None:
    with listen("udp://127.0.0.1:0") as listener, connect_udp(listener.address) as client:
        client.send(data)
        assert first(listener) == (data, [])


def test_a_failed_handshake_and_one_that_never_ends_hold_up_no_client() -> None:
    pytest.importorskip("trustme")
    with (
        listen("tls://127.0.0.1:0") as listener,
        socket.create_connection((listener.address.host, listener.address.port)),
        socket.create_connection((listener.address.host, listener.address.port)) as plain,
    ):
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        dropped: list[str] = []
        found = first_client(listener, until_ns=deadline_ns(SHORT_TIMEOUT), on_drop=dropped.append)
        name = "{}:{}".format(*plain.getsockname())
        assert (found, dropped) == (None, [f"{name} does not speak TLS"])
