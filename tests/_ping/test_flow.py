"""One connection to an echo: sending, receiving, and how it ends."""

import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from halloo._core.address import AddressLike, parse
from halloo._core.probe import MIN_SIZE, Probes
from halloo._core.tls_options import ClientTLS, ServerTLS
from halloo._net.connection import Connection
from halloo._net.readiness import seconds_until, until_readable
from halloo._net.socket_options import SocketOptions
from halloo._ping.clocks import read_clocks
from halloo._ping.flow import (
    RECEIVE_SIZE,
    TCP_INFO_SIZE,
    Blocked,
    ConnectOptions,
    Flow,
    ProbeConnection,
    Received,
    read_tcp_info,
)
from halloo._ping.report import Kernel, TargetReport
from halloo._ping.round_trip import Instant
from halloo._ping.tracker import ProbeTracker
from halloo._server.server import Server
from halloo.errors import IncompleteRead, LocalError, PeerError, Refused, Reset, UsageError
from tests.kernel_timestamps import kernel_timestamps
from tests.peers import (
    datagram_peer,
    datagram_socket,
    echo_datagram,
    peer,
    resetting,
    silent,
    unused_datagram_port,
    unused_port,
)

TIMEOUT = 10.0  # seconds, more than any test takes
RUN, SIZE = 0xBEEF, 128
LARGE = 65_507


@contextmanager
def probe_connection(
    address: AddressLike, *, size: int = SIZE, options: dict[str, object] | None = None
) -> Iterator[ProbeConnection]:
    connection = ProbeConnection(ConnectOptions(parse(address), TIMEOUT, **(options or {})), run=RUN, size=size)  # type: ignore[arg-type]
    with closing(connection):
        yield connection


def connect(client: ProbeConnection) -> Mapping[str, int]:
    """Connect, and return the phases."""
    phases = client.open()
    while phases is None:
        sockets, writing, until_ns = client.awaited
        readers, writers = ([], sockets) if writing else (sockets, [])
        phases = client.advance(ready=any(select.select(readers, writers, [], seconds_until(until_ns))))
    return phases


def probe(number: int, size: int = SIZE) -> bytes:
    return Probes(RUN, size).encode(number, 1)


def receive_all(client: ProbeConnection, count: int = 1, clock: Callable[[], Instant] = read_clocks) -> list[Received]:
    """Wait for `count` replies."""
    found: list[Received] = []
    while len(found) < count:
        assert client.connection
        assert until_readable([client.connection.socket], TIMEOUT)
        found += client.receive(clock)
    return found


def replies(client: ProbeConnection, count: int = 1) -> list[bytes]:
    return [data for data, _, _ in receive_all(client, count)]


def kernel_times(client: ProbeConnection, server_socket: socket.socket, sender: tuple[str, int]) -> list[int | None]:
    """Return the kernel's timestamps of two datagrams."""
    for _ in range(2):
        server_socket.sendto(b"x", sender)
    return [kernel_ns for _, _, kernel_ns in receive_all(client, 2)]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Make the system's resolver return these addresses for any name."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for place in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a path that is short enough for a Unix socket (unix(7))."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("needs Unix sockets")
    monkeypatch.chdir(tmp_path)
    return "echo.sock"


@pytest.fixture(scope="module")
def insecure() -> dict[str, object]:
    pytest.importorskip("trustme")
    return {"tls": ClientTLS(insecure=True)}


# Sending and receiving.


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_probes_are_echoed(scheme: str) -> None:
    with Server(f"{scheme}://127.0.0.1:0") as server, probe_connection(server.address) as client:
        connect(client)
        client.send(probe(0))
        assert replies(client) == [probe(0)]
        assert client.kernel_timestamps == (sys.platform == "linux")


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_the_kernel_timestamp_lies_between_sending_and_reading(scheme: str) -> None:
    with kernel_timestamps(), Server(f"{scheme}://127.0.0.1:0") as server, probe_connection(server.address) as client:
        connect(client)
        before = time.time_ns()
        client.send(probe(0))
        ((_, now, kernel_ns),) = receive_all(client)
    assert kernel_ns
    assert before <= kernel_ns <= now.wall_ns


def test_probes_are_echoed_over_tls(insecure: dict[str, object]) -> None:
    with (
        Server("tls://127.0.0.1:0", tls=ServerTLS()) as server,
        probe_connection(server.address, size=LARGE, options=insecure) as client,
    ):
        assert connect(client).keys() == {"connect", "tls"}
        client.send(probe(0, LARGE))
        while client.has_unsent:
            client.flush()
        assert replies(client) == [probe(0, LARGE)]
        assert not client.kernel_timestamps


def test_probes_are_echoed_over_a_unix_socket(path: str) -> None:
    with Server(f"unix:{path}") as server, probe_connection(server.address) as client:
        assert connect(client).keys() == {"connect"}
        client.send(probe(0))
        assert replies(client) == [probe(0)]
        assert client.kernel_info() is None
        assert client.describe() == {"peer": path, "local": None, "dscp": None, "ttl": None, "path_mtu": None}


def test_resolving_a_name_is_a_phase() -> None:
    with Server("127.0.0.1:0") as server, probe_connection(("localhost", server.address.port)) as client:
        assert connect(client).keys() == {"resolve", "connect"}


def test_user_clock_disables_kernel_timestamps() -> None:
    with (
        Server("udp://127.0.0.1:0") as server,
        probe_connection(server.address, options={"user_clock": True}) as client,
    ):
        connect(client)
        client.send(probe(0))
        ((_, _, kernel_ns),) = receive_all(client)
    assert (client.kernel_timestamps, kernel_ns) == (False, None)


def test_an_empty_datagram_is_received() -> None:
    with (
        datagram_socket() as server_socket,
        probe_connection(f"udp://127.0.0.1:{server_socket.getsockname()[1]}") as client,
    ):
        connect(client)
        client.send(probe(0))
        _, sender = server_socket.recvfrom(1000)
        server_socket.sendto(b"", sender)
        assert replies(client) == [b""]


def test_datagrams_from_other_senders_are_not_received() -> None:
    with (
        datagram_socket() as server_socket,
        datagram_socket() as other_socket,
        probe_connection(f"udp://127.0.0.1:{server_socket.getsockname()[1]}") as client,
    ):
        connect(client)
        client.send(probe(0))
        data, sender = server_socket.recvfrom(1000)
        other_socket.sendto(probe(0), sender)
        server_socket.sendto(data, sender)
        server_socket.sendto(b"that is all", sender)
        assert replies(client, 2) == [probe(0), b"that is all"]


def test_many_replies_are_read_in_one_call() -> None:
    with Server("127.0.0.1:0") as server, probe_connection(server.address) as client:
        connect(client)
        for number in range(50):
            client.send(probe(number))
        assert replies(client, 50) == [probe(number) for number in range(50)]


def test_receive_does_not_block() -> None:
    with Server("127.0.0.1:0") as server, probe_connection(server.address) as client:
        connect(client)
        assert [*client.receive(read_clocks)] == []


# Kernel data and descriptions.


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")
def test_the_kernel_knows_the_round_trip_of_the_handshake() -> None:
    with Server("127.0.0.1:0") as server, probe_connection(server.address) as client:
        assert client.kernel_info() is None
        connect(client)
        kernel = client.kernel_info()
        assert kernel
        assert kernel.rtt_ns
        client.close()
        assert client.kernel_info() is None


def test_udp_has_no_tcp_info() -> None:
    with Server("udp://127.0.0.1:0") as server, probe_connection(server.address) as client:
        connect(client)
        assert client.kernel_info() is None


def test_the_description_is_read_from_the_socket() -> None:
    with (
        Server("127.0.0.1:0") as server,
        probe_connection(server.address, options={"socket_options": SocketOptions(46, 7)}) as client,
    ):
        assert client.describe() == {}
        connect(client)
        known = client.describe()
        assert client.connection
        local = client.connection.socket.getsockname()
    assert known == {
        "peer": server.address.place,
        "local": f"127.0.0.1:{local[1]}",
        "dscp": 46,
        "ttl": 7,
        "path_mtu": None,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="IP_MTU is Linux's")
def test_the_path_mtu_of_a_datagram_socket_is_known() -> None:
    with Server("udp://127.0.0.1:0") as server, probe_connection(server.address) as client:
        connect(client)
        mtu = client.describe()["path_mtu"]
    assert isinstance(mtu, int)
    assert mtu >= 1500


# A full stream.


def filled(client: ProbeConnection) -> int:
    """Send until the stream is full; return the number of probes sent, the last one in part."""
    sent = 0
    while not client.has_unsent:
        client.send(probe(sent, LARGE))
        sent += 1
    return sent


def test_a_full_stream_blocks_further_probes_until_the_rest_is_flushed() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        probe_connection(listener.getsockname(), size=LARGE) as client,
    ):
        connect(client)
        server_socket, _ = listener.accept()
        with server_socket:
            server_socket.settimeout(TIMEOUT)
            sent = filled(client)
            for _ in range(3):
                with pytest.raises(Blocked, match=r"stopped reading; use a longer interval between probes"):
                    client.send(probe(sent, LARGE))
            received = bytearray()
            while len(received) < sent * LARGE:
                received += server_socket.recv(RECEIVE_SIZE)
                client.flush()
            assert not client.has_unsent
            client.send(probe(sent, LARGE))
            client.flush()
            while len(received) < (sent + 1) * LARGE:
                received += server_socket.recv(RECEIVE_SIZE)
                client.flush()
        identical = received == b"".join(probe(number, LARGE) for number in range(sent + 1))
        assert identical


def test_reconnecting_discards_unsent_bytes() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        probe_connection(listener.getsockname(), size=LARGE) as client,
    ):
        connect(client)
        filled(client)
        client.close()
        connect(client)
        assert not client.has_unsent
        listener.accept()[0].close()
        server_socket, _ = listener.accept()
        with server_socket:
            client.send(probe(0, LARGE))
            client.close()
            server_socket.settimeout(TIMEOUT)
            assert server_socket.recv(12) == probe(0, LARGE)[:12]


# Errors and closing.


def test_received_bytes_are_given_before_the_end_of_the_stream() -> None:
    def half(connection: socket.socket) -> None:
        connection.sendall(connection.recv(1000)[:50])

    with peer(half) as port, probe_connection(f"127.0.0.1:{port}") as client:
        connect(client)
        client.send(probe(0))
        found: list[bytes] = []
        with pytest.raises(
            IncompleteRead, match=rf"127\.0\.0\.1:{port} closed the connection; look at the server's own"
        ):
            found.extend(data for data, _, _ in receiving(client))
        assert found == [probe(0)[:50]]


def receiving(client: ProbeConnection) -> Iterator[Received]:
    """Yield replies for ever."""
    while True:
        assert client.connection
        assert until_readable([client.connection.socket], TIMEOUT)
        yield from client.receive(read_clocks)


def test_a_reset_is_raised() -> None:
    with peer(resetting) as port, probe_connection(f"127.0.0.1:{port}") as client:
        connect(client)
        client.send(probe(0))
        assert isinstance(client.connection, Connection)
        client.connection.send_eof()
        with pytest.raises(Reset):
            replies(client)


@pytest.mark.skipif(not hasattr(select, "poll"), reason="needs poll, to see the reset")
def test_sending_on_an_ended_connection_raises() -> None:
    with peer(lambda _: None) as port, probe_connection(f"127.0.0.1:{port}") as client:
        connect(client)
        assert client.connection
        assert until_readable([client.connection.socket], TIMEOUT)  # the end
        client.send(probe(0))
        assert until_broken(client.connection.socket)
        with pytest.raises(PeerError):
            client.send(probe(1))


def until_broken(sock: socket.socket) -> bool:
    """Wait for the reset in reply to data for a closed socket."""
    poller = select.poll()
    poller.register(sock, select.POLLERR)
    return bool(poller.poll(TIMEOUT * 1000))


def test_connecting_to_a_closed_port_is_refused() -> None:
    with probe_connection(f"127.0.0.1:{unused_port()}") as client, pytest.raises(Refused):
        connect(client)


def test_a_closed_udp_port_refuses_the_first_probe() -> None:
    with probe_connection(f"udp://127.0.0.1:{unused_datagram_port()}") as client:
        connect(client)
        client.send(probe(0))
        with pytest.raises(Refused):
            replies(client)


def test_a_source_address_of_another_machine_is_a_usage_error() -> None:
    for address in ("127.0.0.1:9", "udp://127.0.0.1:9"):
        with (
            probe_connection(address, options={"socket_options": SocketOptions(bind="192.0.2.1")}) as client,
            pytest.raises(UsageError),
        ):
            connect(client)


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_running_out_of_descriptors_is_a_local_error(scheme: str) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with probe_connection(f"{scheme}://127.0.0.1:9") as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(LocalError, match=r"no file descriptor is left for a connection to 127\.0\.0\.1:9;"):
                connect(client)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_source_address_of_the_other_family_is_a_peer_error() -> None:
    with (
        probe_connection("127.0.0.1:9", options={"socket_options": SocketOptions(bind="::1")}) as client,
        pytest.raises(PeerError),
    ):
        connect(client)


def test_closing_twice_is_harmless() -> None:
    with Server("127.0.0.1:0") as server, probe_connection(server.address) as client:
        client.close()
        connect(client)
        client.close()
        client.close()
        assert client.connection is None
        assert client.partial_reply() == b""


# A name with several addresses.


@pytest.mark.parametrize("noticed_by", ["receiving", "sending"])
def test_a_refused_datagram_is_sent_to_the_next_address(monkeypatch: pytest.MonkeyPatch, noticed_by: str) -> None:
    with datagram_socket() as server_socket, probe_connection("udp://host") as client:
        with datagram_peer(echo_datagram) as port:
            resolve_to(monkeypatch, ("127.0.0.1", port), server_socket.getsockname())
            connect(client)
        client.send(probe(0))  # the first socket is closed by now
        assert client.connection
        assert until_readable([client.connection.socket], TIMEOUT)  # ECONNREFUSED
        if noticed_by == "sending":
            client.send(probe(1))
        else:
            assert [*client.receive(read_clocks)] == []
        data, sender = server_socket.recvfrom(1000)
        assert data == probe(0)
        server_socket.sendto(data, sender)
        assert replies(client)
        assert client.describe()["peer"] == f"127.0.0.1:{server_socket.getsockname()[1]}"
        assert client.kernel_timestamps == (sys.platform == "linux")
        assert (
            all(kernel_ns is not None for kernel_ns in kernel_times(client, server_socket, sender))
            == client.kernel_timestamps
        )


def test_an_address_that_has_answered_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with datagram_socket() as other, probe_connection("udp://host") as client:
        with datagram_peer(echo_datagram) as port:
            resolve_to(monkeypatch, ("127.0.0.1", port), other.getsockname())
            connect(client)
            client.send(probe(0))
            assert replies(client) == [probe(0)]
        client.send(probe(1))  # the first socket is closed by now
        with pytest.raises(Refused):
            replies(client)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1000)


def test_an_address_that_answers_is_preferred_to_a_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        datagram_socket() as silent_socket,
        datagram_peer(echo_datagram) as port,
        probe_connection("udp://host") as client,
    ):
        resolve_to(monkeypatch, silent_socket.getsockname(), ("127.0.0.1", port))
        connect(client)
        assert client.describe()["peer"] == f"127.0.0.1:{port}"
        client.send(probe(0))
        assert replies(client) == [probe(0)]
        silent_socket.setblocking(False)
        assert len(silent_socket.recv(1000)) == MIN_SIZE
        with pytest.raises(BlockingIOError):
            silent_socket.recv(1000)


def test_closing_discards_unsent_bytes() -> None:
    with silent() as port, probe_connection(f"127.0.0.1:{port}", size=LARGE) as client:
        connect(client)
        with suppress(Blocked):
            for number in range(1000):
                client.send(probe(number, LARGE))
        assert client.has_unsent
        client.close()
        assert not client.has_unsent


def make_flow(address: str, *, reconnect: bool = False, connect: bool = False) -> Flow:
    probe_connection = ProbeConnection(ConnectOptions(parse(address), TIMEOUT), run=1, size=128)
    return Flow(
        probe_connection,
        ProbeTracker(0, Probes(1, 128), 5, TargetReport(address, address, None, None)),
        reconnect,
        connect,
    )


@pytest.mark.parametrize(("scheme", "stream"), [("tcp", True), ("tls", True), ("udp", False)])
def test_all_schemes_but_udp_are_streams(scheme: str, stream: bool) -> None:
    assert make_flow(f"{scheme}://localhost").stream == stream


@pytest.mark.parametrize(("options", "busy"), [({}, False), ({"reconnect": True}, True), ({"connect": True}, True)])
def test_a_one_shot_flow_is_busy_while_its_probe_is_pending(options: dict[str, bool], busy: bool) -> None:
    one = make_flow("localhost", **options)
    assert (one.one_shot, one.busy) == (bool(options), False)
    one.tracker.send(Instant(0, 0))
    assert one.busy == busy


OFFSETS = {"mss": 16, "lost": 32, "rtt": 68, "rtt_var": 72, "window": 80, "retransmits": 100, "min_rtt": 148}
UNKNOWN = 0xFFFFFFFF


def tcp_info(**values: int) -> bytes:
    """Build a struct tcp_info with these values and zeros elsewhere."""
    info = bytearray(TCP_INFO_SIZE)
    for name, value in values.items():
        struct.pack_into("=I", info, OFFSETS[name], value)
    return bytes(info)


def test_tcp_info_times_are_converted_from_microseconds() -> None:
    assert read_tcp_info(tcp_info(rtt=5200, rtt_var=10, min_rtt=6)) == Kernel(6_000, 5_200_000, 10_000)


def test_tcp_info_counts_are_read_unchanged() -> None:
    assert read_tcp_info(tcp_info(mss=1448, lost=3, window=10, retransmits=7)) == Kernel(
        mss=1448, lost=3, window_segments=10, retransmits=7
    )


def test_an_unmeasured_minimum_round_trip_is_none() -> None:
    assert read_tcp_info(tcp_info(min_rtt=UNKNOWN)).min_rtt_ns is None
    assert read_tcp_info(tcp_info()).min_rtt_ns is None


@pytest.mark.parametrize("length", range(TCP_INFO_SIZE))
def test_a_shorter_tcp_info_is_read_as_far_as_it_goes(length: int) -> None:
    values = {"mss": 1, "lost": 2, "rtt": 3, "rtt_var": 4, "window": 5, "retransmits": 6, "min_rtt": 7}
    there = {name for name, place in OFFSETS.items() if length >= place + 4}
    known = {name: value if name in there else 0 for name, value in values.items()}
    assert read_tcp_info(tcp_info(**values)[:length]) == Kernel(
        min_rtt_ns=None,
        rtt_ns=known["rtt"] * 1000 or None,
        rtt_var_ns=known["rtt_var"] * 1000 or None,
        retransmits=known["retransmits"],
        lost=known["lost"],
        window_segments=known["window"],
        mss=known["mss"],
    )


def test_a_longer_tcp_info_is_read() -> None:
    assert read_tcp_info(tcp_info(min_rtt=6) + bytes(100)).min_rtt_ns == 6_000


@pytest.mark.skipif(sys.platform != "linux", reason="the layout is Linux's")
def test_a_real_tcp_info_has_the_round_trip_of_the_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        found = read_tcp_info(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE))
    assert found.rtt_ns
    assert found.mss > 500
    assert found.min_rtt_ns is None or 0 < found.min_rtt_ns <= found.rtt_ns + 1_000_000
    assert (found.retransmits, found.lost) == (0, 0)
