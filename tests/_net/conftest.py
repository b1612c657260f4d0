"""Connections for the tests of sockets, unless a file has its own."""

from collections.abc import Iterator

import pytest

from halloo._net.connector import connect
from halloo._net.listener import Listener, listen
from tests.conditions import TIMEOUT, Pair


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listen("127.0.0.1:0") as opened:
        yield opened


@pytest.fixture
def pair(listener: Listener) -> Iterator[Pair]:
    with connect(listener.address, timeout=TIMEOUT) as client, listener.accept(timeout=TIMEOUT) as server:
        server.timeout = TIMEOUT
        yield client, server
