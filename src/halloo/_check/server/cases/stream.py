"""Cases of one connection: whether the bytes come back, all of them, once, in order, and then the end.

Knows a client's sockets. Level 1 of the catalogue, and the ways of sending and reading that break it.
"""

import socket
import statistics

from halloo._check.case import PLAIN, Failed, case
from halloo._check.payload import payload
from halloo._check.server.stream_client import SOON, StreamClient, differs
from halloo._check.server.target import ServerTarget

KIB, MIB = 1024, 1024 * 1024
RFC = "RFC 862"
STREAM = "RFC 862: a stream has no lines"
STALL = 0.03  # seconds: between an answer and the 40 ms that Nagle and a delayed ACK cost
BROKEN = b"\xc3\x28 \xf0\x9f\x98 \xed\xa0\x80 \xff\xfe"  # no UTF-8: cut, surrogate and impossible sequences


@case(passes="the same 6 bytes, then quiet", severity="MUST", source=RFC)
def t01_short(target: ServerTarget) -> None:
    """Send a short line."""
    with target.dial() as client:
        client.ask(b"hello\n")


@case(passes="nothing unsolicited, nothing extra, still open", severity="MUST", source=RFC, waits=True)
def t02_silent(target: ServerTarget) -> None:
    """Connect, wait 0.4 s, send a line, wait again."""
    with target.dial() as client:
        client.quiet(0.4)
        client.ask(b"abc\n", surplus=0.4)


@case(passes="back within 2 s", severity="MUST", source=STREAM)
def t03_no_newline(target: ServerTarget) -> None:
    """Send 15 bytes without a newline."""
    with target.dial() as client:
        client.ask(b"no newline here")


@case(passes="identical", severity="MUST", source="Protohackers 0; Autobahn 6.x")
def t04_binary(target: ServerTarget) -> None:
    """Send all 256 values, NUL, CRLF and broken UTF-8."""
    with target.dial() as client:
        client.ask(bytes(range(256)) + b"\0\0\r\n\r\n\n\r\r " + BROKEN + b"\x1a\x04\n")


@case(passes="each comes back", severity="MUST", source='RFC 862: "continues until"')
def t05_three(target: ServerTarget) -> None:
    """Send three messages on one connection."""
    with target.dial() as client:
        for message in (b"one\n", b"and two\n", b"and then three\n"):
            client.ask(message)


@case(passes="identical", severity="MUST", source="toxiproxy slicer", waits=True)
def t06_dribble(target: ServerTarget) -> None:
    """Send 200 single bytes, 3 ms apart."""
    data, came = payload(200), b""
    with target.dial() as client:
        for place in range(len(data)):
            client.send(data[place : place + 1])
            pause_ends = client.clock() + 0.003
            while (left := pause_ends - client.clock()) > 0:
                client.wait(left)
                came += client.take() or b""
        came += client.receive(max(len(data) - len(came), 0))
        if came != client.expected(data):
            raise differs(client.expected(data), came)
        client.quiet()


@case(passes="identical", severity="MUST", source="Autobahn 9.1")
def t07_duplex_1m(target: ServerTarget) -> None:
    """Send 1 MiB, reading while writing."""
    with target.dial() as client:
        client.exchange(payload(MIB))


@case(passes="identical, then the end", severity="MUST", needs=("T10",), source="Autobahn 9.1", waits=True)
def t08_duplex_32m(target: ServerTarget) -> str:
    """Send 32 MiB, reading while writing, then half-close; 8 MiB where the server is somebody's."""
    size = target.most(32, 8)
    data = payload(size * MIB)
    with target.dial() as client:
        began = target.clock()
        client.exchange(data, half_close=True)
        return f"{size / (target.clock() - began):,.0f} MiB/s"


@case(passes="the reply, then the end within 3 s", severity="MUST", source="Protohackers 0; RFC 9293 3.6; nmap#962")
def t09_half_close(target: ServerTarget) -> None:
    """Send 4 bytes and half-close, both in one segment."""
    with target.dial() as client:
        _cork(client)
        client.send(b"hi!\n")
        client.half_close()
        client.expect(b"hi!\n", surplus=0)
        client.end()


@case(passes="the end, no bytes", severity="MUST", source="RFC 9293 3.6")
def t10_empty_half_close(target: ServerTarget) -> None:
    """Half-close, having sent nothing."""
    with target.dial() as client:
        client.half_close()
        client.end()


@case(
    passes="all, then the end",
    severity="MUST",
    needs=("T05", "T10"),
    source="muduo#366: 10 MB fine, 100 MB lost",
    waits=True,
)
def t11_half_close_queued(target: ServerTarget) -> None:
    """Send 16 MiB and half-close, beginning to read 1 s later."""
    with target.dial() as client:
        client.exchange(payload(target.most(16, 8) * MIB), half_close=True, deaf=1)


@case(passes="all, then the end", severity="MUST", needs=("T05", "T10"), source="nmap PR#2510; bun#31383")
def t12_data_with_fin(target: ServerTarget) -> None:
    """Send 64 KiB with the half-close in the same burst."""
    data = payload(64 * KIB)
    with target.dial() as client:
        _cork(client)
        client.send(data)
        client.half_close()
        client.expect(data, surplus=0)
        client.end()


def _cork(client: StreamClient) -> None:
    """Let the end travel with the last of the data."""
    if client.raw.family != socket.AF_UNIX:
        client.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)


@case(
    passes="identical, then the end",
    schemes=PLAIN,
    severity="MUST",
    needs=("T05", "T10"),
    source="send(2): partial writes, EAGAIN",
    waits=True,
)
def t17_stall_then_read(target: ServerTarget) -> str:
    """Send up to 24 MiB without reading, half-close, then read all."""
    target.plain()
    data = payload(target.most(24, 8) * MIB)
    with target.dial() as client:
        sent = client.push(data)
        client.half_close()
        came = client.receive(0)
        while len(came) < sent:
            came += client.receive(min(MIB, sent - len(came)))
        if came != data[:sent]:
            raise differs(data[:sent], came)
        client.end()
        return f"{sent / MIB:.1f} MiB were taken before it pushed back"


@case(
    passes="medians below 30 ms",
    severity="SHOULD",
    needs=("T05",),
    source="RFC 1122 4.2.3.2 and 4.2.3.4",
    waits=True,
    alone=True,
)
def t26_stalls(target: ServerTarget) -> str:
    """Send and await messages of 104, 1504, 5000 and 70,000 bytes, whole lines, 40 of each."""
    medians = {}
    with target.dial() as client:
        for size in (104, 1504, 5000, 70_000):
            message = payload(size)
            medians[size] = statistics.median(client.ask(message, surplus=0) for _ in range(40))
        client.quiet()
    said = ", ".join(f"{size:,} B {seconds * 1000:.2f} ms" for size, seconds in medians.items())
    if max(medians.values()) >= STALL:
        raise Failed(f"medians: {said}; about 40 ms is Nagle waiting for a delayed ACK")
    return said


@case(
    passes="survives; others intact, the urgent one inline or skipped",
    needs=("T10", "T35"),
    severity="INFO",
    source="RFC 1122 4.2.2.4",
    schemes=frozenset({"tcp"}),
)
def t27_urgent(target: ServerTarget) -> str:
    """Send a byte, an urgent byte (MSG_OOB), a byte."""
    target.plain()
    with target.dial() as client:
        client.ask(b"a")
        client.raw.send(b"b", socket.MSG_OOB)
        client.send(b"c")
        client.half_close()
        came = _until_end(client)
    target.served()
    if came not in (b"c", b"bc"):
        raise Failed(f"sent a, urgent b, c; after the a came back {came!r}")
    return "inline" if came == b"bc" else "skipped"


def _until_end(client: StreamClient, within: float = SOON) -> bytes:
    came, deadline = b"", client.clock() + within
    while (piece := client.take()) != b"":
        came += piece or b""
        if client.clock() >= deadline:
            raise Failed(f"no end came within {within:g} s, only {came!r}")
        client.wait(deadline - client.clock())
    return came


@case(passes="identical", severity="INFO", source="HTTP pipelining clients")
def t31_pipelined(target: ServerTarget) -> None:
    """Send 1000 messages of 64 bytes before reading any."""
    data = payload(64 * 1000)
    with target.dial() as client:
        for place in range(0, len(data), 64):
            client.send(data[place : place + 64])
        client.expect(data)


@case(passes="identical", needs=("T05", "T10", "T35"), severity="SHOULD", source="Autobahn 9.5", kill=60, waits=True)
def t49_chop_matrix(target: ServerTarget) -> None:
    """Send 1 KiB, 64 KiB and 1 MiB in pieces of 1, 64, 997, 1460 and 65,536 bytes."""
    for size in (KIB, 64 * KIB, MIB):
        data = payload(size)
        for chop in (1, 64, 997, 1460, 64 * KIB):
            with target.dial() as client:
                try:
                    client.exchange(data, half_close=True, chop=chop)
                except Failed as failure:
                    raise failure.within(f"{size:,} bytes in pieces of {chop:,}") from failure


@case(
    passes="close_notify before the end; a client that leaves without one is survived",
    needs=("T35",),
    severity="INFO",
    source="RFC 8446 6.1; uvloop#385",
    schemes=frozenset({"tls"}),
)
def t54_tls(target: ServerTarget) -> str:
    """Say goodbye and await the server's; then leave without a word, and see the next client served."""
    with target.dial() as client:
        client.ask(b"hello\n", surplus=0)
        client.half_close()
        client.end()  # an end without close_notify is an error of TLS
    with target.dial() as client:
        client.ask(b"hello\n", surplus=0)
        client.raw.close()
    target.served()
    return "close_notify comes before the end"
