"""Stream cases with several clients: no client has to wait for another, whatever that one does.

Uses clients. Levels 2 and 3 of the catalogue.
"""

import errno
import select
import socket

from halloo._check.case import Failed, Skipped, Warned, case
from halloo._check.payload import payload
from halloo._check.server.local_limits import raise_if_local
from halloo._check.server.many_clients import many_clients
from halloo._check.server.stream_client import (
    EOF_TIMEOUT,
    begin_connecting,
    check_not_self_connected,
    unconnected_socket,
)
from halloo._check.server.target import ServerTarget
from halloo._check.spec import LOOPBACK

MIB = 1024 * 1024
FLOOD_SIZE = 192 * MIB
SMALL_BUFFER = 4 * 1024  # so that the server's send blocks
BURST_SIZE, BURST_TIME = 500, 8.0
SYN_RETRY_TIME = 0.9  # seconds: a SYN dropped by a full queue is sent again after 1 s


@case(passes="each gets its own bytes, within 3 s", severity="MUST", source="Protohackers 0", needs=("T05", "T14"))
def t13_five(target: ServerTarget) -> None:
    """Five clients take turns to send five pieces each."""
    piece, began = 1000, target.clock()
    streams = [payload(5 * piece, stream) for stream in range(5)]
    with many_clients(target, 5) as clients:
        for offset in range(0, 5 * piece, piece):
            for client, stream in zip(clients, streams, strict=True):
                client.send(stream[offset : offset + piece])
        for client, stream in zip(clients, streams, strict=True):
            client.expect(stream, EOF_TIMEOUT, quiet_time=0)
        if (elapsed := target.clock() - began) > EOF_TIMEOUT:
            raise Failed(f"the replies took {elapsed:.1f} s")
        for client in clients:
            client.expect_silence(0.03)


@case(passes="the second is served within 3 s", severity="MUST", needs=("T35",), source="Protohackers 0")
def t14_head_of_line(target: ServerTarget) -> None:
    """Two clients: the first sends nothing, the second sends a line."""
    with target.connect():
        target.check_served(EOF_TIMEOUT)


@case(passes="all five are served within 3 s", severity="MUST", source="toxiproxy timeout", needs=("T05", "T14"))
def t15_stalled_neighbour(target: ServerTarget) -> str:
    """One client sends without reading; then five new ones send a line each."""
    with target.connect(receive_buffer=SMALL_BUFFER) as flood:
        data = payload(MIB)
        for _ in range(target.scale(FLOOD_SIZE // MIB, 4)):
            if flood.send_until_blocked(data, 0.1) < MIB:
                break
        worst = max(target.check_served(EOF_TIMEOUT) for _ in range(5))
        return f"slowest {worst * 1000:.1f} ms"


@case(passes="all are served", severity="SHOULD", source="ncat -m 100", needs=("T13",))
def t23_hold_200(target: ServerTarget) -> None:
    """200 clients are connected, and all send 64 bytes; only 50 against an address."""
    with many_clients(target, target.scale(200, 50)) as clients:
        for number, client in enumerate(clients):
            client.send(payload(64, number))
        for number, client in enumerate(clients):
            client.expect(payload(64, number), quiet_time=0)


@case(
    passes="all connect and get their echo; no SYN is sent twice",
    severity="SHOULD",
    source="listen(2)",
    needs=("T13",),
    alone=True,
    command_only="500 clients connect only to a server started by the checker",
    schemes=frozenset({"tcp"}),
)
def t24_burst_500(target: ServerTarget) -> str:
    """500 clients connect at once and send a line each."""
    target.require_plain_echo()
    burst = [unconnected_socket((target.host, target.port)) for _ in range(BURST_SIZE)]
    try:
        began, poll = target.clock(), select.poll()
        waiting = {}
        for sock in burst:
            sock.setblocking(False)
            begin_connecting(sock, (target.host, target.port))
            waiting[sock.fileno()] = sock
            poll.register(sock, select.POLLOUT)
        slowest = 0.0
        while waiting and (left := began + BURST_TIME - target.clock()) > 0:
            for fd, _ in poll.poll(left * 1000):
                _send_line(waiting[fd])
                poll.unregister(waiting.pop(fd))
                slowest = target.clock() - began
        if waiting:
            fact = f"{len(waiting)} of {BURST_SIZE} clients did not connect within {BURST_TIME:g} s"
            raise Failed(fact, pattern="refused")
        missing = _count_unanswered(target, burst)
    finally:
        for sock in burst:
            sock.close()
    if missing:
        raise Failed(f"{missing} of {BURST_SIZE} clients got no echo within {BURST_TIME:g} s", pattern="silent")
    if slowest > SYN_RETRY_TIME:
        raise Warned(f"the slowest connected after {slowest:.2f} s: a SYN was sent twice, the backlog is too small")
    return f"the slowest connected after {slowest * 1000:.0f} ms"


def _send_line(sock: socket.socket) -> None:
    if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise Failed(f"a client of the burst could not connect: error {number}")
    try:
        check_not_self_connected(sock)
        sock.send(b"burst %4d\n" % (sock.fileno() % 10000))
    except OSError as error:
        raise Failed(f"a client of the burst could not send: {error}", pattern="reset") from error


def _count_unanswered(target: ServerTarget, burst: list[socket.socket]) -> int:
    poll, waiting, deadline = select.poll(), {sock.fileno(): sock for sock in burst}, target.clock() + BURST_TIME
    for sock in burst:
        poll.register(sock, select.POLLIN)
    while waiting and (left := deadline - target.clock()) > 0:
        for fd, _ in poll.poll(left * 1000):
            try:
                received = waiting[fd].recv(64)
            except OSError as error:
                raise Failed(f"a client of the burst got no echo: {error}", pattern="reset") from error
            if received != b"burst %4d\n" % (fd % 10000):
                raise Failed(f"a client of the burst received {received!r}", pattern="changed" if received else "cut")
            poll.unregister(waiting.pop(fd))
    return len(waiting)


@case(passes="all are served", severity="MUST", source="one-shot servers")
def t35_next(target: ServerTarget) -> None:
    """Three clients connect one after another and send a line each."""
    for _ in range(3):
        with target.connect() as client:
            client.roundtrip(b"next\n", EOF_TIMEOUT, quiet_time=0)


@case(
    passes="the addresses that answer; no fallback delay of 1 s",
    needs=("T35",),
    severity="INFO",
    source="RFC 8305; IPV6_V6ONLY",
    schemes=frozenset({"tcp"}),
)
def t38_families(target: ServerTarget) -> str:
    """Connect to 127.0.0.1, to ::1, and to localhost in the resolver's order."""
    if target.host not in (LOOPBACK, "::1", "localhost"):
        raise Skipped("only for servers that localhost leads to")
    answers = {}
    for host in (LOOPBACK, "::1"):
        try:
            with target.connect(host=host, timeout=1) as client:
                client.roundtrip(b"family\n", quiet_time=0)
            answers[host] = True
        except Failed:
            answers[host] = False
    began = target.clock()
    try:
        with socket.create_connection(("localhost", target.port), timeout=EOF_TIMEOUT) as sock:
            used = sock.getpeername()[0]
    except OSError as error:
        raise_if_local(error, socket.AF_INET, (LOOPBACK, target.port))
        raise Failed(f"no connection to localhost: {error}", pattern="refused") from error
    elapsed = target.clock() - began
    if elapsed >= 1:
        raise Warned(f"connecting to localhost took {elapsed:.1f} s")
    served = ", ".join(host for host, answered in answers.items() if answered)
    return f"{served} answer; localhost is {used}, after {elapsed * 1000:.1f} ms"


@case(
    passes="the client is served each time",
    needs=("T10", "T35"),
    severity="INFO",
    source="TIME-WAIT reuse, RFC 9293 3.6.1",
    schemes=frozenset({"tcp"}),
)
def t52_reuse_tuple(target: ServerTarget) -> str:
    """Connect again from the same port, right after a reset and right after a half-close."""
    with target.connect(source_port=0) as client:
        port = client.port
        client.roundtrip(b"first\n", quiet_time=0)
        client.reset()
    with target.connect(source_port=port) as client:
        client.roundtrip(b"after the reset\n", quiet_time=0)
        client.half_close()
        client.expect_eof()
    try:
        again = target.connect(source_port=port)
    except Failed as failure:
        if not (isinstance(failure.__cause__, OSError) and failure.__cause__.errno == errno.EADDRNOTAVAIL):
            raise
        return f"served after a reset; after an orderly close the client's own system refuses the port ({failure})"
    with again:
        again.roundtrip(b"after the end\n", quiet_time=0)
    return "served after a reset and after an orderly close"
