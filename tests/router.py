"""A router that a test makes: a TUN device in a network namespace of its own, whose packets a function answers.

Needs Linux, unshare(1), ip-link(8) and /dev/net/tun; without them the test is skipped. Code behind the router is run in
a process of its own, by `behind_a_router`; there it makes a `Router`.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
ROUTER4, ROUTER6 = "10.9.0.1", "fd09::1"
HOST4, HOST6 = "10.99.0.1", "fd99::1"  # behind the router
PORT = 8888

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
_SET_UP = (
    "ip link set lo up; ip addr add 10.9.0.2/24 dev tun0; ip -6 addr add fd09::2/64 dev tun0 nodad; "
    "ip link set tun0 up mtu 1500; ip route add default via 10.9.0.1; ip -6 route add default via fd09::1 dev tun0"
)
_IPV4_HEADER, _IPV6_HEADER, _UDP = 20, 40, 17

Answer = Callable[[bytes], bytes | None]


def behind_a_router(code: str) -> str:
    """Run Python code in a network namespace of its own, and return its output."""
    if not sys.platform.startswith("linux") or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/net/tun")
    command = ["unshare", "-Urn", sys.executable, "-c", code]
    try:
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=50, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare(1)")
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip(f"needs a network namespace: {done.stderr[-200:]}")
    assert not done.returncode, done.stderr
    return done.stdout


@contextmanager
def router(answer: Answer) -> Iterator[None]:
    """Answer each UDP packet that leaves this namespace with `answer(packet)`, None for no answer."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI))
    subprocess.run(_SET_UP, shell=True, check=True)  # noqa: S602 - a constant

    def serve() -> None:
        with suppress(OSError):  # the device is closed
            while packet := os.read(device, 65536):
                if _is_udp(packet) and (reply := answer(packet)):
                    os.write(device, reply)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        os.close(device)


def _is_udp(packet: bytes) -> bool:
    return (packet[9] if packet[0] >> 4 == 4 else packet[6]) == _UDP


def echo(packet: bytes) -> bytes:
    """Send a datagram back, as an echo server does: no checksum changes when addresses and ports are swapped."""
    four = packet[0] >> 4 == 4
    size, start, header = (4, 12, _IPV4_HEADER) if four else (16, 8, _IPV6_HEADER)
    source, destination = packet[start : start + size], packet[start + size : start + 2 * size]
    ports = packet[header + 2 : header + 4] + packet[header : header + 2]
    return packet[:start] + destination + source + packet[start + 2 * size : header] + ports + packet[header + 4 :]


def icmp(packet: bytes, kind: int, code: int, *, mtu: int = 0, quoted: int = 500) -> bytes:
    """Report a packet as not delivered, with the beginning of it (RFC 792, RFC 4443)."""
    body = struct.pack("!BBHI", kind, code, 0, mtu) + packet[:quoted]
    if packet[0] >> 4 == 4:
        body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
        header = struct.pack("!BBHHHBBH", 0x45, 0, _IPV4_HEADER + len(body), 0, 0, 64, 1, 0)
        header += ip_address(ROUTER4).packed + packet[12:16]
        return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + body
    addresses = ip_address(ROUTER6).packed + packet[8:24]
    pseudo = addresses + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 64) + addresses + body


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
