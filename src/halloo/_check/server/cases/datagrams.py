"""Cases of datagrams: each comes back whole, once, to who sent it, from where it was sent to.

Knows clients' sockets. Levels 1 and 2 of the catalogue, and what shows the quality of a server.
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
SMALL = (1, 2, 511, 512, 513, 1023, 1024, 1025, 1472)
LARGE = (1473, 4096, 8191, 8192, 8193, 16_384, 32_768, 65_507)
SOON = 2.0  # seconds for a datagram that may be lost
TRIES = 3
ANOTHER = "127.0.0.2"
ONCE = ("U01", "U08")
"""Without an answer, or with more than one, nothing can be told of the next."""


def insist(client: UdpClient, data: bytes) -> None:
    """Ask, and ask again: what comes while a server's queue is full is lost, and that is nobody's fault."""
    for _ in _asking(client, data):
        if found := client.take(SOON):
            return client.compare(data, found[0])
    raise Failed(f"no answer came to any of {TRIES} datagrams, within {SOON:g} s each", pattern="silent")


def _asking(client: UdpClient, data: bytes) -> Iterator[int]:
    """Send the same again and again."""
    for number in range(TRIES):
        client.send(data)
        yield number


@case(passes="identical", severity="MUST", source=RFC, schemes=UDP)
def u01_echo(target: ServerTarget) -> None:
    """Send a short line."""
    with target.letters() as client:
        client.ask(b"hello\n", surplus=0)  # U08 looks for more


@case(passes="identical", severity="MUST", source=RFC, needs=ONCE, schemes=UDP)
def u02_bytes(target: ServerTarget) -> None:
    """Send all 256 values."""
    with target.letters() as client:
        client.ask(bytes(range(256)))


@case(
    passes="an empty reply, and the server lives",
    severity="SHOULD",
    source="RFC 768; cpython#113812; uvloop#594",
    needs=ONCE,
    schemes=UDP,
)
def u03_empty(target: ServerTarget) -> None:
    """Send a datagram of no bytes."""
    with target.letters() as client:
        client.send(b"")
        answer = client.take(SOON)
        try:
            insist(client, b"and now?\n")
        except Failed as failure:
            raise failure.within("after an empty datagram the server answers nothing") from failure
        if answer is None:
            raise Failed("an empty datagram was not answered", pattern="silent")
        client.compare(b"", answer[0])


@case(passes="whole", severity="MUST", source="recvfrom(1024)", needs=ONCE, schemes=UDP)
def u04_small(target: ServerTarget) -> None:
    """Send datagrams of 1 to 1472 bytes, around the usual sizes of buffers."""
    with target.letters() as client:
        for size in SMALL:
            client.ask(payload(size), surplus=0.05)


@case(
    passes="whole or no reply, never a part; and the server lives",
    severity="SHOULD",
    source="MSG_TRUNC, recv(2)",
    needs=ONCE,
    waits=True,
    kill=40,
    schemes=UDP,
)
def u05_large(target: ServerTarget) -> str:
    """Send datagrams of 1473 to 65,507 bytes."""
    answered = 0
    with target.letters() as client:
        for size in LARGE:
            client.send(payload(size))
            if answer := client.take(SOON):
                client.compare(payload(size), answer[0])
                answered = size
        if not any(client.take(SOON) for _ in _asking(client, b"and now?\n")):
            raise Failed("after datagrams of all sizes the server answers nothing", pattern="silent")
    return f"the largest answered: {answered:,} bytes"


@case(
    passes="five back, none merged",
    severity="MUST",
    source='RFC 862: "an answering datagram"',
    needs=ONCE,
    schemes=UDP,
)
def u06_boundaries(target: ServerTarget) -> None:
    """Send five datagrams at once."""
    sent = [payload(20 + number, number) for number in range(5)]
    with target.letters() as client:
        for data in sent:
            client.send(data)
        came = list[bytes]()
        while len(came) < len(sent) and (found := client.take(SOON)):
            came.append(found[0])
        wanted = [client.expected(data) for data in sent]
        if sorted(came) != sorted(wanted):
            sizes = ", ".join(str(len(data)) for data in came) or "no"
            raise Failed(
                f"sent 20, 21, 22, 23 and 24 bytes; datagrams of {sizes} bytes came back",
                pattern="silent" if set(came) <= set(wanted) else "changed",
            )
        client.quiet()


@case(passes="each its own", severity="MUST", source="—", needs=ONCE, schemes=UDP)
def u07_two_clients(target: ServerTarget) -> None:
    """Two clients send in turn."""
    with target.letters() as one, target.letters() as other:
        for number in range(5):
            one.send(payload(32, number))
            other.send(payload(32, 100 + number))
            one.compare(payload(32, number), one.receive())
            other.compare(payload(32, 100 + number), other.receive())
        one.quiet(0.05)
        other.quiet(0.05)


@case(passes="exactly one reply", severity="MUST", source=RFC, needs=("U01",), schemes=UDP)
def u08_once(target: ServerTarget) -> None:
    """Send one datagram, and wait for more than one answer."""
    with target.letters() as client:
        client.ask(b"once\n", surplus=0.5)


@case(
    passes="the next one is served",
    severity="MUST",
    source="ICMP: cpython#91227, #127057, #156784; go#5834; SIO_UDP_CONNRESET",
    needs=("U07",),
    schemes=UDP,
)
def u09_vanished(target: ServerTarget) -> None:
    """Twenty clients send and are gone before the reply."""
    question = b"I have a port already, and get none of theirs\n"
    with target.letters() as next_one:
        next_one.ask(question, surplus=0)
        with target.frozen():
            for number in range(20):
                with target.letters() as client:
                    client.send(payload(32, number))
        next_one.ask(question)


@case(
    passes="the reply comes from the address that was asked",
    severity="SHOULD",
    source="RFC 1122 4.1.3.5; xinetd PR#16; iperf#2077",
    needs=("U01",),
    process=True,
    schemes=UDP,
)
def u10_source_addr(target: ServerTarget) -> None:
    """Ask 127.0.0.2 of a server that serves every address."""
    if not processes.everywhere(target.program.tree(), target.port, "udp"):
        raise Skipped("the server is bound to one address")
    with target.letters(host=ANOTHER) as client:
        client.send(b"who are you?\n")
        found = client.take(SOON)
        if found is None:
            raise Failed(f"no answer came from {ANOTHER}", pattern="silent")
        if found[1][0] != ANOTHER:
            raise Failed(f"asked {ANOTHER}, answered by {found[1][0]}", pattern="elsewhere")


@case(passes="share returned", severity="INFO", source="SO_RCVBUF, socket(7)", needs=ONCE, schemes=UDP)
def u11_burst(target: ServerTarget) -> str:
    """Send 500 datagrams of 1000 bytes without a pause."""
    came = 0
    with target.letters() as client:
        for number in range(500):
            client.send(payload(1000, number))
        while client.take(0.3):
            came += 1
    return f"{came} of 500 came back"


@case(passes="the next client is served", severity="MUST", source="—", needs=("U07",), schemes=UDP)
def u14_unread(target: ServerTarget) -> None:
    """A client does not read the replies to 200 datagrams."""
    with target.letters() as deaf, target.letters() as client:
        for number in range(200):
            deaf.send(payload(1000, number))
        insist(client, payload(1000, 200))


@case(
    passes="no reply is longer than what was asked",
    severity="MUST",
    source="amplification",
    needs=ONCE,
    schemes=UDP,
)
def u19_no_gain(target: ServerTarget) -> str:
    """Send datagrams of all sizes, then small ones again, and add up what comes back."""
    sent = came = 0
    for sizes in ((0, *SMALL, *LARGE), SMALL):
        with target.letters() as client:  # a new one: what is late comes to the other
            for size in sizes:
                client.send(payload(size))
                sent += size
                if answer := client.take(0.2):
                    came += len(answer[0])
                    if len(answer[0]) > size and not target.subject.expect:
                        raise Failed(f"{size:,} bytes were answered with {len(answer[0]):,}", pattern="surplus")
    return f"{came / sent:.0%} of the bytes came back"


@case(
    passes="as over IPv4",
    severity="SHOULD",
    source="RFC 3493 3.7",
    needs=("U02", "U04", "U07"),
    process=True,
    schemes=UDP,
)
def u20_v6(target: ServerTarget) -> None:
    """Ask the same on ::1, and over IPv4 where one socket is for both."""
    hosts = processes.hosts(target.program.tree(), target.port, "udp")
    if not hosts & {"::1", "::"}:
        raise Skipped("the server does not serve IPv6")
    mapped = "0.0.0.0" not in hosts and processes.everywhere(target.program.tree(), target.port, "udp")
    for host in ("::1", LOOPBACK) if mapped else ("::1",):
        with target.letters(host=host) as one, target.letters(host=host) as other:
            for data in (b"hello\n", bytes(range(256)), payload(1472)):
                one.ask(data, surplus=0.05)
                other.ask(data, surplus=0.05)


RATE, SECONDS = 50_000, 5.0
FLOOD = 64  # datagrams at a time
HARSH = "a flood is for a server that was started for this"


@case(
    passes="99 of 100 answers over TCP within 50 ms",
    severity="SHOULD",
    source="one process, two services",
    needs=("U01",),
    process=True,
    alone=True,
    waits=True,
    schemes=UDP,
)
def u21_both(target: ServerTarget) -> str:
    """Flood with datagrams while a client over TCP sends and awaits messages."""
    hosts = processes.listening(target.program.tree(), "tcp")
    if not hosts:
        raise Skipped("the server serves no TCP beside")
    port = target.port if target.port in hosts else min(hosts)
    times, over = list[float](), threading.Event()

    def flood() -> None:
        with target.letters() as client:
            while not over.is_set():
                for number in range(FLOOD):
                    client.send(payload(64, number))
                while client.take():
                    pass

    with StreamClient((hosts[port], port), clock=target.clock, expected=target.subject.expected) as client:
        try:
            client.ask(payload(64))
        except Failed as failure:
            raise Skipped("what it serves over TCP beside is no echo") from failure
        thread = threading.Thread(target=flood, name="halloo flood", daemon=True)
        thread.start()
        try:
            ends = target.clock() + 2
            while target.clock() < ends:
                times.append(client.ask(payload(64), surplus=0))
        finally:
            over.set()
            thread.join()
    slow = p99(times)
    said = f"p99 {slow * 1000:.1f} ms of {len(times):,} answers"
    if slow > 0.05:
        raise Failed(said, pattern="slow")
    return said


@case(
    passes="what is lost; others are served",
    severity="INFO",
    source="—",
    needs=("U07",),
    waits=True,
    harsh=HARSH,
    alone=True,
    schemes=UDP,
)
def u22_rate(target: ServerTarget) -> str:
    """Send 50,000 datagrams a second from one client for 5 s."""
    data, sent, came, began = payload(64), 0, 0, target.clock()
    with target.letters() as client, target.letters() as other:
        while (passed := target.clock() - began) < SECONDS:
            for _ in range(max(int(passed * RATE) - sent, 0)):
                client.send(data)
                sent += 1
            while client.take(0.0005):
                came += 1
        insist(other, b"and me?\n")
        while client.take(0.3):
            came += 1
    return f"{sent / SECONDS:,.0f}/s sent, {1 - came / sent:.2%} lost"
