"""Stream cases of one connection: all bytes come back, once and in order, then the end of the stream.

Uses one client. Level 1 of the catalogue, and ways of sending and reading that break naive servers.
"""

import socket
import statistics
from collections.abc import Callable

from halloo._check.case import UNENCRYPTED, Failed, Skipped, context
from halloo._check.payload import KIB, MIB
from halloo._check.server.stream_client import REPLY_TIMEOUT, StreamClient, mismatch
from halloo._check.server.target import ServerTarget, case

RFC = "RFC 862"
SLOW = 40.0  # seconds: cases that wait as long as bytes arrive need a limit for a server that sends one now and then
MAX_MEDIAN = 0.03  # seconds: more than a reply takes, less than the 40 ms of Nagle and a delayed ACK
DELAYED_ACK = 0.035, 0.06  # seconds: about the 40 ms that Nagle's algorithm waits for
INVALID_UTF8 = b"\xc3\x28 \xf0\x9f\x98 \xed\xa0\x80 \xff\xfe"  # truncated, surrogate and impossible sequences
EVERY_BYTE = bytes(range(256)) + b"\0\0\r\n\r\n\n\r\r " + INVALID_UTF8 + b"\x1a\x04\n"


def _roundtrips(*messages: bytes) -> Callable[[ServerTarget], None]:
    def run(target: ServerTarget) -> None:
        with target.connect() as client:
            for message in messages:
                client.roundtrip(message)

    return run


def _half_close_after(client: StreamClient, data: bytes) -> None:
    """Send data and half-close, with the FIN in the last segment; expect all of it, then EOF."""
    if client.raw.family != socket.AF_UNIX:
        client.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    message = client.message(data)
    client.send(message)
    client.half_close()
    client.expect(message, quiet_time=0)
    client.expect_eof()


T01 = case("MUST", "the same 6 bytes, then nothing", RFC).of("t01_short", "Send a short line.", _roundtrips(b"hello\n"))
T05 = case("MUST", "each message comes back", 'RFC 862: "continues until"').of(
    "t05_three", "Send three messages on one connection.", _roundtrips(b"one\n", b"and two\n", b"and then three\n")
)


@case("MUST", "nothing unsolicited, nothing extra, the connection stays open", RFC)
def t02_silent(target: ServerTarget) -> None:
    """Connect, wait 0.4 s, send a line, wait again."""
    with target.connect() as client:
        client.expect_silence(0.4)
        client.roundtrip(b"abc\n", quiet_time=0.4)


@case("MUST", "identical", "TCP may cut a stream into pieces of any size")
def t06_dribble(target: ServerTarget) -> None:
    """Send 200 single bytes, 3 ms apart."""
    received = b""
    with target.connect() as client:
        data = client.message(target.payload(200))
        for offset in range(len(data)):
            client.send(data[offset : offset + 1])
            pause_ends = client.clock() + 0.003
            while (left := pause_ends - client.clock()) > 0:
                client.wait(left)
                received += client.receive_some() or b""
        client.expect_rest(data, received)


@case("MUST", "identical", "Autobahn test suite 9.1", kill=SLOW)
def t07_duplex_1m(target: ServerTarget) -> None:
    """Send 1 MiB, reading at the same time."""
    with target.connect() as client:
        client.duplex(target.payload(MIB))


@case("MUST", "identical, then EOF", "Autobahn test suite 9.1", "T10", kill=SLOW)
def t08_duplex_32m(target: ServerTarget) -> str:
    """Send 32 MiB (8 MiB to an address), or as much as 5 s allow, reading at the same time, then half-close."""
    size = target.scale(32, 8) * MIB
    with target.connect() as client:
        began = target.clock()
        client.duplex(target.payload(size), half_close=True)
        rate = f"{client.received / MIB / (target.clock() - began):,.0f} MiB/s"
        return rate if client.sent == size else f"{rate}, {client.sent / MIB:.1f} MiB in all"


@case("MUST", "EOF, no bytes", "RFC 9293 3.6")
def t10_empty_half_close(target: ServerTarget) -> None:
    """Half-close without having sent anything."""
    with target.connect() as client:
        client.half_close()
        client.expect_eof()


@case("MUST", "the reply, then EOF within 3 s", "Protohackers, problem 0; RFC 9293 3.6; nmap#962")
def t09_half_close(target: ServerTarget) -> None:
    """Send 4 bytes and half-close, both in one segment."""
    with target.connect() as client:
        _half_close_after(client, b"hi!\n")


@case("MUST", "all bytes, then EOF", "nmap PR#2510; bun#31383", "T05 T10")
def t12_data_with_fin(target: ServerTarget) -> None:
    """Send 64 KiB and half-close in the same burst."""
    with target.connect() as client:
        _half_close_after(client, target.payload(64 * KIB))


@case("MUST", "the same bytes within 2 s", "RFC 862: a stream has no lines")
def t03_no_newline(target: ServerTarget) -> None:
    """Send 15 bytes without a newline."""
    if target.spec.expect:
        raise Skipped("a server that changes lines may wait for the end of one")
    _roundtrips(b"no newline here")(target)


@case("MUST", "identical", "Protohackers, problem 0; Autobahn test suite 6.x")
def t04_binary(target: ServerTarget) -> str | None:
    """Send all 256 byte values, NUL, CRLF and invalid UTF-8; only ASCII to a server that changes lines."""
    _roundtrips(target.every_byte + b"\n" if target.spec.expect else EVERY_BYTE)(target)
    return "only ASCII was sent" if target.spec.expect else None


@case("MUST", "all bytes, then EOF", "muduo#366: 10 MB fine, 100 MB lost", "T05 T10", kill=SLOW)
def t11_half_close_queued(target: ServerTarget) -> None:
    """Send 16 MiB and half-close, reading only after 1 s."""
    with target.connect() as client:
        client.duplex(target.payload(target.scale(16, 8) * MIB), half_close=True, read_delay=1)


@case("MUST", "identical, then EOF", "send(2): partial writes, EAGAIN", "T05 T10", kill=SLOW, schemes=UNENCRYPTED)
def t17_stall_then_read(target: ServerTarget) -> str:
    """Send up to 24 MiB without reading, half-close, then read all."""
    target.require_plain_echo()
    data = target.payload(target.scale(24, 8) * MIB)
    with target.connect() as client:
        sent = client.send_until_blocked(data)
        client.half_close()
        received = client.receive(0)
        while len(received) < sent:
            received += client.receive(min(MIB, sent - len(received)))
        if received != data[:sent]:
            raise mismatch(data[:sent], received)
        client.expect_eof()
        return f"{sent / MIB:.1f} MiB were accepted before the send blocked"


@case("SHOULD", "median latencies below 30 ms", "RFC 1122 4.2.3.2 and 4.2.3.4", "T05", alone=True)
def t26_stalls(target: ServerTarget) -> str:
    """Exchange messages of 104, 1504, 5000 and 70,000 bytes, or lines of 104 and 1000, 40 of each, one at a time."""
    medians = {}
    with target.connect() as client:
        fastest = min(client.roundtrip(b"how far?\n", quiet_time=0) for _ in range(3))
        if not target.started and fastest > MAX_MEDIAN:
            raise Skipped(f"a round trip takes at least {fastest * 1000:.0f} ms, which hides such a stall")
        for size in (104, 1000) if target.spec.expect else (104, 1504, 5000, 70_000):
            message = target.payload(size)
            times = [client.roundtrip(message, quiet_time=0) for _ in range(40)]
            medians[size] = statistics.median(times)
        client.expect_silence()
    measured = ", ".join(f"{size:,} B {seconds * 1000:.2f} ms" for size, seconds in medians.items())
    if max(medians.values()) >= MAX_MEDIAN:
        stalled = any(DELAYED_ACK[0] <= each <= DELAYED_ACK[1] for each in medians.values())
        raise Failed(f"medians: {measured}", pattern="nagle" if stalled else "slow")
    return measured


@case(
    "INFO",
    "clients are served; other bytes intact, the urgent one inline or skipped",
    "RFC 1122 4.2.2.4",
    "T10 T35",
    schemes="tcp",
)
def t27_urgent(target: ServerTarget) -> str:
    """Send a byte, an urgent byte (MSG_OOB), and another byte."""
    target.require_plain_echo()
    with target.connect() as client:
        client.roundtrip(b"a")
        client.raw.send(b"b", socket.MSG_OOB)
        client.send(b"c")
        client.half_close()
        received = _receive_to_eof(client)
    target.check_served()
    if received not in (b"c", b"bc"):
        raise Failed(f"sent a, urgent b, c; received {received!r} after the a")
    return "inline" if received == b"bc" else "skipped"


def _receive_to_eof(client: StreamClient, within: float = REPLY_TIMEOUT) -> bytes:
    received, deadline = b"", client.clock() + within
    while (piece := client.receive_some()) != b"":
        received += piece or b""
        if client.clock() >= deadline:
            raise Failed(f"no end of the stream within {within:g} s, only {received!r}")
        client.wait(deadline - client.clock())
    return received


@case("INFO", "identical", "HTTP pipelining clients")
def t31_pipelined(target: ServerTarget) -> None:
    """Send 1000 messages of 64 bytes before reading any."""
    data = target.payload(64 * 1000)
    with target.connect() as client:
        for offset in range(0, len(data), 64):
            client.send(data[offset : offset + 64])
        client.expect(data)


@case("SHOULD", "identical", "Autobahn test suite 9.5", "T05 T10 T35", kill=60)
def t49_chop_matrix(target: ServerTarget) -> None:
    """Send 1 KiB, 64 KiB and 1 MiB in pieces of 1, 64, 997, 1460 and 65,536 bytes."""
    for size in (KIB, 64 * KIB, MIB):
        data = target.payload(size)
        for chunk_size in (1, 64, 997, 1460, 64 * KIB):
            with target.connect() as client, context(f"{size:,} bytes in pieces of {chunk_size:,}"):
                client.duplex(data, half_close=True, chunk_size=chunk_size)


@case(
    "INFO",
    "close_notify before the end of the stream; a client may close without one",
    "RFC 8446 6.1; uvloop#385",
    "T35",
    schemes="tls",
)
def t54_tls(target: ServerTarget) -> str:
    """Send close_notify and wait for the server's; then close without one, and connect the next client."""
    with target.connect() as client:
        client.roundtrip(b"hello\n", quiet_time=0)
        client.half_close()
        client.expect_eof()  # without close_notify, this is a TLS error
    with target.connect() as client:
        client.roundtrip(b"hello\n", quiet_time=0)
        client.raw.close()
    target.check_served()
    return "close_notify was received before the end of the stream"
