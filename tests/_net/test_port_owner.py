import os
import socket
from pathlib import Path

import pytest

from halloo._net.port_owner import port_owner

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs proc(5)")


def me() -> tuple[str, int]:
    return Path("/proc/self/comm").read_text(encoding="utf-8").strip(), os.getpid()


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_who_listens_is_found_by_name_and_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert port_owner(port_of(listener)) == me()


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_who_listens_on_ipv6_is_found() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        assert port_owner(port_of(listener)) == me()


def test_who_listens_is_found_although_a_descriptor_goes_away_during_the_search() -> None:
    # The search lists this process' descriptors too, through one that takes the number left free here.
    free = os.open(os.devnull, os.O_RDONLY)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.close(free)
        assert port_owner(port_of(listener)) == me()


def test_nobody_holds_a_port_that_is_bound_only() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert port_owner(port_of(bound)) is None


def test_nobody_holds_a_port_that_is_connected_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        assert port_owner(port_of(client)) is None


def test_nobody_holds_a_port_any_more_after_closing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = port_of(listener)
    assert port_owner(port) is None
