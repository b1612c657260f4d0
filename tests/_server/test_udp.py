"""Datagrams and the loop, a turn at a time: what goes back, from where, what does not, and who is told."""

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
from halloo._net.bpf import TTL
from halloo._net.datagrams import dropped
from halloo._net.listener import listen
from halloo._server.closer import drain
from halloo._server.connections import DATAGRAM, FREE
from halloo._server.poller import READ
from halloo._server.server import Server, Service
from halloo._server.udp import BATCH, LINES, RECENT, ROOM, SILENCE, UDP_GRO, receiver, reply
from halloo._server.udp_policy import MOST, SERVICES
from tests.stepping import MAKERS, SOON, Hearing, Notes, pattern, readable, train, unconnected

LOOPBACK = ["127.0.0.1", "::1"]
OTHER = "127.0.0.2"  # all of 127/8 is this machine on Linux
PATIENCE = 20  # seconds
RAW4 = struct.Struct("!HHHH")  # a header of UDP
# The socket module does not name them.
SO_NO_CHECK, UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX, IP_RECVERR, SO_DETACH_FILTER = 11, 101, 102, 11, 27

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
needs_root = pytest.mark.skipif(getattr(os, "geteuid", bool)() != 0, reason="raw sockets need root")

MakeStage = Callable[..., Hearing]


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest, cleanup: ExitStack) -> MakeStage:
    def make_stage(limits: Limits | None = None, **options: object) -> Hearing:
        return cleanup.enter_context(Hearing(limits, **{"poller": request.param()} | options))

    return make_stage


# What goes back.


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("size", [1, 1472, 1473, 9000, 65507])
def test_a_datagram_goes_back_whole(make_stage: MakeStage, host: str, size: int) -> None:
    stage = make_stage(hosts=[host])
    assert stage.ask(stage.sender(host), pattern(size)) == pattern(size)


def test_the_largest_of_ipv6_goes_back_whole(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["::1"])
    assert stage.ask(stage.sender("::1"), pattern(65527)) == pattern(65527)


@pytest.mark.parametrize("host", LOOPBACK)
def test_an_empty_datagram_goes_back_and_the_next_one_too(make_stage: MakeStage, host: str) -> None:
    stage = make_stage(hosts=[host])
    sender = stage.sender(host)
    assert [stage.ask(sender, datagram) for datagram in (b"", b"", b"hello", b"")] == [b"", b"", b"hello", b""]


def test_what_is_short_after_what_is_long_brings_nothing_of_it_back(make_stage: MakeStage) -> None:
    stage = make_stage()
    sender = stage.sender()
    sizes = [65507, 5, 1000, 0, 5]
    assert [stage.ask(sender, pattern(size)) for size in sizes] == [pattern(size) for size in sizes]


def test_one_payload_ten_thousand_times_at_a_millisecond_loses_nothing(cleanup: ExitStack) -> None:
    stage = cleanup.enter_context(Hearing())
    sender = stage.sender()
    for _ in range(10_000):
        stage.clock.now += 0.001
        assert stage.ask(sender, b"the same again") == b"the same again"
    assert (stage.seen.messages, stage.seen.refused, stage.seen.errors) == (10_000, {}, {})


def test_two_sockets_of_one_loop_each_answer_for_themselves(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=LOOPBACK)
    for sock, host in zip(stage.socks, LOOPBACK, strict=True):
        sender = stage.sender(host)
        sender.connect(sock.getsockname())
        sender.send(b"hello")
        assert stage.answers(sender, 1) == [b"hello"]


def test_a_flood_at_one_socket_does_not_hold_up_the_other(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["127.0.0.1", "127.0.0.1"])
    loud, quiet = stage.sender(), stage.sender()
    for number in range(3 * BATCH):
        stage.send(loud, b"%d" % number)
    quiet.sendto(b"hello", stage.socks[1].getsockname())
    stage.loop.turn(SOON)
    assert readable(quiet)
    assert stage.seen.datagrams == BATCH + 1
    assert len(stage.answers(loud, 3 * BATCH)) == 3 * BATCH


# From where.


@needs_linux
@pytest.mark.parametrize("asked", ["127.0.0.1", OTHER, "127.9.8.7"])
def test_at_every_address_the_answer_comes_from_the_one_that_was_asked(make_stage: MakeStage, asked: str) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    sender = stage.sender()
    stage.send(sender, b"hello", asked)
    stage.until(lambda: readable(sender))
    assert sender.recvfrom(100) == (b"hello", (asked, stage.port))


@needs_linux
def test_at_every_address_of_ipv6_too(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["::"])
    sender = stage.sender("::1")
    stage.send(sender, b"hello")
    stage.until(lambda: readable(sender))
    assert sender.recvfrom(100) == (b"hello", ("::1", stage.port, 0, 0))


@needs_linux
def test_of_addresses_asked_in_turn_each_answers_itself(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    sender = stage.sender()
    places = ["127.0.0.1", OTHER, OTHER, "127.0.0.1", OTHER]
    for place in places:
        stage.send(sender, b"the same", place)
    stage.hear(len(places))
    assert [sender.recvfrom(100)[1][0] for _ in places] == places


@needs_linux
def test_the_answer_to_a_connected_sender_reaches_it(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    sender = stage.sender()
    sender.connect((OTHER, stage.port))
    sender.send(b"hello")
    assert stage.answers(sender, 1) == [b"hello"]


@needs_linux
def test_what_a_function_answers_comes_from_the_address_asked(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"], respond=bytes.upper)
    sender = stage.sender()
    stage.send(sender, b"hello", OTHER)
    stage.until(lambda: readable(sender))
    assert sender.recvfrom(100) == (b"HELLO", (OTHER, stage.port))


# Trains: datagrams that came together go together, and nobody can tell.


def parts(data: bytes, segment: int) -> list[bytes]:
    return [data[start : start + segment] for start in range(0, len(data), segment)]


@needs_linux
@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize(
    ("size", "segment"), [(3000, 1000), (3001, 1000), (2999, 1000), (64, 1), (63 * 512 + 7, 512), (64 * 1000, 1000)]
)
def test_a_train_comes_back_as_the_datagrams_that_it_was(
    make_stage: MakeStage, host: str, size: int, segment: int
) -> None:
    stage = make_stage(hosts=[host])
    sender = stage.sender(host)
    stage.send(sender, pattern(size), segment=segment)
    expected = parts(pattern(size), segment)
    assert stage.answers(sender, len(expected)) == expected
    assert (stage.seen.datagrams, stage.seen.messages) == (len(expected), len(expected))
    assert (stage.seen.received_bytes, stage.seen.sent_bytes) == (size, size)


@needs_linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_a_train_is_read_at_once_and_sent_at_once(make_stage: MakeStage, host: str) -> None:
    stage = make_stage(hosts=[host])
    sender = stage.sender(host)
    sender.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    stage.send(sender, pattern(3001), segment=1000)
    assert stage.answers(sender, 1) == [pattern(3001)]


@needs_linux
@pytest.mark.parametrize("grouped", [True, False], ids=["trains", "no trains"])
def test_mixed_trains_of_mixed_senders_come_back_to_each_its_own(make_stage: MakeStage, grouped: bool) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    stage.socks[0].setsockopt(socket.IPPROTO_UDP, UDP_GRO, grouped)
    sent: dict[socket.socket, list[bytes]] = {stage.sender(host): [] for host in ("127.0.0.1", OTHER, "127.0.0.1")}
    for turn, (size, segment) in enumerate([(2500, 1000), (10, 0), (0, 0), (2500, 500), (1000, 1000), (65507, 0)]):
        for number, sender in enumerate(sent):
            data = pattern(size + 100)[turn + number :][:size]
            stage.send(sender, data, segment=segment)
            sent[sender] += parts(data, segment) if segment else [data]
    for sender, expected in sent.items():
        assert stage.answers(sender, len(expected)) == expected
    assert stage.seen.datagrams == sum(map(len, sent.values()))
    assert not any(map(readable, sent))


@needs_linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_where_a_train_cannot_be_sent_its_datagrams_go_one_by_one(make_stage: MakeStage, host: str) -> None:
    stage = make_stage(hosts=[host])
    # The kernel cuts a train where it sums it up, and without checksums refuses it (udp(7): EINVAL).
    no_sums = (socket.IPPROTO_UDP, UDP_NO_CHECK6_TX) if ":" in host else (socket.SOL_SOCKET, SO_NO_CHECK)
    stage.socks[0].setsockopt(*no_sums, 1)
    sender = stage.sender(host)
    if ":" in host:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
    with pytest.raises(OSError, match="Invalid argument"):
        stage.socks[0].sendmsg([pattern(3001)], [train(1000)], 0, sender.getsockname())
    stage.send(sender, pattern(3001), segment=1000)
    assert stage.answers(sender, 4) == parts(pattern(3001), 1000)
    assert (stage.seen.messages, stage.seen.sent_bytes, stage.seen.errors) == (4, 3001, {})


@needs_linux
def test_one_by_one_they_still_come_from_the_address_that_was_asked(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    stage.socks[0].setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    sender = stage.sender()
    stage.send(sender, pattern(3001), OTHER, segment=1000)
    stage.hear(4)
    assert [sender.recvfrom(2000) for _ in range(4)] == [(p, (OTHER, stage.port)) for p in parts(pattern(3001), 1000)]


@needs_linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_whoever_wants_no_trains_reads_datagrams_one_by_one(cleanup: ExitStack, host: str) -> None:
    listener, sender = (cleanup.enter_context(unconnected(host)) for _ in range(2))
    receive = receiver(listener, trains=False)
    sender.sendmsg([pattern(2500)], [train(1000)], 0, listener.getsockname())
    buffer = memoryview(bytearray(65536))
    assert [receive([buffer], ROOM)[:2] for _ in range(3)] == [(1000, []), (1000, []), (500, [])]


@needs_linux
@pytest.mark.parametrize("host", [*LOOPBACK, "0.0.0.0", "::"])
def test_what_the_kernel_tells_beside_a_train_is_sent_beside_the_answer(cleanup: ExitStack, host: str) -> None:
    listener, sender = (cleanup.enter_context(unconnected(host)) for _ in range(2))
    receive = receiver(listener)
    place = {"0.0.0.0": OTHER, "::": "::1"}.get(host, host)
    sender.sendmsg([pattern(2500)], [train(1000)], 0, (place, listener.getsockname()[1]))
    length, notes, flags, _ = receive([memoryview(bytearray(65536))], ROOM)
    control, segment, refusal = reply(notes)
    assert (length, segment, refusal, flags & socket.MSG_CTRUNC) == (2500, 1000, None, 0)
    assert (train(1000) in control, len(control)) == (True, 1 if place == host else 2)


def test_where_nothing_is_told_nothing_is_sent_beside() -> None:
    assert reply(()) == ([], 0, None)
    assert reply([(socket.SOL_SOCKET, 29, b"when it came")]) == ([], 0, None)


# Errors are counted, and end nothing.


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_sender_that_has_gone_harms_nobody(make_stage: MakeStage, host: str) -> None:
    stage = make_stage(hosts=[host])
    for _ in range(20):
        sender = stage.sender(host)
        stage.send(sender, b"and away")
        sender.close()
    stage.hear(20)
    assert stage.ask(stage.sender(host), b"hello") == b"hello"


@needs_linux
def test_where_the_system_tells_of_senders_that_have_gone_they_are_counted(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.socks[0].setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    for _ in range(3):
        sender = stage.sender()
        stage.send(sender, b"and away")
        sender.close()
        stage.until(lambda: stage.seen.errors.get("ECONNREFUSED", 0) > 0)
    assert stage.ask(stage.sender(), b"hello") == b"hello"
    assert stage.seen.errors.keys() == {"ECONNREFUSED"}


def test_an_answer_too_long_for_a_datagram_is_counted(make_stage: MakeStage) -> None:
    stage = make_stage(respond=lambda datagram: pattern(70_000) if datagram == b"more" else datagram)
    sender = stage.sender()
    stage.send(sender, b"more")
    assert stage.ask(sender, b"hello") == b"hello"
    assert (stage.seen.errors, stage.seen.messages, stage.seen.datagrams) == ({"EMSGSIZE": 1}, 1, 2)


@needs_linux
@needs_root
def test_a_sender_that_cannot_be_answered_is_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(any_port=True))
    plant(b"from nowhere", ("127.0.0.1", 0), ("127.0.0.1", stage.port))
    plant(b"from everybody", ("127.255.255.255", 4711), ("127.0.0.1", stage.port))
    assert stage.ask(stage.sender(), b"hello") == b"hello"
    assert (stage.seen.errors, stage.seen.messages) == ({"EINVAL": 1, "EACCES": 1}, 1)


# What is not answered.


def somebodys_service(cleanup: ExitStack) -> socket.socket:
    """Make a sender at a port of SERVICES; this host has none of its own there."""
    sock = cleanup.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    for port in sorted(SERVICES, reverse=True):
        with suppress(OSError):
            sock.bind(("127.7.7.7" if sys.platform.startswith("linux") else "127.0.0.1", port))
            return sock
    pytest.skip("every one of those ports is taken")


def plant(data: bytes, source: tuple[str, int], place: tuple[str, int]) -> None:
    """Send a datagram with a false sender."""
    header = RAW4.pack(source[1], place[1], RAW4.size + len(data), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0)
        raw.sendto(ip + socket.inet_aton(source[0]) + socket.inet_aton(place[0]) + header + data, (place[0], 0))


def test_who_asks_from_the_port_of_a_service_is_not_answered(make_stage: MakeStage, cleanup: ExitStack) -> None:
    stage = make_stage()
    sender = somebodys_service(cleanup)
    sender.sendto(b"hello", ("127.0.0.1", stage.port))
    stage.hear(1)
    assert (stage.seen.refused, stage.seen.messages, readable(sender)) == ({"service_port": 1}, 0, False)


def test_unless_that_is_wanted(make_stage: MakeStage, cleanup: ExitStack) -> None:
    stage = make_stage(Limits(any_port=True))
    sender = somebodys_service(cleanup)
    sender.sendto(b"hello", ("127.0.0.1", stage.port))
    assert stage.answers(sender, 1) == [b"hello"]


@pytest.mark.parametrize("any_port", [False, True])
@pytest.mark.parametrize("host", LOOPBACK)
def test_oneself_is_not_answered(make_stage: MakeStage, host: str, any_port: bool) -> None:
    stage = make_stage(Limits(any_port=any_port), hosts=[host])
    unmark(stage.socks[0])
    stage.socks[0].sendto(b"hello", stage.socks[0].getsockname())
    stage.hear(1)
    assert (stage.seen.refused, stage.seen.messages) == ({"own_port": 1}, 0)


def test_another_socket_of_one_s_own_is_not_answered(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["127.0.0.1", "127.0.0.1"])
    unmark(stage.socks[1])
    stage.socks[1].sendto(b"hello", stage.socks[0].getsockname())
    stage.hear(1)
    assert stage.seen.refused == {"own_port": 1}


@needs_linux
def test_what_is_for_everybody_is_not_answered(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    sender = stage.sender()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    stage.send(sender, b"hello", "127.255.255.255")
    stage.hear(1)
    assert (stage.seen.refused, stage.seen.messages, readable(sender)) == ({"broadcast": 1}, 0, False)


@needs_linux
def test_what_is_for_a_group_is_not_answered(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["0.0.0.0"])
    sender, group, here = stage.sender(), "239.255.77.7", socket.inet_aton("127.0.0.1")
    stage.socks[0].setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + here)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
    stage.send(sender, b"hello", group)
    stage.hear(1)
    assert (stage.seen.refused, stage.seen.messages, readable(sender)) == ({"multicast": 1}, 0, False)


@needs_linux
def test_what_is_for_a_group_of_ipv6_is_not_answered(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["::"])
    sender = stage.sender("::")
    for interface, _ in socket.if_nameindex():
        with suppress(OSError):
            sender.sendto(b"hello", ("ff01::1", stage.port, 0, interface))  # which does not leave this machine
            break
    else:
        pytest.skip("no interface has groups of IPv6")
    stage.hear(1)
    assert (stage.seen.refused, stage.seen.messages, readable(sender)) == ({"multicast": 1}, 0, False)


@needs_linux
def test_at_an_address_of_one_link_the_answer_comes_from_there(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=["::"])
    place = next(links(), None)
    if not place:
        pytest.skip("no interface has an address of its link")
    sender = stage.sender("::")
    sender.sendto(b"hello", (place[0], stage.port, 0, place[1]))
    stage.until(lambda: readable(sender))
    assert sender.recvfrom(100) == (b"hello", (place[0], stage.port, 0, place[1]))


def links() -> Iterator[tuple[str, int]]:
    """Give this machine's addresses of one link, and of which (proc_net(5))."""
    with Path("/proc/net/if_inet6").open(encoding="ascii") as table:
        for digits, interface, _, scope, *_ in map(str.split, table):
            if scope == "20":
                yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)), int(interface, 16)


@pytest.mark.parametrize(
    ("asked", "refusal", "interface"),
    [("2001:db8::7", None, 0), ("fe80::7", None, 3), ("ff02::1", "multicast", 0), ("ff0e::7", "multicast", 0)],
)
def test_of_ipv6_an_answer_names_the_address_and_the_link_where_that_matters(
    asked: str, refusal: str | None, interface: int
) -> None:
    packed = socket.inet_pton(socket.AF_INET6, asked)
    note = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
    control = [(*note, packed + struct.pack("=I", interface))]
    assert reply([(*note, packed + struct.pack("=I", 3))]) == (control, 0, refusal)


@needs_linux
def test_who_is_denied_is_not_answered_and_others_are(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(deny=(OTHER,)))
    denied, other = stage.sender(OTHER), stage.sender()
    stage.send(denied, b"hello", "127.0.0.1")
    assert stage.ask(other, b"hello") == b"hello"
    assert (stage.seen.refused, readable(denied)) == ({"denied": 1}, False)


@needs_linux
def test_who_is_not_among_the_allowed_is_not_answered(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(allow=(OTHER,)))
    allowed, other = stage.sender(OTHER), stage.sender()
    stage.send(other, b"hello")
    stage.send(allowed, b"hello", "127.0.0.1")
    assert stage.answers(allowed, 1) == [b"hello"]
    assert (stage.seen.refused, readable(other)) == ({"denied": 1}, False)


@needs_linux
def test_each_datagram_of_a_train_that_is_not_answered_counts(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(deny=("127.0.0.1",)))
    stage.send(stage.sender(), pattern(3001), segment=1000)
    stage.hear(4)
    assert stage.seen.refused == {"denied": 4}


# Sizes and rates.


def test_a_datagram_may_be_as_long_as_is_allowed_and_no_longer(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=100))
    sender = stage.sender()
    for size in (101, 65507):
        stage.send(sender, pattern(size))
    assert [stage.ask(sender, pattern(size)) for size in (100, 0, 1)] == [pattern(100), b"", pattern(1)]
    assert stage.seen.refused == {"too_long": 2}


@needs_linux
def test_a_train_of_short_datagrams_may_be_long(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=1000))
    sender = stage.sender()
    stage.send(sender, pattern(64_000), segment=1000)
    assert stage.answers(sender, 64) == parts(pattern(64_000), 1000)
    assert stage.seen.refused == {}


@needs_linux
@pytest.mark.parametrize("grouped", [True, False], ids=["trains", "no trains"])
def test_of_a_train_of_long_ones_the_last_is_answered_if_it_is_short(make_stage: MakeStage, grouped: bool) -> None:
    stage = make_stage(Limits(max_bytes=999))
    stage.socks[0].setsockopt(socket.IPPROTO_UDP, UDP_GRO, grouped)
    sender = stage.sender()
    stage.send(sender, pattern(3999), segment=1000)
    assert stage.answers(sender, 1) == [pattern(3999)[3000:]]
    assert (stage.seen.refused, stage.seen.messages, stage.seen.datagrams) == ({"too_long": 3}, 1, 4)


def test_a_rate_is_kept_and_later_the_sender_is_answered_again(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    sender = stage.sender()
    assert stage.ask(sender, pattern(2000)) == pattern(2000)
    stage.send(sender, b"too soon")
    stage.hear(2)
    assert stage.seen.refused == {"rate_limit": 1}
    stage.elapse(2)
    assert stage.ask(sender, b"hello") == b"hello"


@needs_linux
def test_a_rate_is_each_host_s_own(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    stage.ask(stage.sender(), pattern(2000))
    assert stage.ask(stage.sender(OTHER), b"hello", "127.0.0.1") == b"hello"


def test_who_is_near_is_answered_as_often_as_it_asks(make_stage: MakeStage) -> None:
    stage = make_stage()
    sender = stage.sender()  # at one time: the clock stands still
    for number in range(10 * MOST):
        assert stage.ask(sender, b"%d" % number) == b"%d" % number


# A function's answers.


def test_a_function_answers_each_datagram(make_stage: MakeStage) -> None:
    stage = make_stage(respond=bytes.upper)
    sender = stage.sender()
    assert [stage.ask(sender, datagram) for datagram in (b"hello\nworld", b"", b"!")] == [b"HELLO\nWORLD", b"", b"!"]
    assert (stage.seen.messages, stage.seen.datagrams) == (3, 3)


@needs_linux
def test_a_function_answers_each_datagram_of_a_train(make_stage: MakeStage) -> None:
    asked: list[bytes] = []

    def beginning(datagram: bytes) -> bytes:
        asked.append(datagram)
        return datagram[:3]

    stage = make_stage(respond=beginning)
    sender = stage.sender()
    stage.send(sender, pattern(3001), segment=1000)
    assert stage.answers(sender, 4) == [part[:3] for part in parts(pattern(3001), 1000)]
    assert asked == parts(pattern(3001), 1000)
    assert (stage.seen.messages, stage.seen.received_bytes, stage.seen.sent_bytes) == (4, 3001, 10)


def test_none_is_no_answer(make_stage: MakeStage) -> None:
    stage = make_stage(respond=lambda datagram: datagram or None)
    sender = stage.sender()
    stage.send(sender, b"")
    assert stage.ask(sender, b"hello") == b"hello"
    assert (stage.seen.messages, stage.seen.datagrams, stage.seen.errors) == (1, 2, {})


def test_an_empty_answer_is_one(make_stage: MakeStage) -> None:
    stage = make_stage(respond=lambda _: b"")
    assert stage.ask(stage.sender(), b"hello") == b""


def test_a_function_that_fails_is_logged_and_counted_and_the_next_one_is_answered(
    make_stage: MakeStage, caplog: pytest.LogCaptureFixture
) -> None:
    stage = make_stage(respond=lambda datagram: b"%d" % (1 / int(datagram)))
    sender = stage.sender()
    stage.send(sender, b"0")
    assert stage.ask(sender, b"1") == b"1"
    assert stage.seen.errors == {"respond": 1}
    assert [(record.levelno, record.exc_info is not None) for record in caplog.records] == [(logging.ERROR, True)]


@pytest.mark.parametrize("answer", ["text", 5, [b"list"]])
def test_an_answer_that_is_no_bytes_is_a_failure_of_the_function(make_stage: MakeStage, answer: object) -> None:
    stage = make_stage(respond=lambda datagram: answer if datagram == b"wrong" else datagram)
    sender = stage.sender()
    stage.send(sender, b"wrong")
    assert stage.ask(sender, b"hello") == b"hello"
    assert stage.seen.errors == {"respond": 1}


def test_a_bytearray_is_an_answer(make_stage: MakeStage) -> None:
    stage = make_stage(respond=bytearray)
    assert stage.ask(stage.sender(), b"hello") == b"hello"


# What is told.


def test_who_sends_is_told_of_once(make_stage: MakeStage) -> None:
    notes = Notes()
    stage = make_stage(observer=notes)
    first, second = stage.sender(), stage.sender()
    for sender in (first, second, first, first, second):
        stage.ask(sender, b"hello")
    assert notes.told == [("datagram_received", first.getsockname()), ("datagram_received", second.getsockname())]


def test_of_many_senders_some_are_told_of_in_each_second(make_stage: MakeStage) -> None:
    notes = Notes()
    stage = make_stage(observer=notes)
    for _ in range(3 * LINES):
        stage.ask(stage.sender(), b"hello")
    assert len(notes.told) == LINES
    stage.elapse(1)
    stage.ask(stage.sender(), b"hello")
    assert len(notes.told) == LINES + 1


def test_who_was_told_of_is_not_remembered_for_ever(make_stage: MakeStage) -> None:
    stage = make_stage(observer=Notes())
    datagrams = stage.loop.datagrams
    assert datagrams
    for _ in range(2 * RECENT):  # whose ports are not all different
        with unconnected("127.0.0.1") as sender:
            stage.ask(sender, b"hello")
    assert datagrams._recent is not None
    assert 0 < len(datagrams._recent) <= RECENT


def test_of_one_who_is_not_answered_a_line_a_second_is_told(make_stage: MakeStage) -> None:
    notes = Notes()
    stage = make_stage(Limits(max_bytes=3), observer=notes)
    sender = stage.sender()
    for second in range(3):
        for _ in range(10):
            stage.send(sender, b"hello")
        stage.hear(10 * (second + 1))
        stage.elapse(SILENCE)
    assert notes.told == [("refused: too_long", sender.getsockname())] * 3
    assert stage.seen.refused == {"too_long": 30}


@needs_linux
def test_each_reason_has_a_line_of_its_own(make_stage: MakeStage) -> None:
    notes = Notes()
    stage = make_stage(Limits(max_bytes=3, deny=(OTHER,)), observer=notes)
    long, denied = stage.sender(), stage.sender(OTHER)
    for _ in range(5):
        stage.send(long, b"hello")
        stage.send(denied, b"hello", "127.0.0.1")
    stage.hear(10)
    assert notes.told == [
        ("refused: too_long", long.getsockname()),
        ("refused: denied", denied.getsockname()),
    ]


def test_what_was_done_is_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(max_bytes=1000), respond=lambda datagram: datagram * 2 if datagram else None)
    sender = stage.sender()
    for datagram in (b"", b"hello", pattern(1001)):
        stage.send(sender, datagram)
    stage.hear(3)
    seen = stage.seen
    assert (seen.datagrams, seen.messages, seen.received_bytes, seen.sent_bytes) == (3, 1, 1006, 10)
    assert (seen.accepted, seen.open, seen.refused, seen.errors) == (0, 0, {"too_long": 1}, {})


@needs_linux
@pytest.mark.parametrize("host", LOOPBACK)
def test_what_the_kernel_has_no_room_for_is_counted(host: str) -> None:
    listener = listen(Address("udp", host, 0), buffer=8192)
    with Server(listener, Service()) as server, unconnected(host) as sender:
        for _ in range(100):
            sender.sendto(pattern(1000), listener.sockets[0].getsockname())
        assert 50 < server.snapshot().dropped < 100
    assert 50 < server.snapshot().dropped < 100  # as at the last look


# Loops between echo servers.


def unmark(sock: socket.socket, hops: int = 64) -> None:
    """Have a server's own socket send as anybody's does: with another's address in it, that would be planting."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


@pytest.fixture(params=LOOPBACK)
def two(request: pytest.FixtureRequest, make_stage: MakeStage) -> tuple[Hearing, Hearing]:
    """Give two servers."""
    return make_stage(hosts=[request.param]), make_stage(hosts=[request.param])


def planted(one: Hearing, other: Hearing) -> None:
    """Send a datagram to one server in the name of the other."""
    unmark(other.socks[0])
    other.socks[0].sendto(b"round and round", one.socks[0].getsockname())
    unmark(other.socks[0], TTL)


@needs_linux
def test_a_datagram_planted_between_two_servers_dies_on_its_way_back(two: tuple[Hearing, Hearing]) -> None:
    one, other = two
    planted(one, other)
    one.hear(1)
    other.settle()
    assert (one.seen.messages, other.seen.datagrams, dropped(other.socks[0])) == (1, 0, 1)


@needs_linux
def test_without_the_filter_it_would_go_round_for_ever(two: tuple[Hearing, Hearing]) -> None:
    one, other = two
    for stage in two:
        stage.socks[0].setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    planted(one, other)
    for turn in range(1, 100):
        one.hear(turn)
        other.hear(turn)


@needs_linux
@needs_root
def test_one_that_is_planted_by_a_third_dies_too(make_stage: MakeStage) -> None:
    one, other = make_stage(), make_stage()
    plant(b"round and round", ("127.0.0.1", other.port), ("127.0.0.1", one.port))
    one.hear(1)
    other.settle()
    assert (one.seen.messages, other.seen.datagrams, dropped(other.socks[0])) == (1, 0, 1)


@needs_linux
def test_what_a_function_answers_dies_too(make_stage: MakeStage) -> None:
    one, other = (make_stage(respond=bytes.upper) for _ in range(2))
    planted(one, other)
    one.hear(1)
    other.settle()
    assert (one.seen.messages, other.seen.datagrams) == (1, 0)


@needs_linux
def test_two_servers_at_every_address_do_not_answer_each_other_either(make_stage: MakeStage) -> None:
    one, other = (make_stage(hosts=["0.0.0.0"]) for _ in range(2))
    unmark(other.socks[0])
    other.socks[0].sendto(b"round and round", (OTHER, one.port))
    unmark(other.socks[0], TTL)
    one.hear(1)
    other.settle()
    assert (one.seen.messages, other.seen.datagrams, dropped(other.socks[0])) == (1, 0, 1)


# The end.


def test_at_the_end_what_has_come_is_answered(make_stage: MakeStage) -> None:
    stage = make_stage(hosts=LOOPBACK)
    sender = stage.sender()
    for number in range(3 * BATCH):
        stage.send(sender, b"%d" % number)
    finish(stage)
    assert stage.seen.messages == 3 * BATCH
    assert [sender.recv(100) for _ in range(3 * BATCH)] == [b"%d" % number for number in range(3 * BATCH)]


def test_after_the_end_nothing_is_heard(make_stage: MakeStage) -> None:
    stage = make_stage()
    finish(stage)
    stage.send(stage.sender(), b"hello")
    assert stage.loop.turn(0) == []
    assert (stage.seen.datagrams, stage.loop.table.in_state(DATAGRAM)) == (0, [])


def test_an_event_of_a_socket_that_hears_nothing_more_is_ignored(make_stage: MakeStage) -> None:
    stage = make_stage()
    finish(stage)
    stage.loop.poller.watch(stage.socks[0].fileno(), READ)
    stage.send(stage.sender(), b"hello")
    stage.loop.turn(SOON)
    assert (stage.seen.datagrams, stage.loop.table.state[stage.socks[0].fileno()]) == (0, FREE)


def test_the_end_waits_for_nobody_beyond_its_deadline(make_stage: MakeStage) -> None:
    def slow(datagram: bytes) -> bytes:
        stage.clock.now += 1
        return datagram

    stage = make_stage(respond=slow)
    sender = stage.sender()
    for _ in range(3 * BATCH):
        stage.send(sender, b"hello")
    finish(stage, BATCH - 1)
    assert stage.seen.messages == BATCH


def test_a_stop_ends_the_end(make_stage: MakeStage) -> None:
    def impatient(datagram: bytes) -> bytes:
        stage.loop.stop()
        return datagram

    stage = make_stage(respond=impatient)
    sender = stage.sender()
    for _ in range(3 * BATCH):
        stage.send(sender, b"hello")
    finish(stage)
    assert stage.seen.messages == BATCH


@needs_linux
def test_whoever_goes_on_sending_does_not_hold_up_the_end() -> None:
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
        listener.turn_away()
        drain(loop, PATIENCE, closed=listener.close)
        assert time.monotonic() - began < PATIENCE / 2
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
    assert stage.loop.table.in_state(DATAGRAM) == []


def finish(stage: Hearing, seconds: float = PATIENCE) -> None:
    assert stage.loop.datagrams
    stage.loop.datagrams.drain(stage.clock.now + seconds)
