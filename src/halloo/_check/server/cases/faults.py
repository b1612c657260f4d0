"""Cases of clients that break: resets, closes and half-closes at the wrong moment, and a system that runs out.

Knows clients' sockets, and what the system tells of the server. The next client must always be served, and nothing
may be left of the last one.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from halloo._check.case import PLAIN, Failed, Skipped, Warned, case
from halloo._check.payload import payload
from halloo._check.server.many_clients import QUEUE
from halloo._check.server.program import Program
from halloo._check.server.stream_client import StreamClient, differs, unconnected
from halloo._check.server.target import ServerTarget

KIB, MIB = 1024, 1024 * 1024
GROWTH = 5  # descriptors, or zombies, that a server may keep for reasons of its own
SETTLED = 2.0  # seconds
LIMIT = 64  # descriptors
RECOVERY = 1.5  # seconds
BESIEGED = 2.0  # seconds: some try again after one, and then again and again
LINE = b"hello\n"  # a client that has been answered has been accepted: what happens then is not about accept()


@case(passes="the next client is served", severity="MUST", source="toxiproxy reset_peer", needs=("T05", "T35"))
def t18_rst_mid(target: ServerTarget) -> None:
    """Have a line echoed, send 100 KB and reset, ten times."""
    for _ in range(10):
        with target.dial() as client:
            client.ask(LINE, surplus=0)
            client.push(payload(100_000))
            client.reset()
    target.served()


@case(passes="the next client is served", severity="MUST", source="RFC 1122 4.2.2.13; SIGPIPE", needs=("T05", "T35"))
def t19_close_unread(target: ServerTarget) -> None:
    """Send 200 KB and close with the reply unread, ten times."""
    for _ in range(10):
        with target.dial() as client:
            client.push(payload(200_000))
            client.wait(1)
    target.served()


@case(passes="the next client is served", severity="MUST", source="gnet#453; ECONNABORTED", needs=("T35",))
def t20_rst_before_accept(target: ServerTarget) -> None:
    """Connect and reset, 100 times; after every four of them, or as many as its queue has room for, one is served."""
    for _ in range(target.most(100, 20) // QUEUE):
        with target.frozen(), suppress(Failed):
            for _ in range(QUEUE):
                with target.knock() as client:
                    client.reset()
        target.served()


@case(
    passes="served; descriptors and zombies grow by 5 at most",
    severity="MUST",
    source="leaks",
    needs=("T10", "T35"),
    process=True,
)
def t21_connect_close(target: ServerTarget) -> None:
    """Connect and close, 300 times; after every four of them one is served."""

    def come_and_go() -> None:
        for _ in range(300 // QUEUE):
            for _ in range(QUEUE):
                target.dial().close()
            target.served()

    program = target.program
    target.served()
    dead = program.zombies()
    _leaks_nothing(program, come_and_go)
    if not program.soon(lambda: program.zombies() <= dead + GROWTH, SETTLED):
        raise Failed(f"after 300 connections there are {program.zombies() - dead} zombies more", pattern="zombies")


@case(
    passes="descriptors grow by 5 at most", severity="MUST", source="leaks on error", needs=("T05", "T21"), process=True
)
def t22_data_rst_leak(target: ServerTarget) -> None:
    """Have a line echoed, send 2 KB and reset, 100 times."""

    def break_off() -> None:
        for _ in range(100):
            with target.dial() as client:
                client.ask(LINE, surplus=0)
                client.push(payload(2000))
                client.reset()
        target.served()

    target.served()
    _leaks_nothing(target.program, break_off)


def _leaks_nothing(program: Program, act: Callable[[], None]) -> None:
    """See that the descriptors come back to what they were, or stay at what they came to: a pool is no leak."""

    def grown(before: int) -> bool:
        act()
        return not program.soon(lambda: program.descriptors() <= before + GROWTH, SETTLED)

    first = program.descriptors()
    if grown(first) and grown(then := program.descriptors()):
        raise Failed(f"{first} descriptors before, then {then}, then {program.descriptors()}", pattern="leak")


@case(
    passes="the old client is served meanwhile, new ones within 1.5 s of room; at most 50 % of a core",
    schemes=PLAIN,
    severity="SHOULD",
    source="cpython#151615; twisted#5368; wai#928; accept(2)",
    needs=("T13", "T21"),
    waits=True,
    alone=True,
    process=True,
)
def t29_emfile(target: ServerTarget) -> str:
    """Let the server have 64 descriptors, and connect 100 clients to each of its processes."""
    target.restart(descriptors=LIMIT)
    with target.dial() as old:
        old.ask(b"I was here first\n")
        with _besiegers(target, 100 * len(target.program.tree())):
            load = target.program.load(BESIEGED, wanted=True)
            took = old.ask(b"and I still am\n", surplus=0)
        recovery = _recovery(target)
        old.ask(b"even now\n")
    said = f"{load:.0%} of a core meanwhile, old client {took * 1000:.1f} ms, recovered after {recovery * 1000:.0f} ms"
    if load > 0.5:
        raise Warned(said)
    return said


@contextmanager
def _besiegers(target: ServerTarget, size: int) -> Iterator[None]:
    """Begin so many connections, so slowly that a short queue holds them; whoever finds it full waits."""
    with ExitStack() as stack:
        for number in range(size):
            sock = stack.enter_context(unconnected(target.place))
            sock.setblocking(False)
            sock.connect_ex(target.place)
            if number % QUEUE == 0:
                target.program.pause(0.01)
        yield


def _recovery(target: ServerTarget) -> float:
    """See a new client served soon: some servers have not yet seen that the others have gone, and turn it away."""
    began = target.clock()
    while True:
        try:
            target.served(RECOVERY)
        except Failed as failure:
            if target.clock() - began > RECOVERY:
                raise failure.within("after the others had gone", pattern="unserved") from failure
            target.program.pause(0.05)
        else:
            break
    if (took := target.clock() - began) > RECOVERY:
        raise Failed(f"after the others had gone, a new client waited {took:.1f} s", pattern="unserved")
    return took


@case(
    passes="no byte lost",
    schemes=PLAIN,
    severity="MUST",
    needs=("T05", "T10"),
    source="signal(7): a stop makes a blocked send fall short",
    waits=True,
    process=True,
)
def t33_freeze(target: ServerTarget) -> str:
    """Stop and continue the server three times while its send is blocked."""
    target.plain()
    data = payload(24 * MIB)
    with target.dial() as client:
        sent, came = client.push(data), b""
        for _ in range(3):
            with target.program.frozen():
                target.program.pause(0.1)
            target.program.pause(0.1)
            came += client.receive(min(MIB, sent - len(came)))
            sent += client.push(data[sent:], 0.1)
        client.half_close()
        came += client.receive(sent - len(came), 8)
        if came != data[:sent]:
            raise differs(data[:sent], came)
        client.end()
        return f"{sent / MIB:.1f} MiB"


@case(
    passes="survives; descriptors grow by 5 at most",
    severity="MUST",
    source="toxiproxy",
    needs=("T05", "T10", "T18", "T22"),
    process=True,
)
def t48_fin_then_rst(target: ServerTarget) -> None:
    """Have a line echoed, send 32 KiB or 1 MiB, half-close, and reset while the reply is pending, ten times each.

    The server stands still from the one to the other: which of them it would see first is otherwise chance.
    """

    def end_badly() -> None:
        for size in (32 * KIB, MIB) * 10:  # with the first the server waits for more, with the second its send waits
            with target.dial(receive_buffer=4 * KIB) as client:
                client.ask(LINE, surplus=0)
                client.push(payload(size), 0.05)
                _arrive(client)
                with target.program.frozen():
                    client.half_close()
                    client.reset()
        target.served()

    target.served()
    _leaks_nothing(target.program, end_badly)


def _arrive(client: StreamClient) -> None:
    """Let what was sent arrive, so that the end is not thrown away with it; a server that pushes back may keep some."""
    deadline = client.clock() + 0.1
    while client.unacknowledged() and client.clock() < deadline:
        client.wait(0.002, read=False)


@case(
    passes="new clients served within 1 s, failures counted",
    needs=("T35",),
    severity="INFO",
    source="prefork servers",
    waits=True,
    process=True,
)
def t45_worker_kill9(target: ServerTarget) -> str:
    """Kill one child process (SIGKILL), and go on connecting."""
    serving = target.program.serving()
    children = [pid for pid in serving if pid != target.program.pid]
    if not children or len(serving) == 1:
        raise Skipped("the server has no child processes that serve beside another")
    target.served()
    target.program.kill_one(children[0])
    failures, worst, ends = 0, 0.0, target.clock() + 2
    while target.clock() < ends:
        try:
            worst = max(worst, target.served(1))
        except Failed:
            failures += 1
    if failures > 1 or worst > 1:
        raise Failed(f"after the kill {failures} clients were not served within 1 s; worst {worst:.2f} s")
    return f"{failures} failures, worst {worst * 1000:.0f} ms"


@case(passes="no stall", severity="SHOULD", needs=("T05",), source="print() for each message", process=True)
def t46_stdout_full(target: ServerTarget) -> None:
    """Echo 2 MiB in messages of 1 KiB while nobody reads the server's output."""
    target.restart(output="unread")
    with target.dial() as client:
        _talk(client, payload(2 * MIB))


def _talk(client: StreamClient, data: bytes) -> None:
    for place in range(0, len(data), KIB):
        client.ask(data[place : place + KIB], surplus=0)
    client.quiet()


@case(passes="still serves", needs=("T35",), severity="SHOULD", source="EPIPE in logging", process=True)
def t47_stdout_closed(target: ServerTarget) -> None:
    """Close the reader of the server's output; then start it with no output at all."""
    target.restart(output="unread")
    target.program.hush()
    for _ in range(3):
        target.served()
    target.restart(output="closed")
    for _ in range(3):
        target.served()
