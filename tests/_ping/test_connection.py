"""One connection to an echo: sending, receiving, and how it ends."""

import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from halloo._core.probe import MIN_SIZE, Probes
from halloo._core.tls_options import ClientTLS
from halloo._net.readiness import until_readable
from halloo._ping.connection import RECEIVE_SIZE, TCP_INFO_SIZE, Blocked, ProbeConnection, Received, read_tcp_info
from halloo._ping.report import Kernel
from halloo._ping.scheduler import system_clocks
from halloo._server.server import Server
from halloo.errors import IncompleteRead, LocalError, PeerError, Refused, Reset, UsageError
from tests._ping.flows import RUN, TIMEOUT, make_flow, open_flow, opened
from tests.kernel_timestamps import kernel_timestamps
from tests.peers import datagram_peer, datagram_socket, echo_datagram, peer, reset, unused_datagram_port, unused_port

LARGE = 65_507


def probe(number: int, size: int = 128) -> bytes:
    return Probes(RUN, size).encode(number, 1)


def receiving(client: ProbeConnection) -> Iterator[Received]:
    """Yield replies for ever."""
    while True:
        assert until_readable([client.socket], TIMEOUT)
        yield from client.receive(system_clocks)


def replies(client: ProbeConnection, count: int = 1) -> list[bytes]:
    return [data for _, (data, _, _) in zip(range(count), receiving(client), strict=False)]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Make the system's resolver return these addresses for any name."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for place in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


# Sending and receiving.


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_probes_are_echoed_with_kernel_timestamps_between_sending_and_reading(scheme: str) -> None:
    with kernel_timestamps(), Server(f"{scheme}://127.0.0.1:0") as server, opened(server.address) as client:
        assert [*client.receive(system_clocks)] == []  # without waiting
        before = time.time_ns()
        client.send(probe(0))
        data, now, kernel_ns = next(receiving(client))
        assert (data, client.kernel_timestamps) == (probe(0), True)
        assert kernel_ns
        assert before <= kernel_ns <= now.wall_ns
    with Server(f"{scheme}://127.0.0.1:0") as server, opened(server.address, user_clock=True) as client:
        client.send(probe(0))
        assert (next(receiving(client))[2], client.kernel_timestamps) == (None, False)


def test_probes_are_echoed_over_tls() -> None:
    pytest.importorskip("trustme")
    with Server("tls://127.0.0.1:0") as server:
        flow = make_flow(server.address, size=LARGE, tls=ClientTLS(insecure=True))
        assert open_flow(flow).keys() == {"connect", "tls"}
        client = flow.connection
        assert client
        with closing(client):
            client.send(probe(0, LARGE))
            while client.unsent:
                client.flush()
            assert replies(client) == [probe(0, LARGE)]
            assert not client.kernel_timestamps


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_probes_are_echoed_over_a_unix_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for a path that is short enough (unix(7))
    with Server("unix:echo.sock") as server, opened(server.address) as client:
        client.send(probe(0))
        assert replies(client) == [probe(0)]
        assert client.kernel_info() is None
        assert client.describe() == {"peer": "echo.sock", "local": None, "dscp": None, "ttl": None}


def test_datagrams_from_other_senders_are_not_received_but_empty_ones_are() -> None:
    with (
        datagram_socket() as server_socket,
        datagram_socket() as other_socket,
        opened(f"udp://127.0.0.1:{server_socket.getsockname()[1]}") as client,
    ):
        client.send(probe(0))
        data, sender = server_socket.recvfrom(1000)
        other_socket.sendto(probe(0), sender)
        for answer in (data, b"", b"that is all"):
            server_socket.sendto(answer, sender)
        assert replies(client, 3) == [probe(0), b"", b"that is all"]


def test_many_replies_are_read_in_one_call() -> None:
    with Server("127.0.0.1:0") as server, opened(server.address) as client:
        for number in range(50):
            client.send(probe(number))
        assert replies(client, 50) == [probe(number) for number in range(50)]


# Kernel data and descriptions.


def test_the_description_is_read_from_the_socket() -> None:
    with Server("127.0.0.1:0") as server, opened(server.address, dscp=46, ttl=7) as client:
        local = f"127.0.0.1:{client.socket.getsockname()[1]}"
        assert client.describe() == {"peer": server.address.place, "local": local, "dscp": 46, "ttl": 7}


@pytest.mark.skipif(sys.platform != "linux", reason="IP_MTU and TCP_INFO are Linux's")
def test_the_kernel_knows_the_path_mtu_of_datagrams_and_the_round_trip_of_a_handshake() -> None:
    with Server("udp://127.0.0.1:0", "127.0.0.1:0") as server:
        datagrams, stream = server.addresses
        with opened(datagrams) as client:
            mtu = client.describe()["path_mtu"]
            assert isinstance(mtu, int)
            assert mtu >= 1500
            assert client.kernel_info() is None
        with opened(stream) as client:
            kernel = client.kernel_info()
    assert kernel
    assert kernel.rtt_ns
    assert kernel.mss > 500
    assert kernel.min_rtt_ns is None or 0 < kernel.min_rtt_ns <= kernel.rtt_ns + 1_000_000
    assert (kernel.retransmits, kernel.lost) == (0, 0)


OFFSETS = {"mss": 16, "lost": 32, "rtt": 68, "rtt_var": 72, "window": 80, "retransmits": 100, "min_rtt": 148}


def test_a_tcp_info_of_any_length_is_read_as_far_as_it_goes() -> None:
    values = {"mss": 1, "lost": 2, "rtt": 3, "rtt_var": 4, "window": 5, "retransmits": 6, "min_rtt": 7}
    info = bytearray(TCP_INFO_SIZE + 100)
    for name, value in values.items():
        struct.pack_into("=I", info, OFFSETS[name], value)
    for length in range(len(info) + 1):
        known = {name: value if length >= OFFSETS[name] + 4 else 0 for name, value in values.items()}
        assert read_tcp_info(bytes(info[:length])) == Kernel(
            min_rtt_ns=known["min_rtt"] * 1000 or None,
            rtt_ns=known["rtt"] * 1000 or None,
            rtt_var_ns=known["rtt_var"] * 1000 or None,
            retransmits=known["retransmits"],
            lost=known["lost"],
            window_segments=known["window"],
            mss=known["mss"],
        )
    struct.pack_into("=I", info, OFFSETS["min_rtt"], 0xFFFFFFFF)  # not measured yet
    assert read_tcp_info(bytes(info)).min_rtt_ns is None


# A full stream.


def test_a_full_stream_blocks_further_probes_until_the_rest_is_flushed() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        opened(listener.getsockname(), size=LARGE) as client,
        listener.accept()[0] as server_socket,
    ):
        server_socket.settimeout(TIMEOUT)
        sent = 0
        while not client.unsent:
            client.send(probe(sent, LARGE))
            sent += 1
        for _ in range(3):
            with pytest.raises(Blocked, match=r"stopped reading; use a longer interval between probes"):
                client.send(probe(sent, LARGE))
        received = bytearray()
        for number in (sent, sent + 1):
            while len(received) < number * LARGE:
                received += server_socket.recv(RECEIVE_SIZE)
                client.flush()
            assert not client.unsent
            if number == sent:
                client.send(probe(sent, LARGE))
        identical = received == b"".join(probe(number, LARGE) for number in range(sent + 1))
        assert identical


# Errors and closing.


def test_received_bytes_are_given_before_the_end_of_the_stream() -> None:
    def half(connection: socket.socket) -> None:
        connection.sendall(connection.recv(1000)[:50])

    with peer(half) as port, opened(f"127.0.0.1:{port}") as client:
        client.send(probe(0))
        found: list[bytes] = []
        with pytest.raises(
            IncompleteRead, match=rf"127\.0\.0\.1:{port} closed the connection; look at the server's own"
        ):
            found.extend(data for data, _, _ in receiving(client))
        assert found == [probe(0)[:50]]


def test_a_reset_is_raised_by_receiving_and_by_sending() -> None:
    def hang_up(connection: socket.socket) -> None:
        connection.recv(1000)
        reset(connection)

    for then in (replies, lambda client: client.send(probe(1))):
        with peer(hang_up) as port, opened(f"127.0.0.1:{port}") as client:
            client.send(probe(0))
            assert until_readable([client.socket], TIMEOUT)  # the reset
            with pytest.raises(Reset):
                then(client)


def test_connecting_to_a_closed_port_is_refused_and_a_closed_udp_port_refuses_the_first_probe() -> None:
    with pytest.raises(Refused):
        open_flow(make_flow(f"127.0.0.1:{unused_port()}"))
    with opened(f"udp://127.0.0.1:{unused_datagram_port()}") as client:
        client.send(probe(0))
        with pytest.raises(Refused):
            replies(client)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "udp://127.0.0.1:9"])
def test_connecting_fails_without_the_source_address_or_a_descriptor(address: str) -> None:
    with pytest.raises(UsageError):
        open_flow(make_flow(address, bind="192.0.2.1"))
    with pytest.raises(PeerError):
        open_flow(make_flow(address, bind="::1"))
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    flow = make_flow(address)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(LocalError, match=r"no file descriptor is left for a connection to 127\.0\.0\.1:9;"):
            open_flow(flow)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# A name with several addresses.


@pytest.mark.parametrize("noticed_by", ["receiving", "sending"])
def test_a_refused_datagram_is_sent_to_the_next_address(monkeypatch: pytest.MonkeyPatch, noticed_by: str) -> None:
    with datagram_socket() as server_socket, kernel_timestamps():
        with datagram_peer(echo_datagram) as port:
            resolve_to(monkeypatch, ("127.0.0.1", port), server_socket.getsockname())
            flow = make_flow("udp://host")
            open_flow(flow)
        client = flow.connection
        assert client
        with closing(client):
            client.send(probe(0))  # the first socket is closed by now
            assert until_readable([client.socket], TIMEOUT)  # ECONNREFUSED
            if noticed_by == "sending":
                client.send(probe(1))
            else:
                assert [*client.receive(system_clocks)] == []
            data, sender = server_socket.recvfrom(1000)
            assert data == probe(0)
            assert client.peer_changed
            assert client.describe()["peer"] == f"127.0.0.1:{server_socket.getsockname()[1]}"
            server_socket.sendto(data, sender)
            assert next(receiving(client))[2] is not None  # the kernel's timestamp


def test_an_address_that_has_answered_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with datagram_socket() as other:
        with datagram_peer(echo_datagram) as port:
            resolve_to(monkeypatch, ("127.0.0.1", port), other.getsockname())
            flow = make_flow("udp://host")
            open_flow(flow)
            client = flow.connection
            assert client
            client.send(probe(0))
            assert replies(client) == [probe(0)]
        with closing(client):
            client.send(probe(1))  # the first socket is closed by now
            with pytest.raises(Refused):
                replies(client)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1000)


def test_an_address_that_answers_is_preferred_to_a_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with datagram_socket() as silent_socket, datagram_peer(echo_datagram) as port:
        resolve_to(monkeypatch, silent_socket.getsockname(), ("127.0.0.1", port))
        with opened("udp://host") as client:
            assert client.describe()["peer"] == f"127.0.0.1:{port}"
            client.send(probe(0))
            assert replies(client) == [probe(0)]
        silent_socket.setblocking(False)
        assert len(silent_socket.recv(1000)) == MIN_SIZE
        with pytest.raises(BlockingIOError):
            silent_socket.recv(1000)
