"""UDP cases: each datagram is returned whole, once, to its sender, from the address that it was sent to.

Uses clients. Levels 1 and 2 of the catalogue, and level 4 without the cases of abuse.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from halloo._check import processes
from halloo._check.case import PROCESS, Failed, Skipped, context
from halloo._check.server.many_clients import p99
from halloo._check.server.stream_client import REPLY_TIMEOUT, StreamClient
from halloo._check.server.target import ServerTarget, case
from halloo._check.server.udp_client import UdpClient
from halloo._check.spec import LOOPBACK

RFC = "RFC 862"
SMALL_SIZES = (1, 2, 511, 512, 513, 1023, 1024, 1025, 1472)
LARGE_SIZES = (1473, 4096, 8191, 8192, 8193, 16_384, 32_768, 65_507)
ATTEMPTS = 3
SECOND_LOOPBACK = "127.0.0.2"
ONE_REPLY = "U01 U08"  # without a reply, or with more than one, the replies to later datagrams cannot be attributed
NEXT_SERVED = "the next client is served"
FLOOD_RATE, FLOOD_TIME = 50_000, 5.0
FLOOD_BATCH = 64  # datagrams at a time
FLOODS = "a flood is sent only to a server started by the checker"


def _check_served(client: UdpClient, data: bytes) -> None:
    """Send the same datagram up to three times: a server may lose some while its receive queue is full."""
    if (reply := client.ask(data, attempts=ATTEMPTS)) is None:
        fact = f"no reply to any of {len(client.waits) or ATTEMPTS} datagrams"
        raise Failed(fact, pattern="silent unserved")
    client.check_reply(data, reply)


@case("MUST", "identical", RFC)
def u01_echo(target: ServerTarget) -> None:
    """Send a short line."""
    with target.udp_client() as client:
        client.roundtrip(target.line(b"hello"), quiet_time=0)  # U08 checks for more replies


@case("MUST", "identical", RFC, ONE_REPLY)
def u02_bytes(target: ServerTarget) -> None:
    """Send all 256 byte values."""
    with target.udp_client() as client:
        client.roundtrip(target.every_byte)


@case("SHOULD", "an empty reply, and clients are still served", "RFC 768; cpython#113812; uvloop#594", ONE_REPLY)
def u03_empty(target: ServerTarget) -> None:
    """Send an empty datagram."""
    with target.udp_client() as client:
        answer = client.ask(b"")
        with context("after an empty datagram"):
            _check_served(client, target.line(b"and now?"))
        if answer is None:
            raise Failed("no reply to an empty datagram", pattern="silent")
        client.check_reply(b"", answer)


@case("MUST", "whole replies", "recvfrom(1024)", ONE_REPLY)
def u04_small(target: ServerTarget) -> None:
    """Send datagrams of 1 to 1472 bytes, around the usual buffer sizes."""
    with target.udp_client() as client:
        for size in SMALL_SIZES:
            client.roundtrip(target.payload(size), quiet_time=0.05)


WHOLE_OR_NONE = "whole replies or none, never truncated; clients are still served"


@case("SHOULD", WHOLE_OR_NONE, "MSG_TRUNC, recv(2)", ONE_REPLY, kill=40)
def u05_large(target: ServerTarget) -> str:
    """Send datagrams of 1473 to 65,507 bytes."""
    answered = 0
    with target.udp_client() as client:
        for size in LARGE_SIZES:
            if (answer := client.ask(target.payload(size))) is not None:
                client.check_reply(target.payload(size), answer)
                answered = size
        with context("after large datagrams"):
            _check_served(client, target.line(b"and now?"))
    return f"largest reply: {answered:,} bytes"


@case("MUST", "five replies, none merged", 'RFC 862: "an answering datagram"', ONE_REPLY)
def u06_boundaries(target: ServerTarget) -> None:
    """Send five datagrams at once."""
    sent = [target.payload(20 + number, number) for number in range(5)]
    with target.udp_client() as client:
        missing, received = {client.expected(data): data for data in sent}, list[bytes]()
        for wait in client.waits or (REPLY_TIMEOUT,):
            for data in missing.values():
                client.send(data)
            while missing and (found := client.receive_from(wait)):
                received.append(found[0])
                missing.pop(found[0], None)
        others = [data for data in received if data not in map(client.expected, sent)]
        if missing or others:
            sizes = ", ".join(str(len(data)) for data in received) or "no"
            fact = f"sent 20, 21, 22, 23 and 24 bytes; datagrams of {sizes} bytes were received"
            joined = ("joined",) if any(len(data) > len(sent[-1]) for data in others) else ()
            raise Failed(fact, pattern=" ".join(("changed" if others else "silent", *joined)))
        client.expect_silence()


@case("MUST", "each client gets its own datagrams", "—", ONE_REPLY)
def u07_two_clients(target: ServerTarget) -> None:
    """Two clients take turns to send five datagrams each."""
    with target.udp_client() as one, target.udp_client() as other:
        for number in range(5):
            first, second = target.message(target.payload(32, number)), target.message(target.payload(32, 100 + number))
            one.send(first)
            other.send(second)
            one.expect(first)
            other.expect(second)
        one.expect_silence(0.05)
        other.expect_silence(0.05)


@case("MUST", "exactly one reply", RFC, "U01")
def u08_once(target: ServerTarget) -> None:
    """Send one datagram, and wait for further replies after the first."""
    with target.udp_client() as client:
        client.roundtrip(target.line(b"once"), quiet_time=0.5)


@case("MUST", NEXT_SERVED, "ICMP: cpython#91227, #127057, #156784; go#5834; SIO_UDP_CONNRESET", "U07")
def u09_vanished(target: ServerTarget) -> None:
    """Twenty clients send a datagram and close their socket before the reply."""
    question = target.line(b"I have a port already, and get none of theirs")
    with target.udp_client() as next_client:
        next_client.roundtrip(question, quiet_time=0)
        with target.suspended():
            for number in range(20):
                with target.udp_client() as client:
                    client.send(target.message(target.payload(32, number)))
        next_client.roundtrip(question)


SAME_ADDRESS = "the source of the reply is the address that was sent to"


@case("SHOULD", SAME_ADDRESS, "RFC 1122 4.1.3.5; xinetd PR#16; iperf#2077", "U01", PROCESS)
def u10_source_addr(target: ServerTarget) -> None:
    """Send a datagram to 127.0.0.2, if the server is bound to all addresses."""
    if not processes.bound_to_any(target.program.tree.running(), target.port, "udp"):
        raise Skipped("the server is bound to one address")
    with target.udp_client(host=SECOND_LOOPBACK) as client:
        for wait in client.waits or (REPLY_TIMEOUT,):
            client.send(target.line(b"who are you?"))
            if found := client.receive_from(wait):
                break
        if found is None:
            raise Failed(f"no reply from {SECOND_LOOPBACK}", pattern="silent")
        if found[1][0] != SECOND_LOOPBACK:
            raise Failed(f"sent to {SECOND_LOOPBACK}, the reply came from {found[1][0]}", pattern="elsewhere")


@case("INFO", "the number of replies", "SO_RCVBUF, socket(7)", ONE_REPLY)
def u11_burst(target: ServerTarget) -> str:
    """Send 500 datagrams of 1000 bytes without a pause."""
    received = 0
    with target.udp_client() as client:
        for number in range(500):
            client.send(target.payload(1000, number))
        while client.receive_from(0.3):
            received += 1
    return f"{received} of 500 came back"


@case("MUST", NEXT_SERVED, "—", "U07")
def u14_unread(target: ServerTarget) -> None:
    """One client sends 200 datagrams without reading the replies; another sends one."""
    with target.udp_client() as not_reading, target.udp_client() as client:
        for number in range(200):
            not_reading.send(target.payload(1000, number))
        _check_served(client, target.payload(1000, 200))


@case("MUST", "no reply is longer than the request", "amplification", ONE_REPLY)
def u19_no_gain(target: ServerTarget) -> str:
    """Send datagrams of all sizes, then small ones again, and compare the sizes of the replies."""
    sent = received = 0
    for sizes in ((0, *SMALL_SIZES, *LARGE_SIZES), SMALL_SIZES):
        with target.udp_client() as client:  # a new client, which does not receive late replies to the other
            for size in sizes:
                client.send(target.payload(size))
                sent += size
                if answer := client.receive_from(0.2 if target.started else 1):
                    received += len(answer[0])
                    if len(answer[0]) > size and not target.spec.expect:
                        raise Failed(f"the reply to {size:,} bytes has {len(answer[0]):,}", pattern="surplus")
    return f"{received / sent:.0%} of the bytes came back"


@case("SHOULD", "as over IPv4", "RFC 3493 3.7", "U02 U04 U07", PROCESS)
def u20_v6(target: ServerTarget) -> None:
    """Two clients send to ::1, and to 127.0.0.1 as well if one socket serves both."""
    pids = target.program.tree.running()
    hosts = processes.bound_hosts(pids, target.port, "udp")
    if not hosts & {"::1", "::"}:
        raise Skipped("the server does not serve IPv6")
    mapped = "0.0.0.0" not in hosts and processes.bound_to_any(pids, target.port, "udp")
    for host in ("::1", LOOPBACK) if mapped else ("::1",):
        with target.udp_client(host=host) as one, target.udp_client(host=host) as other:
            for data in (target.line(b"hello"), target.every_byte, target.payload(1472)):
                one.roundtrip(data, quiet_time=0.05)
                other.roundtrip(data, quiet_time=0.05)


@case("SHOULD", "99 of 100 replies over TCP within 50 ms", "one process, two services", "U01", PROCESS, alone=True)
def u21_both(target: ServerTarget) -> str:
    """Send datagrams as fast as possible while a TCP client exchanges messages for 2 s."""
    hosts = processes.listening_ports(target.program.tree.running(), "tcp")
    if not hosts:
        raise Skipped("the server does not serve TCP as well")
    port = target.port if target.port in hosts else min(hosts)
    times, expected = list[float](), target.spec.expected_reply
    with StreamClient((hosts[port], port), clock=target.clock, expected=expected) as client:
        try:
            client.roundtrip(target.payload(64))
        except Failed as failure:
            raise Skipped("its TCP service is not an echo") from failure
        with _flooded(target):
            ends = target.clock() + 2
            while target.clock() < ends:
                times.append(client.roundtrip(target.payload(64), quiet_time=0))
    latency = p99(times)
    measured = f"p99 {latency * 1000:.1f} ms of {len(times):,} replies"
    if latency > 0.05:
        raise Failed(measured, pattern="slow")
    return measured


@contextmanager
def _flooded(target: ServerTarget) -> Iterator[None]:
    finished = threading.Event()

    def flood() -> None:
        with target.udp_client() as client:
            while not finished.is_set():
                for number in range(FLOOD_BATCH):
                    client.send(target.payload(64, number))
                while client.receive_from():
                    pass

    thread = threading.Thread(target=flood, name="halloo flood", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


@case("INFO", "the share lost; another client is served", "—", "U07", FLOODS, alone=True)
def u22_rate(target: ServerTarget) -> str:
    """Send 50,000 datagrams a second from one client for 5 s."""
    data, sent, received, began = target.payload(64), 0, 0, target.clock()
    with target.udp_client() as client, target.udp_client() as other:
        while (elapsed := target.clock() - began) < FLOOD_TIME:
            for _ in range(max(int(elapsed * FLOOD_RATE) - sent, 0)):
                client.send(data)
                sent += 1
            while client.receive_from(0.0005):
                received += 1
        _check_served(other, target.line(b"and me?"))
        while client.receive_from(0.3):
            received += 1
    return f"{sent / FLOOD_TIME:,.0f}/s sent, {1 - received / sent:.2%} lost"
