"""Cases of many datagrams: what is lost, and who has to wait meanwhile.

Knows clients' sockets.
"""

import threading

from halloo.check import processes
from halloo.check.case import Failed, Skipped, case
from halloo.check.client import Client
from halloo.check.payload import payload
from halloo.check.slowness import p99
from halloo.check.target import Target
from halloo.check.udp.datagrams import UDP, insist

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
def u21_both(target: Target) -> str:
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

    with Client((hosts[port], port), clock=target.clock, expected=target.subject.expected) as client:
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
def u22_rate(target: Target) -> str:
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
