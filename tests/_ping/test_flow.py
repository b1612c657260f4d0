"""One way to one echo: what it sends, what comes of it, and how it ends."""

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
from halloo._core.probe import Probes
from halloo._core.tls_options import ClientTLS, ServerTLS
from halloo._net.readiness import until_readable, until_writable
from halloo._net.socket_options import SocketOptions
from halloo._ping.flow import CHUNK, TCP_INFO_SIZE, Blocked, Came, ConnectOptions, Flow, ProbeConnection, read_tcp_info
from halloo._ping.prober import both_clocks
from halloo._ping.report import Kernel, TargetReport
from halloo._ping.tracker import Instant, ProbeTracker
from halloo._server.serve import serving
from halloo.errors import IncompleteRead, LocalError, PeerError, Refused, Reset, UsageError
from tests.peers import PATIENCE, mailbox, peer, resetting, silent, unused_datagram_port, unused_port
from tests.stamped import stamping_kernel

WAIT = 10.0  # seconds that no test takes
RUN, SIZE = 0xBEEF, 128
LARGE = 65_507


@contextmanager
def lane(address: AddressLike, *, size: int = SIZE, dial: dict[str, object] | None = None) -> Iterator[ProbeConnection]:
    made = ProbeConnection(ConnectOptions(parse(address), WAIT, **(dial or {})), run=RUN, size=size)  # type: ignore[arg-type]
    with closing(made):
        yield made


def opened(near: ProbeConnection) -> Mapping[str, int]:
    """Connect, and give the phases."""
    phases = near.open()
    while phases is None:
        sock, writing, _ = near.awaited
        phases = near.advance(ready=bool(until_writable(sock, WAIT) if writing else until_readable([sock], WAIT)))
    return phases


def probe(number: int, size: int = SIZE) -> bytes:
    return Probes(RUN, size).make(number, 1)


def come(near: ProbeConnection, count: int = 1, clock: Callable[[], Instant] = both_clocks) -> list[Came]:
    """Wait until so much has come."""
    found: list[Came] = []
    while len(found) < count:
        assert near.connection
        assert until_readable([near.connection.socket], WAIT)
        found += near.receive(clock)
    return found


def pieces(near: ProbeConnection, count: int = 1) -> list[bytes]:
    return [data for data, _, _ in come(near, count)]


def told(near: ProbeConnection, far: socket.socket, sender: tuple[str, int]) -> list[int | None]:
    """Say of two datagrams when the kernel had them."""
    for _ in range(2):
        far.sendto(b"x", sender)
    return [kernel_ns for _, _, kernel_ns in come(near, 2)]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    """Have the system's resolver know a name with these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a path that is short enough for a Unix socket (unix(7))."""
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("needs Unix sockets")
    monkeypatch.chdir(tmp_path)
    return "door"


@pytest.fixture(scope="module")
def insecure() -> dict[str, object]:
    pytest.importorskip("trustme")
    return {"tls": ClientTLS(insecure=True)}


# There and back.


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_what_is_sent_comes_back(scheme: str) -> None:
    with serving(f"{scheme}://127.0.0.1:0") as server, lane(server.address) as near:
        opened(near)
        near.send(probe(0))
        assert pieces(near) == [probe(0)]
        assert near.stamped == (sys.platform == "linux")


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_the_kernel_had_it_before_it_was_read(scheme: str) -> None:
    with stamping_kernel(), serving(f"{scheme}://127.0.0.1:0") as server, lane(server.address) as near:
        opened(near)
        before = time.time_ns()
        near.send(probe(0))
        ((_, now, kernel_ns),) = come(near)
    assert kernel_ns
    assert before <= kernel_ns <= now.wall_ns


def test_over_tls_it_comes_back_as_well(insecure: dict[str, object]) -> None:
    with (
        serving("tls://127.0.0.1:0", tls=ServerTLS()) as server,
        lane(server.address, size=LARGE, dial=insecure) as near,
    ):
        assert opened(near).keys() == {"connect", "tls"}
        near.send(probe(0, LARGE))
        while near.sending:
            near.go_on_sending()
        assert pieces(near) == [probe(0, LARGE)]
        assert not near.stamped


def test_over_a_unix_socket_it_comes_back_as_well(path: str) -> None:
    with serving(f"unix:{path}") as server, lane(server.address) as near:
        assert opened(near).keys() == {"connect"}
        near.send(probe(0))
        assert pieces(near) == [probe(0)]
        assert near.kernel() is None
        assert near.known() == {"peer": path, "local": None, "dscp": None, "ttl": None, "path_mtu": None}


def test_with_a_name_its_time_is_a_phase() -> None:
    with serving("127.0.0.1:0") as server, lane(("localhost", server.address.port)) as near:
        assert opened(near).keys() == {"resolve", "connect"}


def test_one_may_have_the_users_clock() -> None:
    with serving("udp://127.0.0.1:0") as server, lane(server.address, dial={"user_clock": True}) as near:
        opened(near)
        near.send(probe(0))
        ((_, _, kernel_ns),) = come(near)
    assert (near.stamped, kernel_ns) == (False, None)


def test_an_empty_datagram_is_something_that_came() -> None:
    with mailbox() as far, lane(f"udp://127.0.0.1:{far.getsockname()[1]}") as near:
        opened(near)
        near.send(probe(0))
        _, sender = far.recvfrom(1000)
        far.sendto(b"", sender)
        assert pieces(near) == [b""]


def test_what_others_send_to_the_same_port_does_not_come() -> None:
    with mailbox() as far, mailbox() as stranger, lane(f"udp://127.0.0.1:{far.getsockname()[1]}") as near:
        opened(near)
        near.send(probe(0))
        data, sender = far.recvfrom(1000)
        stranger.sendto(probe(0), sender)
        far.sendto(data, sender)
        far.sendto(b"that is all", sender)
        assert pieces(near, 2) == [probe(0), b"that is all"]


def test_many_answers_at_once_are_read_at_once() -> None:
    with serving("127.0.0.1:0") as server, lane(server.address) as near:
        opened(near)
        for number in range(50):
            near.send(probe(number))
        assert pieces(near, 50) == [probe(number) for number in range(50)]


def test_what_is_not_there_yet_is_not_waited_for() -> None:
    with serving("127.0.0.1:0") as server, lane(server.address) as near:
        opened(near)
        assert [*near.receive(both_clocks)] == []


# What is known.


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")
def test_the_kernel_knows_the_round_trip_of_the_handshake() -> None:
    with serving("127.0.0.1:0") as server, lane(server.address) as near:
        assert near.kernel() is None
        opened(near)
        kernel = near.kernel()
        assert kernel
        assert kernel.rtt_ns
        near.close()
        assert near.kernel() is None


def test_of_datagrams_the_kernel_knows_no_round_trip() -> None:
    with serving("udp://127.0.0.1:0") as server, lane(server.address) as near:
        opened(near)
        assert near.kernel() is None


def test_what_is_known_of_a_connection_is_read_from_it() -> None:
    with serving("127.0.0.1:0") as server, lane(server.address, dial={"marking": SocketOptions(46, 7)}) as near:
        assert near.known() == {}
        opened(near)
        known = near.known()
        assert near.connection
        local = near.connection.socket.getsockname()
    assert known == {
        "peer": server.address.place,
        "local": f"127.0.0.1:{local[1]}",
        "dscp": 46,
        "ttl": 7,
        "path_mtu": None,
    }


@pytest.mark.skipif(sys.platform != "linux", reason="IP_MTU is Linux's")
def test_of_a_way_for_datagrams_the_mtu_is_known() -> None:
    with serving("udp://127.0.0.1:0") as server, lane(server.address) as near:
        opened(near)
        mtu = near.known()["path_mtu"]
    assert isinstance(mtu, int)
    assert mtu >= 1500


# A stream that is full.


def filled(near: ProbeConnection) -> int:
    """Send until no more goes, and say how many probes are on their way, the last one in part."""
    sent = 0
    while not near.sending:
        near.send(probe(sent, LARGE))
        sent += 1
    return sent


def test_over_a_full_stream_nothing_is_sent_in_part_and_the_rest_follows_when_there_is_room() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, lane(listener.getsockname(), size=LARGE) as near:
        opened(near)
        far, _ = listener.accept()
        with far:
            far.settimeout(PATIENCE)
            sent = filled(near)
            for _ in range(3):
                with pytest.raises(Blocked, match=r"takes no more bytes; allow more time between probes with -i"):
                    near.send(probe(sent, LARGE))
            came = bytearray()
            while len(came) < sent * LARGE:
                came += far.recv(CHUNK)
                near.go_on_sending()
            assert not near.sending
            near.send(probe(sent, LARGE))
            near.go_on_sending()
            while len(came) < (sent + 1) * LARGE:
                came += far.recv(CHUNK)
                near.go_on_sending()
        identical = came == b"".join(probe(number, LARGE) for number in range(sent + 1))
        assert identical


def test_after_the_connection_was_made_anew_nothing_is_left_of_the_old_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, lane(listener.getsockname(), size=LARGE) as near:
        opened(near)
        filled(near)
        near.close()
        opened(near)
        assert not near.sending
        listener.accept()[0].close()
        far, _ = listener.accept()
        with far:
            near.send(probe(0, LARGE))
            near.close()
            far.settimeout(PATIENCE)
            assert far.recv(12) == probe(0, LARGE)[:12]


# Ends.


def test_the_end_of_the_stream_comes_after_what_came_before_it() -> None:
    def half(connection: socket.socket) -> None:
        connection.sendall(connection.recv(1000)[:50])

    with peer(half) as port, lane(f"127.0.0.1:{port}") as near:
        opened(near)
        near.send(probe(0))
        found: list[bytes] = []
        with pytest.raises(
            IncompleteRead, match=rf"127\.0\.0\.1:{port} closed the connection; look at the server's own"
        ):
            found.extend(data for data, _, _ in receiving(near))
        assert found == [probe(0)[:50]]


def receiving(near: ProbeConnection) -> Iterator[Came]:
    """Give what comes, one by one, for ever."""
    while True:
        assert near.connection
        assert until_readable([near.connection.socket], WAIT)
        yield from near.receive(both_clocks)


def test_a_reset_is_told() -> None:
    with peer(resetting) as port, lane(f"127.0.0.1:{port}") as near:
        opened(near)
        near.send(probe(0))
        assert near.connection
        near.connection.send_eof()
        with pytest.raises(Reset):
            pieces(near)


@pytest.mark.skipif(not hasattr(select, "poll"), reason="needs poll, to see the reset come")
def test_sending_on_a_connection_that_has_ended_is_told() -> None:
    with peer(lambda _: None) as port, lane(f"127.0.0.1:{port}") as near:
        opened(near)
        assert near.connection
        assert until_readable([near.connection.socket], WAIT)  # the end
        near.send(probe(0))
        assert until_broken(near.connection.socket)
        with pytest.raises(PeerError):
            near.send(probe(1))


def until_broken(sock: socket.socket) -> bool:
    """Wait for the reset that answers what was sent to a peer that has closed."""
    poller = select.poll()
    poller.register(sock, select.POLLERR)
    return bool(poller.poll(WAIT * 1000))


def test_where_nobody_listens_that_is_told_at_once() -> None:
    with lane(f"127.0.0.1:{unused_port()}") as near, pytest.raises(Refused):
        opened(near)


def test_where_nobody_takes_datagrams_that_is_told_by_and_by() -> None:
    with lane(f"udp://127.0.0.1:{unused_datagram_port()}") as near:
        opened(near)
        near.send(probe(0))
        with pytest.raises(Refused):
            pieces(near)


def test_a_source_that_is_not_ours_is_a_usage_error() -> None:
    for address in ("127.0.0.1:9", "udp://127.0.0.1:9"):
        with lane(address, dial={"marking": SocketOptions(bind="192.0.2.1")}) as near, pytest.raises(UsageError):
            opened(near)


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_limit_of_this_machine_is_not_blamed_on_the_peer(scheme: str) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with lane(f"{scheme}://127.0.0.1:9") as near:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(LocalError, match=r"no descriptor is left for a connection to 127\.0\.0\.1:9;"):
                opened(near)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_source_of_the_other_family_cannot_reach_it() -> None:
    with lane("127.0.0.1:9", dial={"marking": SocketOptions(bind="::1")}) as near, pytest.raises(PeerError):
        opened(near)


def test_closing_twice_is_no_harm() -> None:
    with serving("127.0.0.1:0") as server, lane(server.address) as near:
        near.close()
        opened(near)
        near.close()
        near.close()
        assert near.connection is None
        assert near.rest() == b""


# A name with several addresses.


@pytest.mark.parametrize("found_out", ["receiving", "sending"])
def test_datagrams_go_to_the_next_address_where_the_first_has_nobody(
    monkeypatch: pytest.MonkeyPatch, found_out: str
) -> None:
    nobody = ("127.0.0.1", unused_datagram_port())
    with mailbox() as far, lane("udp://host") as near:
        resolve_to(monkeypatch, nobody, far.getsockname())
        opened(near)
        near.send(probe(0))
        assert near.connection
        assert until_readable([near.connection.socket], WAIT)  # the refusal
        if found_out == "sending":
            near.send(probe(1))
        else:
            assert [*near.receive(both_clocks)] == []
        data, sender = far.recvfrom(1000)
        assert data == probe(0)
        far.sendto(data, sender)
        assert pieces(near)
        assert near.known()["peer"] == f"127.0.0.1:{far.getsockname()[1]}"
        assert near.stamped == (sys.platform == "linux")
        assert all(kernel_ns is not None for kernel_ns in told(near, far, sender)) == near.stamped


def test_an_address_that_has_answered_is_stayed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    with mailbox() as other, lane("udp://host") as near:
        with mailbox() as first:
            resolve_to(monkeypatch, first.getsockname(), other.getsockname())
            opened(near)
            near.send(probe(0))
            first.sendto(*first.recvfrom(1000))
            assert pieces(near) == [probe(0)]
        near.send(probe(1))  # to nobody, by now
        with pytest.raises(Refused):
            pieces(near)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1000)


def test_what_was_not_sent_when_it_closes_is_forgotten() -> None:
    with silent() as port, lane(f"127.0.0.1:{port}", size=LARGE) as near:
        opened(near)
        with suppress(Blocked):
            for number in range(1000):
                near.send(probe(number, LARGE))
        assert near.sending
        near.close()
        assert not near.sending


def course(address: str, *, reconnect: bool = False, connect: bool = False) -> Flow:
    lane = ProbeConnection(ConnectOptions(parse(address), WAIT), run=1, size=128)
    return Flow(
        lane, ProbeTracker(0, Probes(1, 128), 5, TargetReport(address, address, None, None)), reconnect, connect
    )


@pytest.mark.parametrize(("scheme", "stream"), [("tcp", True), ("tls", True), ("udp", False)])
def test_datagrams_get_lost_and_streams_end(scheme: str, stream: bool) -> None:
    assert course(f"{scheme}://localhost").stream == stream


@pytest.mark.parametrize(("options", "held"), [({}, False), ({"reconnect": True}, True), ({"connect": True}, True)])
def test_a_probe_with_a_connection_of_its_own_waits_for_the_last_one(options: dict[str, bool], held: bool) -> None:
    one = course("localhost", **options)
    assert (one.apart, one.held) == (bool(options), False)
    one.tracker.send(Instant(0, 0))
    assert one.held == held


PLACES = {"mss": 16, "lost": 32, "rtt": 68, "rtt_var": 72, "window": 80, "retransmits": 100, "min_rtt": 148}
UNKNOWN = 0xFFFFFFFF


def tcp_info(**values: int) -> bytes:
    """Write what a kernel tells, all else being zeros."""
    info = bytearray(TCP_INFO_SIZE)
    for name, value in values.items():
        struct.pack_into("=I", info, PLACES[name], value)
    return bytes(info)


def test_times_are_microseconds_there_and_nanoseconds_here() -> None:
    assert read_tcp_info(tcp_info(rtt=5200, rtt_var=10, min_rtt=6)) == Kernel(6_000, 5_200_000, 10_000)


def test_counts_are_read_as_they_are() -> None:
    assert read_tcp_info(tcp_info(mss=1448, lost=3, window=10, retransmits=7)) == Kernel(
        mss=1448, lost=3, window_segments=10, retransmits=7
    )


def test_a_floor_that_was_never_measured_is_not_known() -> None:
    assert read_tcp_info(tcp_info(min_rtt=UNKNOWN)).min_rtt_ns is None
    assert read_tcp_info(tcp_info()).min_rtt_ns is None


@pytest.mark.parametrize("length", range(TCP_INFO_SIZE))
def test_of_a_kernel_that_tells_less_what_is_there_is_read(length: int) -> None:
    values = {"mss": 1, "lost": 2, "rtt": 3, "rtt_var": 4, "window": 5, "retransmits": 6, "min_rtt": 7}
    there = {name for name, place in PLACES.items() if length >= place + 4}
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


def test_a_kernel_that_tells_more_is_read_as_well() -> None:
    assert read_tcp_info(tcp_info(min_rtt=6) + bytes(100)).min_rtt_ns == 6_000


@pytest.mark.skipif(sys.platform != "linux", reason="the layout is Linux's")
def test_a_real_kernel_tells_the_round_trip_of_the_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        found = read_tcp_info(near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE))
    assert found.rtt_ns
    assert found.mss > 500
    assert found.min_rtt_ns is None or 0 < found.min_rtt_ns <= found.rtt_ns + 1_000_000
    assert (found.retransmits, found.lost) == (0, 0)
