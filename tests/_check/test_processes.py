"""Tests of inspecting processes and sockets, on this very process."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from halloo._check import processes

THIS = os.getpid()


def test_a_process_is_in_its_session_and_uses_memory_and_cpu_time() -> None:
    assert THIS in processes.session(os.getsid(0))
    assert not processes.is_zombie(THIS)
    assert processes.resident_memory(THIS) >= processes.proportional_memory(THIS) > 1 << 20
    assert processes.cpu_time(THIS) > 0


def test_descriptors_are_counted() -> None:
    before = processes.descriptors(THIS)
    with socket.socket():
        assert processes.descriptors(THIS) == before + 1


def test_a_process_that_has_exited_uses_nothing() -> None:
    gone, used = 2**22 + 1, processes
    for measure in (used.resident_memory, used.proportional_memory, used.cpu_time, used.cpu_demand, used.descriptors):
        assert measure(gone) == 0


def test_a_listener_is_found_by_its_owner_but_not_a_socket_that_is_only_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock, socket.socket() as other:
        port = sock.getsockname()[1]
        other.bind(("127.0.0.1", 0))
        found = processes.listening_ports([THIS])
        assert found[port] == "127.0.0.1"
        assert other.getsockname()[1] not in found
        assert processes.listening_ports([]) == {}


def test_a_bound_datagram_socket_is_found_by_its_owner() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert processes.listening_ports([THIS], "udp")[sock.getsockname()[1]] == "127.0.0.1"


def test_a_listening_unix_socket_is_found_by_its_path() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as sock:
        path = str(Path(folder) / "echo")
        sock.bind(path)
        assert not processes.listens_at(path)
        sock.listen()
        assert processes.listens_at(path)


def test_the_other_end_of_a_connection_is_found() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        client.sendall(b"unread")
        server.recv(1, socket.MSG_PEEK)
        entry = processes.other_end(client)
        assert entry
        assert (entry.host, entry.unread) == ("127.0.0.1", 6)
        assert processes.other_end(listener) is None


@pytest.mark.parametrize(("only", "found"), [(False, True), (True, False)], ids=["both families", "IPv6 alone"])
def test_an_ipv6_wildcard_socket_serves_ipv4_unless_it_is_ipv6_only(only: bool, found: bool) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind(("::", 0))
        assert processes.bound_to_any([THIS], sock.getsockname()[1], "udp") == found
