"""Cases of several clients: nobody waits for another, whatever that one does.

Knows clients' sockets. Levels 2 and 3 of the catalogue.
"""

import errno
import select
import socket

from halloo._check.case import Failed, Skipped, Warned, case
from halloo._check.payload import payload
from halloo._check.server.many_clients import many_clients
from halloo._check.server.stream_client import END, refuse_oneself, unconnected
from halloo._check.server.target import ServerTarget
from halloo._check.spec import LOOPBACK

MIB = 1024 * 1024
FLOOD = 192 * MIB
SMALL_BUFFER = 4 * 1024  # so that it is the server who stalls
BURST, BURST_TIME = 500, 8.0
RETRY = 0.9  # seconds: a SYN that found the queue full is sent again after 1 s


@case(passes="no cross-talk, within 3 s", severity="MUST", source="Protohackers 0", needs=("T05", "T14"))
def t13_five(target: ServerTarget) -> None:
    """Five clients send five pieces each, in turn."""
    piece, began = 1000, target.clock()
    streams = [payload(5 * piece, stream) for stream in range(5)]
    with many_clients(target, 5) as clients:
        for place in range(0, 5 * piece, piece):
            for client, stream in zip(clients, streams, strict=True):
                client.send(stream[place : place + piece])
        for client, stream in zip(clients, streams, strict=True):
            client.expect(stream, END, surplus=0)
        if (took := target.clock() - began) > END:
            raise Failed(f"took {took:.1f} s")
        for client in clients:
            client.quiet(0.03)


@case(passes="the second is served within 3 s", severity="MUST", needs=("T35",), source="Protohackers 0")
def t14_head_of_line(target: ServerTarget) -> None:
    """The first client says nothing, the second talks."""
    with target.dial():
        target.served(END)


@case(passes="all five within 3 s", severity="MUST", source="toxiproxy timeout", needs=("T05", "T14"))
def t15_stalled_neighbour(target: ServerTarget) -> str:
    """One client floods and never reads; five new ones talk."""
    with target.dial(receive_buffer=SMALL_BUFFER) as flood:
        data = payload(MIB)
        for _ in range(target.most(FLOOD // MIB, 4)):
            if flood.push(data, 0.1) < MIB:
                break
        worst = max(target.served(END) for _ in range(5))
        return f"worst {worst * 1000:.1f} ms"


@case(passes="all 200", severity="SHOULD", source="ncat -m 100", needs=("T13",))
def t23_hold_200(target: ServerTarget) -> None:
    """200 clients are connected, and all of them talk; 50 where the server is somebody's."""
    with many_clients(target, target.most(200, 50)) as clients:
        for number, client in enumerate(clients):
            client.send(payload(64, number))
        for number, client in enumerate(clients):
            client.expect(payload(64, number), surplus=0)


@case(
    passes="all connect and are echoed; none sends its SYN twice",
    severity="SHOULD",
    source="listen(2)",
    needs=("T13",),
    alone=True,
    harsh="500 clients at once are for a server that was started for this",
    schemes=frozenset({"tcp"}),
)
def t24_burst_500(target: ServerTarget) -> str:
    """500 clients connect at once and send a line each."""
    target.plain()
    burst = [unconnected((target.host, target.port)) for _ in range(BURST)]
    try:
        began, poll = target.clock(), select.poll()
        waiting = {}
        for sock in burst:
            sock.setblocking(False)
            sock.connect_ex((target.host, target.port))
            waiting[sock.fileno()] = sock
            poll.register(sock, select.POLLOUT)
        slowest = 0.0
        while waiting and (left := began + BURST_TIME - target.clock()) > 0:
            for fd, _ in poll.poll(left * 1000):
                _greet(waiting[fd])
                poll.unregister(waiting.pop(fd))
                slowest = target.clock() - began
        if waiting:
            raise Failed(f"{len(waiting)} of {BURST} did not connect within {BURST_TIME:g} s", pattern="refused")
        missing = _unanswered(target, burst)
    finally:
        for sock in burst:
            sock.close()
    if missing:
        raise Failed(f"{missing} of {BURST} got no echo within {BURST_TIME:g} s", pattern="silent")
    if slowest > RETRY:
        raise Warned(f"the slowest needed {slowest:.2f} s: a SYN was sent twice, the backlog is too small")
    return f"the slowest needed {slowest * 1000:.0f} ms"


def _greet(sock: socket.socket) -> None:
    if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise Failed(f"a connect of the burst failed with error {number}")
    try:
        refuse_oneself(sock)
        sock.send(b"burst %4d\n" % (sock.fileno() % 10000))
    except OSError as error:
        raise Failed(f"a client of the burst could send nothing: {error}", pattern="reset") from error


def _unanswered(target: ServerTarget, burst: list[socket.socket]) -> int:
    poll, waiting, deadline = select.poll(), {sock.fileno(): sock for sock in burst}, target.clock() + BURST_TIME
    for sock in burst:
        poll.register(sock, select.POLLIN)
    while waiting and (left := deadline - target.clock()) > 0:
        for fd, _ in poll.poll(left * 1000):
            try:
                came = waiting[fd].recv(64)
            except OSError as error:
                raise Failed(f"a client of the burst got no echo: {error}", pattern="reset") from error
            if came != b"burst %4d\n" % (fd % 10000):
                raise Failed(f"a client of the burst got {came!r}", pattern="changed" if came else "cut")
            poll.unregister(waiting.pop(fd))
    return len(waiting)


@case(passes="all served", severity="MUST", source="one-shot servers")
def t35_next(target: ServerTarget) -> None:
    """Three clients come one after another."""
    for _ in range(3):
        with target.dial() as client:
            client.ask(b"next\n", END, surplus=0)


@case(
    passes="which answer; no fallback delay of a second",
    needs=("T35",),
    severity="INFO",
    source="RFC 8305; IPV6_V6ONLY",
    schemes=frozenset({"tcp"}),
)
def t38_families(target: ServerTarget) -> str:
    """Connect to 127.0.0.1, ::1 and what localhost is, in the resolver's order."""
    if target.host not in (LOOPBACK, "::1", "localhost"):
        raise Skipped("is about a server that localhost finds")
    answers = {}
    for host in (LOOPBACK, "::1"):
        try:
            with target.dial(host=host, timeout=1) as client:
                client.ask(b"family\n", surplus=0)
            answers[host] = True
        except Failed:
            answers[host] = False
    began = target.clock()
    try:
        with socket.create_connection(("localhost", target.port), timeout=END) as sock:
            used = sock.getpeername()[0]
    except OSError as error:
        raise Failed(f"localhost cannot be connected to: {error}", pattern="refused") from error
    took = target.clock() - began
    if took >= 1:
        raise Warned(f"localhost needed {took:.1f} s")
    served = ", ".join(host for host, answered in answers.items() if answered)
    return f"{served} answer; localhost is {used}, after {took * 1000:.1f} ms"


@case(
    passes="served",
    needs=("T10", "T35"),
    severity="INFO",
    source="TIME-WAIT reuse, RFC 9293 3.6.1",
    schemes=frozenset({"tcp"}),
)
def t52_reuse_tuple(target: ServerTarget) -> str:
    """Connect from the same port again, right after a reset and right after a half-close."""
    with target.dial(source_port=0) as client:
        port = client.port
        client.ask(b"first\n", surplus=0)
        client.reset()
    with target.dial(source_port=port) as client:
        client.ask(b"after the reset\n", surplus=0)
        client.half_close()
        client.end()
    try:
        again = target.dial(source_port=port)
    except Failed as failure:
        if not (isinstance(failure.__cause__, OSError) and failure.__cause__.errno == errno.EADDRNOTAVAIL):
            raise
        return f"served after a reset; after an orderly end our own system refuses the port for now ({failure})"
    with again:
        again.ask(b"after the end\n", surplus=0)
    return "served after a reset and after an orderly end"
