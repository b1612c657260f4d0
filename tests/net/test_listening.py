import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from halloo.core.addresses import LOOPBACK, Address
from halloo.errors import AddressError, NotLocal, PortTaken, TimedOut, Unsupported
from halloo.net.connection import connect
from halloo.net.listening import Listener, listen

WAIT = 10.0  # seconds that no test takes


def has_ipv6() -> bool:
    try:
        listen("[::1]:0").close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs ::1")
needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs proc(5)")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALLOO_BIND", raising=False)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listen(0, family=4) as opened:
        yield opened


def hosts(listener: Listener) -> list[str | None]:
    return [address.host for address in listener.addresses]


def ports(listener: Listener) -> set[int]:
    return {address.port for address in listener.addresses}


# Where.


@needs_ipv6
def test_both_loopback_families_have_one_port() -> None:
    with listen(0) as listener:
        assert hosts(listener) == [*LOOPBACK]
        assert len(ports(listener)) == 1


@needs_ipv6
@pytest.mark.parametrize(("family", "host"), [(4, "127.0.0.1"), (6, "::1")])
def test_one_family_alone_can_be_had(family: int, host: str) -> None:
    with listen(0, family=family) as listener:
        assert hosts(listener) == [host]


@needs_ipv6
def test_localhost_is_both_families_whatever_the_resolver_says() -> None:
    with listen("localhost:0") as listener:
        assert hosts(listener) == [*LOOPBACK]


@needs_ipv6
@pytest.mark.parametrize("address", [":0", "[::]:0", ("", 0)])
def test_every_interface_is_both_families_on_one_port(address: str | tuple[str, int]) -> None:
    with listen(address) as listener:
        assert hosts(listener) == ["0.0.0.0", "::"]
        assert len(ports(listener)) == 1


def test_an_ip_address_is_that_alone() -> None:
    with listen("127.0.0.1:0") as listener:
        assert hosts(listener) == ["127.0.0.1"]


@needs_ipv6
def test_several_addresses_are_listened_on_in_their_order() -> None:
    with listen("[::1]:0", "127.0.0.1:0") as listener:
        assert hosts(listener) == ["::1", "127.0.0.1"]


def test_the_address_is_the_first_with_its_real_port(listener: Listener) -> None:
    assert listener.address == Address("tcp", *listener.sockets[0].getsockname())
    assert listener.address.port


@needs_ipv6
def test_the_environment_names_the_host_where_no_address_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLOO_BIND", "::1")
    with listen(0) as listener:
        assert hosts(listener) == ["::1"]


@needs_ipv6
def test_an_empty_host_in_the_environment_is_every_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLOO_BIND", "")
    with listen(0) as listener:
        assert hosts(listener) == ["0.0.0.0", "::"]


def test_a_named_host_is_stronger_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLOO_BIND", "203.0.113.1")
    with listen("127.0.0.1:0") as listener:
        assert hosts(listener) == ["127.0.0.1"]


# Where not.


def test_a_port_that_is_taken_is_named(listener: Listener) -> None:
    port = listener.address.port
    with pytest.raises(PortTaken, match=f"^port {port} on 127.0.0.1 is taken") as caught:
        listen(port, family=4)
    assert (caught.value.errno, caught.value.address) == (errno.EADDRINUSE, f"tcp://127.0.0.1:{port}")


@needs_proc
def test_who_holds_a_taken_port_is_named(listener: Listener) -> None:
    name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    with pytest.raises(PortTaken) as caught:
        listen(listener.address)
    assert caught.value.fact.endswith(f" by {name} (pid {os.getpid()})")


def test_instead_of_a_taken_port_another_is_offered(listener: Listener) -> None:
    with pytest.raises(PortTaken) as caught:
        listen(listener.address)
    assert caught.value.remedy == "stop it, or choose another: halloo serve 9999"


@needs_ipv6
def test_a_port_that_is_taken_in_the_second_family_alone_is_taken() -> None:
    with listen(0, family=6) as listener, pytest.raises(PortTaken, match="on ::1 is taken"):
        listen(listener.address.port)


def test_nothing_stays_open_when_one_of_several_addresses_is_taken(listener: Listener) -> None:
    with pytest.raises(PortTaken):
        listen("127.0.0.1:0", listener.address)


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(NotLocal, match=r"cannot listen on 203\.0\.113\.1:0: it is no address of this machine"):
        listen("203.0.113.1:0")


def test_an_address_of_the_other_family_cannot_be_listened_on() -> None:
    with pytest.raises(AddressError, match=r"127\.0\.0\.1 is no IPv6 address; leave -6 out"):
        listen("127.0.0.1:0", family=6)


@pytest.mark.parametrize("host", ["halloo.invalid", "a..b", "a" * 64])
def test_a_name_that_nobody_has_cannot_be_listened_on(host: str) -> None:
    with pytest.raises(NotLocal, match=f"no address is known for '{host}'"):
        listen((host, 0))


def test_a_scheme_that_does_not_exist_yet_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="use tcp://"):
        listen("udp://localhost:0")


def test_what_is_no_address_is_not_listened_on() -> None:
    with pytest.raises(AddressError):
        listen("host:http")


# Accepting.


@needs_ipv6
def test_clients_of_both_families_are_accepted() -> None:
    with listen(0) as listener:
        for address in listener.addresses:
            with connect(address) as client, listener.accept(timeout=WAIT) as served:
                assert served.address == Address("tcp", *client.socket.getsockname()[:2])


def test_clients_are_accepted_in_the_order_they_came(listener: Listener) -> None:
    with connect(listener.address) as first, connect(listener.address) as second:
        for client in (first, second):
            with listener.accept(timeout=WAIT) as served:
                assert served.address.port == client.socket.getsockname()[1]


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_accepting_ends_when_nobody_comes_in_time(listener: Listener, timeout: float) -> None:
    with pytest.raises(TimedOut, match=f"nobody connected to {listener.address.place} within {timeout} seconds"):
        listener.accept(timeout=timeout)


def test_who_has_come_is_accepted_without_waiting(listener: Listener) -> None:
    with connect(listener.address), listener.accept(timeout=0) as served:
        assert served.address.host == "127.0.0.1"


def test_connections_inherit_what_was_set_on_the_listener(listener: Listener) -> None:
    with connect(listener.address), listener.accept(timeout=WAIT) as served:
        assert served.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_listener_is_closed_with_its_block() -> None:
    with listen(0) as listener:
        pass
    assert {sock.fileno() for sock in listener.sockets} == {-1}


def test_a_port_can_be_taken_again_at_once_after_a_connection_was_served() -> None:
    with listen(0, family=4) as listener, connect(listener.address) as client:
        listener.accept(timeout=WAIT).close()  # the server closes first: its end is what lingers in TIME_WAIT
        assert client.receive() == b""
    with listen(listener.address) as again:
        assert again.address == listener.address
