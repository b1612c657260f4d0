"""Tests of what the system tells from outside: of this very process, and of its sockets."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from halloo._check import processes

US = os.getpid()


def test_a_process_is_in_its_session() -> None:
    assert US in processes.session(os.getsid(0))


def test_a_process_that_runs_is_no_zombie() -> None:
    assert not processes.is_zombie(US)


def test_memory_and_work_are_counted() -> None:
    assert processes.resident(US) >= processes.owned(US) > 1 << 20
    assert processes.worked(US) > 0


def test_descriptors_are_counted() -> None:
    before = processes.descriptors(US)
    with socket.socket():
        assert processes.descriptors(US) == before + 1


@pytest.mark.parametrize("of", ["resident", "owned", "worked", "descriptors"])
def test_a_process_that_has_gone_uses_nothing(of: str) -> None:
    assert getattr(processes, of)(2**22 + 1) == 0


def test_a_listener_is_found_by_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        assert processes.listening([US])[port] == "127.0.0.1"
        assert processes.listening([]) == {}


def test_a_bound_datagram_socket_is_found_by_its_owner() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert processes.listening([US], "udp")[sock.getsockname()[1]] == "127.0.0.1"


def test_a_socket_that_only_has_a_port_does_not_listen() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert sock.getsockname()[1] not in processes.listening([US])


def test_a_path_is_listened_at() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as sock:
        path = str(Path(folder) / "echo")
        sock.bind(path)
        assert not processes.listens_at(path)
        sock.listen()
        assert processes.listens_at(path)


def test_a_connection_is_seen_from_the_servers_side() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        client.sendall(b"unread")
        server.recv(1, socket.MSG_PEEK)
        entry = processes.served(listener.getsockname()[1], client.getsockname()[1])
        assert entry
        assert (entry.state, entry.unread) == (processes.ESTABLISHED, 6)


def test_a_mark_is_found_in_the_environment() -> None:
    variable = next(iter(Path(f"/proc/{US}/environ").read_text(errors="replace").split("\0")))
    assert US in processes.marked(variable)
    assert processes.marked("HALLOO_CHECK=nobody") == []


@pytest.mark.parametrize(("only", "found"), [(False, True), (True, False)], ids=["both families", "IPv6 alone"])
def test_a_socket_on_every_address_serves_ipv4_unless_it_is_of_ipv6_alone(only: bool, found: bool) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind(("::", 0))
        assert processes.everywhere([US], sock.getsockname()[1], "udp") == found
