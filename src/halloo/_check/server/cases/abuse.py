"""UDP cases of abuse: spoofed source addresses must not cause endless loops or replies to third parties.

Uses clients and spoofed datagrams; those are sent only on loopback, to a server started by the checker.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from halloo._check import processes
from halloo._check.case import PROCESS, Failed, Skipped
from halloo._check.server.spoofing import Capture, capture, spoof
from halloo._check.server.stream_client import REPLY_TIMEOUT
from halloo._check.server.target import ServerTarget, case
from halloo._check.server.udp_client import UdpClient
from halloo._check.spec import LOOPBACK

SERVICE_PORTS = (7, 13, 19, 37, 53)
LOOPS = "VU#417980; CVE-2024-2169"
QUIET_TIME = 0.3  # seconds
LATE_REPLY_TIME = 0.05  # the same, after a reply
SPOOFED = "spoofed datagrams are sent only to a server started by the checker"


def _ipv4(target: ServerTarget) -> tuple[str, int]:
    if ":" not in target.host:
        return target.host, target.port
    if not _bound_to_any(target):
        raise Skipped("the server does not serve IPv4")
    return LOOPBACK, target.port


def _bound_to_any(target: ServerTarget) -> bool:
    return processes.bound_to_any(target.program.tree.running(), target.port, "udp")


@contextmanager
def _served_before_and_after(target: ServerTarget) -> Iterator[UdpClient]:
    """Check that a client is served before and after the block."""
    with target.udp_client(host=_ipv4(target)[0]) as client:
        client.roundtrip(target.line(b"hello"), quiet_time=0)
        _discard_extra_replies(client)  # U08 is about those
        yield client
        _discard_extra_replies(client)
        client.roundtrip(target.line(b"and now?"), quiet_time=0)


def _discard_extra_replies(client: UdpClient) -> None:
    while client.receive_from(LATE_REPLY_TIME):
        pass


@case("SHOULD", "no reply", f"inetd; {LOOPS}", "U01", SPOOFED)
def u12_service_ports(target: ServerTarget) -> str:
    """Send from the ports of services that answer any datagram: 7, 13, 19, 37, 53."""
    host, _ = _ipv4(target)
    with ExitStack() as stack:
        clients: dict[int, UdpClient] = {}
        for port in SERVICE_PORTS:
            with suppress(Failed):
                clients[port] = stack.enter_context(target.udp_client(host=host, source=(LOOPBACK, port)))
        if not clients:
            raise Skipped("needs source ports below 1024 (root)")
        for client in clients.values():
            client.send(b"hello\n")
        with target.udp_client(host=host) as client:
            client.send(b"and me?\n")
            client.receive_from(REPLY_TIMEOUT)  # by then even a slow server has reached the others
        if answered := [port for port, client in clients.items() if client.receive_from(QUIET_TIME)]:
            raise Failed(f"ports {', '.join(map(str, answered))} were answered", pattern="answered")
        return f"sent from {', '.join(map(str, clients))}"


@case("SHOULD", "at most 30 % of a core, and clients are still served", LOOPS, "U01", PROCESS, alone=True)
def u13_self_loop(target: ServerTarget) -> str:
    """Send a datagram with the server's own address as its source."""
    address = _ipv4(target)
    with _served_before_and_after(target):
        spoof(address, address, b"echo\n")
        load = target.program.cpu_load(1.0)
        if load > 0.3:
            raise Failed(f"{load:.0%} of a core, after one datagram from its own address", pattern="busy")
    return f"{load:.0%} of a core"


@case("SHOULD", "the exchange ends within 1 s", LOOPS, "U01", PROCESS, alone=True)
def u15_two_server_loop(target: ServerTarget) -> str:
    """Send a datagram to the server with a second copy of it as the source."""
    if target.spec.port:
        raise Skipped("a second copy cannot use the same fixed port")
    with target.program.copy() as second:
        second.start()
        with _served_before_and_after(target), capture(target.clock, target.port) as captured:
            spoof((LOOPBACK, second.port), _ipv4(target), b"echo\n")
            captured.count_sent(1.0)
            if more := captured.count_sent(QUIET_TIME):
                rate = f"{more / QUIET_TIME:,.0f} datagrams a second"
                raise Failed(f"1 s after one datagram the server still sends {rate}", pattern="busy")
    return "the exchange ended"


@case("SHOULD", "no reply; still serves", "RFC 768", "U01", PROCESS)
def u16_port_0(target: ServerTarget) -> None:
    """Send a datagram from port 0, which no socket can have."""
    _check_no_reply_to(target, "port 0", (LOOPBACK, 0))


@case("MUST", "no reply", "RFC 1122 4.1.3.6", "U01", PROCESS)
def u17_bad_source(target: ServerTarget) -> None:
    """Send datagrams from broadcast and multicast addresses."""
    hosts = ("255.255.255.255", "127.255.255.255", "224.0.0.1", "239.1.2.3")
    _check_no_reply_to(target, "broadcast or multicast addresses", *((host, 4000) for host in hosts))


def _check_no_reply_to(target: ServerTarget, name: str, *senders: tuple[str, int]) -> None:
    with _served_before_and_after(target) as client, capture(target.clock, target.port) as captured:
        for sender in senders:
            spoof(sender, _ipv4(target), b"hello\n")
        if count := _count_other_replies(client, captured):
            raise Failed(f"{count} replies were sent to {name}", pattern="answered")


def _count_other_replies(client: UdpClient, captured: Capture) -> int:
    """Count the replies to other addresses until a later request has been answered, however slow the server is."""
    client.send(b"and me?\n")
    own = 1 if client.receive_from(REPLY_TIMEOUT) else 0
    count = captured.count_sent(QUIET_TIME)
    while client.receive_from():
        own += 1
    return max(count - own, 0)  # one may arrive after the capture


@case("SHOULD", "no reply", "fraggle; RFC 1122 4.1.3.6", "U01", PROCESS)
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
