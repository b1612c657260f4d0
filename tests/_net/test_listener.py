import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
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
from tests.conditions import TIMEOUT, linux, needs_ipv6


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALLOO_BIND", raising=False)


@needs_ipv6
def test_several_addresses_are_bound_in_order() -> None:
    with listen("[::1]:0", "127.0.0.1:0") as listener:
        assert [address.host for address in listener.addresses] == ["::1", "127.0.0.1"]
        assert listener.address == Address("tcp", *listener.sockets[0].getsockname()[:2])
        assert listener.address.port
    assert {sock.fileno() for sock in listener.sockets} == {-1}


def test_no_socket_stays_open_when_one_of_several_addresses_is_wrong(listener: Listener) -> None:
    with pytest.raises(AddressInUse):
        listen("127.0.0.1:0", listener.address)
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
            with listener.accept(timeout=0) as served:
                assert served.address == Address("tcp", *client.socket.getsockname())
                assert served.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_accepting_times_out_without_a_client(listener: Listener) -> None:
    for timeout in (0, 0.01):
        with pytest.raises(TimedOut, match=f"no client connected to {listener.address.place} within {timeout} seconds"):
            listener.accept(timeout=timeout)
    with listen("udp://127.0.0.1:0") as datagrams, pytest.raises(TimedOut, match="no datagram arrived at 127"):
        datagrams.accept_udp(timeout=0)


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


def test_a_port_can_be_reused_at_once_after_serving_a_connection() -> None:
    with listen(0, family=4) as listener, connect(listener.address) as client:
        listener.accept(timeout=TIMEOUT).close()  # the server closes first, so its side enters TIME_WAIT
        assert client.receive() == b""
    with listen(listener.address) as again:
        assert again.address == listener.address


# Worker processes.


@linux
def test_each_worker_has_separate_datagram_sockets_at_the_same_addresses() -> None:
    for host in ("127.0.0.1:", "[::1]:", "localhost:", ":", "[::]:", "0.0.0.0:"):
        with ExitStack() as cleanup:
            listeners = for_workers(cleanup, f"udp://{host}0")
            numbers = {sock.fileno() for listener in listeners for sock in listener.sockets}
            assert len(numbers) == 3 * len(listeners[0].sockets)
            assert [listener.addresses for listener in listeners] == [listeners[0].addresses] * 3


@linux
def test_reopen_binds_the_same_addresses(tmp_path: Path) -> None:
    families: tuple[Family | None, ...] = (4, 6, None)
    for scheme, family in product(("tcp", "udp"), families):
        place = f"{scheme}://:0"
        with listen(place, family=family, reuse_port=True) as listener, listener.reopen(buffer=None) as again:
            assert again.addresses == listener.addresses
    with listen("udp://:0") as listener, pytest.raises(AddressInUse):
        listener.reopen(buffer=None)
    with pytest.raises(UsageError, match=r"^reuse_port cannot open unix: more than once"):
        listen(f"unix:{tmp_path}/s", reuse_port=True)


def for_workers(cleanup: ExitStack, *places: str, count: int = 3) -> list[Listener]:
    first = cleanup.enter_context(listen(*places))
    return [first, *map(cleanup.enter_context, first.for_workers(count - 1, buffer=None))]


@linux
def test_workers_share_stream_sockets_beside_datagram_sockets() -> None:
    with ExitStack() as cleanup:
        alone = for_workers(cleanup, "127.0.0.1:0")
        assert alone == [alone[0]]
        listeners = for_workers(cleanup, "tcp://127.0.0.1:0", "udp://127.0.0.1:0")
        with connect(listeners[0].address), listeners[2].accept(timeout=TIMEOUT) as served:
            assert served.address.scheme == "tcp"
        assert [listener.addresses for listener in listeners] == [listeners[0].addresses] * 3


@linux
def test_the_port_of_a_single_worker_is_not_shared() -> None:
    with ExitStack() as cleanup:
        (listener,) = for_workers(cleanup, "udp://127.0.0.1:0", count=1)
        with pytest.raises(AddressInUse):
            listen(listener.address, reuse_port=True)


# Shutdown.


@linux
def test_datagrams_after_refuse_new_are_dropped_and_counted() -> None:
    with listen("udp://127.0.0.1:0") as listener, connect_udp(listener.address) as client:
        client.send(b"in time")
        listener.refuse_new(socket.SOCK_DGRAM)
        client.send(b"too late")
        with listener.accept_udp(timeout=TIMEOUT) as served:
            assert served.receive(timeout=TIMEOUT) == b"in time"
        assert listener.dropped == 1
