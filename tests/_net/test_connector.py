import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from halloo._core.address import Address, parse
from halloo._core.arguments import Family
from halloo._core.tls_options import ClientTLS
from halloo._net.connector import Connected, Resolve, connect, connect_udp, connecting, dial
from halloo._net.datagrams import DatagramConnection
from halloo._net.duplex import duplex
from halloo._net.listener import Listener, listen
from halloo._net.readiness import Steps, run_steps
from halloo._net.resolver import Resolved
from halloo._server.server import Server
from halloo.errors import (
    AddressError,
    HallooError,
    LocalError,
    NotPermitted,
    PeerError,
    Refused,
    TimedOut,
    UnknownHost,
    UsageError,
)
from tests.conditions import TIMEOUT, Pair, linux, needs_ipv6
from tests.peers import datagram_socket, full, silent, unused_datagram_port, unused_port

SHORT_TIMEOUT = 0.01  # seconds to wait for a peer that stays silent
BULK = bytes(range(256)) * 4096


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
    assert client.attempts == ()


def test_the_connect_timeout_becomes_the_connection_timeout(listener: Listener) -> None:
    with connect(listener.address, timeout=0.01) as client, pytest.raises(TimedOut):
        client.receive()
    for endless in (None, 1e300):
        connect(listener.address, timeout=endless).close()


def test_a_port_without_a_listener_refuses_the_connection(refusing: tuple[str, int]) -> None:
    with pytest.raises(Refused, match=f"start a server there with: halloo serve {refusing[1]}$") as caught:
        connect(refusing)
    assert (caught.value.errno, caught.value.address) == (errno.ECONNREFUSED, f"tcp://127.0.0.1:{refusing[1]}")


def test_a_connection_to_oneself_is_refused() -> None:
    own_address = ("127.0.0.1", unused_port())
    with pytest.raises(Refused):
        run_steps(connecting(parse(own_address), timeout=TIMEOUT, prepare=lambda sock: sock.bind(own_address)))


@pytest.mark.parametrize("host", ["halloo.invalid", "a..b", "a" * 64])
def test_an_unknown_host_name_raises_unknown_host(host: str) -> None:
    with pytest.raises(UnknownHost, match=f"no address is known for '{host}'") as caught:
        connect((host, 9))
    assert (isinstance(caught.value, PeerError), caught.value.exit_code) == (True, 1)


def test_an_address_that_is_not_for_clients_is_refused() -> None:
    with pytest.raises(UsageError, match="port 0 is for servers"):
        connect(0)
    with pytest.raises(AddressError):
        connect("host:http")


@linux
def test_connecting_to_a_full_backlog_times_out() -> None:
    with full() as place:
        for timeout in (0.01, 0):
            with pytest.raises(TimedOut, match=r"does not answer \(timed out\)") as caught:
                connect(place, timeout=timeout)
            assert caught.value.errno == errno.ETIMEDOUT


@needs_ipv6
def test_family_selects_the_ip_version() -> None:
    families: tuple[tuple[Family, str], ...] = ((4, "127.0.0.1"), (6, "::1"))
    for family, host in families:
        with listen(0, family=family) as listening:
            for name in ("localhost", "", host):
                with connect((name, listening.address.port), family=family) as client:
                    assert client.address.host == host
        with connect_udp("udp://localhost:9", family=family) as datagrams:
            assert datagrams.address == Address("udp", host, 9)
    for (family, _), (_, other) in zip(families, families[::-1], strict=True):
        with pytest.raises(AddressError, match=f"{other} is not an IPv{family} address; leave family= out"):
            connect((other, 9), family=family)


# Several addresses for a name. The resolver is an argument.


def resolving_to(*addresses: tuple[str, int], until: list[int | None] | None = None) -> Resolve:
    """Make a resolver that returns these addresses for any name, and notes until when it may take."""

    def resolve(_address: Address, _family: int | None, until_ns: int | None) -> Steps[Resolved]:
        if until is not None:
            until.append(until_ns)
        yield from ()
        return [(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port)) for host, port in addresses], 1

    return resolve


def deadlines(steps: Steps[Connected]) -> tuple[set[int | None], Connected | HallooError]:
    """Run the steps; return until when each of them waits, and the result or the error."""
    seen: set[int | None] = set()

    def noting() -> Steps[Connected]:
        ready: bool | None = None
        while True:
            try:
                awaited = steps.send(ready)  # type: ignore[arg-type]  # None begins
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # StopIteration has no type parameter
            seen.add(awaited.until_ns)
            ready = yield awaited

    try:
        return seen, run_steps(noting())
    except HallooError as error:
        return seen, error


def test_failed_addresses_are_recorded_as_attempts(listener: Listener, refusing: tuple[str, int]) -> None:
    resolve = resolving_to(refusing, ("127.0.0.1", listener.address.port))
    with run_steps(connecting(parse("host"), timeout=TIMEOUT, resolve=resolve)).connection as client:
        [attempt] = client.attempts
    assert (client.address, attempt.address) == (listener.address, Address("tcp", *refusing))
    assert isinstance(attempt.error, Refused)
    assert 0 <= attempt.seconds < TIMEOUT


@linux
def test_a_silent_address_does_not_take_the_time_of_the_next(listener: Listener) -> None:
    for in_order in (False, True):
        with full() as silent:
            resolve = resolving_to(silent, ("127.0.0.1", listener.address.port))
            steps = connecting(parse("host"), timeout=1, resolve=resolve, in_order=in_order)
            with run_steps(steps).connection as client:
                assert client.address == listener.address
                assert [attempt.address.port for attempt in client.attempts] == [silent[1]]


@linux
def test_the_timeout_covers_the_resolver_and_all_addresses_together() -> None:
    until: list[int | None] = []
    with full() as one, full() as two, full() as three:
        resolve = resolving_to(one, two, three, until=until)
        seen, error = deadlines(connecting(parse("host"), timeout=0.2, resolve=resolve))
    assert isinstance(error, TimedOut)
    assert max(seen, key=lambda until_ns: until_ns or 0) == until[0]
    silent = (f"127.0.0.1:{port} does not answer (timed out)" for _, port in (one, two, three))
    assert error.fact == f"no address of host can be connected to: {', '.join(silent)}"


@linux
def test_addresses_tried_in_order_have_equal_shares_of_the_timeout() -> None:
    until: list[int | None] = []
    with full() as one, full() as two:
        resolve = resolving_to(one, two, until=until)
        seen, error = deadlines(connecting(parse("host"), timeout=0.06, resolve=resolve, in_order=True))
    assert isinstance(error, TimedOut)
    (end,), (first, last) = until, sorted(until_ns or 0 for until_ns in seen)
    assert end == last
    assert end
    assert 0.03e9 - 0.01e9 < end - first <= 0.03e9


def test_the_timeout_covers_the_handshake_too() -> None:
    until: list[int | None] = []
    with silent() as port:
        resolve = resolving_to(("127.0.0.1", port), until=until)
        steps = connecting(parse("tls://host"), timeout=0.05, tls=ClientTLS(insecure=True), resolve=resolve)
        seen, error = deadlines(steps)
    assert isinstance(error, TimedOut)
    assert "does not finish the TLS handshake in time" in error.fact
    assert seen == {*until}


@needs_ipv6
def test_families_take_turns(listener: Listener) -> None:
    with socket.socket(socket.AF_INET6) as bound:
        bound.bind(("::1", 0))
        refusing = ("::1", bound.getsockname()[1])
        resolve = resolving_to(refusing, ("::1", unused_port()), ("127.0.0.1", listener.address.port))
        with run_steps(connecting(parse("host"), timeout=TIMEOUT, resolve=resolve)).connection as client:
            assert [attempt.address.port for attempt in client.attempts] == [refusing[1]]


def test_an_unanswered_name_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    threads: list[threading.Thread] = []

    def mute(*_: object, **__: object) -> list[object]:
        threads.append(threading.current_thread())
        released.wait(TIMEOUT)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", mute)
    message = r"the resolver has not found 'slow' in time \(timed out\); try again later, or give an IP address"
    with pytest.raises(TimedOut, match=message):
        connect("slow:9", timeout=0.01)
    released.set()
    for thread in threads:
        thread.join(TIMEOUT)


def test_a_resolver_without_descriptors_is_an_error_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> list[object]:
        raise OSError(errno.EMFILE, "no descriptor is left")

    monkeypatch.setattr(socket, "getaddrinfo", full)
    with pytest.raises(LocalError, match="no file descriptor is left for a connection to host:9"):
        connect("host:9")


# Datagrams.


def test_connect_udp_sends_no_datagram_and_sets_the_timeout() -> None:
    with datagram_socket() as server:
        place = f"udp://127.0.0.1:{server.getsockname()[1]}"
        with connect_udp(place, timeout=SHORT_TIMEOUT) as client:
            client.send(b"first")
            assert (server.recv(100), client.address) == (b"first", Address("udp", *server.getsockname()))
            with pytest.raises(TimedOut, match=f"within {SHORT_TIMEOUT} seconds"):
                client.receive()
    with pytest.raises(UsageError, match=r"tls\.insecure is for tls://, not udp:; write tls:// before the host"):
        dial(parse("udp://localhost"), timeout=TIMEOUT, tls=ClientTLS(insecure=True))


def test_datagrams_go_to_the_next_address_when_the_first_refuses() -> None:
    unused = ("127.0.0.1", unused_datagram_port())
    with datagram_socket() as server:
        steps = connecting(parse("udp://host"), timeout=TIMEOUT, resolve=resolving_to(unused, server.getsockname()))
        with run_steps(steps).connection as client:
            assert isinstance(client, DatagramConnection)
            client.send(b"hello")
            client.check_refused()
            assert server.recv(100) == b"hello"


# Unix sockets. The path is relative, because the paths of temporary folders may be too long (unix(7)).


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("needs Unix sockets")
    monkeypatch.chdir(tmp_path)
    return "door"


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
        assert str(client.address) == "unix:door"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ECONNREFUSED], ids=["missing", "stale"])
def test_a_unix_socket_without_a_listener_refuses_the_connection(path: str, number: int) -> None:
    if number == errno.ECONNREFUSED:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
            stale.bind(path)
    with pytest.raises(Refused, match=r"nothing is listening on door .*: halloo serve unix:door$") as caught:
        connect(f"unix:{path}")
    assert caught.value.errno == number


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is permitted to root")
def test_a_unix_socket_without_permission_raises_not_permitted(path: str) -> None:
    with listen(f"unix:{path}"):
        Path(path).chmod(0)
        with pytest.raises(NotPermitted, match="connecting to door is not permitted; ask its owner"):
            connect(f"unix:{path}")


@linux
def test_a_unix_socket_with_a_full_backlog_times_out(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(path)
        busy.listen(0)  # room for one
        with connect(f"unix:{path}"), pytest.raises(TimedOut, match="its queue is full"):
            connect(f"unix:{path}")


def test_a_unix_path_that_is_too_long_is_refused(path: str) -> None:
    with pytest.raises(LocalError, match="longer than"):
        connect(f"unix:{path * 100}")
