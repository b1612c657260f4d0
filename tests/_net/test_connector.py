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

WAIT = 10.0  # seconds that no test takes
MOMENT = 0.01  # seconds that a peer which stays silent is given
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
    with connect(listener.address, timeout=WAIT) as near, listener.accept(timeout=WAIT) as far:
        far.timeout = WAIT
        yield near, far


@pytest.fixture
def unheard() -> Iterator[tuple[str, int]]:
    """Give an address that is taken, but not listened on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


def test_both_ends_know_each_other(pair: Pair) -> None:
    near, far = pair
    assert near.address == Address("tcp", *far.socket.getsockname())
    assert far.address == Address("tcp", *near.socket.getsockname())


def test_the_timeout_of_connecting_stays_that_of_the_connection(listener: Listener) -> None:
    with connect(listener.address, timeout=0.01) as near, pytest.raises(TimedOut):
        near.receive()


def test_a_port_that_nobody_listens_on_refuses(unheard: tuple[str, int]) -> None:
    with pytest.raises(Refused) as caught:
        connect(unheard)
    assert (caught.value.errno, caught.value.address) == (errno.ECONNREFUSED, f"tcp://127.0.0.1:{unheard[1]}")


def test_who_is_refused_is_told_how_to_start_a_server(unheard: tuple[str, int]) -> None:
    with pytest.raises(ConnectionRefusedError, match=f"start a server there with: halloo serve {unheard[1]}$"):
        connect(unheard)


def test_a_connection_to_oneself_is_refused() -> None:
    here = ("127.0.0.1", unused_port())
    with pytest.raises(Refused):
        run_steps(connecting(parse(here), timeout=WAIT, prepare=lambda sock: sock.bind(here)))


def test_one_may_wait_for_ever(listener: Listener) -> None:
    for timeout in (None, 1e300):
        connect(listener.address, timeout=timeout).close()


@pytest.mark.skipif(sys.platform != "linux", reason="how a full queue behaves is the system's choice")
def test_a_server_that_lets_nobody_in_times_out() -> None:
    with full() as place, pytest.raises(TimedOut, match=r"does not answer \(timed out\)") as caught:
        connect(place, timeout=0.01)
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize("host", ["halloo.invalid", "a..b", "a" * 64])
def test_a_name_that_nobody_has_is_unknown(host: str) -> None:
    with pytest.raises(UnknownHost, match=f"no address is known for '{host}'"):
        connect((host, 9))


def test_port_0_is_for_servers() -> None:
    with pytest.raises(UsageError, match="port 0 is for servers"):
        connect(0)


def test_what_is_no_address_is_not_connected_to() -> None:
    with pytest.raises(AddressError):
        connect("host:http")


@pytest.mark.parametrize("host", ["localhost", ""])
def test_family_4_is_kept_to(listener: Listener, host: str) -> None:
    with connect((host, listener.address.port), family=4) as near:
        assert near.address.host == "127.0.0.1"


@needs_ipv6
def test_family_6_is_kept_to() -> None:
    with listen(0, family=6) as listener, connect(("::1", listener.address.port), family=6) as near:
        assert near.address.host == "::1"


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", 6), ("::1", 4)])
def test_an_address_of_the_other_family_is_a_contradiction(host: str, family: Family) -> None:
    with pytest.raises(AddressError, match=f"{host} is not an IPv{family} address; leave family= out"):
        connect((host, 9), family=family)


# More than one address for a name. The resolver is the system's, and stands outside.


def resolve_to(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_a_first_address_that_answers_is_the_only_attempt(pair: Pair) -> None:
    assert pair[0].attempts == ()


def test_the_addresses_that_failed_are_recorded(
    listener: Listener, unheard: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, unheard, ("127.0.0.1", listener.address.port))
    with connect("host") as near:
        [attempt] = near.attempts
    assert (near.address, attempt.address) == (listener.address, Address("tcp", *unheard))
    assert isinstance(attempt.error, Refused)
    assert 0 <= attempt.seconds < WAIT


def test_when_all_addresses_fail_the_last_says_why(unheard: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, unheard, unheard)
    with pytest.raises(Refused, match="host:8888"):
        connect("host")


def test_a_failed_connection_is_a_failure_of_the_peer() -> None:
    with pytest.raises(PeerError) as caught:
        connect(("a..b", 9))
    assert caught.value.exit_code == 1


# Datagrams.


def test_connecting_sends_no_datagram_of_its_own() -> None:
    with datagram_socket() as far, connect_udp(f"udp://127.0.0.1:{far.getsockname()[1]}", timeout=MOMENT) as near:
        near.send(b"first")
        assert (far.recv(100), near.address) == (b"first", Address("udp", *far.getsockname()))


def test_the_timeout_of_connecting_stays_that_of_the_datagrams() -> None:
    with datagram_socket() as far:
        place = f"udp://127.0.0.1:{far.getsockname()[1]}"
        with connect_udp(place, timeout=MOMENT) as near, pytest.raises(TimedOut, match=f"within {MOMENT} seconds"):
            near.receive()


def test_datagrams_go_to_the_next_address_of_a_name_where_the_first_has_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nobody = ("127.0.0.1", unused_datagram_port())
    with datagram_socket() as far:
        resolve_to(monkeypatch, nobody, far.getsockname())
        with connect_udp("udp://host") as near:
            near.send(b"hello")
            near.check_refused()
            assert far.recv(100) == b"hello"


@needs_ipv6
@pytest.mark.parametrize(("family", "host"), [(4, "127.0.0.1"), (6, "::1")])
def test_a_family_is_kept_to_for_datagrams_too(family: Family, host: str) -> None:
    with connect_udp("udp://localhost:9", family=family) as near:
        assert near.address == Address("udp", host, 9)


def test_datagrams_have_no_tls() -> None:
    with pytest.raises(UsageError, match="tls is for tls://, not udp:; write tls:// before the host"):
        dial(parse("udp://localhost"), timeout=WAIT, tls=ClientTLS(insecure=True))


# Unix sockets. The path is relative, because those of temporary folders may be too long (unix(7)).


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("needs Unix sockets")
    monkeypatch.chdir(tmp_path)
    return "door"


def test_a_unix_socket_echoes(path: str) -> None:
    with Server(f"unix:{path}"), connect(f"unix:{path}") as near:
        near.send(b"hello")
        near.send_eof()
        assert (b"".join(near), str(near.address)) == (b"hello", "unix:door")


def test_a_unix_socket_takes_and_gives_at_once(path: str) -> None:
    back = bytearray()
    with Server(f"unix:{path}"), connect(f"unix:{path}") as near:
        done = duplex(near, [BULK], back.extend, timeout=WAIT)
    assert (done.received_bytes, back == BULK) == (len(BULK), True)


def test_both_ends_of_a_unix_socket_know_its_path(path: str) -> None:
    with listen(f"unix:{path}") as listener, connect(listener.address) as near, listener.accept(timeout=WAIT) as far:
        assert near.address == far.address == Address("unix", None, 0, "door")


def test_a_unix_socket_that_is_missing_refuses(path: str) -> None:
    with pytest.raises(Refused, match=r"nothing is listening on door .*: halloo serve unix:door$") as caught:
        connect(f"unix:{path}")
    assert caught.value.errno == errno.ENOENT


def test_a_unix_socket_that_was_left_behind_refuses(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(path)
    with pytest.raises(Refused, match=r"nothing is listening on door .*: halloo serve unix:door$") as caught:
        connect(f"unix:{path}")
    assert caught.value.errno == errno.ECONNREFUSED


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is permitted to root")
def test_a_unix_socket_that_is_forbidden_says_so(path: str) -> None:
    with listen(f"unix:{path}"):
        Path(path).chmod(0)
        with pytest.raises(NotPermitted, match="connecting to door is not permitted; ask its owner"):
            connect(f"unix:{path}")


@pytest.mark.skipif(sys.platform != "linux", reason="how a full queue behaves is the system's choice")
def test_a_unix_socket_whose_queue_is_full_says_so(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(path)
        busy.listen(0)  # room for one
        with connect(f"unix:{path}"), pytest.raises(TimedOut, match="its queue is full"):
            connect(f"unix:{path}")


def test_a_unix_path_that_is_too_long_is_told(path: str) -> None:
    with pytest.raises(LocalError, match="longer than"):
        connect(f"unix:{path * 100}")


@pytest.mark.parametrize("resolve", [at_once, in_a_thread])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_name_has_its_places_and_the_time_it_took(resolve: Resolve, host: str) -> None:
    places, took = run_steps(resolve(parse(f"{host}:9"), 4, deadline_ns(WAIT)))
    assert places[0] == (socket.AF_INET, ("127.0.0.1", 9))
    assert 0 < took < WAIT * 1e9


@pytest.mark.parametrize("resolve", [at_once, in_a_thread])
def test_a_name_that_nobody_has_is_told(resolve: Resolve) -> None:
    with pytest.raises(UnknownHost, match=r"no address is known for 'halloo\.invalid'"):
        run_steps(resolve(parse("halloo.invalid:9"), None, deadline_ns(WAIT)))


def test_an_address_is_looked_up_in_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "Thread", None)
    with pytest.raises(StopIteration) as over:
        next(in_a_thread(parse("127.0.0.1:9"), None, None))
    assert over.value.value[0] == [(socket.AF_INET, ("127.0.0.1", 9))]


def test_a_resolver_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = threading.Event()
    asked: list[threading.Thread] = []

    def slowly(*_: object, **__: object) -> list[object]:
        asked.append(threading.current_thread())
        patience.wait(WAIT)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    with pytest.raises(TimedOut, match=r"the resolver has not found 'slow' in time \(timed out\); try again later"):
        run_steps(in_a_thread(parse("slow:9"), None, deadline_ns(0.01)))
    patience.set()
    for thread in asked:
        thread.join(WAIT)
        assert not thread.is_alive()


@pytest.mark.parametrize("resolve", [at_once, in_a_thread])
def test_what_the_system_refuses_is_raised_where_it_is_waited_for(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> list[object]:
        raise OSError(errno.EMFILE, "no descriptor is left")

    monkeypatch.setattr(socket, "getaddrinfo", full)
    with pytest.raises(OSError, match="no descriptor is left"):
        run_steps(resolve(parse("host:9"), None, deadline_ns(WAIT)))


def test_where_no_thread_is_to_be_had_it_is_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    places, _ = run_steps(in_a_thread(parse("localhost:9"), 4, deadline_ns(WAIT)))
    assert places
