"""What a ping reports of good echoes and of bad ones, in one call, as a library's user has it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from halloo._core.address import AddressLike
from halloo._core.limits import Limits
from halloo._core.tls_options import ClientTLS
from halloo._net.listener import listen
from halloo._ping.goals import goal
from halloo._ping.report import SCHEMA, PingReport, ProbeEvent, TargetReport
from halloo._ping.run import ping
from halloo._server.serve import serving
from halloo.errors import UnknownHost, UsageError
from tests.peers import closing as closing_at_once
from tests.peers import correspondent, full, hanging_up_midway, peer, silent, unused_datagram_port, unused_port
from tests.programs import PYTHON, started

BRIEF = 0.05  # seconds in which what never comes is given up
MS = 1_000_000  # nanoseconds
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone")


def has_ipv6() -> bool:
    try:
        listen(0, family=6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs ::1")


@dataclass
class Told:
    """A sink that remembers, and does what the test wants at each probe."""

    on_probe: Callable[[ProbeEvent], object] = lambda _: None
    began: list[PingReport] = field(default_factory=list)
    events: list[ProbeEvent] = field(default_factory=list)
    interims: list[PingReport] = field(default_factory=list)
    ended: list[PingReport] = field(default_factory=list)
    look: Callable[[], PingReport] | None = None

    def begin(self, report: PingReport, look: Callable[[], PingReport]) -> None:
        self.began.append(report)
        self.look = look

    def probe(self, event: ProbeEvent) -> None:
        self.events.append(event)
        self.on_probe(event)

    def interim(self, report: PingReport) -> None:
        self.interims.append(report)

    def end(self, report: PingReport) -> None:
        self.ended.append(report)


def only(report: PingReport) -> TargetReport:
    (target,) = report.targets
    return target


def quickly(*addresses: AddressLike, **options: Any) -> PingReport:  # noqa: ANN401 - those of ping
    """Ping a few times, each after the last answer; what takes longer than BRIEF is lost."""
    return ping(*addresses, **{"count": 3, "interval": 0, "timeout": BRIEF} | options)


def right(target: TargetReport, count: int = 3) -> bool:
    """Whether all that was sent came back right."""
    counted = (target.lost, target.late, target.duplicate, target.reordered, target.corrupt, target.stray)
    return (target.sent, target.received, counted, dict(target.errors)) == (count, count, (0,) * 6, {})


def echoing(connection: socket.socket, change: Callable[[bytes], bytes] = bytes) -> None:
    """Answer each line as it comes, changed."""
    with connection.makefile("rb") as lines:
        for line in lines:
            connection.sendall(change(line))


def changing(change: Callable[[bytes], bytes]) -> Callable[[socket.socket], None]:
    return lambda connection: echoing(connection, change)


# Echoes that are right.


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
@pytest.mark.parametrize("size", [37, 100, 101, 128, 1000, 65_507])
def test_an_echo_is_there_and_intact(scheme: str, size: int) -> None:
    with serving(f"{scheme}://127.0.0.1:0") as server:
        report = ping(server.address, count=3, interval=0, size=size)
    target = only(report)
    assert right(target)
    assert target.round_trip
    assert 0 < target.round_trip.min_ns <= target.round_trip.median_ns <= target.round_trip.max_ns < 5_000 * MS
    assert (target.address, target.label, target.peer) == (str(server.address),) * 2 + (server.address.place,)
    assert (target.failure, target.outages, report.exit_code, report.interrupted) == (None, (), 0, False)


@pytest.mark.parametrize("options", [{}, {"reconnect": True}, {"connect": True}], ids=["one", "reconnect", "connect"])
def test_over_tls_the_handshake_is_a_phase_of_its_own(options: dict[str, Any]) -> None:
    pytest.importorskip("trustme")
    with serving("tls://127.0.0.1:0") as server:
        target = only(ping(server.address, count=3, interval=0, tls=ClientTLS(insecure=True), **options))
    assert right(target)
    assert target.clock == "user"
    phases = {name: spread.count for name, spread in target.phases.items()}
    times = 3 if options else 1
    assert phases == {"connect": times, "tls": times} | ({} if options.get("connect") else {"first": times})


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_over_a_unix_socket_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serving("unix:door") as server:
        target = only(ping(server.address, count=3, interval=0))
    assert right(target)
    assert (target.peer, target.local, target.kernel, target.floor_ns, target.dscp) == ("door", None, None, None, None)
    assert target.phases.keys() == {"connect", "first"}


@needs_ipv6
@pytest.mark.parametrize(("family", "host"), [(4, "127.0.0.1"), (6, "[::1]")])
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_either_family_may_be_asked_for(scheme: str, family: int, host: str) -> None:
    with serving(f"{scheme}://localhost:0") as server:
        target = only(ping(f"{scheme}://localhost:{server.address.port}", count=2, interval=0, family=family))
    assert right(target, 2)
    assert target.peer == f"{host}:{server.address.port}"
    assert target.local
    assert target.local.startswith(host)


@needs_ipv6
def test_datagrams_find_the_family_that_has_a_server() -> None:
    with serving("udp://127.0.0.1:0") as server:
        port = server.address.port
        found = {sockaddr[0] for *_, sockaddr in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
        target = only(ping(f"udp://localhost:{port}", count=3, interval=0.01))
    assert "127.0.0.1" in found
    assert target.received == 3
    assert target.lost == 0
    assert target.peer == f"127.0.0.1:{port}"
    assert target.local
    assert target.local.startswith("127.0.0.1:")


def test_the_address_that_answers_datagrams_is_the_one_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("udp://127.0.0.1:0") as server:
        places = [("127.0.0.1", unused_datagram_port()), ("127.0.0.1", server.address.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        target = only(ping("udp://host:9", count=3, interval=0.01))
    assert right(target)
    assert target.peer == server.address.place


def test_a_server_of_lines_is_an_echo_as_well() -> None:
    with serving("127.0.0.1:0", respond=bytes) as server:
        assert right(only(ping(server.address, count=3, interval=0)))


def test_a_greeting_is_no_answer() -> None:
    with serving("127.0.0.1:0", greeting=b"220 welcome to this echo, hlo? is what we like\r\n") as server:
        target = only(ping(server.address, count=3, interval=0.01))
    assert (target.received, target.corrupt, target.duplicate, target.lost, target.stray) == (3, 0, 0, 0, 1)


@pytest.mark.parametrize("stamp", [False, True])
def test_what_a_server_stamps_is_no_wrong_byte(stamp: bool) -> None:
    with serving("127.0.0.1:0", "udp://127.0.0.1:0", timestamps=stamp) as server:
        report = ping(*server.addresses, count=3, interval=0)
    assert all(right(target) for target in report.targets)
    assert [target.timestamps is not None for target in report.targets] == [stamp, stamp]


def test_several_are_measured_in_turn() -> None:
    told = Told()
    with serving("127.0.0.1:0") as one, serving("udp://127.0.0.1:0") as other:
        report = ping(one.address, other.address, count=3, interval=0.002, sink=told)
    assert [target.label for target in report.targets] == [str(one.address), str(other.address)]
    assert all(right(target) for target in report.targets)
    assert report.generator.planned >= 6


def test_flows_have_a_port_and_a_line_each() -> None:
    for scheme in ("tcp", "udp"):
        with serving(f"{scheme}://127.0.0.1:0") as server:
            report = ping(server.address, count=2, interval=0, flows=4)
        assert [target.label for target in report.targets] == [f"{server.address} flow {each}" for each in (1, 2, 3, 4)]
        assert len({target.local for target in report.targets}) == 4
        assert all(right(target, 2) for target in report.targets)


def test_a_deadline_ends_it() -> None:
    with serving("127.0.0.1:0") as server:
        report = ping(server.address, count=None, interval=0.01, deadline=0.1)
    assert right(only(report), only(report).sent)
    assert 1 <= only(report).sent <= 11


def test_spinning_gives_the_same_counts() -> None:
    with serving("127.0.0.1:0") as server:
        assert right(only(ping(server.address, count=20, interval=0, busy_poll=True)), 20)


def test_the_clock_is_told() -> None:
    with serving("udp://127.0.0.1:0") as server:
        clocks = [only(ping(server.address, count=2, interval=0, user_clock=user)).clock for user in (False, True)]
    assert clocks == ["kernel" if sys.platform == "linux" else "user", "user"]


# Connections.


def test_reconnecting_measures_every_phase_for_every_probe() -> None:
    with serving("127.0.0.1:0") as server:
        target = only(ping(("localhost", server.address.port), count=3, interval=0, reconnect=True, family=4))
    assert right(target)
    assert {name: spread.count for name, spread in target.phases.items()} == {"resolve": 3, "connect": 3, "first": 3}


@pytest.mark.parametrize("act", [lambda _: None, closing_at_once], ids=["closes at once", "closes after a byte"])
def test_connecting_needs_no_echo(act: Callable[[socket.socket], None]) -> None:
    with peer(act) as port:
        report = ping(f"127.0.0.1:{port}", count=3, interval=0, connect=True)
    target = only(report)
    assert right(target)
    assert target.phases.keys() == {"connect"}
    assert target.round_trip == target.phases["connect"] or target.round_trip
    assert (target.above_floor_ns, target.failure, report.exit_code) == (None, None, 0)


# Nobody, or nobody who answers.


@pytest.mark.parametrize("options", [{}, {"reconnect": True}, {"connect": True}], ids=["one", "reconnect", "connect"])
def test_a_port_that_nobody_listens_on_refuses(options: dict[str, Any]) -> None:
    port = unused_port()
    report = quickly(f"127.0.0.1:{port}", count=2, **options)
    target = only(report)
    assert (target.sent, target.received, target.lost, dict(target.errors)) == (2, 0, 2, {"Refused": 2})
    assert target.failure
    assert f"nothing is listening on 127.0.0.1:{port} (connection refused); start a server" in target.failure
    assert (target.peer, target.round_trip, report.exit_code) == (None, None, 1)


def test_a_port_that_takes_no_datagrams_refuses() -> None:
    report = quickly(f"udp://127.0.0.1:{unused_datagram_port()}", count=2, timeout=5)
    target = only(report)
    assert (target.sent, target.lost, dict(target.errors)) == (2, 2, {"Refused": 2})
    assert target.failure
    assert "nothing is listening" in target.failure
    assert report.exit_code == 1


@linux
def test_what_cannot_be_reached_is_told() -> None:
    target = only(quickly("255.255.255.255:9", count=1))  # no connection leads to everybody
    assert (target.received, dict(target.errors)) == (0, {"Unreachable": 1})
    assert target.failure
    assert "cannot be reached (network is unreachable)" in target.failure


@linux
@pytest.mark.parametrize("options", [{}, {"reconnect": True}, {"connect": True}], ids=["one", "reconnect", "connect"])
def test_who_lets_nobody_in_times_out(options: dict[str, Any]) -> None:
    with full() as place:
        target = only(quickly(place, count=2, **options))
    assert (target.sent, target.received, dict(target.errors)) == (2, 0, {"TimedOut": 2})
    assert target.failure
    assert "does not answer (timed out)" in target.failure


@pytest.mark.parametrize("options", [{}, {"reconnect": True}], ids=["one", "reconnect"])
def test_who_accepts_and_never_answers_is_named(options: dict[str, Any]) -> None:
    with silent() as port:
        report = quickly(f"127.0.0.1:{port}", **options)
        connecting = quickly(f"127.0.0.1:{port}", connect=True)
    target = only(report)
    assert (target.sent, target.received, target.lost) == (3, 0, 3)
    assert target.failure == f"127.0.0.1:{port} accepts but does not echo; add --connect"
    assert report.exit_code == 1
    assert (connecting.exit_code, only(connecting).failure) == (0, None)


def test_who_still_has_time_to_answer_is_not_said_not_to_echo() -> None:
    with silent() as port:
        target = only(ping(f"127.0.0.1:{port}", count=1, deadline=BRIEF))
    assert (target.sent, target.lost, target.timed_out, target.failure) == (1, 1, 0, None)


def test_where_nobody_listens_any_more_that_is_what_failed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def leave() -> None:
            connection, _ = listener.accept()
            listener.close()
            connection.close()

        place = listener.getsockname()
        thread = threading.Thread(target=leave)
        thread.start()
        target = only(quickly(place))
        thread.join()
    assert target.errors["Refused"] >= 1
    assert target.failure
    assert "nothing is listening" in target.failure


def test_certificates_are_for_those_who_have_some() -> None:
    pytest.importorskip("trustme")
    with serving("tls://127.0.0.1:0") as secure, serving("udp://127.0.0.1:0") as plain:
        report = quickly(secure.address, plain.address, tls=ClientTLS(insecure=True), timeout=5)
    assert all(right(target) for target in report.targets)


def test_goals_may_be_written_as_on_the_command_line() -> None:
    with serving("127.0.0.1:0") as server:
        report = quickly(server.address, goals=["max>1ns"], timeout=5)
    assert (len(report.missed), report.exit_code) == (1, 3)


def test_who_answers_something_else_does_not_echo_either() -> None:
    def web(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with peer(web) as port:
        report = quickly(f"127.0.0.1:{port}", count=1)
    target = only(report)
    assert target.stray >= 1
    assert target.failure == f"127.0.0.1:{port} accepts but does not echo; add --connect"


@linux
def test_a_deadline_bounds_what_connecting_may_take() -> None:
    with full() as place:
        report = ping(place, count=None, interval=0.01, timeout=3600, deadline=BRIEF)
    assert only(report).received == 0


def test_datagrams_that_nobody_answers_are_lost() -> None:
    with correspondent(lambda _: []) as port:
        report = quickly(f"udp://127.0.0.1:{port}")
    target = only(report)
    assert (target.sent, target.lost, target.failure, report.exit_code) == (3, 3, None, 1)
    assert (target.outage_count, target.longest_outage and target.longest_outage.probes) == (1, 3)


# Echoes that are wrong.


def spoil(line: bytes) -> bytes:
    return line[:70] + bytes([line[70] ^ 1]) + line[71:]


def half(line: bytes) -> bytes:
    return line[: len(line) // 2]


@pytest.mark.parametrize(
    ("change", "offset"),
    [(spoil, 70), (bytes.upper, 0), (lambda line: line[1:], 0), (lambda line: line.rstrip() + b"?\n", 127)],
    ids=["a byte", "capitals", "the first is missing", "one too many"],
)
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_wrong_bytes_are_corrupt_from_where_they_begin(
    scheme: str, change: Callable[[bytes], bytes], offset: int
) -> None:
    told = Told()
    if scheme == "tcp":
        with peer(changing(change)) as port:
            report = ping(f"127.0.0.1:{port}", count=3, interval=0, sink=told)
    else:
        with correspondent(lambda datagram: [change(datagram)]) as port:
            report = ping(f"udp://127.0.0.1:{port}", count=3, interval=0, sink=told)
    target = only(report)
    assert (target.sent, target.received, target.corrupt, target.lost) == (3, 3, 3, 0)
    assert [event.offset for event in told.events if event.outcome == "corrupt"] == [offset] * 3
    assert (target.round_trip, target.failure, report.exit_code) == (None, None, 1)


@pytest.mark.parametrize("length", [12, 64, 127])
def test_short_datagrams_are_corrupt_where_they_end(length: int) -> None:
    told = Told()
    with correspondent(lambda datagram: [datagram[:length]]) as port:
        target = only(ping(f"udp://127.0.0.1:{port}", count=3, interval=0, sink=told))
    assert (target.received, target.corrupt, target.stray) == (3, 3, 0)
    assert {event.offset for event in told.events} == {length}


@pytest.mark.parametrize("interval", [0, 0.01])
def test_a_short_echo_on_a_stream_is_corrupt_and_not_silent(interval: float) -> None:
    told = Told()
    with peer(changing(half)) as port:
        report = ping(f"127.0.0.1:{port}", count=3, interval=interval, timeout=0.2, sink=told)
    target = only(report)
    assert target.corrupt == 3
    assert [event.offset for event in told.events if event.outcome == "corrupt"] == [64] * 3
    assert (target.received + target.late, target.lost, target.failure, report.exit_code) == (3, 0, None, 1)


@pytest.mark.skipif(os.name == "nt", reason="signals of one's own end the process on Windows")
def test_an_answer_after_the_wait_is_late_and_no_silence() -> None:
    def slowly(line: bytes) -> bytes:
        threading.Event().wait(0.05)
        return line

    def stop(event: ProbeEvent) -> None:
        if event.outcome == "late" and len(told.events) < 100:
            os.kill(os.getpid(), signal.SIGTERM)

    told = Told(on_probe=stop)
    with serving("127.0.0.1:0", respond=slowly) as server:
        report = ping(server.address, count=None, interval=0.1, timeout=0.01, sink=told)
    target = only(report)
    assert target.late >= 1
    assert (target.received, target.failure, report.interrupted) == (0, None, True)


def test_copies_and_disorder_are_counted_and_nothing_is_lost() -> None:
    owed: list[bytes] = []

    def answers(datagram: bytes) -> Iterable[bytes]:
        owed.append(datagram)
        if len(owed) < 3:
            return []
        pair, owed[:] = owed[::-1], []
        return [pair[0], *pair]

    with correspondent(answers) as port:
        target = only(ping(f"udp://127.0.0.1:{port}", count=3, interval=0.001))
    assert (target.received, target.duplicate, target.reordered, target.lost) == (3, 1, 2, 0)


def test_what_is_no_probe_is_stray_and_hides_nothing() -> None:
    with correspondent(lambda datagram: [b"", b"hello", b"hlo?", datagram[::-1], datagram]) as port:
        target = only(ping(f"udp://127.0.0.1:{port}", count=3, interval=0))
    assert (target.received, target.corrupt, target.duplicate, target.stray) == (3, 0, 0, 12)


def test_the_probes_of_others_are_stray() -> None:
    heard: list[bytes] = []

    def answers(datagram: bytes) -> Iterable[bytes]:
        heard.append(datagram)
        return heard[:1] if len(heard) <= 2 else [heard[0], datagram]

    with correspondent(answers) as port:
        assert only(ping(f"udp://127.0.0.1:{port}", count=1, interval=0)).received == 1
        target = only(ping(f"udp://127.0.0.1:{port}", count=2, interval=0.01))
    assert (target.received, target.corrupt, target.lost, target.stray) == (1, 0, 1, 2)


def test_a_server_that_closes_midway_is_an_outage_and_is_connected_to_again() -> None:
    with peer(hanging_up_midway, closing_at_once, closing_at_once, echoing) as port:
        report = ping(f"127.0.0.1:{port}", count=8, interval=0)  # no probe leaves before the last one's end is known
    target = only(report)
    assert (target.sent, target.received, target.lost) == (8, 5, 3)
    assert sum(target.errors.values()) == 3
    assert set(target.errors) <= {"IncompleteRead", "Reset"}
    assert target.phases["connect"].count == 4
    (outage,) = target.outages
    assert (outage.probes, outage.over, target.longest_outage) == (3, True, outage)
    assert report.started_ns <= outage.start_ns < outage.end_ns <= report.started_ns + report.duration_ns
    assert (target.failure, report.exit_code) == (None, 0)


# Network against server.


@linux
@pytest.mark.parametrize("added", [1, 5, 20, 50])
@pytest.mark.parametrize("options", [{}, {"reconnect": True}], ids=["one", "reconnect"])
def test_the_time_that_a_server_adds_is_the_servers_and_never_the_networks(added: int, options: dict[str, Any]) -> None:
    def slowly(line: bytes) -> bytes:
        threading.Event().wait(added / 1000)
        return line

    with serving("127.0.0.1:0", respond=slowly) as server:
        target = only(ping(server.address, count=5, interval=0, **options))
    assert right(target, 5)
    assert target.floor_ns
    assert target.floor_ns < MS
    assert target.above_floor_ns
    assert target.above_floor_ns > 0.9 * added * MS
    assert target.round_trip
    assert target.round_trip.min_ns >= added * MS


# How it leaves.


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_marks_are_read_back(scheme: str) -> None:
    with serving(f"{scheme}://127.0.0.1:0") as server:
        target = only(ping(server.address, count=1, dscp=46, ttl=9))
    assert (target.dscp, target.ttl, target.received) == (46, 9, 1)


@linux
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_it_leaves_from_the_address_that_was_asked_for(scheme: str) -> None:
    with serving(f"{scheme}://127.0.0.1:0") as server:
        target = only(ping(server.address, count=1, bind="127.0.0.2"))
    assert target.local
    assert target.local.startswith("127.0.0.2:")


@needs_ipv6
def test_of_several_addresses_that_of_the_sources_family_is_taken() -> None:
    with serving("localhost:0") as server:
        target = only(ping(("localhost", server.address.port), count=1, bind="127.0.0.1"))
    assert target.peer == f"127.0.0.1:{server.address.port}"


@linux
def test_datagrams_may_be_kept_whole() -> None:
    with serving("udp://127.0.0.1:0") as server:
        target = only(ping(server.address, count=2, interval=0, df=True, size=1400))
    assert right(target, 2)
    assert target.path_mtu
    assert target.path_mtu >= 1428


# unshare(1), ip-link(8): a network namespace whose loopback has packets as Ethernet has; $0 and more are the command.
ON_ETHERNET = ("unshare", "-rn", "sh", "-c", 'ip link set lo up mtu 1500 && exec "$0" "$@"')
TOO_LONG = """
import halloo
with halloo.serving("udp://127.0.0.1:0") as server:
    print(halloo.ping(server.address, count=1, interval=0, df=True, size=2000).targets[0].failure)
"""


@linux
def test_what_does_not_fit_into_a_packet_says_so() -> None:
    try:
        done = subprocess.run(
            [*ON_ETHERNET, PYTHON, "-c", TOO_LONG], capture_output=True, text=True, timeout=50, check=False
        )
    except FileNotFoundError:
        pytest.skip("needs unshare(1)")
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip(f"needs a network namespace and ip(8): {done.stderr[-200:]}")
    fact = "2000 bytes do not fit into one packet of this link, and fragments are forbidden"
    assert done.stdout == f"{fact}; find the most with --size-sweep, or leave --df out\n", done.stderr


def test_a_search_for_the_largest_ends_in_time_and_tells_how_it_stands() -> None:
    told = Told()
    looks: list[PingReport] = []
    with correspondent(lambda datagram: [datagram] if len(datagram) < 100 else []) as port:

        def look(event: ProbeEvent) -> None:
            if event.outcome == "lost" and told.look:
                looks.append(told.look())

        told.on_probe = look
        target = only(ping(f"udp://127.0.0.1:{port}", size_sweep=True, deadline=0.4, sink=told))
    assert target.received == looks[0].targets[0].received == 1
    assert (target.largest_bytes, target.sent) == (37, target.received + target.lost)


@linux
def test_the_largest_datagram_is_found() -> None:
    with serving("udp://127.0.0.1:0", limits=Limits(max_bytes=1200)) as server:
        report = ping(server.address, timeout=0.06, size_sweep=True)
    target = only(report)
    assert (target.largest_bytes, target.peer, report.exit_code) == (1200, server.address.place, 0)


# What cannot be.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 36}, "--size is 37 to 65507 bytes, not 36"),
        ({"size": 65_508}, "--size is 37 to 65507 bytes, not 65508"),
        ({"count": 0}, "--count is at least 1; leave it out"),
        ({"interval": -1}, "--interval is not less than nothing"),
        ({"timeout": 0}, "--timeout is more than nothing"),
        ({"deadline": 0}, "--deadline is more than nothing"),
        ({"flows": 0}, "--flows is 1 to 1000, not 0"),
        ({"flows": 1001}, "--flows is 1 to 1000, not 1001"),
        ({"dscp": 64}, "--dscp is 0 to 63, not 64"),
        ({"ttl": 0}, "--ttl is 1 to 255, not 0"),
        ({"ttl": 256}, "--ttl is 1 to 255, not 256"),
        ({"family": 5}, "a family is 4 or 6, not 5"),
        ({"family": True}, "--family is a whole number, not True"),
        ({"count": 2.5}, "--count is a whole number, not 2.5"),
        ({"count": "3"}, "--count is a whole number, not '3'"),
        ({"size": None}, "--size is a whole number, not None"),
        ({"ttl": "5"}, "--ttl is a whole number, not '5'"),
        ({"interval": float("inf")}, "--interval is a number of seconds, not inf"),
        ({"deadline": float("nan")}, "--deadline is a number of seconds, not nan"),
        ({"timeout": None}, "--timeout is a number of seconds, not None"),
        ({"timeout": 1e-10}, "--timeout is more than nothing"),
        ({"goals": ["p99"]}, "'p99' is no goal"),
        ({"df": True}, "--df is for datagrams; write udp:// before the host"),
        ({"size_sweep": True}, "--size-sweep is for datagrams"),
        ({"tls": ClientTLS(insecure=True)}, "tcp: knows no certificates"),
        ({"bind": "192.0.2.1"}, r"--bind 192\.0\.2\.1 is no address of this machine"),
        ({"bind": "192.0.2.1", "reconnect": True}, r"--bind 192\.0\.2\.1 is no address of this machine"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_before_anything_else(options: dict[str, Any], said: str) -> None:
    told = Told()
    with pytest.raises(UsageError, match=said):
        ping("127.0.0.1:9", **options, sink=told)
    assert (told.began, told.events, told.ended) == ([], [], [])


@pytest.mark.parametrize("option", ["connect", "reconnect"])
def test_datagrams_have_no_connections(option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} is for connections, and udp:// has none"):
        quickly("udp://localhost", **{option: True})


@pytest.mark.parametrize("options", [{}, {"reconnect": True}, {"connect": True}], ids=["one", "reconnect", "connect"])
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_name_that_nobody_has_is_told_before_anything_else(scheme: str, options: dict[str, Any]) -> None:
    if scheme == "udp" and options:
        pytest.skip("datagrams have no connections")
    told = Told()
    with pytest.raises(UnknownHost):
        ping(f"{scheme}://halloo.invalid:9", sink=told, **options)
    assert told.began == []


def test_a_name_that_nobody_has_is_one_failure_among_several_targets() -> None:
    with serving("127.0.0.1:0") as server:
        report = quickly(server.address, "halloo.invalid:9")
    good, unknown = report.targets
    assert (good.received, good.lost) == (good.sent, 0)
    assert (unknown.sent, set(unknown.errors)) == (good.sent, {"UnknownHost"})
    assert unknown.failure
    assert "no address is known for 'halloo.invalid'" in unknown.failure
    assert report.exit_code == 1


# Who is told.


def test_a_sink_is_told_of_the_beginning_each_probe_and_the_end() -> None:
    told = Told()
    with serving("127.0.0.1:0") as server:
        report = ping(server.address, count=3, interval=0, sink=told)
    assert [event.number for event in told.events] == [0, 1, 2]
    assert told.ended == [report]
    (began,) = told.began
    assert (only(began).sent, only(began).peer) == (0, server.address.place)
    assert told.interims == []


def test_a_sink_may_look_at_any_time() -> None:
    seen: list[tuple[int, int]] = []
    told = Told()

    def look(_event: ProbeEvent) -> None:
        assert told.look
        target = only(told.look())
        seen.append((target.sent, target.received))

    told.on_probe = look
    with serving("127.0.0.1:0") as server:
        ping(server.address, count=3, interval=0, sink=told)
    assert seen == [(2, 1), (3, 2), (3, 3)]  # the next one leaves before anything is said of an answer


def test_a_sink_whose_reader_has_left_is_still_told_the_end() -> None:
    def leave(event: ProbeEvent) -> None:
        if event.number == 2:
            raise BrokenPipeError

    told = Told(on_probe=leave)
    with serving("127.0.0.1:0") as server, pytest.raises(BrokenPipeError):
        ping(server.address, count=None, interval=0, sink=told)
    (report,) = told.ended
    assert report.interrupted
    assert only(report).received == 3


def test_what_an_interrupt_leaves_behind_is_nothing() -> None:
    def interrupt(event: ProbeEvent) -> None:
        if event.number == 2:
            raise KeyboardInterrupt

    with serving("127.0.0.1:0", "udp://127.0.0.1:0") as server, pytest.raises(KeyboardInterrupt):
        ping(*server.addresses, count=None, interval=0, sink=Told(on_probe=interrupt))


def test_in_another_thread_signals_are_nobodys_business() -> None:
    reports: list[PingReport] = []

    def run() -> None:
        with serving("127.0.0.1:0") as server:
            reports.append(ping(server.address, count=2, interval=0, sink=Told()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert right(only(reports[0]), 2)


def test_goals_that_were_missed_are_named() -> None:
    with serving("127.0.0.1:0") as server:
        report = ping(server.address, count=2, interval=0, goals=[goal("max>1ns"), goal("loss>50%")])
    assert len(report.missed) == 1
    assert report.exit_code == 3


def test_the_report_is_json_with_what_was_asked_for() -> None:
    with serving("127.0.0.1:0") as server:
        found = ping(server.address, count=2, interval=0).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["schema"] == SCHEMA
    assert found["config"]["supplied"] == {"addresses": [str(server.address)], "count": 2, "interval_ns": 0}
    assert found["system"].keys() == {"platform", "machine", "python"}


# Signals, to a process of its own.

PROGRAM = """
import json, sys
from halloo._ping.run import ping
class Sink:
    def begin(self, report, look): print("begin", flush=True)
    def probe(self, event): print("probe", event.outcome, flush=True)
    def interim(self, report): print("interim", json.dumps(report.to_dict()), flush=True)
    def end(self, report): print("end", json.dumps(report.to_dict()), flush=True)
sys.exit(ping(sys.argv[1], count=None, interval=0.01, timeout=3600, sink=Sink()).exit_code)
"""


def read_until(process: subprocess.Popen[bytes], word: str) -> str:
    """Read lines until one begins with this, and give it."""
    assert process.stdout
    for line in iter(process.stdout.readline, b""):
        if line.startswith(word.encode()):
            return line.decode()
    raise AssertionError(f"{word} did not come")


def summary(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line.partition(" ")[2])["summary"]
    return found


@pytest.mark.skipif(not hasattr(signal, "SIGQUIT"), reason="needs signals")
@pytest.mark.parametrize("ending", ["SIGINT", "SIGTERM"])
def test_signals_ask_for_a_look_and_for_the_end(ending: str) -> None:
    with serving("127.0.0.1:0") as server, started(PYTHON, "-c", PROGRAM, str(server.address)) as process:
        read_until(process, "probe reply")
        process.send_signal(signal.SIGQUIT)
        interim = summary(read_until(process, "interim"))
        process.send_signal(getattr(signal, ending))
        end = summary(read_until(process, "end"))
        assert process.wait(timeout=20) == 0
    assert (interim["interrupted"], end["interrupted"]) == (False, True)
    assert end["targets"][0]["received"] >= interim["targets"][0]["received"] >= 1


@pytest.mark.skipif(not hasattr(signal, "SIGQUIT"), reason="needs signals")
def test_the_end_of_a_ping_that_nobody_answers_comes_at_once() -> None:
    with silent() as port, started(PYTHON, "-c", PROGRAM, f"127.0.0.1:{port}") as process:
        read_until(process, "begin")
        process.send_signal(signal.SIGINT)
        end = summary(read_until(process, "end"))
        assert process.wait(timeout=20) == 1
    assert end["interrupted"]
