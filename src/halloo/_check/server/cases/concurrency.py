"""Stream cases with several clients: no client has to wait for another, whatever that one does.

Uses clients. Levels 2 and 3 of the catalogue.
"""

import errno
import select
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial

from halloo._check.case import Failed, Skipped, Warned
from halloo._check.payload import MIB
from halloo._check.server.many_clients import many_clients
from halloo._check.server.stream_client import EOF_TIMEOUT, StreamClient
from halloo._check.server.target import ServerTarget, case
from halloo._check.sockets import begin_connecting, check_not_self_connected, raise_if_local, unconnected_socket
from halloo._check.spec import LOOPBACK

FLOOD_SIZE = 192 * MIB
SMALL_BUFFER = 4 * 1024  # so that the server's send blocks
BURST_SIZE, BURST_TIME = 500, 8.0
SYN_RETRY_TIME = 0.9  # seconds: the kernel drops a SYN if the queue is full, and the client sends it again after 1 s


@case("MUST", "each gets its own bytes, within 3 s", "Protohackers, problem 0", "T05 T14")
def t13_five(target: ServerTarget) -> None:
    """Five clients take turns to send five pieces each."""
    piece = 1000
    streams = [target.payload(5 * piece, stream) for stream in range(5)]
    with many_clients(target, 5) as clients:
        began, limit = target.clock(), max(client.allowed(EOF_TIMEOUT) for client in clients)
        if target.spec.messages:
            streams, piece = [target.message(stream) for stream in streams], 1
        for offset in range(0, max(map(len, streams)), piece):
            for client, stream in zip(clients, streams, strict=True):
                client.send(stream[offset : offset + piece])
        for client, stream in zip(clients, streams, strict=True):
            try:
                client.expect(stream, EOF_TIMEOUT, quiet_time=0)
            except Failed as failure:
                raise _with_misdirected(failure, [each for each in clients if each is not client]) from failure
        if (elapsed := target.clock() - began) > limit:
            raise Failed(f"the replies took {elapsed:.1f} s", pattern="slow")
        for client in clients:
            client.expect_silence(0.03)


def _with_misdirected(failure: Failed, others: Iterable[StreamClient]) -> Failed:
    """Add to a failure whether another client has received more than it had sent."""
    with suppress(Failed):
        for client in others:
            while client.receive_some():
                pass
            if client.received > client.sent:
                fact = f"{failure}; another client received {client.received:,} bytes, and had sent {client.sent:,}"
                return Failed(fact, pattern=f"{failure.pattern} misdirected", evidence=failure.evidence)
    return failure


@case("MUST", "the second is served within 3 s", "Protohackers, problem 0", "T35")
def t14_head_of_line(target: ServerTarget) -> None:
    """Two clients: the first sends nothing, the second sends a line."""
    try:
        with target.connect():
            _check_others_served(target, 1)
    except Failed as failure:
        raise _with_later_service(target, failure) from failure


def _with_later_service(target: ServerTarget, failure: Failed) -> Failed:
    """Add to a failure whether a client is served once the others have left."""
    try:
        target.check_served()
    except Failed:
        return failure
    pattern = f"{failure.pattern} served-later"
    return Failed(f"{failure}; once the first had left, a client was served", pattern=pattern, words=failure.words)


@case("MUST", "all five are served within 3 s", "a client may stop reading", "T05 T14")
def t15_stalled_neighbour(target: ServerTarget) -> str:
    """One client sends without reading; then five new ones send a line each."""
    with target.connect(receive_buffer=SMALL_BUFFER) as flood:
        data = target.payload(MIB)
        for _ in range(target.scale(FLOOD_SIZE // MIB, 4)):
            if flood.send_until_blocked(data, 0.1) < MIB:
                break
        return f"slowest {_check_others_served(target, 5) * 1000:.1f} ms"


def _check_others_served(target: ServerTarget, count: int) -> float:
    """Check that new clients are served while another is connected; return the longest wait."""
    try:
        return max(target.check_served(EOF_TIMEOUT) for _ in range(count))
    except Failed as failure:
        text = "a new client while another is connected"
        raise failure.in_context(text, pattern=f"unserved {failure.pattern}") from failure


@case("SHOULD", "all are served", "ncat -m 100", "T13")
def t23_hold_200(target: ServerTarget) -> None:
    """200 clients are connected, and all send 64 bytes; only 50 against an address."""
    with many_clients(target, target.scale(200, 50)) as clients:
        for number, client in enumerate(clients):
            client.send(target.payload(64, number))
        for number, client in enumerate(clients):
            client.expect(target.payload(64, number), quiet_time=0)


@case(
    "SHOULD",
    "all connect and get their echo",
    "listen(2)",
    "T13",
    "500 clients connect only to a server started by the checker",
    alone=True,
    schemes="tcp",
)
def t24_burst_500(target: ServerTarget) -> str:
    """500 clients connect at once and send a line each."""
    if target.spec.greeting:
        raise Skipped("only for servers that send no greeting")
    with ExitStack() as stack:
        burst = {}
        for _ in range(BURST_SIZE):
            sock = stack.enter_context(unconnected_socket((target.host, target.port)))
            sock.setblocking(False)
            burst[sock.fileno()] = sock
        began = target.clock()
        for sock in burst.values():
            begin_connecting(sock, (target.host, target.port))
        left = _each_ready(target, burst, select.POLLOUT, _send_line)
        if left:
            fact = f"{left} of {BURST_SIZE} clients did not connect within {BURST_TIME:g} s"
            raise Failed(fact, pattern=f"refused served-{BURST_SIZE - left}")
        slowest = target.clock() - began
        left = _each_ready(target, burst, select.POLLIN, partial(_receive_line, target.spec.expected_reply))
        if left:
            fact = f"{left} of {BURST_SIZE} clients got no echo within {BURST_TIME:g} s"
            raise Failed(fact, pattern=f"silent served-{BURST_SIZE - left}")
    note = f"the slowest connected after {slowest * 1000:,.0f} ms"
    return note if slowest < SYN_RETRY_TIME else f"{note}: some found the accept queue full, and tried again"


def _each_ready(
    target: ServerTarget, burst: dict[int, socket.socket], event: int, act: Callable[[socket.socket], None]
) -> int:
    """Act on each socket once it is ready; return the number of those that were not in time."""
    poll, waiting, deadline = select.poll(), burst.copy(), target.clock() + BURST_TIME
    for fd in burst:
        poll.register(fd, event)
    while waiting and (left := deadline - target.clock()) > 0:
        for fd, _ in poll.poll(left * 1000):
            act(waiting.pop(fd))
            poll.unregister(fd)
    return len(waiting)


def _send_line(sock: socket.socket) -> None:
    if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise Failed(f"a client of the burst could not connect: error {number}")
    try:
        check_not_self_connected(sock)
        sock.send(b"burst %4d\n" % (sock.fileno() % 10000))
    except OSError as error:
        raise Failed(f"a client of the burst could not send: {error}", pattern="reset") from error


def _receive_line(expected_reply: Callable[[bytes], bytes], sock: socket.socket) -> None:
    try:
        received = sock.recv(64)
    except OSError as error:
        raise Failed(f"a client of the burst got no echo: {error}", pattern="reset") from error
    if received != expected_reply(b"burst %4d\n" % (sock.fileno() % 10000)):
        raise Failed(f"a client of the burst received {received!r}", pattern="changed" if received else "cut")


@case("MUST", "all are served", "one-shot servers")
def t35_next(target: ServerTarget) -> None:
    """Three clients connect one after another and send a line each."""
    for _ in range(3):
        with target.connect() as client:
            client.roundtrip(b"next\n", EOF_TIMEOUT, quiet_time=0)


@case("INFO", "the addresses that answer; no fallback delay of 1 s", "RFC 8305; IPV6_V6ONLY", "T35", schemes="tcp")
def t38_families(target: ServerTarget) -> str:
    """Connect to 127.0.0.1, to ::1, and to localhost in the resolver's order."""
    if target.host not in (LOOPBACK, "::1", "localhost"):
        raise Skipped("only for servers that localhost leads to")
    served = []
    for host in (LOOPBACK, "::1"):
        with suppress(Failed), target.connect(host=host, timeout=1) as client:
            client.roundtrip(b"family\n", quiet_time=0)
            served.append(host)
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
    return f"{', '.join(served)} answer; localhost is {used}, after {elapsed * 1000:.1f} ms"


@case("INFO", "the client is served each time", "TIME-WAIT reuse, RFC 9293 3.6.1", "T10 T35", schemes="tcp")
def t52_reuse_tuple(target: ServerTarget) -> str:
    """Connect again from the same port, right after a reset and right after a half-close."""
    with target.connect(source_port=0) as client:
        port = client.raw.getsockname()[1]
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
