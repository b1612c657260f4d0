import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from halloo._core.address import Address
from halloo._core.arguments import Family
from halloo._net.connection import Connection
from halloo._net.connector import connect, connect_udp
from halloo._net.datagrams import DatagramConnection
from halloo._net.listener import Listener, listen
from halloo.errors import AddressError, AddressInUse, ConnectionClosed, TimedOut, UsageError
from tests.blocked import until_blocked

TIMEOUT = 10.0  # seconds, longer than any passing test takes


def has_ipv6() -> bool:
    try:
        listen("[::1]:0").close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs ::1")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALLOO_BIND", raising=False)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listen(0, family=4) as opened:
        yield opened


def hosts(listener: Listener) -> list[str | None]:
    return [address.host for address in listener.addresses]


@needs_ipv6
def test_several_addresses_are_bound_in_order() -> None:
    with listen("[::1]:0", "127.0.0.1:0") as listener:
        assert hosts(listener) == ["::1", "127.0.0.1"]


def test_address_is_the_first_address_with_its_assigned_port(listener: Listener) -> None:
    assert listener.address == Address("tcp", *listener.sockets[0].getsockname())
    assert listener.address.port


def test_no_socket_stays_open_when_one_of_several_addresses_is_in_use(listener: Listener) -> None:
    with pytest.raises(AddressInUse):
        listen("127.0.0.1:0", listener.address)


def test_listening_on_an_invalid_address_is_refused() -> None:
    with pytest.raises(AddressError):
        listen("host:http")


# Accepting.


@needs_ipv6
def test_clients_of_both_families_are_accepted() -> None:
    with listen(0) as listener:
        for address in listener.addresses:
            with connect(address) as client, listener.accept(timeout=TIMEOUT) as served:
                assert served.address == Address("tcp", *client.socket.getsockname()[:2])


def test_clients_are_accepted_in_order_of_connection(listener: Listener) -> None:
    with connect(listener.address) as first, connect(listener.address) as second:
        for client in (first, second):
            with listener.accept(timeout=TIMEOUT) as served:
                assert served.address.port == client.socket.getsockname()[1]


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_accept_times_out_without_a_client(listener: Listener, timeout: float) -> None:
    with pytest.raises(TimedOut, match=f"no client connected to {listener.address.place} within {timeout} seconds"):
        listener.accept(timeout=timeout)


def test_accept_udp_times_out_without_a_datagram() -> None:
    with listen("udp://127.0.0.1:0") as listener, pytest.raises(TimedOut, match="no datagram arrived at 127"):
        listener.accept_udp(timeout=0)


@needs_ipv6
def test_datagram_clients_of_both_families_are_accepted() -> None:
    with listen("udp://0") as listener:
        for address in listener.addresses:
            with connect_udp(address) as client:
                client.send(b"hello")
                with listener.accept_udp(timeout=TIMEOUT) as served:
                    assert (served.receive(), served.address.port) == (b"hello", client.socket.getsockname()[1])


@pytest.mark.parametrize(("place", "accept"), [("127.0.0.1:0", "accept"), ("udp://127.0.0.1:0", "accept_udp")])
def test_close_unblocks_an_accept_in_another_thread(place: str, accept: str) -> None:
    with listen(place) as listener, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(getattr(listener, accept))
        until_blocked(listener)
        listener.close()
        with pytest.raises(ConnectionClosed, match=r"the listener on 127\.0\.0\.1:\d+ is closed"):
            waiting.result()


def test_accept_any_accepts_stream_and_datagram_clients() -> None:
    with listen("127.0.0.1:0", "udp://127.0.0.1:0") as listener:
        stream, datagram = listener.addresses
        with connect(stream), listener.accept_any(timeout=TIMEOUT) as served:
            assert isinstance(served, Connection)
        with connect_udp(datagram) as client:
            client.send(b"hello")
            with listener.accept_any(timeout=TIMEOUT) as served:
                assert isinstance(served, DatagramConnection)


def test_accept_and_accept_udp_refuse_listeners_of_the_other_kind() -> None:
    with listen("127.0.0.1:0") as streams, pytest.raises(UsageError, match="no udp:// address is listened on"):
        streams.accept_udp()
    with listen("udp://127.0.0.1:0") as datagrams, pytest.raises(UsageError, match="use accept_udp"):
        datagrams.accept()


def test_a_queued_client_is_accepted_with_a_timeout_of_zero(listener: Listener) -> None:
    with connect(listener.address), listener.accept(timeout=0) as served:
        assert served.address.host == "127.0.0.1"


def test_accepted_connections_inherit_the_listeners_options(listener: Listener) -> None:
    with connect(listener.address), listener.accept(timeout=TIMEOUT) as served:
        assert served.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_leaving_the_with_block_closes_the_listener() -> None:
    with listen(0) as listener:
        pass
    assert {sock.fileno() for sock in listener.sockets} == {-1}


def test_a_port_can_be_reused_at_once_after_serving_a_connection() -> None:
    with listen(0, family=4) as listener, connect(listener.address) as client:
        listener.accept(timeout=TIMEOUT).close()  # the server closes first, so its side enters TIME_WAIT
        assert client.receive() == b""
    with listen(listener.address) as again:
        assert again.address == listener.address


# Worker processes.


needs_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="on other systems workers share one socket"
)
PLACES = ["udp://127.0.0.1:0", "udp://[::1]:0", "udp://localhost:0", "udp://:0", "udp://[::]:0", "udp://0.0.0.0:0"]


def for_workers(cleanup: ExitStack, *places: str, count: int = 3) -> list[Listener]:
    first = cleanup.enter_context(listen(*places))
    listeners = first.for_workers(count, buffer=None)
    for listener in listeners:
        cleanup.callback(listener.close)
    return listeners


@needs_linux
@pytest.mark.parametrize("place", PLACES)
def test_each_worker_has_separate_datagram_sockets_at_the_same_addresses(place: str) -> None:
    with ExitStack() as cleanup:
        listeners = for_workers(cleanup, place)
        assert len({sock.fileno() for listener in listeners for sock in listener.sockets}) == 3 * len(
            listeners[0].sockets
        )
        assert [listener.addresses for listener in listeners] == [listeners[0].addresses] * 3


def test_workers_share_stream_listeners() -> None:
    with ExitStack() as cleanup:
        listeners = for_workers(cleanup, "127.0.0.1:0")
        assert listeners == [listeners[0]]


@needs_linux
def test_workers_share_stream_sockets_beside_datagram_sockets() -> None:
    with ExitStack() as cleanup:
        listeners = for_workers(cleanup, "tcp://127.0.0.1:0", "udp://127.0.0.1:0")
        with connect(listeners[0].address), listeners[2].accept(timeout=TIMEOUT) as served:
            assert served.address.scheme == "tcp"
        assert [listener.addresses for listener in listeners] == [listeners[0].addresses] * 3


@needs_linux
def test_the_port_of_a_single_worker_is_not_shared() -> None:
    with ExitStack() as cleanup:
        (listener,) = for_workers(cleanup, "udp://127.0.0.1:0", count=1)
        with pytest.raises(AddressInUse):
            listen(listener.address, reuse_port=True)


@needs_linux
@pytest.mark.parametrize("family", [4, 6, None])
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_reopen_binds_the_same_addresses(scheme: str, family: Family | None) -> None:
    with listen(f"{scheme}://:0", family=family, reuse_port=True) as listener, listener.reopen(buffer=None) as again:
        assert again.addresses == listener.addresses


@needs_linux
def test_a_unix_socket_cannot_share_its_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^reuse_port cannot open unix: more than once"):
        listen(f"unix:{tmp_path}/s", reuse_port=True)


def test_reopen_without_reuse_port_is_refused() -> None:
    with listen("udp://:0") as listener, pytest.raises(AddressInUse):
        listener.reopen(buffer=None)


# Shutdown.


@needs_linux
def test_datagrams_after_refuse_new_are_dropped_and_counted() -> None:
    with listen("udp://127.0.0.1:0") as listener, connect_udp(listener.address) as client:
        client.send(b"in time")
        listener.refuse_new(socket.SOCK_DGRAM)
        client.send(b"too late")
        with listener.accept_udp(timeout=TIMEOUT) as served:
            assert served.receive(timeout=TIMEOUT) == b"in time"
        assert listener.dropped == 1
