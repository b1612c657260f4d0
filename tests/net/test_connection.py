import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from halloo.commands.serve import serving
from halloo.core.addresses import Address
from halloo.errors import (
    AddressError,
    CutShort,
    LocalError,
    NotPermitted,
    PeerError,
    Refused,
    Reset,
    TimedOut,
    UnknownHost,
    Unsupported,
    UsageError,
)
from halloo.net.connection import CHUNK, Connection, _failed, connect
from halloo.net.exchange import exchange
from halloo.net.listening import Listener, listen

Pair = tuple[Connection, Connection]

WAIT = 10.0  # seconds that no test takes: each socket call of a broken one ends after them
RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # SO_LINGER of 0 seconds: close with a reset (socket(7))
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


def narrow(connection: Connection) -> None:
    """Leave room for a few KiB on the way out."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def reset(connection: Connection) -> None:
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


# Sending and receiving.


def test_what_is_sent_is_received(pair: Pair) -> None:
    near, far = pair
    near.send(b"hello")
    assert far.receive() == b"hello"


def test_what_comes_back_is_received(pair: Pair) -> None:
    near, far = pair
    far.send(b"hello")
    assert near.receive() == b"hello"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_can_be_sent(pair: Pair, kind: Callable[[bytes], bytes]) -> None:
    near, far = pair
    near.send(kind(b"hello"))
    assert far.receive() == b"hello"


def test_sending_nothing_sends_nothing(pair: Pair) -> None:
    near, far = pair
    near.send(b"")
    near.finish()
    assert far.receive() == b""


def test_all_is_sent_to_a_slow_reader(pair: Pair) -> None:
    near, far = pair
    narrow(near)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: b"".join(iter(lambda: far.receive(4000), b"")))
        near.send(BULK)
        near.finish()
        assert reading.result() == BULK


def test_a_reading_takes_no_more_than_its_limit(pair: Pair) -> None:
    near, far = pair
    near.send(b"hello")
    assert [far.receive(3), far.receive(3)] == [b"hel", b"lo"]


def test_exactly_so_many_bytes_are_received_and_the_others_left(pair: Pair) -> None:
    near, far = pair
    near.send(b"hello world")
    assert [far.receive_exactly(5), far.receive()] == [b"hello", b" world"]


def test_exactly_so_many_bytes_are_received_in_however_many_pieces(pair: Pair) -> None:
    near, far = pair
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(far.receive_exactly, len(BULK))
        near.send(BULK)
        assert reading.result() == BULK


def test_exactly_no_bytes_need_no_waiting(pair: Pair) -> None:
    assert pair[0].receive_exactly(0) == b""


def test_an_end_that_comes_too_early_holds_what_came(pair: Pair) -> None:
    near, far = pair
    near.send(b"hel")
    near.finish()
    with pytest.raises(CutShort, match="after 3 of 5 bytes") as caught:
        far.receive_exactly(5)
    assert caught.value.partial == b"hel"


def test_the_peers_end_is_empty_however_often_it_is_asked_for(pair: Pair) -> None:
    near, far = pair
    near.close()
    assert [far.receive(), far.receive()] == [b"", b""]


def test_after_a_half_close_the_other_direction_still_works(pair: Pair) -> None:
    near, far = pair
    near.finish()
    assert far.receive() == b""
    far.send(b"goodbye")
    assert near.receive() == b"goodbye"


def test_a_half_close_after_the_peers_reset_is_no_error(pair: Pair) -> None:
    near, far = pair
    reset(far)
    with pytest.raises(Reset):
        near.receive()
    near.finish()


def test_a_connection_is_the_chunks_until_the_peers_end(pair: Pair) -> None:
    near, far = pair
    near.send(b"hello")
    near.finish()
    assert b"".join(far) == b"hello"


def test_no_chunk_is_longer_than_it_may_be(pair: Pair) -> None:
    near, far = pair
    with ThreadPoolExecutor(1) as pool:
        sizes = pool.submit(lambda: [len(chunk) for chunk in far])
        near.send(BULK)
        near.finish()
        assert max(sizes.result()) <= CHUNK


def test_abandoning_ends_the_wait_of_another_thread(pair: Pair) -> None:
    near, _ = pair
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(near.receive)
        near.abandon()
        assert waiting.result() == b""


def test_an_abandoned_connection_can_be_abandoned_again(pair: Pair) -> None:
    near, far = pair
    reset(far)
    near.abandon()
    near.abandon()


def test_a_connection_is_closed_with_its_block(listener: Listener) -> None:
    with connect(listener.address) as near:
        pass
    assert near.socket.fileno() == -1


def test_small_messages_are_sent_at_once(pair: Pair) -> None:
    assert [each.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0 for each in pair] == [True, True]


# Waiting no longer than allowed.


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_receiving_ends_when_nothing_comes_in_time(pair: Pair, timeout: float) -> None:
    with pytest.raises(TimedOut, match=f"nothing came from .* within {timeout} seconds"):
        pair[0].receive(timeout=timeout)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_receiving_exactly_ends_when_the_rest_does_not_come_in_time(pair: Pair, timeout: float) -> None:
    near, far = pair
    near.send(b"hel")
    with pytest.raises(TimedOut):
        far.receive_exactly(5, timeout=timeout)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_sending_ends_when_the_peer_takes_nothing_in_time(pair: Pair, timeout: float) -> None:
    near, _ = pair
    narrow(near)
    with pytest.raises(TimedOut, match=r"takes no more bytes \(\d+ of 67108864 left\)"):
        near.send(bytes(64 << 20), timeout=timeout)


def test_the_connections_timeout_holds_where_a_call_has_none(pair: Pair) -> None:
    near, _ = pair
    near.timeout = 0.01
    with pytest.raises(TimedOut, match=r"within 0\.01 seconds"):
        near.receive()


def test_what_has_come_is_received_without_waiting(pair: Pair) -> None:
    near, far = pair
    near.send(b"hello")
    assert far.receive_exactly(5, timeout=0) == b"hello"


def test_a_connection_can_be_used_after_a_timeout(pair: Pair) -> None:
    near, far = pair
    with pytest.raises(TimedOut):
        near.receive(timeout=0)
    far.send(b"late")
    assert near.receive() == b"late"


# The peer's reset.


def test_receiving_tells_of_a_reset(pair: Pair) -> None:
    near, far = pair
    reset(far)
    with pytest.raises(Reset, match="ended the connection with a reset"):
        near.receive()


def test_sending_tells_of_a_reset(pair: Pair) -> None:
    near, far = pair
    narrow(near)
    reset(far)
    with pytest.raises(Reset):
        near.send(BULK)


def test_a_reset_is_the_one_that_python_knows(pair: Pair) -> None:
    near, far = pair
    reset(far)
    with pytest.raises(ConnectionResetError) as caught:
        near.receive()
    assert caught.value.errno == errno.ECONNRESET


def test_sending_after_the_peers_reset_was_met_is_a_reset_too(pair: Pair) -> None:
    near, far = pair
    reset(far)
    with pytest.raises(Reset):
        near.receive()
    with pytest.raises(Reset, match="has closed the connection"):
        near.send(b"hello")


# Connecting.


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
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        assert _failed(sock, sock.getsockname(), WAIT) == errno.ECONNREFUSED


@pytest.mark.skipif(sys.platform != "linux", reason="how a full queue behaves is the system's choice")
def test_a_server_that_lets_nobody_in_times_out() -> None:
    with socket.socket() as busy, socket.socket() as first:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)  # room for one, which comes first
        first.connect(busy.getsockname())
        with pytest.raises(TimedOut, match=r"does not answer \(timed out\)") as caught:
            connect(busy.getsockname(), timeout=0.01)
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize("host", ["halloo.invalid", "a..b", "a" * 64])
def test_a_name_that_nobody_has_is_unknown(host: str) -> None:
    with pytest.raises(UnknownHost, match=f"no address is known for '{host}'"):
        connect((host, 9))


def test_a_scheme_that_does_not_exist_yet_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="use tcp://"):
        connect("udp://localhost")


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
def test_an_address_of_the_other_family_is_a_contradiction(host: str, family: int) -> None:
    with pytest.raises(AddressError, match=f"{host} is no IPv{family} address; leave -{family} out"):
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


# Unix sockets. The path is relative, because those of temporary folders may be too long (unix(7)).


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("needs Unix sockets")
    monkeypatch.chdir(tmp_path)
    return "door"


def test_a_unix_socket_echoes(path: str) -> None:
    with serving(f"unix:{path}"), connect(f"unix:{path}") as near:
        near.send(b"hello")
        near.finish()
        assert (b"".join(near), str(near.address)) == (b"hello", "unix:door")


def test_a_unix_socket_takes_and_gives_at_once(path: str) -> None:
    back = bytearray()
    with serving(f"unix:{path}"), connect(f"unix:{path}") as near:
        done = exchange(near, [BULK], back.extend, wait=WAIT)
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
