"""Tests of inspecting processes and sockets, on this very process."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from halloo._check import processes
from tests.namespace import in_namespace

THIS = os.getpid()


def test_a_process_uses_memory_and_cpu_time() -> None:
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


@pytest.mark.parametrize("host", ["127.0.1.1", "127.0.0.1", "", "::1", "::", "::ffff:127.0.0.1", "::ffff:127.0.1.1"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_server_is_dialled_where_it_listens(kind: str, host: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("needs IPv6")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as sock:
        if host.startswith("::ffff:"):  # as Java binds an IPv4 address
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, 0))
        if kind == "tcp":
            sock.listen()
        port = sock.getsockname()[1]
        dialled = {"": "127.0.0.1", "::": "::1"}.get(host, host.removeprefix("::ffff:"))
        assert processes.listening_ports([THIS], kind)[port] == dialled


def test_a_server_on_several_addresses_is_dialled_on_loopback() -> None:
    assert processes.host_to_dial(["192.0.2.1", "::1"]) == "::1"
    assert processes.host_to_dial(["192.0.2.1", "0.0.0.0"]) == "127.0.0.1"
    assert processes.host_to_dial(["192.0.2.1", "192.0.2.2"]) == "192.0.2.1"


IN_NAMESPACE = """
from halloo._check import processes
sys.stderr = sys.stdout
{setup}
with socket.socket(socket.AF_INET6) as sock:
    sock.bind({address})
    sock.listen()
    print(processes.listening_ports([os.getpid()])[sock.getsockname()[1]])
"""


def test_a_link_local_address_keeps_its_interface(tmp_path: Path) -> None:
    setup = "ip('address add fe80::7/64 dev lo nodad')"
    code = IN_NAMESPACE.format(setup=setup, address="('fe80::7', 0, 0, socket.if_nametoindex('lo'))")
    assert in_namespace(tmp_path, code) == "fe80::7%lo\n"


def test_without_an_ipv6_loopback_address_a_wildcard_socket_is_dialled_over_ipv4(tmp_path: Path) -> None:
    code = IN_NAMESPACE.format(setup="ip('address del ::1/128 dev lo')", address="('::', 0)")
    assert in_namespace(tmp_path, code) == "127.0.0.1\n"


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


def test_clients_that_wait_for_accept_are_counted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        port = listener.getsockname()[1]
        assert processes.unaccepted(port) == 1
        listener.accept()[0].close()
        assert processes.unaccepted(port) == 0
    assert processes.unaccepted(port) == 0


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
