"""UDP cases: each datagram is returned whole, once, to its sender, from the address that it was sent to.

Uses clients. Levels 1 and 2 of the catalogue, and level 4 without the cases of abuse.
"""

import threading
from collections.abc import Iterator

from halloo._check import processes
from halloo._check.case import Failed, Skipped, case
from halloo._check.payload import payload
from halloo._check.server.many_clients import p99
from halloo._check.server.stream_client import StreamClient
from halloo._check.server.target import ServerTarget
from halloo._check.server.udp_client import UdpClient
from halloo._check.spec import LOOPBACK

UDP = frozenset({"udp"})
RFC = "RFC 862"
SMALL_SIZES = (1, 2, 511, 512, 513, 1023, 1024, 1025, 1472)
LARGE_SIZES = (1473, 4096, 8191, 8192, 8193, 16_384, 32_768, 65_507)
REPLY_TIMEOUT = 2.0  # seconds for a datagram that may be lost
ATTEMPTS = 3
SECOND_LOOPBACK = "127.0.0.2"
SINGLE_REPLY = ("U01", "U08")
"""Without a reply, or with more than one, the replies to later datagrams cannot be attributed."""


def roundtrip_with_retries(client: UdpClient, data: bytes) -> None:
    """Check a reply, and retry: a server may lose datagrams while its receive queue is full."""
    for _ in _resend(client, data):
        if found := client.receive_from(REPLY_TIMEOUT):
            return client.check_reply(data, found[0])
    raise Failed(f"no reply to any of {ATTEMPTS} datagrams, within {REPLY_TIMEOUT:g} s each", pattern="silent")


def _resend(client: UdpClient, data: bytes) -> Iterator[int]:
    """Send the same datagram, once for each attempt."""
    for number in range(ATTEMPTS):
        client.send(data)
        yield number


@case(passes="identical", severity="MUST", source=RFC, schemes=UDP)
def u01_echo(target: ServerTarget) -> None:
    """Send a short line."""
    with target.udp_client() as client:
        client.roundtrip(b"hello\n", quiet_time=0)  # U08 checks for more replies


@case(passes="identical", severity="MUST", source=RFC, needs=SINGLE_REPLY, schemes=UDP)
def u02_bytes(target: ServerTarget) -> None:
    """Send all 256 byte values."""
    with target.udp_client() as client:
        client.roundtrip(bytes(range(256)))


@case(
    passes="an empty reply, and clients are still served",
    severity="SHOULD",
    source="RFC 768; cpython#113812; uvloop#594",
    needs=SINGLE_REPLY,
    schemes=UDP,
)
def u03_empty(target: ServerTarget) -> None:
    """Send an empty datagram."""
    with target.udp_client() as client:
        client.send(b"")
        answer = client.receive_from(REPLY_TIMEOUT)
        try:
            roundtrip_with_retries(client, b"and now?\n")
        except Failed as failure:
            raise failure.in_context("the server stops replying after an empty datagram") from failure
        if answer is None:
            raise Failed("no reply to an empty datagram", pattern="silent")
        client.check_reply(b"", answer[0])


@case(passes="whole replies", severity="MUST", source="recvfrom(1024)", needs=SINGLE_REPLY, schemes=UDP)
def u04_small(target: ServerTarget) -> None:
    """Send datagrams of 1 to 1472 bytes, around the usual buffer sizes."""
    with target.udp_client() as client:
        for size in SMALL_SIZES:
            client.roundtrip(payload(size), quiet_time=0.05)


@case(
    passes="whole replies or none, never truncated; clients are still served",
    severity="SHOULD",
    source="MSG_TRUNC, recv(2)",
    needs=SINGLE_REPLY,
    waits=True,
    kill=40,
    schemes=UDP,
)
def u05_large(target: ServerTarget) -> str:
    """Send datagrams of 1473 to 65,507 bytes."""
    answered = 0
    with target.udp_client() as client:
        for size in LARGE_SIZES:
            client.send(payload(size))
            if answer := client.receive_from(REPLY_TIMEOUT):
                client.check_reply(payload(size), answer[0])
                answered = size
        if not any(client.receive_from(REPLY_TIMEOUT) for _ in _resend(client, b"and now?\n")):
            raise Failed("the server stops replying after large datagrams", pattern="silent")
    return f"largest reply: {answered:,} bytes"


@case(
    passes="five replies, none merged",
    severity="MUST",
    source='RFC 862: "an answering datagram"',
    needs=SINGLE_REPLY,
    schemes=UDP,
)
def u06_boundaries(target: ServerTarget) -> None:
    """Send five datagrams at once."""
    sent = [payload(20 + number, number) for number in range(5)]
    with target.udp_client() as client:
        for data in sent:
            client.send(data)
        received = list[bytes]()
        while len(received) < len(sent) and (found := client.receive_from(REPLY_TIMEOUT)):
            received.append(found[0])
        expected = [client.expected(data) for data in sent]
        if sorted(received) != sorted(expected):
            sizes = ", ".join(str(len(data)) for data in received) or "no"
            raise Failed(
                f"sent 20, 21, 22, 23 and 24 bytes; datagrams of {sizes} bytes were received",
                pattern="silent" if set(received) <= set(expected) else "changed",
            )
        client.expect_silence()


@case(passes="each client gets its own datagrams", severity="MUST", source="—", needs=SINGLE_REPLY, schemes=UDP)
def u07_two_clients(target: ServerTarget) -> None:
    """Two clients take turns to send five datagrams each."""
    with target.udp_client() as one, target.udp_client() as other:
        for number in range(5):
            one.send(payload(32, number))
            other.send(payload(32, 100 + number))
            one.check_reply(payload(32, number), one.receive())
            other.check_reply(payload(32, 100 + number), other.receive())
        one.expect_silence(0.05)
        other.expect_silence(0.05)


@case(passes="exactly one reply", severity="MUST", source=RFC, needs=("U01",), schemes=UDP)
def u08_once(target: ServerTarget) -> None:
    """Send one datagram, and wait for further replies after the first."""
    with target.udp_client() as client:
        client.roundtrip(b"once\n", quiet_time=0.5)


@case(
    passes="the next client is served",
    severity="MUST",
    source="ICMP: cpython#91227, #127057, #156784; go#5834; SIO_UDP_CONNRESET",
    needs=("U07",),
    schemes=UDP,
)
def u09_vanished(target: ServerTarget) -> None:
    """Twenty clients send a datagram and close their socket before the reply."""
    question = b"I have a port already, and get none of theirs\n"
    with target.udp_client() as next_client:
        next_client.roundtrip(question, quiet_time=0)
        with target.suspended():
            for number in range(20):
                with target.udp_client() as client:
                    client.send(payload(32, number))
        next_client.roundtrip(question)


@case(
    passes="the source of the reply is the address that was sent to",
    severity="SHOULD",
    source="RFC 1122 4.1.3.5; xinetd PR#16; iperf#2077",
    needs=("U01",),
    process=True,
    schemes=UDP,
)
def u10_source_addr(target: ServerTarget) -> None:
    """Send a datagram to 127.0.0.2, if the server is bound to all addresses."""
    if not processes.bound_to_any(target.program.running_pids(), target.port, "udp"):
        raise Skipped("the server is bound to one address")
    with target.udp_client(host=SECOND_LOOPBACK) as client:
        client.send(b"who are you?\n")
        found = client.receive_from(REPLY_TIMEOUT)
        if found is None:
            raise Failed(f"no reply from {SECOND_LOOPBACK}", pattern="silent")
        if found[1][0] != SECOND_LOOPBACK:
            raise Failed(f"sent to {SECOND_LOOPBACK}, the reply came from {found[1][0]}", pattern="elsewhere")


@case(passes="the number of replies", severity="INFO", source="SO_RCVBUF, socket(7)", needs=SINGLE_REPLY, schemes=UDP)
def u11_burst(target: ServerTarget) -> str:
    """Send 500 datagrams of 1000 bytes without a pause."""
    received = 0
    with target.udp_client() as client:
        for number in range(500):
            client.send(payload(1000, number))
        while client.receive_from(0.3):
            received += 1
    return f"{received} of 500 came back"


@case(passes="the next client is served", severity="MUST", source="—", needs=("U07",), schemes=UDP)
def u14_unread(target: ServerTarget) -> None:
    """One client sends 200 datagrams without reading the replies; another sends one."""
    with target.udp_client() as not_reading, target.udp_client() as client:
        for number in range(200):
            not_reading.send(payload(1000, number))
        roundtrip_with_retries(client, payload(1000, 200))


@case(
    passes="no reply is longer than the request",
    severity="MUST",
    source="amplification",
    needs=SINGLE_REPLY,
    schemes=UDP,
)
def u19_no_gain(target: ServerTarget) -> str:
    """Send datagrams of all sizes, then small ones again, and compare the sizes of the replies."""
    sent = received = 0
    for sizes in ((0, *SMALL_SIZES, *LARGE_SIZES), SMALL_SIZES):
        with target.udp_client() as client:  # a new client, which does not receive late replies to the other
            for size in sizes:
                client.send(payload(size))
                sent += size
                if answer := client.receive_from(0.2):
                    received += len(answer[0])
                    if len(answer[0]) > size and not target.spec.expect:
                        raise Failed(f"the reply to {size:,} bytes has {len(answer[0]):,}", pattern="surplus")
    return f"{received / sent:.0%} of the bytes came back"


@case(
    passes="as over IPv4",
    severity="SHOULD",
    source="RFC 3493 3.7",
    needs=("U02", "U04", "U07"),
    process=True,
    schemes=UDP,
)
def u20_v6(target: ServerTarget) -> None:
    """Two clients send to ::1, and to 127.0.0.1 as well if one socket serves both."""
    hosts = processes.bound_hosts(target.program.running_pids(), target.port, "udp")
    if not hosts & {"::1", "::"}:
        raise Skipped("the server does not serve IPv6")
    mapped = "0.0.0.0" not in hosts and processes.bound_to_any(target.program.running_pids(), target.port, "udp")
    for host in ("::1", LOOPBACK) if mapped else ("::1",):
        with target.udp_client(host=host) as one, target.udp_client(host=host) as other:
            for data in (b"hello\n", bytes(range(256)), payload(1472)):
                one.roundtrip(data, quiet_time=0.05)
                other.roundtrip(data, quiet_time=0.05)


FLOOD_RATE, FLOOD_TIME = 50_000, 5.0
FLOOD_BATCH = 64  # datagrams at a time
FLOODS = "a flood is sent only to a server started by the checker"


@case(
    passes="99 of 100 replies over TCP within 50 ms",
    severity="SHOULD",
    source="one process, two services",
    needs=("U01",),
    process=True,
    alone=True,
    waits=True,
    schemes=UDP,
)
def u21_both(target: ServerTarget) -> str:
    """Send datagrams as fast as possible while a TCP client exchanges messages for 2 s."""
    hosts = processes.listening_ports(target.program.running_pids(), "tcp")
    if not hosts:
        raise Skipped("the server does not serve TCP as well")
    port = target.port if target.port in hosts else min(hosts)
    times, finished = list[float](), threading.Event()

    def flood() -> None:
        with target.udp_client() as client:
            while not finished.is_set():
                for number in range(FLOOD_BATCH):
                    client.send(payload(64, number))
                while client.receive_from():
                    pass

    with StreamClient((hosts[port], port), clock=target.clock, expected=target.spec.expected_reply) as client:
        try:
            client.roundtrip(payload(64))
        except Failed as failure:
            raise Skipped("its TCP service is not an echo") from failure
        thread = threading.Thread(target=flood, name="halloo flood", daemon=True)
        thread.start()
        try:
            ends = target.clock() + 2
            while target.clock() < ends:
                times.append(client.roundtrip(payload(64), quiet_time=0))
        finally:
            finished.set()
            thread.join()
    latency = p99(times)
    measured = f"p99 {latency * 1000:.1f} ms of {len(times):,} replies"
    if latency > 0.05:
        raise Failed(measured, pattern="slow")
    return measured


@case(
    passes="the share lost; another client is served",
    severity="INFO",
    source="—",
    needs=("U07",),
    waits=True,
    command_only=FLOODS,
    alone=True,
    schemes=UDP,
)
def u22_rate(target: ServerTarget) -> str:
    """Send 50,000 datagrams a second from one client for 5 s."""
    data, sent, received, began = payload(64), 0, 0, target.clock()
    with target.udp_client() as client, target.udp_client() as other:
        while (elapsed := target.clock() - began) < FLOOD_TIME:
            for _ in range(max(int(elapsed * FLOOD_RATE) - sent, 0)):
                client.send(data)
                sent += 1
            while client.receive_from(0.0005):
                received += 1
        roundtrip_with_retries(other, b"and me?\n")
        while client.receive_from(0.3):
            received += 1
    return f"{sent / FLOOD_TIME:,.0f}/s sent, {1 - received / sent:.2%} lost"
