"""Datagrams and the loop, turn by turn: replies, source addresses, refusals, and reports."""

import logging
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from halloo._core.address import Address
from halloo._core.limits import Limits
from halloo._core.probe import Probes, read_notice, write_notice
from halloo._net.bpf import TTL
from halloo._net.datagrams import dropped
from halloo._net.listener import listen
from halloo._server.poller import READ
from halloo._server.refusals import REPORT_INTERVAL
from halloo._server.responder import flush_log
from halloo._server.running import RunningServer, Service
from halloo._server.server import Server
from halloo._server.states import DATAGRAM, FREE
from halloo._server.udp import (
    ANCILLARY_SIZE,
    MAX_NEW_PEERS,
    MAX_READS,
    MAX_RECENT_PEERS,
    UDP_GRO,
    make_receive,
    reply_control,
)
from halloo._server.udp_policy import MAX_PER_WINDOW, SERVICE_PORTS, SILENCE, TEST_INTERVAL
from tests.conditions import linux
from tests.peers import payload
from tests.stepping import (
    MAKERS,
    POLL_TIMEOUT,
    DatagramStage,
    RecordingObserver,
    readable,
    segment_option,
    unconnected,
)

LOOPBACK = ["127.0.0.1", "::1"]
OTHER_HOST = "127.0.0.2"  # Linux: all of 127/8 is local
TIMEOUT = 20  # seconds
UDP_HEADER = struct.Struct("!HHHH")  # a header of UDP
# The socket module does not name them.
SO_NO_CHECK, UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX, IP_RECVERR, SO_DETACH_FILTER = 11, 101, 102, 11, 27

needs_root = pytest.mark.skipif(getattr(os, "geteuid", bool)() != 0, reason="raw sockets need root")

MakeStage = Callable[..., DatagramStage]


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest, cleanup: ExitStack) -> MakeStage:
    def make_stage(limits: Limits | None = None, **options: object) -> DatagramStage:
        return cleanup.enter_context(DatagramStage(limits, **{"poller": request.param()} | options))

    return make_stage


# Echo.


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("size", [1, 1472, 1473, 9000, 65507])
def test_a_datagram_is_echoed_whole(make_stage: MakeStage, host: str, size: int) -> None:
    stage = make_stage(hosts=[host])
    assert stage.ask(stage.sender(host), payload(size)) == payload(size)


def test_the_largest_ipv6_datagram_is_echoed_whole(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["::1"])
    assert stage.ask(stage.sender("::1"), payload(65527)) == payload(65527)


@pytest.mark.parametrize("host", LOOPBACK)
def test_an_empty_datagram_is_echoed_and_the_next_one_too(make_stage: MakeStage, host: str) -> None:
    stage = make_stage(hosts=[host])
    sender = stage.sender(host)
    assert [stage.ask(sender, datagram) for datagram in (b"", b"", b"hello", b"")] == [b"", b"", b"hello", b""]


def test_a_short_datagram_after_a_long_one_has_none_of_its_bytes(make_stage: MakeStage) -> None:
    stage = make_stage()
    sender = stage.sender()
    sizes = [65507, 5, 1000, 0, 5]
    assert [stage.ask(sender, payload(size)) for size in sizes] == [payload(size) for size in sizes]


def test_one_payload_ten_thousand_times_at_a_millisecond_loses_nothing(cleanup: ExitStack) -> None:
    stage = cleanup.enter_context(DatagramStage())
    sender = stage.sender()
    for _ in range(10_000):
        stage.clock.now += 0.001
        assert stage.ask(sender, b"the same again") == b"the same again"
    assert (stage.snapshot.messages, stage.snapshot.refused, stage.snapshot.errors) == (10_000, {}, {})


def test_two_sockets_of_one_loop_each_answer_their_own_datagrams(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=LOOPBACK)
    for sock, host in zip(stage.socks, LOOPBACK, strict=True):
        sender = stage.sender(host)
        sender.connect(sock.getsockname())
        sender.send(b"hello")
        assert stage.receive_replies(sender, 1) == [b"hello"]


def test_a_flood_at_one_socket_does_not_delay_the_other(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["127.0.0.1", "127.0.0.1"])
    loud, quiet = stage.sender(), stage.sender()
    for number in range(3 * MAX_READS):
        stage.send(loud, b"%d" % number)
    quiet.sendto(b"hello", stage.socks[1].getsockname())
    stage.loop.turn(POLL_TIMEOUT)
    assert readable(quiet)
    assert stage.snapshot.datagrams == MAX_READS + 1
    assert len(stage.receive_replies(loud, 3 * MAX_READS)) == 3 * MAX_READS


# Source addresses.


@linux
@pytest.mark.parametrize("asked", ["127.0.0.1", OTHER_HOST, "127.9.8.7"])
def test_on_a_wildcard_socket_the_answer_comes_from_the_destination_address(make_stage: MakeStage, asked: str) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    sender = stage.sender()
    stage.send(sender, b"hello", asked)
    stage.until(lambda: readable(sender))
    assert sender.recvfrom(100) == (b"hello", (asked, stage.port))


@linux
def test_on_an_ipv6_wildcard_socket_the_answer_comes_from_the_destination_address(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["::"])
    sender = stage.sender("::1")
    stage.send(sender, b"hello")
    stage.until(lambda: readable(sender))
    assert sender.recvfrom(100) == (b"hello", ("::1", stage.port, 0, 0))


@linux
def test_alternating_destination_addresses_each_answer_from_their_own(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    sender = stage.sender()
    places = ["127.0.0.1", OTHER_HOST, OTHER_HOST, "127.0.0.1", OTHER_HOST]
    for place in places:
        stage.send(sender, b"the same", place)
    stage.wait_received(len(places))
    assert [sender.recvfrom(100)[1][0] for _ in places] == places


@linux
def test_the_answer_to_a_connected_sender_reaches_it(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    sender = stage.sender()
    sender.connect((OTHER_HOST, stage.port))
    sender.send(b"hello")
    assert stage.receive_replies(sender, 1) == [b"hello"]


@linux
def test_an_answer_of_respond_comes_from_the_destination_address(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"], respond=bytes.upper)
    sender = stage.sender()
    stage.send(sender, b"hello", OTHER_HOST)
    stage.until(lambda: readable(sender))
    assert sender.recvfrom(100) == (b"HELLO", (OTHER_HOST, stage.port))


# Batches: datagrams received together are sent together, which is not visible outside.


def parts(data: bytes, segment: int) -> list[bytes]:
    return [data[start : start + segment] for start in range(0, len(data), segment)]


@linux
@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize(
    ("size", "segment"), [(3000, 1000), (3001, 1000), (2999, 1000), (64, 1), (63 * 512 + 7, 512), (64 * 1000, 1000)]
)
def test_a_batch_is_echoed_as_the_same_datagrams(make_stage: MakeStage, host: str, size: int, segment: int) -> None:
    stage = make_stage(hosts=[host])
    sender = stage.sender(host)
    stage.send(sender, payload(size), segment=segment)
    expected = parts(payload(size), segment)
    assert stage.receive_replies(sender, len(expected)) == expected
    assert (stage.snapshot.datagrams, stage.snapshot.messages) == (len(expected), len(expected))
    assert (stage.snapshot.received_bytes, stage.snapshot.sent_bytes) == (size, size)


@linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_a_batch_is_read_and_sent_in_one_call_each(make_stage: MakeStage, host: str) -> None:
    stage = make_stage(hosts=[host])
    sender = stage.sender(host)
    sender.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    stage.send(sender, payload(3001), segment=1000)
    assert stage.receive_replies(sender, 1) == [payload(3001)]


@linux
@pytest.mark.parametrize("grouped", [True, False], ids=["batches", "no batches"])
def test_mixed_batches_of_several_senders_are_echoed_to_each(make_stage: MakeStage, grouped: bool) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    stage.socks[0].setsockopt(socket.IPPROTO_UDP, UDP_GRO, grouped)
    sent: dict[socket.socket, list[bytes]] = {stage.sender(host): [] for host in ("127.0.0.1", OTHER_HOST, "127.0.0.1")}
    for turn, (size, segment) in enumerate([(2500, 1000), (10, 0), (0, 0), (2500, 500), (1000, 1000), (65507, 0)]):
        for number, sender in enumerate(sent):
            data = payload(size + 100)[turn + number :][:size]
            stage.send(sender, data, segment=segment)
            sent[sender] += parts(data, segment) if segment else [data]
    for sender, expected in sent.items():
        assert stage.receive_replies(sender, len(expected)) == expected
    assert stage.snapshot.datagrams == sum(map(len, sent.values()))
    assert not any(map(readable, sent))


@linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_a_batch_that_cannot_be_sent_is_sent_one_by_one(make_stage: MakeStage, host: str) -> None:
    stage = make_stage(hosts=[host])
    # The kernel segments a batch while computing checksums, and refuses it without them (udp(7): EINVAL).
    no_sums = (socket.IPPROTO_UDP, UDP_NO_CHECK6_TX) if ":" in host else (socket.SOL_SOCKET, SO_NO_CHECK)
    stage.socks[0].setsockopt(*no_sums, 1)
    sender = stage.sender(host)
    if ":" in host:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
    with pytest.raises(OSError, match="Invalid argument"):
        stage.socks[0].sendmsg([payload(3001)], [segment_option(1000)], 0, sender.getsockname())
    stage.send(sender, payload(3001), segment=1000)
    assert stage.receive_replies(sender, 4) == parts(payload(3001), 1000)
    assert (stage.snapshot.messages, stage.snapshot.sent_bytes, stage.snapshot.errors) == (4, 3001, {})


@linux
def test_datagrams_sent_one_by_one_come_from_the_destination_address(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    stage.socks[0].setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    sender = stage.sender()
    stage.send(sender, payload(3001), OTHER_HOST, segment=1000)
    stage.wait_received(4)
    assert [sender.recvfrom(2000) for _ in range(4)] == [
        (p, (OTHER_HOST, stage.port)) for p in parts(payload(3001), 1000)
    ]


@linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_without_segmentation_datagrams_are_read_one_by_one(cleanup: ExitStack, host: str) -> None:
    listener, sender = (cleanup.enter_context(unconnected(host)) for _ in range(2))
    receive = make_receive(listener, segmentation=False)
    sender.sendmsg([payload(2500)], [segment_option(1000)], 0, listener.getsockname())
    buffer = memoryview(bytearray(65536))
    assert [receive([buffer], ANCILLARY_SIZE)[:2] for _ in range(3)] == [(1000, []), (1000, []), (500, [])]


@linux
@pytest.mark.parametrize("host", [*LOOPBACK, "0.0.0.0", "::"])
def test_the_ancillary_data_of_a_batch_is_sent_with_the_answer(cleanup: ExitStack, host: str) -> None:
    listener, sender = (cleanup.enter_context(unconnected(host)) for _ in range(2))
    receive = make_receive(listener)
    place = {"0.0.0.0": OTHER_HOST, "::": "::1"}.get(host, host)
    sender.sendmsg([payload(2500)], [segment_option(1000)], 0, (place, listener.getsockname()[1]))
    length, notes, flags, _ = receive([memoryview(bytearray(65536))], ANCILLARY_SIZE)
    control, segment, refusal = reply_control(notes)
    assert (length, segment, refusal, flags & socket.MSG_CTRUNC) == (2500, 1000, None, 0)
    assert (segment_option(1000) in control, len(control)) == (True, 1 if place == host else 2)


def test_without_ancillary_data_none_is_sent() -> None:
    assert reply_control(()) == ([], 0, None)
    assert reply_control([(socket.SOL_SOCKET, 29, b"timestamp")]) == ([], 0, None)


# Errors.


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_closed_sender_does_not_affect_others(make_stage: MakeStage, host: str) -> None:
    stage = make_stage(hosts=[host])
    for _ in range(20):
        sender = stage.sender(host)
        stage.send(sender, b"and away")
        sender.close()
    stage.wait_received(20)
    assert stage.ask(stage.sender(host), b"hello") == b"hello"


@linux
def test_icmp_errors_of_closed_senders_are_counted(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.socks[0].setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    for _ in range(3):
        sender = stage.sender()
        stage.send(sender, b"and away")
        sender.close()
        stage.until(lambda: stage.snapshot.errors.get("ECONNREFUSED", 0) > 0)
    assert stage.ask(stage.sender(), b"hello") == b"hello"
    assert stage.snapshot.errors.keys() == {"ECONNREFUSED"}


def test_an_answer_too_long_for_a_datagram_is_counted(make_stage: MakeStage) -> None:
    stage = make_stage(respond=lambda datagram: payload(70_000) if datagram == b"more" else datagram)
    sender = stage.sender()
    stage.send(sender, b"more")
    assert stage.ask(sender, b"hello") == b"hello"
    assert (stage.snapshot.errors, stage.snapshot.messages, stage.snapshot.datagrams) == ({"EMSGSIZE": 1}, 1, 2)


@linux
@needs_root
def test_a_sender_that_cannot_be_answered_is_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(any_port=True))
    send_spoofed(b"from nowhere", ("127.0.0.1", 0), ("127.0.0.1", stage.port))
    send_spoofed(b"broadcast", ("127.255.255.255", 4711), ("127.0.0.1", stage.port))
    assert stage.ask(stage.sender(), b"hello") == b"hello"
    assert (stage.snapshot.errors, stage.snapshot.messages) == ({"EINVAL": 1, "EACCES": 1}, 1)


# Refusals.


def service_sender(cleanup: ExitStack) -> socket.socket:
    """Make a sender at one of SERVICE_PORTS that this host does not use."""
    sock = cleanup.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    for port in sorted(SERVICE_PORTS, reverse=True):
        with suppress(OSError):
            sock.bind(("127.7.7.7" if sys.platform.startswith("linux") else "127.0.0.1", port))
            return sock
    pytest.skip("every one of those ports is taken")


def send_spoofed(data: bytes, source: tuple[str, int], place: tuple[str, int]) -> None:
    """Send a datagram with a spoofed source."""
    header = UDP_HEADER.pack(source[1], place[1], UDP_HEADER.size + len(data), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0)
        raw.sendto(ip + socket.inet_aton(source[0]) + socket.inet_aton(place[0]) + header + data, (place[0], 0))


def test_a_datagram_from_a_service_port_is_not_answered(make_stage: MakeStage, cleanup: ExitStack) -> None:
    stage = make_stage()
    sender = service_sender(cleanup)
    sender.sendto(b"hello", ("127.0.0.1", stage.port))
    stage.wait_received(1)
    assert (stage.snapshot.refused, stage.snapshot.messages, readable(sender)) == ({"service_port": 1}, 0, False)


def test_a_datagram_from_a_service_port_is_answered_with_any_port(make_stage: MakeStage, cleanup: ExitStack) -> None:
    stage = make_stage(Limits(any_port=True))
    sender = service_sender(cleanup)
    sender.sendto(b"hello", ("127.0.0.1", stage.port))
    assert stage.receive_replies(sender, 1) == [b"hello"]


@pytest.mark.parametrize("any_port", [False, True])
@pytest.mark.parametrize("host", LOOPBACK)
def test_a_datagram_from_the_server_s_own_socket_is_not_answered(
    make_stage: MakeStage, host: str, any_port: bool
) -> None:
    stage = make_stage(Limits(any_port=any_port), hosts=[host])
    clear_loop_mark(stage.socks[0])
    stage.socks[0].sendto(b"hello", stage.socks[0].getsockname())
    stage.wait_received(1)
    assert (stage.snapshot.refused, stage.snapshot.messages) == ({"own_port": 1}, 0)


def test_a_datagram_from_another_socket_of_the_server_is_not_answered(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["127.0.0.1", "127.0.0.1"])
    clear_loop_mark(stage.socks[1])
    stage.socks[1].sendto(b"hello", stage.socks[0].getsockname())
    stage.wait_received(1)
    assert stage.snapshot.refused == {"own_port": 1}


@linux
def test_a_broadcast_is_not_answered(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    sender = stage.sender()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    stage.send(sender, b"hello", "127.255.255.255")
    stage.wait_received(1)
    assert (stage.snapshot.refused, stage.snapshot.messages, readable(sender)) == ({"broadcast": 1}, 0, False)


@linux
def test_a_multicast_is_not_answered(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    sender, group, here = stage.sender(), "239.255.77.7", socket.inet_aton("127.0.0.1")
    stage.socks[0].setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + here)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
    stage.send(sender, b"hello", group)
    stage.wait_received(1)
    assert (stage.snapshot.refused, stage.snapshot.messages, readable(sender)) == ({"multicast": 1}, 0, False)


@linux
def test_an_ipv6_multicast_is_not_answered(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["::"])
    sender = stage.sender("::")
    for interface, _ in socket.if_nameindex():
        with suppress(OSError):
            sender.sendto(b"hello", ("ff01::1", stage.port, 0, interface))  # interface-local
            break
    else:
        pytest.skip("no interface has groups of IPv6")
    stage.wait_received(1)
    assert (stage.snapshot.refused, stage.snapshot.messages, readable(sender)) == ({"multicast": 1}, 0, False)


@linux
def test_an_answer_from_a_link_local_address_comes_from_there(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["::"])
    place = next(links(), None)
    if not place:
        pytest.skip("no interface has an address of its link")
    sender = stage.sender("::")
    sender.sendto(b"hello", (place[0], stage.port, 0, place[1]))
    stage.until(lambda: readable(sender))
    assert sender.recvfrom(100) == (b"hello", (place[0], stage.port, 0, place[1]))


def links() -> Iterator[tuple[str, int]]:
    """Return this machine's link-local addresses and their interfaces (proc_net(5))."""
    with Path("/proc/net/if_inet6").open(encoding="ascii") as table:
        for digits, interface, _, scope, *_ in map(str.split, table):
            if scope == "20":
                yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)), int(interface, 16)


@pytest.mark.parametrize(
    ("asked", "refusal", "interface"),
    [("2001:db8::7", None, 0), ("fe80::7", None, 3), ("ff02::1", "multicast", 0), ("ff0e::7", "multicast", 0)],
)
def test_an_ipv6_answer_has_the_source_address_and_for_link_local_the_interface(
    asked: str, refusal: str | None, interface: int
) -> None:
    packed = socket.inet_pton(socket.AF_INET6, asked)
    note = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
    control = [(*note, packed + struct.pack("=I", interface))]
    assert reply_control([(*note, packed + struct.pack("=I", 3))]) == (control, 0, refusal)


@linux
def test_a_denied_sender_is_not_answered_and_others_are(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(deny=(OTHER_HOST,)))
    denied, other = stage.sender(OTHER_HOST), stage.sender()
    stage.send(denied, b"hello", "127.0.0.1")
    assert stage.ask(other, b"hello") == b"hello"
    assert (stage.snapshot.refused, readable(denied)) == ({"denied": 1}, False)


@linux
def test_a_sender_that_is_not_allowed_is_not_answered(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(allow=(OTHER_HOST,)))
    allowed, other = stage.sender(OTHER_HOST), stage.sender()
    stage.send(other, b"hello")
    stage.send(allowed, b"hello", "127.0.0.1")
    assert stage.receive_replies(allowed, 1) == [b"hello"]
    assert (stage.snapshot.refused, readable(other)) == ({"denied": 1}, False)


@linux
def test_each_datagram_of_a_refused_batch_counts(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(deny=("127.0.0.1",)))
    stage.send(stage.sender(), payload(3001), segment=1000)
    stage.wait_received(4)
    assert stage.snapshot.refused == {"denied": 4}


# Sizes and rates.


def test_a_datagram_of_max_bytes_is_answered_and_a_longer_one_is_not(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=100))
    sender = stage.sender()
    for size in (101, 65507):
        stage.send(sender, payload(size))
    assert [stage.ask(sender, payload(size)) for size in (100, 0, 1)] == [payload(100), b"", payload(1)]
    assert stage.snapshot.refused == {"too_long": 2}


@linux
def test_a_batch_of_short_datagrams_may_exceed_max_bytes(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=1000))
    sender = stage.sender()
    stage.send(sender, payload(64_000), segment=1000)
    assert stage.receive_replies(sender, 64) == parts(payload(64_000), 1000)
    assert stage.snapshot.refused == {}


@linux
@pytest.mark.parametrize("grouped", [True, False], ids=["batches", "no batches"])
def test_of_a_batch_of_long_datagrams_a_short_last_one_is_answered(make_stage: MakeStage, grouped: bool) -> None:
    stage = make_stage(Limits(max_bytes=999))
    stage.socks[0].setsockopt(socket.IPPROTO_UDP, UDP_GRO, grouped)
    sender = stage.sender()
    stage.send(sender, payload(3999), segment=1000)
    assert stage.receive_replies(sender, 1) == [payload(3999)[3000:]]
    assert (stage.snapshot.refused, stage.snapshot.messages, stage.snapshot.datagrams) == ({"too_long": 3}, 1, 4)


def test_a_sender_over_its_rate_limit_is_answered_again_later(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    sender = stage.sender()
    assert stage.ask(sender, payload(2000)) == payload(2000)
    stage.send(sender, b"too soon")
    stage.wait_received(2)
    assert stage.snapshot.refused == {"rate_limit": 1}
    stage.elapse(2)
    assert stage.ask(sender, b"hello") == b"hello"


@pytest.mark.parametrize("segment", [0, 128])
def test_a_probe_over_the_rate_limit_is_answered_with_a_notice(make_stage: MakeStage, segment: int) -> None:
    if segment and sys.platform != "linux":
        pytest.skip("needs Linux")
    stage = make_stage(Limits(rate_limit=1000))
    sender, probes = stage.sender(), Probes(0xBEEF, 128)
    stage.ask(sender, payload(2000))
    refused = [probes.encode(number, 5) for number in range(3)]
    for datagrams in [b"".join(refused)] if segment else refused:
        stage.send(sender, datagrams, segment=segment)
    stage.wait_received(4)
    assert stage.snapshot.refused == {"rate_limit": 3}
    numbers = [0] if segment else [0, 1]  # the count of the run has doubled at the second
    notices = [read_notice(reply) or (b"", 0) for reply in stage.receive_replies(sender, len(numbers))]
    assert [probes.number(begin, 2) for begin, _ in notices] == numbers
    with pytest.raises(BlockingIOError):
        sender.recv(65536)


def test_a_probe_over_the_rate_limit_that_gets_no_timestamp_has_a_notice() -> None:
    limits, probe = Limits(rate_limit=1), Probes(1, 60).encode(0, 1)
    with Server("udp://127.0.0.1:0", timestamps=True, limits=limits) as server, unconnected("127.0.0.1") as sender:
        sender.setblocking(True)
        sender.settimeout(POLL_TIMEOUT)
        for _ in range(2):
            sender.sendto(probe, ("127.0.0.1", server.address.port))
        assert [sender.recv(65536) for _ in range(2)] == [probe, write_notice(probe, 1)]


def test_only_a_probe_gets_a_notice(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    sender = stage.sender()
    stage.ask(sender, payload(2000))
    notice = write_notice(Probes(1, 128).encode(0, 1), 1)
    for datagram in (payload(128), notice, Probes(1, 40).encode(0, 1)):
        stage.send(sender, datagram)
    stage.wait_received(4)
    assert stage.snapshot.sent_bytes == 2000


@linux
def test_the_rate_limit_is_per_host(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    stage.ask(stage.sender(), payload(2000))
    assert stage.ask(stage.sender(OTHER_HOST), b"hello", "127.0.0.1") == b"hello"


def test_a_trusted_sender_is_always_answered(make_stage: MakeStage) -> None:
    stage = make_stage()
    sender = stage.sender()  # at one time: the clock stands still
    for number in range(10 * MAX_PER_WINDOW):
        assert stage.ask(sender, b"%d" % number) == b"%d" % number


# Answers of `respond`.


def test_respond_answers_each_datagram(make_stage: MakeStage) -> None:
    stage = make_stage(respond=bytes.upper)
    sender = stage.sender()
    assert [stage.ask(sender, datagram) for datagram in (b"hello\nworld", b"", b"!")] == [b"HELLO\nWORLD", b"", b"!"]
    assert (stage.snapshot.messages, stage.snapshot.datagrams) == (3, 3)


@linux
def test_respond_answers_each_datagram_of_a_batch(make_stage: MakeStage) -> None:
    asked: list[bytes] = []

    def beginning(datagram: bytes) -> bytes:
        asked.append(datagram)
        return datagram[:3]

    stage = make_stage(respond=beginning)
    sender = stage.sender()
    stage.send(sender, payload(3001), segment=1000)
    assert stage.receive_replies(sender, 4) == [part[:3] for part in parts(payload(3001), 1000)]
    assert asked == parts(payload(3001), 1000)
    assert (stage.snapshot.messages, stage.snapshot.received_bytes, stage.snapshot.sent_bytes) == (4, 3001, 10)


def test_none_is_no_answer(make_stage: MakeStage) -> None:
    stage = make_stage(respond=lambda datagram: datagram or None)
    sender = stage.sender()
    stage.send(sender, b"")
    assert stage.ask(sender, b"hello") == b"hello"
    assert (stage.snapshot.messages, stage.snapshot.datagrams, stage.snapshot.errors) == (1, 2, {})


def test_an_empty_answer_is_sent(make_stage: MakeStage) -> None:
    stage = make_stage(respond=lambda _: b"")
    assert stage.ask(stage.sender(), b"hello") == b""


def test_an_exception_in_respond_is_logged_and_counted_and_the_next_datagram_is_answered(
    make_stage: MakeStage, caplog: pytest.LogCaptureFixture
) -> None:
    stage = make_stage(respond=lambda datagram: b"%d" % (1 / int(datagram)))
    sender = stage.sender()
    stage.send(sender, b"0")
    assert stage.ask(sender, b"1") == b"1"
    assert stage.snapshot.errors == {"respond": 1}
    flush_log()
    assert [(record.levelno, record.exc_info is not None) for record in caplog.records] == [(logging.ERROR, True)]


@pytest.mark.parametrize("answer", ["text", 5, [b"list"]])
def test_an_answer_that_is_not_bytes_is_an_error_of_respond(make_stage: MakeStage, answer: object) -> None:
    stage = make_stage(respond=lambda datagram: answer if datagram == b"wrong" else datagram)
    sender = stage.sender()
    stage.send(sender, b"wrong")
    assert stage.ask(sender, b"hello") == b"hello"
    assert stage.snapshot.errors == {"respond": 1}


def test_a_bytearray_is_an_answer(make_stage: MakeStage) -> None:
    stage = make_stage(respond=bytearray)
    assert stage.ask(stage.sender(), b"hello") == b"hello"


# Reports.


def test_a_sender_is_reported_once(make_stage: MakeStage) -> None:
    notes = RecordingObserver()
    stage = make_stage(observer=notes)
    first, second = stage.sender(), stage.sender()
    for sender in (first, second, first, first, second):
        stage.ask(sender, b"hello")
    assert notes.events == [("datagram_received", first.getsockname()), ("datagram_received", second.getsockname())]


def test_the_number_of_senders_reported_per_second_is_limited(make_stage: MakeStage) -> None:
    notes = RecordingObserver()
    stage = make_stage(observer=notes)
    for _ in range(3 * MAX_NEW_PEERS):
        stage.ask(stage.sender(), b"hello")
    assert len(notes.events) == MAX_NEW_PEERS
    stage.elapse(1)
    stage.ask(stage.sender(), b"hello")
    assert len(notes.events) == MAX_NEW_PEERS + 1


def test_a_reported_sender_is_not_remembered_for_ever(make_stage: MakeStage) -> None:
    stage = make_stage(observer=RecordingObserver())
    datagrams = stage.loop.datagrams
    assert datagrams
    for _ in range(2 * MAX_RECENT_PEERS):  # their ports may repeat
        with unconnected("127.0.0.1") as sender:
            stage.ask(sender, b"hello")
    assert datagrams._recent_peers is not None
    assert 0 < len(datagrams._recent_peers) <= MAX_RECENT_PEERS


def test_a_refusal_is_reported_once_a_second(make_stage: MakeStage) -> None:
    notes = RecordingObserver()
    stage = make_stage(Limits(max_bytes=3), observer=notes)
    sender = stage.sender()
    for second in range(3):
        for _ in range(10):
            stage.send(sender, b"hello")
        stage.wait_received(10 * (second + 1))
        stage.elapse(REPORT_INTERVAL)
    assert notes.events == [("refused: too_long", sender.getsockname())] * 3
    assert stage.snapshot.refused == {"too_long": 30}
    assert notes.counts == [1, 10, 10]


@linux
def test_each_refusal_reason_is_reported_separately(make_stage: MakeStage) -> None:
    notes = RecordingObserver()
    stage = make_stage(Limits(max_bytes=3, deny=(OTHER_HOST,)), observer=notes)
    long, denied = stage.sender(), stage.sender(OTHER_HOST)
    for _ in range(5):
        stage.send(long, b"hello")
        stage.send(denied, b"hello", "127.0.0.1")
    stage.wait_received(10)
    assert notes.events == [
        ("refused: too_long", long.getsockname()),
        ("refused: denied", denied.getsockname()),
    ]


def test_datagrams_and_bytes_are_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=1000), respond=lambda datagram: datagram * 2 if datagram else None)
    sender = stage.sender()
    for datagram in (b"", b"hello", payload(1001)):
        stage.send(sender, datagram)
    stage.wait_received(3)
    seen = stage.snapshot
    assert (seen.datagrams, seen.messages, seen.received_bytes, seen.sent_bytes) == (3, 1, 1006, 10)
    assert (seen.accepted, seen.open, seen.refused, seen.errors) == (0, 0, {"too_long": 1}, {})


@linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_datagrams_dropped_by_the_kernel_are_counted(host: str) -> None:
    listener = listen(Address("udp", host, 0), buffer=8192)
    with RunningServer(listener, Service()) as server, unconnected(host) as sender:
        for _ in range(100):
            sender.sendto(payload(1000), listener.sockets[0].getsockname())
        assert 50 < server.snapshot().dropped < 100
    assert 50 < server.snapshot().dropped < 100  # as before


# Loops between echo servers.


def clear_loop_mark(sock: socket.socket, hops: int = 64) -> None:
    """Have a server's own socket send without the loop mark; otherwise spoofing would be needed."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


@pytest.fixture(params=LOOPBACK)
def two_servers(request: pytest.FixtureRequest, make_stage: MakeStage) -> tuple[DatagramStage, DatagramStage]:
    """Start two servers."""
    return make_stage(hosts=[request.param]), make_stage(hosts=[request.param])


def send_as(one: DatagramStage, other: DatagramStage) -> None:
    """Send a datagram to one server with the other as its source."""
    clear_loop_mark(other.socks[0])
    other.socks[0].sendto(b"round and round", one.socks[0].getsockname())
    clear_loop_mark(other.socks[0], TTL)


@linux
def test_a_datagram_spoofed_between_two_servers_is_dropped_on_its_way_back(
    two_servers: tuple[DatagramStage, DatagramStage],
) -> None:
    one, other = two_servers
    send_as(one, other)
    one.wait_received(1)
    other.settle()
    assert (one.snapshot.messages, other.snapshot.datagrams, dropped(other.socks[0])) == (1, 0, 1)


@linux
def test_a_loop_between_two_servers_that_the_filter_does_not_see_ends(
    two_servers: tuple[DatagramStage, DatagramStage],
) -> None:
    one, other = two_servers
    for stage in two_servers:
        stage.socks[0].setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    send_as(one, other)
    for number in range(4000):
        stage = two_servers[number % 2]
        stage.clock.now += 0.01
        stage.wait_received(number // 2 + 1)
        if stage.snapshot.refused:
            break
    assert stage.snapshot.refused == {"loop": 1}
    assert number / 2 * 0.01 == pytest.approx(TEST_INTERVAL, abs=0.1)


@pytest.mark.parametrize("limits", [None, Limits(rate_limit=1 << 30)])
@pytest.mark.parametrize("respond", [None, bytes.upper])
@pytest.mark.parametrize("segment", [0, pytest.param(5, marks=linux)])
def test_a_loop_with_any_echo_on_this_machine_ends(
    make_stage: MakeStage, limits: Limits | None, respond: Callable[[bytes], bytes] | None, segment: int
) -> None:
    stage = make_stage(limits, respond=respond)
    sender, bystander = stage.sender(), stage.sender()
    stage.send(sender, b"round and round and ", segment=segment)
    started = stage.clock.now
    while stage.clock.now < started + 20:
        stage.clock.now += 0.01
        stage.until(lambda: readable(sender) or bool(stage.snapshot.refused))
        if stage.snapshot.refused:
            break
        while readable(sender):
            sender.sendto(sender.recv(1000), ("127.0.0.1", stage.port))
    assert stage.clock.now - started == pytest.approx(TEST_INTERVAL, abs=0.1)
    stage.settle()
    assert list(stage.snapshot.refused) == ["loop"]
    assert not readable(sender)
    assert stage.ask(bystander, b"still there").lower() == b"still there"
    stage.clock.now += SILENCE
    assert stage.ask(sender, b"no loop").lower() == b"no loop"


@linux
@needs_root
def test_a_datagram_spoofed_by_a_third_host_is_dropped_too(make_stage: MakeStage) -> None:
    one, other = make_stage(), make_stage()
    send_spoofed(b"round and round", ("127.0.0.1", other.port), ("127.0.0.1", one.port))
    one.wait_received(1)
    other.settle()
    assert (one.snapshot.messages, other.snapshot.datagrams, dropped(other.socks[0])) == (1, 0, 1)


@linux
def test_an_answer_of_respond_is_dropped_too(make_stage: MakeStage) -> None:
    one, other = (make_stage(respond=bytes.upper) for _ in range(2))
    send_as(one, other)
    one.wait_received(1)
    other.settle()
    assert (one.snapshot.messages, other.snapshot.datagrams) == (1, 0)


@linux
def test_two_servers_on_wildcard_sockets_do_not_loop_either(make_stage: MakeStage) -> None:
    one, other = (make_stage(hosts=["0.0.0.0"]) for _ in range(2))
    clear_loop_mark(other.socks[0])
    other.socks[0].sendto(b"round and round", (OTHER_HOST, one.port))
    clear_loop_mark(other.socks[0], TTL)
    one.wait_received(1)
    other.settle()
    assert (one.snapshot.messages, other.snapshot.datagrams, dropped(other.socks[0])) == (1, 0, 1)


# Draining.


def test_drain_answers_datagrams_already_received(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=LOOPBACK)
    sender = stage.sender()
    for number in range(3 * MAX_READS):
        stage.send(sender, b"%d" % number)
    drain_stage(stage)
    assert stage.snapshot.messages == 3 * MAX_READS
    assert [sender.recv(100) for _ in range(3 * MAX_READS)] == [b"%d" % number for number in range(3 * MAX_READS)]


def test_after_drain_no_datagram_is_received(make_stage: MakeStage) -> None:
    stage = make_stage()
    drain_stage(stage)
    stage.send(stage.sender(), b"hello")
    assert stage.loop.turn(0) == []
    assert (stage.snapshot.datagrams, stage.loop.reactor.in_state(DATAGRAM)) == (0, [])


def test_an_event_of_a_closed_socket_is_ignored(make_stage: MakeStage) -> None:
    stage = make_stage()
    drain_stage(stage)
    stage.loop.reactor.poller.watch(stage.socks[0].fileno(), READ)
    stage.send(stage.sender(), b"hello")
    stage.loop.turn(POLL_TIMEOUT)
    assert (stage.snapshot.datagrams, stage.loop.reactor.state[stage.socks[0].fileno()]) == (0, FREE)


def test_drain_keeps_its_deadline(make_stage: MakeStage) -> None:
    def slow(datagram: bytes) -> bytes:
        stage.clock.now += 1
        return datagram

    stage = make_stage(respond=slow)
    sender = stage.sender()
    for _ in range(3 * MAX_READS):
        stage.send(sender, b"hello")
    drain_stage(stage, MAX_READS - 1)
    assert stage.snapshot.messages == MAX_READS


def test_a_stop_ends_drain(make_stage: MakeStage) -> None:
    def impatient(datagram: bytes) -> bytes:
        stage.loop.reactor.stop()
        return datagram

    stage = make_stage(respond=impatient)
    sender = stage.sender()
    for _ in range(3 * MAX_READS):
        stage.send(sender, b"hello")
    drain_stage(stage)
    assert stage.snapshot.messages == MAX_READS


@linux
def test_a_sender_that_keeps_sending_does_not_extend_drain() -> None:
    listener = listen("udp://127.0.0.1:0")
    loop = Service().loop(listener)
    over = threading.Event()

    def chatter() -> None:
        with unconnected("127.0.0.1") as sender:
            place = listener.address
            while not over.is_set():
                with suppress(OSError):
                    sender.sendto(b"and another thing", (place.host or "", place.port))

    threads = [threading.Thread(target=chatter) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        while loop.snapshot().messages < 10_000:
            loop.turn(1)
        began = time.monotonic()
        loop.drain(TIMEOUT, listener)
        assert time.monotonic() - began < TIMEOUT / 2
    finally:
        over.set()
        for thread in threads:
            thread.join()
        loop.shutdown()
        listener.close()


def test_a_loop_whose_sockets_are_closed_already_shuts_down(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.socks[0].close()
    stage.loop.shutdown()
    assert stage.loop.reactor.in_state(DATAGRAM) == []


def drain_stage(stage: DatagramStage, seconds: float = TIMEOUT) -> None:
    assert stage.loop.datagrams
    stage.loop.datagrams.drain(stage.clock.now + seconds)
