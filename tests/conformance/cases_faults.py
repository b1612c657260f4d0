"""Cases of clients that break: resets, closes and half-closes at the wrong moment, and a system that runs out.

Knows clients' sockets, and what the system tells of the server. The next client must always be served, and nothing
may be left of the last one.
"""

import signal

from tests.conformance.cases import Failed, Skipped, Warned, case
from tests.conformance.client import Client
from tests.conformance.crowd import crowd
from tests.conformance.payload import payload
from tests.conformance.target import Program, Target

KIB, MIB = 1024, 1024 * 1024
GROWTH = 5  # descriptors, or zombies, that a server may keep for reasons of its own
SETTLED = 2.0  # seconds
LIMIT = 64  # descriptors
RECOVERY = 1.5  # seconds


@case(passes="the next client is served", severity="MUST", source="toxiproxy reset_peer", needs=("T35",))
def t18_rst_mid(target: Target) -> None:
    """Send 100 KB and reset, ten times."""
    for _ in range(10):
        with target.dial() as client:
            client.push(payload(100_000))
            client.reset()
    target.served()


@case(passes="the next client is served", severity="MUST", source="RFC 1122 4.2.2.13; SIGPIPE", needs=("T35",))
def t19_close_unread(target: Target) -> None:
    """Send 200 KB and close with the reply unread, ten times."""
    for _ in range(10):
        with target.dial() as client:
            client.push(payload(200_000))
            client.wait(1)
    target.served()


@case(passes="the next client is served", severity="MUST", source="gnet#453; ECONNABORTED", needs=("T35",))
def t20_rst_before_accept(target: Target) -> None:
    """Connect and reset, 100 times."""
    for _ in range(100):
        with target.dial() as client:
            client.reset()
    target.served()


@case(
    passes="served; descriptors and zombies grow by 5 at most",
    severity="MUST",
    source="leaks",
    needs=("T35",),
    process=True,
)
def t21_connect_close(target: Target) -> None:
    """Connect and close, 300 times."""
    target.served()
    before, dead = target.program.descriptors(), target.program.zombies()
    for _ in range(300):
        target.dial().close()
    target.served()
    _returned(target.program, before)
    if (more := target.program.zombies() - dead) > GROWTH:
        raise Failed(f"after 300 connections there are {more} zombies more")


@case(passes="descriptors grow by 5 at most", severity="MUST", source="leaks on error", needs=("T35",), process=True)
def t22_data_rst_leak(target: Target) -> None:
    """Send 2 KB and reset, 100 times."""
    target.served()
    before = target.program.descriptors()
    for _ in range(100):
        with target.dial() as client:
            client.push(payload(2000))
            client.reset()
    target.served()
    _returned(target.program, before)


def _returned(program: Program, before: int) -> None:
    """See that the descriptors come back to what they were."""
    if not program.soon(lambda: program.descriptors() <= before + GROWTH, SETTLED):
        raise Failed(f"{before} descriptors before, {program.descriptors()} after")


@case(
    passes="the old client is served meanwhile, new ones within 1.5 s of room; at most 50 % of a core",
    severity="SHOULD",
    source="cpython#151615; twisted#5368; wai#928; accept(2)",
    needs=("T14",),
    waits=True,
    process=True,
)
def t29_emfile(target: Target) -> str:
    """Let the server have 64 descriptors, and connect 100 clients to each of its processes."""
    target.restart(descriptors=LIMIT)
    with target.dial() as old:
        old.ask(b"I was here first\n")
        with crowd(target, 100 * len(target.program.tree())):
            load = target.program.load(1.0)
            took = old.ask(b"and I still am\n", surplus=0)
        recovery = _recovery(target)
        old.ask(b"even now\n")
    said = f"{load:.0%} of a core meanwhile, old client {took * 1000:.1f} ms, recovered after {recovery * 1000:.0f} ms"
    if load > 0.5:
        raise Warned(said)
    return said


def _recovery(target: Target) -> float:
    began = target.clock()
    took = target.served(RECOVERY) if target.clock() - began < RECOVERY else RECOVERY
    if took > RECOVERY:
        raise Failed(f"after the others had gone, a new client waited {took:.1f} s")
    return took


@case(
    passes="no byte lost",
    severity="MUST",
    source="signal(7): a stop makes a blocked send fall short",
    waits=True,
    process=True,
)
def t33_freeze(target: Target) -> str:
    """Stop and continue the server three times while its send is blocked."""
    data = payload(24 * MIB)
    with target.dial() as client:
        sent, came = client.push(data), b""
        for _ in range(3):
            target.program.tell_all(signal.SIGSTOP)
            target.program.pause(0.1)
            target.program.tell_all(signal.SIGCONT)
            target.program.pause(0.1)
            came += client.receive(min(MIB, sent - len(came)))
            sent += client.push(data[sent:], 0.1)
        client.half_close()
        came += client.receive(sent - len(came), 8)
        if came != data[:sent]:
            raise Failed(f"sent {sent:,} bytes, and other bytes came back")
        client.end()
        return f"{sent / MIB:.1f} MiB"


@case(
    passes="survives; descriptors grow by 5 at most",
    severity="MUST",
    source="toxiproxy",
    needs=("T35",),
    process=True,
)
def t48_fin_then_rst(target: Target) -> None:
    """Send 1 MiB, half-close, and reset while the reply is pending, ten times."""
    target.served()
    before = target.program.descriptors()
    for _ in range(10):
        with target.dial(receive_buffer=4 * KIB) as client:
            client.push(payload(MIB), 0.05)
            client.half_close()
            client.reset()
    target.served()
    _returned(target.program, before)


@case(
    passes="new clients served within 1 s, failures counted",
    severity="INFO",
    source="prefork servers",
    waits=True,
    process=True,
)
def t45_worker_kill9(target: Target) -> str:
    """Kill one child process (SIGKILL), and go on connecting."""
    children = [pid for pid in target.program.tree() if pid != target.program.pid]
    if not children:
        raise Skipped("the server has no child processes")
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


@case(passes="no stall", severity="SHOULD", source="print() for each message", process=True)
def t46_stdout_full(target: Target) -> None:
    """Echo 2 MiB in messages of 1 KiB while nobody reads the server's output."""
    with target.dial() as client:
        _talk(client, payload(2 * MIB))


def _talk(client: Client, data: bytes) -> None:
    for place in range(0, len(data), KIB):
        client.ask(data[place : place + KIB], surplus=0)
    client.quiet()


@case(passes="still serves", severity="SHOULD", source="EPIPE in logging", process=True)
def t47_stdout_closed(target: Target) -> None:
    """Close the reader of the server's output; then start it with no output at all."""
    target.program.hush()
    for _ in range(3):
        target.served()
    target.restart(silenced=True)
    for _ in range(3):
        target.served()
