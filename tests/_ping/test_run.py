"""The reports of `ping()` for good and bad echo servers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest

from halloo._core.address import AddressLike
from halloo._core.arguments import Family
from halloo._core.tls_options import ClientTLS
from halloo._ping.goals import goal
from halloo._ping.report import SCHEMA, PingReport, ProbeEvent, TargetReport
from halloo._ping.run import ping
from halloo._server.server import Server
from halloo.errors import HallooError, LocalError, UnknownHost, UsageError
from tests.conditions import linux, needs_ipv6
from tests.peers import closing as closing_at_once
from tests.peers import closing_midway, datagram_peer, echoing, full, peer, silent, unused_datagram_port, unused_port
from tests.programs import PYTHON, started
from tests.router import behind_a_router

MODES: list[dict[str, Any]] = [{}, {"reconnect": True}, {"connect": True}]
SHORT_TIMEOUT = 0.05  # seconds, for replies that never arrive
MS = 1_000_000  # nanoseconds


@dataclass
class RecordingSink:
    """A sink that records its calls, and calls `on_probe` for each event."""

    on_probe: Callable[[ProbeEvent], object] = lambda _: None
    started: list[PingReport] = field(default_factory=list)
    events: list[ProbeEvent] = field(default_factory=list)
    interims: list[PingReport] = field(default_factory=list)
    ended: list[PingReport] = field(default_factory=list)
    snapshot: Callable[[], PingReport] | None = None

    def begin(self, report: PingReport, snapshot: Callable[[], PingReport]) -> None:
        self.started.append(report)
        self.snapshot = snapshot

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


def quick_ping(*addresses: AddressLike, **options: Any) -> PingReport:  # noqa: ANN401 - those of ping
    """Send a few probes back to back, with a timeout of SHORT_TIMEOUT."""
    return ping(*addresses, **{"count": 3, "interval": 0, "timeout": SHORT_TIMEOUT} | options)


def intact(target: TargetReport, count: int = 3) -> bool:
    """Whether all probes were answered in time and without errors."""
    counted = (target.lost, target.late, target.duplicate, target.reordered, target.corrupt, target.stray)
    return (target.sent, target.received, counted, dict(target.errors)) == (count, count, (0,) * 6, {})


# Good echoes.


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_good_echo_is_received_intact(scheme: str) -> None:
    with Server(f"{scheme}://127.0.0.1:0") as server:
        reports = [ping(server.address, count=3, interval=0, size=size) for size in (37, 100, 101, 128, 1000, 65_507)]
    for report in reports:
        target = only(report)
        assert intact(target)
        assert target.round_trip
        assert 0 < target.round_trip.min_ns <= target.round_trip.median_ns <= target.round_trip.max_ns < 5_000 * MS
        assert (target.address, target.label, target.peer) == (str(server.address),) * 2 + (server.address.place,)
        assert target.clock == ("kernel" if sys.platform == "linux" else "user")
        assert (target.failure, target.outages, report.exit_code, report.interrupted) == (None, (), 0, False)


def test_the_tls_handshake_is_a_phase_and_tls_options_apply_to_tls_targets_only() -> None:
    pytest.importorskip("trustme")
    with Server("tls://127.0.0.1:0", "udp://127.0.0.1:0") as server:
        tls, plain = server.addresses
        for option, times in zip(MODES, (1, 3, 3), strict=True):
            target = only(ping(tls, count=3, interval=0, tls=ClientTLS(insecure=True), **option))
            assert intact(target)
            phases = {name: spread.count for name, spread in target.phases.items()}
            assert phases == {"connect": times, "tls": times} | ({} if "connect" in option else {"first": times})
            assert target.clock == "user"
        assert all(map(intact, quick_ping(tls, plain, tls=ClientTLS(insecure=True), timeout=5).targets))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_a_path_that_is_too_long_is_an_error_of_the_call() -> None:
    with pytest.raises(LocalError, match="is longer than the 107 bytes of a Unix socket's path"):
        ping(f"unix:{'x' * 10_000}", count=1)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_a_unix_socket_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Server("unix:echo.sock") as server:
        target = only(ping(server.address, count=3, interval=0))
    assert intact(target)
    assert (target.peer, target.local, target.kernel, target.floor_ns) == ("echo.sock", None, None, None)
    assert target.phases.keys() == {"connect", "first"}


@needs_ipv6
def test_either_family_can_be_chosen() -> None:
    families: tuple[tuple[Family, str], ...] = ((4, "127.0.0.1"), (6, "[::1]"))
    for scheme, (family, host) in product(("tcp", "udp"), families):
        with Server(f"{scheme}://localhost:0") as server:
            target = only(ping(f"{scheme}://localhost:{server.address.port}", count=2, interval=0, family=family))
        assert intact(target, 2)
        assert target.peer == f"{host}:{server.address.port}"
        assert target.local
        assert target.local.startswith(host)


@needs_ipv6
def test_udp_finds_the_family_with_a_server() -> None:
    with Server("udp://127.0.0.1:0") as server:
        port = server.address.port
        found = {sockaddr[0] for *_, sockaddr in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
        target = only(ping(f"udp://localhost:{port}", count=3, interval=0.01))
    assert "127.0.0.1" in found
    assert target.received == 3
    assert target.lost == 0
    assert target.peer == f"127.0.0.1:{port}"
    assert target.local
    assert target.local.startswith("127.0.0.1:")


def test_a_line_server_is_an_echo_and_a_greeting_is_not_a_reply() -> None:
    with Server("127.0.0.1:0", respond=bytes) as server:
        assert intact(only(ping(server.address, count=3, interval=0)))
    with Server("127.0.0.1:0", greeting=b"220 welcome to this echo, hlo? is what we like\r\n") as server:
        target = only(ping(server.address, count=3, interval=0.01))
    assert (target.received, target.corrupt, target.duplicate, target.lost, target.stray) == (3, 0, 0, 0, 1)


def test_server_timestamps_are_not_corrupt() -> None:
    for timestamps in (False, True):
        with Server("127.0.0.1:0", "udp://127.0.0.1:0", timestamps=timestamps) as server:
            report = ping(*server.addresses, count=3, interval=0)
        assert all(intact(target) for target in report.targets)
        assert [target.timestamps is not None for target in report.targets] == [timestamps, timestamps]


def test_each_flow_has_a_port_and_a_target() -> None:
    for scheme in ("tcp", "udp"):
        with Server(f"{scheme}://127.0.0.1:0") as server:
            report = ping(server.address, count=2, interval=0, flows=4)
        assert [target.label for target in report.targets] == [f"{server.address} flow {each}" for each in (1, 2, 3, 4)]
        assert len({target.local for target in report.targets}) == 4
        assert all(intact(target, 2) for target in report.targets)


def test_busy_polling_gives_the_same_counts() -> None:
    with Server("127.0.0.1:0") as server:
        assert intact(only(ping(server.address, count=20, interval=0, busy_poll=True)), 20)


# Connections.


def test_connect_probes_need_no_echo() -> None:
    for act in (lambda _: None, closing_at_once):
        with peer(act) as port:
            report = ping(f"127.0.0.1:{port}", count=3, interval=0, connect=True)
        target = only(report)
        assert intact(target)
        assert target.phases.keys() == {"connect"}
        assert (target.above_floor_ns, target.failure, report.exit_code) == (None, None, 0)


# Closed ports and silent servers.


def test_a_closed_port_refuses() -> None:
    port = unused_port()
    for mode in MODES:
        report = quick_ping(f"127.0.0.1:{port}", count=2, **mode)
        target = only(report)
        assert (target.sent, target.received, target.lost, dict(target.errors)) == (2, 0, 2, {"Refused": 2})
        assert target.failure
        assert f"nothing is listening on 127.0.0.1:{port} (connection refused); start a server" in target.failure
        assert (target.peer, target.round_trip, report.exit_code) == (None, None, 1)
    report = quick_ping(f"udp://127.0.0.1:{unused_datagram_port()}", count=2, timeout=5)
    target = only(report)
    assert (target.sent, target.lost, dict(target.errors), report.exit_code) == (2, 2, {"Refused": 2}, 1)
    assert target.failure
    assert "nothing is listening" in target.failure


@linux
def test_an_unreachable_host_is_the_failure() -> None:
    target = only(quick_ping("255.255.255.255:9", count=1))  # the broadcast address
    assert (target.received, dict(target.errors)) == (0, {"Unreachable": 1})
    assert target.failure
    assert "cannot be reached (network is unreachable)" in target.failure


@linux
def test_a_full_accept_queue_times_out() -> None:
    with full() as address:
        for mode in MODES:
            target = only(quick_ping(address, count=2, **mode))
            assert (target.sent, target.received, dict(target.errors)) == (2, 0, {"TimedOut": 2})
            assert target.failure
            assert "does not answer (timed out)" in target.failure
        report = ping(address, count=None, interval=0.01, timeout=3600, deadline=SHORT_TIMEOUT)
        assert only(report).received == 0


def test_a_server_that_accepts_and_never_replies_is_the_failure() -> None:
    with silent() as port:
        reports = [quick_ping(f"127.0.0.1:{port}", **mode) for mode in MODES]
    for report in reports[:2]:
        target = only(report)
        assert (target.sent, target.received, target.lost, report.exit_code) == (3, 0, 3, 1)
        fact = f"127.0.0.1:{port} accepts connections but does not echo"
        assert target.failure == f"{fact}; the connect option needs no echo"
    assert (reports[2].exit_code, only(reports[2]).failure) == (0, None)


def test_a_server_with_time_left_to_reply_is_not_a_failure() -> None:
    with silent() as port:
        target = only(ping(f"127.0.0.1:{port}", count=1, deadline=SHORT_TIMEOUT))
    assert (target.sent, target.lost, target.timed_out, target.failure) == (1, 1, 0, None)


def test_a_port_closed_during_the_run_is_the_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def leave() -> None:
            connection, _ = listener.accept()
            listener.close()
            connection.close()

        address = listener.getsockname()
        thread = threading.Thread(target=leave)
        thread.start()
        target = only(quick_ping(address))
        thread.join()
    assert target.errors["Refused"] >= 1
    assert target.failure
    assert "nothing is listening" in target.failure


def test_a_percentile_goal_holds_until_the_lost_share_reaches_it() -> None:
    for lost, code in ((1, 0), (11, 3)):
        received, dropped = count(1), range(50, 50 * lost + 1, 50)
        with datagram_peer(lambda datagram, n=received, d=dropped: [] if next(n) in d else [datagram]) as port:  # type: ignore[misc]  # binds this turn's values
            report = ping(f"udp://127.0.0.1:{port}", count=1000, interval=0, timeout=SHORT_TIMEOUT, goals=["p99>1h"])
        assert (only(report).lost, report.exit_code) == (lost, code)


def test_a_server_with_other_replies_does_not_echo() -> None:
    def web(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with peer(web) as port:
        report = quick_ping(f"127.0.0.1:{port}", count=1)
    target = only(report)
    assert target.stray >= 1
    assert target.failure == f"127.0.0.1:{port} accepts connections but does not echo; the connect option needs no echo"


def test_unanswered_datagrams_are_lost() -> None:
    with datagram_peer(lambda _: []) as port:
        report = quick_ping(f"udp://127.0.0.1:{port}")
    target = only(report)
    assert (target.sent, target.lost, target.failure, report.exit_code) == (3, 3, None, 1)
    assert (target.outage_count, target.longest_outage and target.longest_outage.probes) == (1, 3)


# Bad echoes.


def spoil(line: bytes) -> bytes:
    return line[:70] + bytes([line[70] ^ 1]) + line[71:]


def ping_changed(scheme: str, change: Callable[[bytes], bytes], **options: Any) -> tuple[PingReport, list[int | None]]:  # noqa: ANN401 - those of ping
    """Ping a server that changes its replies; return the report and the offsets of corrupt replies."""
    sink = RecordingSink()
    tls = ClientTLS(insecure=True) if scheme == "tls" else None
    options = {"count": 3, "interval": 0, "tls": tls, "sink": sink} | options
    if scheme == "udp":
        with datagram_peer(lambda datagram: [change(datagram)]) as port:
            report = ping(f"udp://127.0.0.1:{port}", **options)
    else:
        with Server(f"{scheme}://127.0.0.1:0", respond=change, framing="raw") as server:
            report = ping(server.address, **options)
    return report, [event.offset for event in sink.events if event.outcome == "corrupt"]


CHANGES: list[tuple[Callable[[bytes], bytes], int]] = [
    (spoil, 70),
    (bytes.upper, 0),
    (lambda line: line[1:], 0),
    (lambda line: line.rstrip() + b"?\n", 127),
]


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_wrong_bytes_are_corrupt_with_their_offset(scheme: str) -> None:
    for change, offset in CHANGES:
        report, offsets = ping_changed(scheme, change)
        target = only(report)
        assert (target.sent, target.received, target.corrupt, target.lost) == (3, 3, 3, 0)
        assert offsets == [offset] * 3
        assert (target.round_trip, target.failure, report.exit_code) == (None, None, 1)


@pytest.mark.parametrize("scheme", ["tcp", "tls", "udp"])
def test_inserted_bytes_fail_the_run_over_every_transport(scheme: str) -> None:
    for place in (0, 60, 128):
        report, _ = ping_changed(scheme, lambda line, at=place: line[:at] + b"xx" + line[at:])  # type: ignore[misc]  # binds this turn's values
        target = only(report)
        assert (target.received, target.lost, report.exit_code) == (3, 0, 1)
        assert target.corrupt or target.stray


def test_short_replies_are_corrupt_at_their_end() -> None:
    for length in (12, 64, 127):
        report, offsets = ping_changed("udp", lambda datagram, end=length: datagram[:end])  # type: ignore[misc]  # binds this turn's values
        target = only(report)
        assert (target.received, target.corrupt, target.stray, offsets) == (3, 3, 0, [length] * 3)
    for interval in (0, 0.01):
        report, offsets = ping_changed("tcp", lambda line: line[:64], interval=interval, timeout=0.2)
        target = only(report)
        assert (target.corrupt, offsets) == (3, [64] * 3)
        assert (target.received + target.late, target.lost, target.failure, report.exit_code) == (3, 0, None, 1)


@pytest.mark.skipif(os.name == "nt", reason="signals of one's own end the process on Windows")
def test_a_late_reply_is_not_a_failure() -> None:
    def slowly(line: bytes) -> bytes:
        threading.Event().wait(0.05)
        return line

    def stop(event: ProbeEvent) -> None:
        if event.outcome == "late" and len(sink.events) < 100:
            os.kill(os.getpid(), signal.SIGTERM)

    sink = RecordingSink(on_probe=stop)
    with Server("127.0.0.1:0", respond=slowly) as server:
        report = ping(server.address, count=None, interval=0.1, timeout=0.01, sink=sink)
    target = only(report)
    assert target.late >= 1
    assert (target.received, target.failure, report.interrupted) == (0, None, True)


def test_stray_data_hides_no_reply() -> None:
    with datagram_peer(lambda datagram: [b"", b"hello", b"hlo?", datagram[::-1], datagram]) as port:
        target = only(ping(f"udp://127.0.0.1:{port}", count=3, interval=0))
    assert (target.received, target.corrupt, target.duplicate, target.stray) == (3, 0, 0, 12)


def test_replies_to_another_run_are_unmatched_and_no_fault_of_the_bytes() -> None:
    datagrams: list[bytes] = []

    def respond(datagram: bytes) -> Iterable[bytes]:
        datagrams.append(datagram)
        return datagrams[:1] if len(datagrams) <= 2 else [datagrams[0], datagram]

    with datagram_peer(respond) as port:
        assert only(ping(f"udp://127.0.0.1:{port}", count=1, interval=0)).received == 1
        report = ping(f"udp://127.0.0.1:{port}", count=2, interval=0.01)
    target = only(report)
    assert (target.received, target.corrupt, target.lost, target.unmatched, target.stray) == (1, 0, 1, 2, 0)
    assert report.exit_code == 0


def test_a_closed_connection_is_an_outage_and_reopened() -> None:
    with peer(closing_midway, closing_at_once, closing_at_once, echoing) as port:
        report = ping(f"127.0.0.1:{port}", count=8, interval=0)  # each probe waits for the outcome of the last one
    target = only(report)
    assert (target.sent, target.received, target.lost) == (8, 5, 3)
    assert sum(target.errors.values()) == 3
    assert set(target.errors) <= {"IncompleteRead", "Reset"}
    assert target.phases["connect"].count == 4
    (outage,) = target.outages
    assert (outage.probes, outage.over, target.longest_outage) == (3, True, outage)
    assert report.started_ns <= outage.start_ns < outage.end_ns <= report.started_ns + report.duration_ns
    assert (target.failure, report.exit_code) == (None, 0)


# Network and server.


@linux
@pytest.mark.parametrize("options", [{}, {"reconnect": True}], ids=["one", "reconnect"])
def test_time_added_by_the_server_is_not_in_the_kernel_minimum(options: dict[str, Any]) -> None:
    def slowly(line: bytes) -> bytes:
        threading.Event().wait(0.02)
        return line

    with Server("127.0.0.1:0", respond=slowly) as server:
        target = only(ping(server.address, count=3, interval=0, **options))
    assert intact(target)
    assert target.floor_ns
    assert target.floor_ns < MS
    assert target.above_floor_ns
    assert target.above_floor_ns > 18 * MS
    assert target.round_trip
    assert target.round_trip.min_ns >= 20 * MS


# Socket options.


@linux
def test_dscp_ttl_and_the_source_address_are_those_of_the_socket() -> None:
    with Server("127.0.0.1:0", "udp://127.0.0.1:0") as server:
        report = ping(*server.addresses, count=1, interval=0, dscp=46, ttl=9, bind="127.0.0.2")
    for target in report.targets:
        assert (target.dscp, target.ttl, target.received) == (46, 9, 1)
        assert target.local
        assert target.local.startswith("127.0.0.2:")


@needs_ipv6
def test_the_address_of_the_bind_family_is_chosen() -> None:
    with Server("localhost:0") as server:
        target = only(ping(("localhost", server.address.port), count=1, bind="127.0.0.1"))
    assert target.peer == f"127.0.0.1:{server.address.port}"


@linux
def test_fragmentation_can_be_forbidden() -> None:
    with Server("udp://127.0.0.1:0") as server:
        target = only(ping(server.address, count=2, interval=0, df=True, size=1400))
    assert intact(target, 2)
    assert target.path_mtu
    assert target.path_mtu >= 1428


# unshare(1), ip-link(8): a network namespace whose loopback has the MTU of Ethernet; the command follows in $0 and on.
ON_ETHERNET = ("unshare", "-rn", "sh", "-c", 'ip link set lo up mtu 1500 && exec "$0" "$@"')
TOO_LONG = """
import halloo
with halloo.Server("udp://127.0.0.1:0") as server:
    print(halloo.ping(server.address, count=1, interval=0, df=True, size=2000).targets[0].failure)
"""


@linux
def test_a_datagram_larger_than_a_packet_is_the_failure() -> None:
    try:
        done = subprocess.run(
            [*ON_ETHERNET, PYTHON, "-c", TOO_LONG], capture_output=True, text=True, timeout=50, check=False
        )
    except FileNotFoundError:
        pytest.skip("needs unshare(1)")
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip(f"needs a network namespace and ip(8): {done.stderr[-200:]}")
    fact = "2000 bytes do not fit into one packet of this link"
    assert done.stdout == f"{fact}; find the largest size with a size sweep, or allow fragmentation\n", done.stderr


# Reports of routers and hosts.

# A reply takes a while, since ping waits for the last ones three times as long as the slowest has taken so far.
BEHIND_A_ROUTER = """
import json, time
import halloo
from tests.router import *
seen = []
def late_echo(packet):
    time.sleep(0.05)
    return echo(packet)
def answer(packet):
    seen.append(packet)
    return eval(expression)
with router(answer):
    for host, options, expression in {cases}:
        seen.clear()
        report = halloo.ping(f"udp://{{host}}:8888", timeout=0.2, **options)
        (target,) = report.to_dict()["summary"]["targets"]
        print(json.dumps(target))
"""
HOST, HOST6 = "10.99.0.1", "[fd99::1]"
Case = tuple[str, dict[str, Any], str]


def ping_behind_a_router(*cases: Case) -> list[dict[str, Any]]:
    """Ping from a network namespace whose router answers each case as its expression says; return the targets."""
    return [json.loads(line) for line in behind_a_router(BEHIND_A_ROUTER.format(cases=cases)).splitlines()]


def test_what_a_router_reports_is_an_error_with_its_address() -> None:
    probes, too_big = {"count": 3, "interval": 0.01}, "datagram too big, the next link takes packets of 900 bytes"
    expected = [
        (HOST, "10.9.0.1", "icmp(packet, 11, 0)", "TimeToLiveExceeded", "time to live exceeded"),
        (HOST, "10.9.0.1", "icmp(packet, 3, 1, quoted=28)", "HostUnreachable", "host unreachable"),
        (HOST, "10.9.0.1", "icmp(packet, 3, 4, mtu=900)", "DatagramTooBig", too_big),
        (HOST6, "fd09::1", "icmp(packet, 1, 0)", "NetworkUnreachable", "network unreachable"),
    ]
    targets = ping_behind_a_router(
        *((host, probes, answer) for host, _, answer, _, _ in expected),
        (HOST, probes, "icmp(packet, 3, 3)"),
        (HOST, probes, "icmp(seen[0], 3, 1) if len(seen) == 2 else echo(packet) if len(seen) == 3 else None"),
        (HOST, probes | {"interval": 0.1}, "icmp(packet, 11, 0) if len(seen) == 2 else late_echo(packet)"),
    )
    *reported, refused, quoted, behind_replies = targets
    for target, (_, router, _, name, text) in zip(reported, expected, strict=True):
        assert (target["sent"], target["lost"], target["timed_out"], target["errors"]) == (3, 3, 0, {name: 3})
        assert [(each["error"], each["router"], each["count"]) for each in target["icmp"]] == [(name, router, 3)]
        assert target["failure"].startswith(f"{router} reports: {text}; ")
    assert refused["errors"] == {"Refused": 3}  # by the router, not by the host
    assert refused["failure"].startswith("10.9.0.1 refuses datagrams to 10.99.0.1:8888 (port unreachable)")
    assert (quoted["received"], quoted["lost"], quoted["errors"]) == (1, 2, {"HostUnreachable": 1})
    assert [outage["probes"] for outage in quoted["outages"]] == [2]
    counts = behind_replies["received"], behind_replies["lost"], behind_replies["errors"]
    assert counts == (2, 1, {"TimeToLiveExceeded": 1})  # and the run went on


def test_a_size_sweep_finds_the_limit_of_the_path_of_the_link_and_of_a_router() -> None:
    sweep, silently = {"size_sweep": True}, "echo(packet) if len(packet) <= 1280 else None"
    four, six, link, router = ping_behind_a_router(
        (HOST, sweep, silently),
        (HOST6, sweep, "echo(packet) if len(packet) <= 1400 else icmp(packet, 2, 0, mtu=1400)"),
        (HOST, sweep, "echo(packet)"),
        (HOST, sweep, "echo(packet) if len(packet) <= 1400 else icmp(packet, 3, 4, mtu=1400)"),
    )
    assert (four["largest_bytes"], four["path_mtu"], four["errors"]) == (1280 - 28, 1500, {})
    assert four["size_limit"] == {"bytes": 1281 - 28, "evidence": "path"}
    assert (six["largest_bytes"], six["size_limit"]["evidence"], six["errors"]) == (1400 - 48, "report", {})
    assert link["size_limit"] == {"bytes": 1473, "evidence": "link"}
    assert (link["timed_out"], link["errors"], link["sent"] < 20) == (0, {}, True)  # without a second try
    assert (router["largest_bytes"], router["size_limit"]["evidence"]) == (1372, "report")
    assert (router["timed_out"], router["errors"]) == (0, {})
    assert {(report["router"], report["mtu"]) for report in router["icmp"]} == {("10.9.0.1", 1400)}


def test_a_size_sweep_respects_the_deadline_and_has_snapshots() -> None:
    sink = RecordingSink()
    snapshots: list[PingReport] = []
    with datagram_peer(lambda datagram: [datagram] if len(datagram) < 100 else []) as port:

        def snapshot(event: ProbeEvent) -> None:
            if event.outcome == "lost" and sink.snapshot:
                snapshots.append(sink.snapshot())

        sink.on_probe = snapshot
        report = ping(f"udp://127.0.0.1:{port}", size_sweep=True, deadline=0.4, sink=sink)
    target = only(report)
    assert (report.exit_code, target.peer) == (0, f"127.0.0.1:{port}")
    assert target.received == snapshots[0].targets[0].received == 1
    assert (target.largest_bytes, target.sent) == (37, target.received + target.lost)


# Invalid arguments.


def test_invalid_arguments_and_unknown_names_are_raised_before_the_start() -> None:
    bind = "bind 192\\.0\\.2\\.1 is not an address of this machine"
    cases: list[tuple[str, dict[str, Any], type[HallooError], str]] = [
        ("127.0.0.1:9", {"size": 36}, UsageError, "size must be 37 to 65507 bytes, not 36"),
        ("127.0.0.1:9", {"goals": ["p99"]}, UsageError, "'p99' is not a goal"),
        ("127.0.0.1:9", {"bind": "192.0.2.1"}, UsageError, bind),
        ("127.0.0.1:9", {"bind": "192.0.2.1", "reconnect": True}, UsageError, bind),
        *(("halloo.invalid:9", mode, UnknownHost, "no address is known") for mode in MODES),
        ("udp://halloo.invalid:9", {}, UnknownHost, "no address is known"),
    ]
    sink = RecordingSink()
    for address, options, error, message in cases:
        with pytest.raises(error, match=message):
            ping(address, **options, sink=sink)
    with pytest.raises(UsageError, match="sink must be a Sink or None"):
        ping("127.0.0.1:9", sink=5)  # type: ignore[arg-type]  # on purpose
    assert (sink.started, sink.events, sink.ended) == ([], [], [])


def test_an_unknown_name_is_one_failure_among_several_targets() -> None:
    with Server("127.0.0.1:0") as server:
        report = quick_ping(server.address, "halloo.invalid:9", timeout=5)
    good, unknown = report.targets
    assert (good.received, good.lost) == (good.sent, 0)
    assert (unknown.sent, set(unknown.errors)) == (good.sent, {"UnknownHost"})
    assert unknown.failure
    assert "no address is known for 'halloo.invalid'" in unknown.failure
    assert report.exit_code == 1


# Sinks.


def test_a_sink_gets_the_start_each_probe_and_the_end() -> None:
    sink = RecordingSink()
    with Server("127.0.0.1:0") as server:
        report = ping(server.address, count=3, interval=0, sink=sink)
    assert [event.number for event in sink.events] == [0, 1, 2]
    assert sink.ended == [report]
    (started,) = sink.started
    assert (only(started).sent, only(started).peer) == (0, server.address.place)
    assert sink.interims == []


def test_a_sink_can_take_a_snapshot_at_any_time() -> None:
    seen: list[tuple[int, int]] = []
    sink = RecordingSink()

    def snapshot(_event: ProbeEvent) -> None:
        assert sink.snapshot
        target = only(sink.snapshot())
        seen.append((target.sent, target.received))

    sink.on_probe = snapshot
    with Server("127.0.0.1:0") as server:
        ping(server.address, count=3, interval=0, sink=sink)
    assert seen == [(2, 1), (3, 2), (3, 3)]  # the next probe is sent before a reply is reported


def test_a_sink_with_a_broken_pipe_still_gets_the_end() -> None:
    def leave(event: ProbeEvent) -> None:
        if event.number == 2:
            raise BrokenPipeError

    sink = RecordingSink(on_probe=leave)
    with Server("127.0.0.1:0") as server, pytest.raises(BrokenPipeError):
        ping(server.address, count=None, interval=0, sink=sink)
    (report,) = sink.ended
    assert report.interrupted
    assert only(report).received == 3


def test_an_interrupt_leaves_nothing_open() -> None:
    def interrupt(event: ProbeEvent) -> None:
        if event.number == 2:
            raise KeyboardInterrupt

    with Server("127.0.0.1:0", "udp://127.0.0.1:0") as server, pytest.raises(KeyboardInterrupt):
        ping(*server.addresses, count=None, interval=0, sink=RecordingSink(on_probe=interrupt))


def test_signals_are_not_handled_in_other_threads() -> None:
    reports: list[PingReport] = []

    def run() -> None:
        with Server("127.0.0.1:0") as server:
            reports.append(ping(server.address, count=2, interval=0, sink=RecordingSink()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert intact(only(reports[0]), 2)


def test_missed_goals_are_reported() -> None:
    with Server("127.0.0.1:0") as server:
        report = ping(server.address, count=2, interval=0, goals=["max>1ns", goal("loss>50%")])
    assert (len(report.missed), report.exit_code) == (1, 3)


def test_the_json_report_has_the_supplied_options() -> None:
    with Server("127.0.0.1:0") as server:
        found = ping(server.address, count=2, interval=0).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["schema"] == SCHEMA
    assert found["config"]["supplied"] == {"addresses": [str(server.address)], "count": 2, "interval_ns": 0}
    assert found["system"].keys() == {"platform", "machine", "python"}


# Signals, in a child process.

PROGRAM = """
import json, sys
from halloo._ping.run import ping
class Sink:
    def begin(self, report, snapshot): print("begin", flush=True)
    def probe(self, event): print("probe", event.outcome, flush=True)
    def interim(self, report): print("interim", json.dumps(report.to_dict()), flush=True)
    def end(self, report): print("end", json.dumps(report.to_dict()), flush=True)
sys.exit(ping(sys.argv[1], count=None, interval=0.01, timeout=3600, sink=Sink()).exit_code)
"""


def read_until(process: subprocess.Popen[bytes], word: str) -> str:
    """Read lines until one begins with `word`, and return it."""
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
def test_signals_request_a_snapshot_and_the_end(ending: str) -> None:
    with Server("127.0.0.1:0") as server, started(PYTHON, "-c", PROGRAM, str(server.address)) as process:
        read_until(process, "probe reply")
        process.send_signal(signal.SIGQUIT)
        interim = summary(read_until(process, "interim"))
        process.send_signal(getattr(signal, ending))
        end = summary(read_until(process, "end"))
        assert process.wait(timeout=20) == 0
    assert (interim["interrupted"], end["interrupted"]) == (False, True)
    assert end["targets"][0]["received"] >= interim["targets"][0]["received"] >= 1


@pytest.mark.skipif(not hasattr(signal, "SIGQUIT"), reason="needs signals")
def test_sigint_ends_an_unanswered_ping_at_once() -> None:
    with silent() as port, started(PYTHON, "-c", PROGRAM, f"127.0.0.1:{port}") as process:
        read_until(process, "begin")
        process.send_signal(signal.SIGINT)
        end = summary(read_until(process, "end"))
        assert process.wait(timeout=20) == 1
    assert end["interrupted"]
