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


def has_ipv6() -> bool:
    try:
        with opened("[::1]:0"):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs ::1")
needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs proc(5)")
needs_sharing = pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALLOO_BIND", raising=False)


# Addresses.


@needs_ipv6
@pytest.mark.parametrize("scheme", SCHEMES)
def test_loopback_binds_both_families_to_one_port(scheme: str) -> None:
    with opened(f"{scheme}://0") as sockets:
        assert hosts(sockets) == [*LOOPBACK]
        assert len(ports(sockets)) == 1


@needs_ipv6
@pytest.mark.parametrize(("family", "host"), [(4, "127.0.0.1"), (6, "::1")])
def test_family_selects_a_single_address(family: int, host: str) -> None:
    with opened(0, family) as sockets:
        assert hosts(sockets) == [host]


@needs_ipv6
def test_localhost_binds_both_families() -> None:
    with opened("localhost:0") as sockets:
        assert hosts(sockets) == [*LOOPBACK]


@needs_ipv6
@pytest.mark.parametrize("address", [":0", "udp://:0", "[::]:0", ("", 0)])
def test_the_wildcard_binds_both_families_to_one_port(address: str | tuple[str, int]) -> None:
    with opened(address) as sockets:
        assert hosts(sockets) == ["0.0.0.0", "::"]
        assert len(ports(sockets)) == 1


def test_an_ip_address_binds_only_that_address() -> None:
    with opened("127.0.0.1:0") as sockets:
        assert hosts(sockets) == ["127.0.0.1"]


@needs_ipv6
def test_halloo_bind_sets_the_default_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLOO_BIND", "::1")
    with opened(0) as sockets:
        assert hosts(sockets) == ["::1"]


@needs_ipv6
def test_an_empty_halloo_bind_binds_every_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLOO_BIND", "")
    with opened(0) as sockets:
        assert hosts(sockets) == ["0.0.0.0", "::"]


def test_an_explicit_host_overrides_halloo_bind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLOO_BIND", "203.0.113.1")
    with opened("127.0.0.1:0") as sockets:
        assert hosts(sockets) == ["127.0.0.1"]


# Addresses that cannot be bound.


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_for_a_port_in_use_names_the_port(scheme: str) -> None:
    with opened(f"{scheme}://127.0.0.1:0") as sockets:
        (port,) = ports(sockets)
        with (
            pytest.raises(AddressInUse, match=f"^port {port} on 127.0.0.1 is taken") as caught,
            opened(f"{scheme}://{port}"),
        ):
            pass
    assert (caught.value.errno, caught.value.address) == (errno.EADDRINUSE, f"{scheme}://127.0.0.1:{port}")


@needs_proc
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_for_a_port_in_use_names_the_owning_process(scheme: str) -> None:
    name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    with opened(f"{scheme}://127.0.0.1:0") as sockets:
        (port,) = ports(sockets)
        with pytest.raises(AddressInUse) as caught, opened(f"{scheme}://{port}"):
            pass
    assert caught.value.fact.endswith(f" by {name} (pid {os.getpid()}), this program itself")


@pytest.mark.parametrize(("scheme", "another"), [("tcp", "9999"), ("udp", "udp://9999")])
def test_the_error_for_a_port_in_use_suggests_another_port(scheme: str, another: str) -> None:
    with opened(f"{scheme}://127.0.0.1:0") as sockets:
        (port,) = ports(sockets)
        with pytest.raises(AddressInUse) as caught, opened(f"{scheme}://{port}"):
            pass
    assert caught.value.remedy == f"name each port once, or choose another: halloo serve {another}"


@needs_ipv6
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_port_in_use_by_only_the_second_family_is_in_use(scheme: str) -> None:
    with opened(f"{scheme}://0", 6) as sockets:
        (port,) = ports(sockets)
        with pytest.raises(AddressInUse, match="on ::1 is taken"), opened(f"{scheme}://{port}"):
            pass


def test_an_address_of_another_machine_is_not_available() -> None:
    with (
        pytest.raises(
            AddressNotAvailable, match=r"cannot listen on 203\.0\.113\.1:0: it is not an address of this machine"
        ),
        opened("203.0.113.1:0"),
    ):
        pass


def test_an_address_of_the_other_family_is_refused() -> None:
    with (
        pytest.raises(AddressError, match=r"127\.0\.0\.1 is not an IPv6 address; leave family= out"),
        opened("127.0.0.1:0", 6),
    ):
        pass


@pytest.mark.parametrize("host", ["halloo.invalid", "a..b", "a" * 64])
def test_an_unknown_host_name_is_not_available(host: str) -> None:
    with pytest.raises(AddressNotAvailable, match=f"no address is known for '{host}'"), opened((host, 0)):
        pass


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


def test_port_owner_returns_the_process_name_and_pid() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert port_owner(port_of(listener)) == own_name_and_pid()


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_port_owner_finds_a_listener_on_ipv6() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        assert port_owner(port_of(listener)) == own_name_and_pid()


def test_port_owner_tolerates_a_descriptor_that_closes_during_the_search() -> None:
    # The search also lists this process' descriptors, through a descriptor that reuses the number freed here.
    free = os.open(os.devnull, os.O_RDONLY)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.close(free)
        assert port_owner(port_of(listener)) == own_name_and_pid()


def test_a_port_that_is_only_bound_has_no_owner() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert port_owner(port_of(bound)) is None


def test_a_port_that_is_only_connected_has_no_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        assert port_owner(port_of(client)) is None


def test_a_closed_port_has_no_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = port_of(listener)
    assert port_owner(port) is None


@pytest.mark.parametrize(
    "address",
    [
        *("udp://224.0.0.1:0", "224.0.0.1:0", "udp://255.255.255.255:0", "[ff02::1%lo]:0"),
        pytest.param("127.255.255.255:0", marks=needs_proc),  # loopback's own, on Linux
    ],
)
def test_a_group_address_cannot_be_listened_on(address: str) -> None:
    with pytest.raises(AddressNotAvailable, match="it is a multicast or broadcast address; name one of its own"):
        listen(address)


def test_a_default_host_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALLOO_BIND", "two words")
    with pytest.raises(AddressError) as caught:
        listen(0)
    assert str(caught.value) == "HALLOO_BIND must be a host, not 'two words'; unset it, or name a host or an IP address"


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        ("127.0.0.1:PORT", "127.0.0.1:PORT", "tcp://127.0.0.1:PORT"),
        ("localhost:PORT", "127.0.0.1:PORT", "tcp://127.0.0.1:PORT"),
        (":PORT", "tls://[::1]:PORT", "tls://[::1]:PORT"),
        ("udp://0.0.0.0:PORT", "udp://PORT", "udp://127.0.0.1:PORT"),
        ("unix:echo", "unix:echo", "unix:echo"),
    ],
)
@pytest.mark.parametrize("reuse_port", [False, True])
def test_an_address_is_named_once(one: str, other: str, named: str, *, reuse_port: bool, tmp_path: Path) -> None:
    port = str(unused_port())
    one, other, named = (text.replace("PORT", port) for text in (one, other, named))
    with chdir(tmp_path), pytest.raises(UsageError) as caught:
        listen(one, other, reuse_port=reuse_port and "unix" not in one)
    assert str(caught.value) == f"{named} is named twice; name each address once"
    assert not [*tmp_path.iterdir()]


def test_one_port_serves_different_addresses_and_schemes() -> None:
    with listen("127.0.0.1:0") as first:
        port = first.address.port
    listen(f"127.0.0.1:{port}", f"[::1]:{port}", f"udp://:{port}").close()
