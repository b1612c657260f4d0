import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path

import pytest

from halloo._core.address import LOOPBACK, AddressLike, parse
from halloo._net.binding import bound, options, port_owner
from halloo._net.listener import listen
from halloo.errors import AddressError, AddressInUse, AddressNotAvailable, Unsupported, UsageError
from tests.conditions import needs_ipv6
from tests.peers import unused_port

SCHEMES = ["tcp", "udp"]


@contextmanager
def opened(address: AddressLike, family: int | None = None, **chosen: bool) -> Iterator[list[socket.socket]]:
    """Open the sockets of an address, and close them at the end of the block."""
    place = parse(address)
    with ExitStack() as cleanup:
        sockets = bound(place, family, options(place.scheme, None, reuse_port=chosen.get("reuse_port", False)))
        yield [cleanup.enter_context(sock) for sock in sockets]


def hosts(sockets: list[socket.socket]) -> list[str]:
    return [sock.getsockname()[0] for sock in sockets]


def ports(sockets: list[socket.socket]) -> set[int]:
    return {sock.getsockname()[1] for sock in sockets}


needs_sharing = pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALLOO_BIND", raising=False)


# Addresses.


@needs_ipv6
def test_an_address_binds_its_families_to_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    every, both = ["0.0.0.0", "::"], [*LOOPBACK]
    cases: list[tuple[str | None, AddressLike, int | None, list[str]]] = [  # HALLOO_BIND, address, family
        *((None, address, None, both) for address in ("tcp://0", "udp://0", "localhost:0")),
        *((None, address, None, every) for address in (":0", "udp://:0", "[::]:0", ("", 0))),
        (None, 0, 4, ["127.0.0.1"]),
        (None, 0, 6, ["::1"]),
        (None, "127.0.0.1:0", None, ["127.0.0.1"]),
        ("::1", 0, None, ["::1"]),
        ("", 0, None, every),
        ("203.0.113.1", "127.0.0.1:0", None, ["127.0.0.1"]),
    ]
    for default, address, family, wanted in cases:
        if default is not None:
            monkeypatch.setenv("HALLOO_BIND", default)
        with opened(address, family) as sockets:
            assert (hosts(sockets), len(ports(sockets))) == (wanted, 1)


# Addresses that cannot be bound.


@pytest.mark.parametrize(("scheme", "another"), [("tcp", "9999"), ("udp", "udp://9999")])
def test_the_error_for_a_port_in_use_names_its_process_and_another_port(scheme: str, another: str) -> None:
    name, pid = own_name_and_pid()
    with opened(f"{scheme}://127.0.0.1:0") as sockets:
        (port,) = ports(sockets)
        with pytest.raises(AddressInUse) as caught, opened(f"{scheme}://{port}"):
            pass
    assert (caught.value.errno, caught.value.address) == (errno.EADDRINUSE, f"{scheme}://127.0.0.1:{port}")
    fact = f"port {port} on 127.0.0.1 is taken by {name} (pid {pid}), this program itself"
    assert str(caught.value) == f"{fact}; name each port once, or choose another: halloo serve {another}"


@needs_ipv6
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_port_in_use_by_only_the_second_family_is_in_use(scheme: str) -> None:
    with opened(f"{scheme}://0", 6) as sockets:
        (port,) = ports(sockets)
        with pytest.raises(AddressInUse, match="on ::1 is taken"), opened(f"{scheme}://{port}"):
            pass


def test_an_address_that_is_not_this_machines_is_refused() -> None:
    unknown = {host: f"no address is known for '{host}'" for host in ("halloo.invalid", "a..b", "a" * 64)}
    foreign = {"203.0.113.1": r"cannot listen on 203\.0\.113\.1:0: it is not an address of this machine"}
    for host, message in (unknown | foreign).items():
        with pytest.raises(AddressNotAvailable, match=message):
            bound(parse((host, 0)), None, [])
    with pytest.raises(AddressError, match=r"127\.0\.0\.1 is not an IPv6 address; leave family= out"):
        bound(parse("127.0.0.1:0"), 6, [])


# Socket options.


def test_a_datagram_port_cannot_be_bound_twice() -> None:
    with opened("udp://127.0.0.1:0") as sockets, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
        if sys.platform != "win32":  # on Windows it would permit the bind, but for SO_EXCLUSIVEADDRUSE
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError):  # noqa: PT011 - the errno depends on the system
            second.bind(sockets[0].getsockname())


def test_a_datagram_socket_has_at_least_the_default_receive_buffer() -> None:
    with opened("udp://127.0.0.1:0") as (sock,), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as default:
        size, default_size = (each.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for each in (sock, default))
    assert size >= default_size


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not double the size")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_buffer_option_sets_both_kernel_buffers(scheme: str) -> None:
    place = parse(f"{scheme}://127.0.0.1:0")
    [sock] = bound(place, None, options(scheme, 16384, reuse_port=False))
    with sock:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            assert sock.getsockopt(socket.SOL_SOCKET, option) == 16384


@needs_sharing
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_port_is_shared_only_by_sockets_with_reuse_port(scheme: str) -> None:
    with opened(f"{scheme}://127.0.0.1:0", reuse_port=True) as one:
        (port,) = ports(one)
        with opened(f"{scheme}://127.0.0.1:{port}", reuse_port=True) as other:
            assert ports(other) == {port}
        with pytest.raises(AddressInUse), opened(f"{scheme}://127.0.0.1:{port}"):
            pass


def test_reuse_port_without_so_reuseport_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    with pytest.raises(Unsupported, match="this system has no SO_REUSEPORT; leave reuse_port= out"):
        options("tcp", None, reuse_port=True)


pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs proc(5)")


def own_name_and_pid() -> tuple[str, int]:
    return Path("/proc/self/comm").read_text(encoding="utf-8").strip(), os.getpid()


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_port_owner_finds_a_listener_on_ipv6() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        assert port_owner(port_of(listener)) == own_name_and_pid()


def test_a_port_without_a_listener_has_no_owner() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert port_owner(port_of(bound)) is None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = port_of(listener)
        with socket.create_connection(listener.getsockname()) as client:
            assert port_owner(port_of(client)) is None
    assert port_owner(port) is None


def test_a_group_address_cannot_be_listened_on() -> None:
    groups = ["udp://224.0.0.1:0", "224.0.0.1:0", "udp://255.255.255.255:0", "[ff02::1%lo]:0", "127.255.255.255:0"]
    for address in groups:
        with pytest.raises(AddressNotAvailable, match="it is a multicast or broadcast address; name one of its own"):
            listen(address)


def test_port_owner_tolerates_a_descriptor_that_closes_during_the_search() -> None:
    # The search also lists this process' descriptors, through a descriptor that reuses the number freed here.
    free = os.open(os.devnull, os.O_RDONLY)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.close(free)
        assert port_owner(port_of(listener)) == own_name_and_pid()


def test_a_default_host_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLOO_BIND", "two words")
    with pytest.raises(AddressError) as caught:
        listen(0)
    assert str(caught.value) == "HALLOO_BIND must be a host, not 'two words'; unset it, or name a host or an IP address"


@pytest.mark.parametrize("reuse_port", [False, True])
def test_an_address_is_named_once(*, reuse_port: bool, tmp_path: Path) -> None:
    port = str(unused_port())
    cases = [
        ("127.0.0.1:PORT", "127.0.0.1:PORT", "tcp://127.0.0.1:PORT"),
        ("localhost:PORT", "127.0.0.1:PORT", "tcp://127.0.0.1:PORT"),
        (":PORT", "tls://[::1]:PORT", "tls://[::1]:PORT"),
        ("udp://0.0.0.0:PORT", "udp://PORT", "udp://127.0.0.1:PORT"),
        ("unix:echo", "unix:echo", "unix:echo"),
    ]
    for case in cases:
        one, other, named = (text.replace("PORT", port) for text in case)
        with chdir(tmp_path), pytest.raises(UsageError) as caught:
            listen(one, other, reuse_port=reuse_port and "unix" not in one)
        assert str(caught.value) == f"{named} is named twice; name each address once"
        assert not [*tmp_path.iterdir()]


def test_one_port_serves_different_addresses_and_schemes() -> None:
    with listen("127.0.0.1:0") as first:
        port = first.address.port
    listen(f"127.0.0.1:{port}", f"[::1]:{port}", f"udp://:{port}").close()
