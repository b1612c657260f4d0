"""Cases of abuse: nobody who can forge a sender makes the server talk to somebody else, or to itself, for ever.

Knows clients' sockets and forged datagrams; those are sent on loopback alone, to a server started for this.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from halloo._check import processes
from halloo._check.case import Failed, Skipped, case
from halloo._check.server.cases.datagrams import SOON, UDP
from halloo._check.server.program import Program
from halloo._check.server.spoofing import Capture, capture, spoof
from halloo._check.server.target import ServerTarget
from halloo._check.server.udp_client import UdpClient
from halloo._check.spec import LOOPBACK

SERVICES = (7, 13, 19, 37, 53)
LOOP = "VU#417980; CVE-2024-2169"
QUIET = 0.3  # seconds
LATE = 0.05  # the same, where something was answered already
HARSH = "forged datagrams are for a server that was started for this"


def _v4(target: ServerTarget) -> tuple[str, int]:
    if target.host != LOOPBACK and not _everywhere(target):
        raise Skipped("the server does not serve IPv4")
    return LOOPBACK, target.port


def _everywhere(target: ServerTarget) -> bool:
    return processes.everywhere(target.program.tree(), target.port, "udp")


@contextmanager
def _serving(target: ServerTarget) -> Iterator[UdpClient]:
    """See that a client is served, and is still served after what is done meanwhile."""
    with target.letters(host=_v4(target)[0]) as client:
        client.ask(b"hello\n", surplus=0)
        _clear(client)
        yield client
        _clear(client)
        client.ask(b"and now?\n", surplus=0)


def _beside(client: UdpClient, seen: Capture) -> int:
    """Count what is sent to others, until somebody who came later has been answered, however slow the server is."""
    client.send(b"and me?\n")
    own = 1 if client.take(SOON) else 0
    count = seen.sent(QUIET)
    while client.take():
        own += 1
    return max(count - own, 0)  # one may come when the wire is no longer watched


def _clear(client: UdpClient) -> None:
    """Throw away what comes beside the answer: U08 is about that."""
    while client.take(LATE):
        pass


@case(passes="no reply", severity="SHOULD", source=f"inetd; {LOOP}", needs=("U01",), harsh=HARSH, schemes=UDP)
def u12_service_ports(target: ServerTarget) -> str:
    """Ask from the ports of services that answer whatever comes: 7, 13, 19, 37, 53."""
    with ExitStack() as stack:
        asking: dict[int, UdpClient] = {}
        for port in SERVICES:
            with suppress(Failed):
                asking[port] = stack.enter_context(UdpClient(_v4(target), clock=target.clock, source=(LOOPBACK, port)))
        if not asking:
            raise Skipped("needs ports below 1024 to ask from (root)")
        for client in asking.values():
            client.send(b"hello\n")
        with target.letters(host=_v4(target)[0]) as client:
            client.send(b"and me?\n")
            client.take(SOON)  # whoever is slow has come to the others by then
        if answered := [port for port, client in asking.items() if client.take(QUIET)]:
            raise Failed(f"ports {', '.join(map(str, answered))} were answered", pattern="answered")
        return f"asked from {', '.join(map(str, asking))}"


@case(
    passes="at most 30 % of a core, and it serves on",
    severity="SHOULD",
    source=LOOP,
    needs=("U01",),
    process=True,
    alone=True,
    schemes=UDP,
)
def u13_self_loop(target: ServerTarget) -> str:
    """Forge a datagram from the server's own address."""
    place = _v4(target)
    with _serving(target):
        spoof(place, place, b"echo\n")
        load = target.program.load(1.0)
        if load > 0.3:
            raise Failed(f"it talks to itself, and keeps {load:.0%} of a core busy with it", pattern="busy")
    return f"{load:.0%} of a core"


@case(
    passes="the datagram dies out within 1 s",
    severity="SHOULD",
    source=LOOP,
    needs=("U01",),
    process=True,
    alone=True,
    schemes=UDP,
)
def u15_two_server_loop(target: ServerTarget) -> str:
    """Forge a datagram between two copies of the server."""
    if target.subject.port:
        raise Skipped("a second copy cannot have the same fixed port")
    second = Program(target.subject, target.clock)
    try:
        second.start()
        with _serving(target), capture(target.clock, target.port) as seen:
            spoof((LOOPBACK, second.port), _v4(target), b"echo\n")
            seen.sent(1.0)
            if more := seen.sent(QUIET):
                rate = f"{more / QUIET:,.0f} datagrams a second"
                raise Failed(f"after a second they still talk to each other: {rate}", pattern="busy")
    finally:
        second.close()
    return "it died out"


@case(passes="survives, silent", severity="SHOULD", source="RFC 768", needs=("U01",), process=True, schemes=UDP)
def u16_port_0(target: ServerTarget) -> None:
    """Forge a datagram from port 0, where nobody can be."""
    with _serving(target) as client, capture(target.clock, target.port) as seen:
        spoof((LOOPBACK, 0), _v4(target), b"hello\n")
        if count := _beside(client, seen):
            raise Failed(f"{count} datagrams were sent to port 0", pattern="answered")


@case(passes="silent", severity="MUST", source="RFC 1122 4.1.3.6", needs=("U01",), process=True, schemes=UDP)
def u17_bad_source(target: ServerTarget) -> None:
    """Forge datagrams from broadcast and multicast addresses."""
    with _serving(target) as client, capture(target.clock, target.port) as seen:
        for sender in ("255.255.255.255", "127.255.255.255", "224.0.0.1", "239.1.2.3"):
            spoof((sender, 4000), _v4(target), b"hello\n")
        if count := _beside(client, seen):
            raise Failed(f"{count} datagrams were sent to everybody", pattern="answered")


@case(
    passes="silent", severity="SHOULD", source="'fraggle'; RFC 1122 4.1.3.6", needs=("U01",), process=True, schemes=UDP
)
def u18_bcast_dest(target: ServerTarget) -> None:
    """Send to the broadcast address of loopback."""
    if not _everywhere(target):
        raise Skipped("the server is bound to one address, and hears no broadcast")
    with target.letters(host=_v4(target)[0]) as crier:
        with _serving(target):
            crier.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            crier.sock.sendto(b"hello\n", ("127.255.255.255", target.port))
            answer = crier.take(QUIET)
        if answer or crier.take():  # the second, by a server that was slow: it has served somebody since
            raise Failed("a broadcast was answered", pattern="answered")
