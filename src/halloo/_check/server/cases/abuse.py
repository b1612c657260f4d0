"""UDP cases of abuse: spoofed source addresses must not cause endless loops or replies to third parties.

Uses clients and spoofed datagrams; those are sent only on loopback, to a server started by the checker.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from halloo._check import processes
from halloo._check.case import Failed, Skipped, case
from halloo._check.server.cases.datagrams import REPLY_TIMEOUT, UDP
from halloo._check.server.program import Program
from halloo._check.server.spoofing import Capture, capture, spoof
from halloo._check.server.target import ServerTarget
from halloo._check.server.udp_client import UdpClient
from halloo._check.spec import LOOPBACK

SERVICE_PORTS = (7, 13, 19, 37, 53)
LOOPS = "VU#417980; CVE-2024-2169"
QUIET_TIME = 0.3  # seconds
LATE_REPLY_TIME = 0.05  # the same, after a reply
SPOOFED = "spoofed datagrams are sent only to a server started by the checker"


def _ipv4(target: ServerTarget) -> tuple[str, int]:
    if target.host != LOOPBACK and not _bound_to_any(target):
        raise Skipped("the server does not serve IPv4")
    return LOOPBACK, target.port


def _bound_to_any(target: ServerTarget) -> bool:
    return processes.bound_to_any(target.program.running_pids(), target.port, "udp")


@contextmanager
def _served_before_and_after(target: ServerTarget) -> Iterator[UdpClient]:
    """Check that a client is served before and after the block."""
    with target.udp_client(host=_ipv4(target)[0]) as client:
        client.roundtrip(b"hello\n", quiet_time=0)
        _discard_extra_replies(client)  # U08 is about those
        yield client
        _discard_extra_replies(client)
        client.roundtrip(b"and now?\n", quiet_time=0)


def _count_other_replies(client: UdpClient, captured: Capture) -> int:
    """Count the replies to other addresses until a later request has been answered, however slow the server is."""
    client.send(b"and me?\n")
    own = 1 if client.receive_from(REPLY_TIMEOUT) else 0
    count = captured.count_sent(QUIET_TIME)
    while client.receive_from():
        own += 1
    return max(count - own, 0)  # one may arrive after the capture


def _discard_extra_replies(client: UdpClient) -> None:
    while client.receive_from(LATE_REPLY_TIME):
        pass


@case(passes="no reply", severity="SHOULD", source=f"inetd; {LOOPS}", needs=("U01",), command_only=SPOOFED, schemes=UDP)
def u12_service_ports(target: ServerTarget) -> str:
    """Send from the ports of services that answer any datagram: 7, 13, 19, 37, 53."""
    with ExitStack() as stack:
        clients: dict[int, UdpClient] = {}
        for port in SERVICE_PORTS:
            with suppress(Failed):
                client = UdpClient(_ipv4(target), clock=target.clock, source=(LOOPBACK, port))
                clients[port] = stack.enter_context(client)
        if not clients:
            raise Skipped("needs source ports below 1024 (root)")
        for client in clients.values():
            client.send(b"hello\n")
        with target.udp_client(host=_ipv4(target)[0]) as client:
            client.send(b"and me?\n")
            client.receive_from(REPLY_TIMEOUT)  # by then even a slow server has reached the others
        if answered := [port for port, client in clients.items() if client.receive_from(QUIET_TIME)]:
            raise Failed(f"ports {', '.join(map(str, answered))} were answered", pattern="answered")
        return f"sent from {', '.join(map(str, clients))}"


@case(
    passes="at most 30 % of a core, and clients are still served",
    severity="SHOULD",
    source=LOOPS,
    needs=("U01",),
    process=True,
    alone=True,
    schemes=UDP,
)
def u13_self_loop(target: ServerTarget) -> str:
    """Send a datagram with the server's own address as its source."""
    address = _ipv4(target)
    with _served_before_and_after(target):
        spoof(address, address, b"echo\n")
        load = target.program.cpu_load(1.0)
        if load > 0.3:
            raise Failed(f"the server answers its own datagrams, at {load:.0%} of a core", pattern="busy")
    return f"{load:.0%} of a core"


@case(
    passes="the exchange ends within 1 s",
    severity="SHOULD",
    source=LOOPS,
    needs=("U01",),
    process=True,
    alone=True,
    schemes=UDP,
)
def u15_two_server_loop(target: ServerTarget) -> str:
    """Send a datagram to the server with a second copy of it as the source."""
    if target.spec.port:
        raise Skipped("a second copy cannot use the same fixed port")
    second = Program(target.spec, target.clock)
    try:
        second.start()
        with _served_before_and_after(target), capture(target.clock, target.port) as captured:
            spoof((LOOPBACK, second.port), _ipv4(target), b"echo\n")
            captured.count_sent(1.0)
            if more := captured.count_sent(QUIET_TIME):
                rate = f"{more / QUIET_TIME:,.0f} datagrams a second"
                raise Failed(f"after 1 s the two copies still answer each other: {rate}", pattern="busy")
    finally:
        second.close()
    return "the exchange ended"


@case(passes="no reply; still serves", severity="SHOULD", source="RFC 768", needs=("U01",), process=True, schemes=UDP)
def u16_port_0(target: ServerTarget) -> None:
    """Send a datagram from port 0, which no socket can have."""
    with _served_before_and_after(target) as client, capture(target.clock, target.port) as captured:
        spoof((LOOPBACK, 0), _ipv4(target), b"hello\n")
        if count := _count_other_replies(client, captured):
            raise Failed(f"{count} datagrams were sent to port 0", pattern="answered")


@case(passes="no reply", severity="MUST", source="RFC 1122 4.1.3.6", needs=("U01",), process=True, schemes=UDP)
def u17_bad_source(target: ServerTarget) -> None:
    """Send datagrams from broadcast and multicast addresses."""
    with _served_before_and_after(target) as client, capture(target.clock, target.port) as captured:
        for sender in ("255.255.255.255", "127.255.255.255", "224.0.0.1", "239.1.2.3"):
            spoof((sender, 4000), _ipv4(target), b"hello\n")
        if count := _count_other_replies(client, captured):
            raise Failed(f"{count} datagrams were sent to broadcast or multicast addresses", pattern="answered")


@case(
    passes="no reply", severity="SHOULD", source="fraggle; RFC 1122 4.1.3.6", needs=("U01",), process=True, schemes=UDP
)
def u18_bcast_dest(target: ServerTarget) -> None:
    """Send a datagram to the broadcast address of loopback."""
    if not _bound_to_any(target):
        raise Skipped("the server is bound to one address, and receives no broadcasts")
    with target.udp_client(host=_ipv4(target)[0]) as broadcaster:
        with _served_before_and_after(target):
            broadcaster.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            broadcaster.sock.sendto(b"hello\n", ("127.255.255.255", target.port))
            answer = broadcaster.receive_from(QUIET_TIME)
        if answer or broadcaster.receive_from():  # the second time for a slow server, which has served a client since
            raise Failed("a broadcast was answered", pattern="answered")
