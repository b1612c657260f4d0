"""Sockets from a service manager: one that cannot serve, and an option that cannot apply to it, are reported."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.programs import PYTHON, activated_argv

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs inherited descriptors")

IPPROTO_MPTCP, IPPROTO_UDPLITE = 262, 136  # Linux's numbers
LISTEN_PID = "; look at the service's .socket unit, or unset LISTEN_PID"

# One process for all commands that are refused; each gets a descriptor and a count, as from a service manager.
REFUSED = """
import os, sys
from halloo._cli.main import main
for case in sys.argv[1:]:
    number, count, *options = case.split(",")
    os.dup2(int(number), 3)
    os.closerange(4, 10)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}
    try:
        main(["serve", *options])
    except SystemExit as end:
        assert end.code == 2
"""


def refusals(*cases: tuple[socket.socket, str]) -> list[str]:
    """Return the message of each command, which is given as the count of sockets and the options."""
    import fcntl  # noqa: PLC0415 - not on Windows

    numbers = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 10) for sock, _ in cases]
    try:
        argv = [
            PYTHON,
            "-c",
            REFUSED,
            *(f"{number},{words}" for number, (_, words) in zip(numbers, cases, strict=True)),
        ]
        done = subprocess.run(argv, pass_fds=numbers, capture_output=True, text=True, timeout=60, check=True)
    finally:
        for number in numbers:
            os.close(number)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_options_and_counts_that_cannot_apply_are_refused() -> None:
    fact = "has no effect on the sockets that the service manager has opened (LISTEN_FDS)"
    fixed = {"--cert,cert.pem": "--cert", "--client-ca,ca.pem": "--client-ca", "-4": "-4 or -6"}
    fixed["--reuse-port,--workers,2"] = "--reuse-port"
    counts = ("abc", "", "-1", "9" * 5000)
    words = [*(f"1,{option}" for option in fixed), "1,--any-port", "1,--handshake-timeout,3", *counts, "9000"]
    with socket.create_server(("127.0.0.1", 0)) as sock:
        lines = refusals(*((sock, each) for each in words))
    remedy = "leave it out, or name the addresses to listen on"
    assert lines[:4] == [f"halloo: {name} {fact}; {remedy}" for name in fixed.values()]
    assert [line[:29] for line in lines[4:6]] == ["halloo: --any-port is for udp", "halloo: --handshake-timeout i"]
    for line in lines[6:10]:
        assert line.startswith("halloo: LISTEN_FDS must be a number of sockets, not '")
        assert line.endswith(LISTEN_PID)
    assert lines[10:] == [f"halloo: descriptor 4, which LISTEN_FDS counts, is no socket{LISTEN_PID}"]


def test_sockets_that_cannot_be_served_are_refused() -> None:
    local = ("127.0.0.1", 0)
    kinds: list[tuple[str, str, object, int, bool]] = [  # family, type, address, protocol, whether it listens
        ("AF_UNIX", "SOCK_STREAM", None, 0, False),
        ("AF_UNIX", "SOCK_DGRAM", None, 0, False),
        ("AF_INET", "SOCK_STREAM", local, 0, False),
        ("AF_UNIX", "SOCK_SEQPACKET", b"\0halloo-test-%d" % os.getpid(), 0, True),
        ("AF_VSOCK", "SOCK_STREAM", (-1, -1 & 0xFFFFFFFF), 0, True),
        ("AF_INET", "SOCK_STREAM", local, IPPROTO_MPTCP, True),
        ("AF_INET", "SOCK_DGRAM", local, IPPROTO_UDPLITE, False),
    ]
    with ExitStack() as stack:
        sockets = []
        for family, kind, address, protocol, listening in kinds:
            try:
                sock = socket.socket(getattr(socket, family), getattr(socket, kind), protocol)
            except (AttributeError, OSError):
                continue  # this system has no such sockets
            sockets.append(stack.enter_context(sock))
            if address:
                sock.bind(address)  # type: ignore[arg-type]  # of its family
            if listening:
                sock.listen()
        lines = refusals(*((sock, "1") for sock in sockets))
    fact = "descriptor 3, which LISTEN_FDS counts, neither listens for tcp:// or unix: nor is for udp://"
    assert lines == [f"halloo: {fact}{LISTEN_PID}"] * len(sockets)


INHERIT = """
import os, socket
from halloo._net.activation import inherited
with inherited(buffer=65536) as listener:
    assert not {"LISTEN_PID", "LISTEN_FDS"} & os.environ.keys()
    sock = listener.sockets[0]
    wanted = [(socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
    print(*(sock.getsockopt(*option) for option in wanted), sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems report other sizes")
def test_inherited_sockets_get_the_options_of_opened_ones() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        argv = activated_argv(sock, PYTHON, "-c", INHERIT)
        done = subprocess.run(argv, pass_fds=[sock.fileno()], capture_output=True, text=True, timeout=20, check=False)
        assert (done.stdout, done.stderr) == ("1 1 65536\n", "")
        assert os.fstat(sock.fileno())  # the parent's own stays open
