import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from halloo._core.address import Address, parse
from halloo._core.arguments import Family
from halloo._core.tls_options import ClientTLS
from halloo._net.connection import Connection
from halloo._net.connector import Resolve, at_once, connect, connect_udp, connecting, dial, in_a_thread
from halloo._net.duplex import duplex
from halloo._net.listener import Listener, listen
from halloo._net.readiness import deadline_ns, run_steps
from halloo._server.server import Server
from halloo.errors import (
    AddressError,
    LocalError,
    NotPermitted,
    PeerError,
    Refused,
    TimedOut,
    UnknownHost,
    UsageError,
)
from tests.peers import datagram_socket, full, unused_datagram_port, unused_port

Pair = tuple[Connection, Connection]

TIMEOUT = 10.0  # seconds, longer than any passing test takes
SHORT_TIMEOUT = 0.01  # seconds to wait for a peer that stays silent
BULK = bytes(range(256)) * 4096


def has_ipv6() -> bool:
    try:
        listen(0, family=6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs ::1")


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listen(0, family=4) as opened:
        yield opened


@pytest.fixture
def pair(listener: Listener) -> Iterator[Pair]:
    with connect(listener.address, timeout=TIMEOUT) as client, listener.accept(timeout=TIMEOUT) as server:
        server.timeout = TIMEOUT
        yield client, server


@pytest.fixture
def refusing() -> Iterator[tuple[str, int]]:
    """Yield an address that is bound but does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


def test_each_side_knows_the_address_of_the_other(pair: Pair) -> None:
    client, server = pair
    assert client.address == Address("tcp", *server.socket.getsockname())
    assert server.address == Address("tcp", *client.socket.getsockname())


def test_the_connect_timeout_becomes_the_connection_timeout(listener: Listener) -> None:
    with connect(listener.address, timeout=0.01) as client, pytest.raises(TimedOut):
        client.receive()


def test_a_port_without_a_listener_refuses_the_connection(refusing: tuple[str, int]) -> None:
    with pytest.raises(Refused) as caught:
        connect(refusing)
    assert (caught.value.errno, caught.value.address) == (errno.ECONNREFUSED, f"tcp://127.0.0.1:{refusing[1]}")


def test_a_refusal_suggests_the_command_that_starts_a_server(refusing: tuple[str, int]) -> None:
    with pytest.raises(ConnectionRefusedError, match=f"start a server there with: halloo serve {refusing[1]}$"):
        connect(refusing)


def test_a_connection_to_oneself_is_refused() -> None:
    own_address = ("127.0.0.1", unused_port())
    with pytest.raises(Refused):
        run_steps(connecting(parse(own_address), timeout=TIMEOUT, prepare=lambda sock: sock.bind(own_address)))


def test_connect_accepts_an_infinite_timeout(listener: Listener) -> None:
    for timeout in (None, 1e300):
        connect(listener.address, timeout=timeout).close()


@pytest.mark.skipif(sys.platform != "linux", reason="the behaviour of a full backlog depends on the system")
def test_connecting_to_a_full_backlog_times_out() -> None:
    with full() as place, pytest.raises(TimedOut, match=r"does not answer \(timed out\)") as caught:
        connect(place, timeout=0.01)
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize("host", ["halloo.invalid", "a..b", "a" * 64])
def test_an_unknown_host_name_raises_unknown_host(host: str) -> None:
    with pytest.raises(UnknownHost, match=f"no address is known for '{host}'"):
        connect((host, 9))


def test_connecting_to_port_0_is_refused() -> None:
    with pytest.raises(UsageError, match="port 0 is for servers"):
        connect(0)


def test_connecting_to_an_invalid_address_is_refused() -> None:
    with pytest.raises(AddressError):
        connect("host:http")


@pytest.mark.parametrize("host", ["localhost", ""])
def test_family_4_connects_over_ipv4(listener: Listener, host: str) -> None:
    with connect((host, listener.address.port), family=4) as client:
        assert client.address.host == "127.0.0.1"


@needs_ipv6
def test_family_6_connects_over_ipv6() -> None:
    with listen(0, family=6) as listener, connect(("::1", listener.address.port), family=6) as client:
        assert client.address.host == "::1"


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", 6), ("::1", 4)])
def test_an_address_of_the_other_family_is_refused(host: str, family: Family) -> None:
    with pytest.raises(AddressError, match=f"{host} is not an IPv{family} address; leave family= out"):
        connect((host, 9), family=family)


# Several addresses for a name. The system's resolver is replaced.


def resolve_to(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_no_failed_attempts_are_recorded_when_the_first_address_answers(pair: Pair) -> None:
    assert pair[0].attempts == ()


def test_failed_addresses_are_recorded_as_attempts(
    listener: Listener, refusing: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, refusing, ("127.0.0.1", listener.address.port))
    with connect("host") as client:
        [attempt] = client.attempts
    assert (client.address, attempt.address) == (listener.address, Address("tcp", *refusing))
    assert isinstance(attempt.error, Refused)
    assert 0 <= attempt.seconds < TIMEOUT


def test_when_all_addresses_fail_the_last_error_is_raised(
    refusing: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, refusing, refusing)
    with pytest.raises(Refused, match="host:8888"):
        connect("host")


def test_a_failed_connection_is_a_peer_error() -> None:
    with pytest.raises(PeerError) as caught:
        connect(("a..b", 9))
    assert caught.value.exit_code == 1


# Datagrams.


def test_connect_udp_sends_no_datagram() -> None:
    with (
        datagram_socket() as server,
        connect_udp(f"udp://127.0.0.1:{server.getsockname()[1]}", timeout=SHORT_TIMEOUT) as client,
    ):
        client.send(b"first")
        assert (server.recv(100), client.address) == (b"first", Address("udp", *server.getsockname()))


def test_the_connect_timeout_becomes_the_datagram_timeout() -> None:
    with datagram_socket() as server:
        place = f"udp://127.0.0.1:{server.getsockname()[1]}"
        with (
            connect_udp(place, timeout=SHORT_TIMEOUT) as client,
            pytest.raises(TimedOut, match=f"within {SHORT_TIMEOUT} seconds"),
        ):
            client.receive()


def test_datagrams_go_to_the_next_address_when_the_first_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unused = ("127.0.0.1", unused_datagram_port())
    with datagram_socket() as server:
        resolve_to(monkeypatch, unused, server.getsockname())
        with connect_udp("udp://host") as client:
            client.send(b"hello")
            client.check_refused()
            assert server.recv(100) == b"hello"


@needs_ipv6
@pytest.mark.parametrize(("family", "host"), [(4, "127.0.0.1"), (6, "::1")])
def test_family_applies_to_datagrams_too(family: Family, host: str) -> None:
    with connect_udp("udp://localhost:9", family=family) as client:
        assert client.address == Address("udp", host, 9)


def test_datagrams_have_no_tls() -> None:
    with pytest.raises(UsageError, match="tls is for tls://, not udp:; write tls:// before the host"):
        dial(parse("udp://localhost"), timeout=TIMEOUT, tls=ClientTLS(insecure=True))


# Unix sockets. The path is relative, because the paths of temporary folders may be too long (unix(7)).


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("needs Unix sockets")
    monkeypatch.chdir(tmp_path)
    return "door"


def test_a_unix_socket_echoes(path: str) -> None:
    with Server(f"unix:{path}"), connect(f"unix:{path}") as client:
        client.send(b"hello")
        client.send_eof()
        assert (b"".join(client), str(client.address)) == (b"hello", "unix:door")


def test_a_unix_socket_sends_and_receives_concurrently(path: str) -> None:
    received = bytearray()
    with Server(f"unix:{path}"), connect(f"unix:{path}") as client:
        done = duplex(client, [BULK], received.extend, timeout=TIMEOUT)
    assert (done.received_bytes, received == BULK) == (len(BULK), True)


def test_both_sides_of_a_unix_socket_know_its_path(path: str) -> None:
    with (
        listen(f"unix:{path}") as listener,
        connect(listener.address) as client,
        listener.accept(timeout=TIMEOUT) as server,
    ):
        assert client.address == server.address == Address("unix", None, 0, "door")


def test_a_missing_unix_socket_refuses_the_connection(path: str) -> None:
    with pytest.raises(Refused, match=r"nothing is listening on door .*: halloo serve unix:door$") as caught:
        connect(f"unix:{path}")
    assert caught.value.errno == errno.ENOENT


def test_a_stale_unix_socket_refuses_the_connection(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(path)
    with pytest.raises(Refused, match=r"nothing is listening on door .*: halloo serve unix:door$") as caught:
        connect(f"unix:{path}")
    assert caught.value.errno == errno.ECONNREFUSED


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is permitted to root")
def test_a_unix_socket_without_permission_raises_not_permitted(path: str) -> None:
    with listen(f"unix:{path}"):
        Path(path).chmod(0)
        with pytest.raises(NotPermitted, match="connecting to door is not permitted; ask its owner"):
            connect(f"unix:{path}")


@pytest.mark.skipif(sys.platform != "linux", reason="the behaviour of a full backlog depends on the system")
def test_a_unix_socket_with_a_full_backlog_times_out(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(path)
        busy.listen(0)  # room for one
        with connect(f"unix:{path}"), pytest.raises(TimedOut, match="its queue is full"):
            connect(f"unix:{path}")


def test_a_unix_path_that_is_too_long_is_refused(path: str) -> None:
    with pytest.raises(LocalError, match="longer than"):
        connect(f"unix:{path * 100}")


@pytest.mark.parametrize("resolve", [at_once, in_a_thread])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_resolving_returns_the_addresses_and_the_time_taken(resolve: Resolve, host: str) -> None:
    places, took = run_steps(resolve(parse(f"{host}:9"), 4, deadline_ns(TIMEOUT)))
    assert places[0] == (socket.AF_INET, ("127.0.0.1", 9))
    assert 0 < took < TIMEOUT * 1e9


@pytest.mark.parametrize("resolve", [at_once, in_a_thread])
def test_resolving_an_unknown_host_name_raises_unknown_host(resolve: Resolve) -> None:
    with pytest.raises(UnknownHost, match=r"no address is known for 'halloo\.invalid'"):
        run_steps(resolve(parse("halloo.invalid:9"), None, deadline_ns(TIMEOUT)))


def test_an_ip_address_is_resolved_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "Thread", None)
    with pytest.raises(StopIteration) as caught:
        next(in_a_thread(parse("127.0.0.1:9"), None, None))
    assert caught.value.value[0] == [(socket.AF_INET, ("127.0.0.1", 9))]


def test_a_slow_resolver_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    threads: list[threading.Thread] = []

    def slow_resolver(*_: object, **__: object) -> list[object]:
        threads.append(threading.current_thread())
        released.wait(TIMEOUT)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow_resolver)
    with pytest.raises(TimedOut, match=r"the resolver has not found 'slow' in time \(timed out\); try again later"):
        run_steps(in_a_thread(parse("slow:9"), None, deadline_ns(0.01)))
    released.set()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@pytest.mark.parametrize("resolve", [at_once, in_a_thread])
def test_an_error_of_the_resolver_is_raised_by_the_caller(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> list[object]:
        raise OSError(errno.EMFILE, "no descriptor is left")

    monkeypatch.setattr(socket, "getaddrinfo", full)
    with pytest.raises(OSError, match="no descriptor is left"):
        run_steps(resolve(parse("host:9"), None, deadline_ns(TIMEOUT)))


def test_without_a_free_thread_the_resolver_is_called_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    places, _ = run_steps(in_a_thread(parse("localhost:9"), 4, deadline_ns(TIMEOUT)))
    assert places
