"""A machine without a free port, in a network namespace of the test's own: no server may be blamed for it."""

import sys
from pathlib import Path

import pytest

from tests.namespace import in_namespace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's namespaces")

# Four ports, all used: by connections to the server, or by datagram sockets.
FOUR_PORTS = """
import halloo
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
    file.write("40000 40003")
def used(kind):
    held = [socket.socket(socket.AF_INET, kind) for _ in range(4)]
    for sock in held:
        sock.connect(("127.0.0.1", 5000))
    return held
def show_all(*commands):
    for words in commands:
        show(start(*words.split()), time.monotonic())
"""
REMEDY = "close other connections, or allow more ports (on Linux: sysctl net.ipv4.ip_local_port_range)"


def test_without_a_free_port_a_connection_is_a_local_error_and_no_fault_of_the_server(tmp_path: Path) -> None:
    printed = in_namespace(
        tmp_path,
        FOUR_PORTS
        + """
with halloo.Server("127.0.0.1:5000", "udp://127.0.0.1:5000") as server:
    held = used(socket.SOCK_STREAM), used(socket.SOCK_DGRAM)
    show_all("send 127.0.0.1:5000 hi", "send udp://127.0.0.1:5000 hi", "serve 127.0.0.1:0", "serve udp://127.0.0.1:0",
             "ping 127.0.0.1:5000 -c 1 -q", "ping udp://127.0.0.1:5000 -c 1 -q",
             "ping --bind 127.0.0.1 127.0.0.1:5000 -c 1 -q",
             "check server 127.0.0.1:5000 --only T01", "check server udp://127.0.0.1:5000 --only U01")
""",
    )
    fact = "no local port is free for a connection to 127.0.0.1:5000"
    ended = [line for line in printed.splitlines() if "quick" in line or "slow" in line]
    connect, free = f"2 quick halloo: {fact}; {REMEDY}", "2 quick halloo: no port is free on 127.0.0.1"
    assert ended[:2] == [connect] * 2
    assert [line.partition(" (")[0] for line in ended[2:4]] == [free] * 2
    assert [line[:7] for line in ended[4:]] == ["2 quick"] * 5
    assert printed.count(f"failed      {fact}") == 3
    assert "FAIL" not in printed
    assert printed.count(f"AddressNotAvailable: {fact}") == 2
    assert printed.count("the case was not run: this machine lacks what it needs") == 2


def test_a_source_address_that_is_missing_is_not_a_missing_port(tmp_path: Path) -> None:
    printed = in_namespace(
        tmp_path,
        """
import halloo
with open("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "w") as file:
    file.write("1")
try:
    halloo.connect("[::1]:5000")
except halloo.Unreachable as error:
    print(error)
""",
    )
    assert printed.startswith("[::1]:5000 cannot be reached from here (address not available)")


def test_a_check_does_not_talk_to_itself(tmp_path: Path) -> None:
    printed = in_namespace(
        tmp_path,
        """
from halloo._check.server.udp_client import UdpClient
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
    file.write("40000 40001")
for _ in range(12):
    with UdpClient(("127.0.0.1", 40000), clock=time.monotonic) as client:
        print(client.sock.getsockname()[1])
""",
    )
    assert {*printed.split()} == {"40001"}
