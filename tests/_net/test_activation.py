"""Sockets from a service manager: one that cannot serve, and an option that cannot apply to it, are reported."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.programs import PYTHON, activated_argv

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs inherited descriptors")

SERVE = (PYTHON, "-m", "halloo", "serve")
IPPROTO_MPTCP, IPPROTO_UDPLITE = 262, 136  # Linux's numbers
LISTEN_PID = "; look at the service's .socket unit, or unset LISTEN_PID"


@pytest.fixture
def s() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as s:
        yield s


def refusal(sock: socket.socket, *options: str, count: str = "1") -> str:
    """Start the command with the socket, check that it refuses, and return its message."""
    argv = activated_argv(sock, *SERVE, *options, count=count)
    done = subprocess.run(argv, pass_fds=[sock.fileno()], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr.strip()


@pytest.mark.parametrize(
    "options",
    [
        ("--cert", "cert.pem"),
        ("--client-ca", "ca.pem"),
        ("-4",),
        ("--reuse-port", "--workers", "2"),
    ],
    ids=lambda options: options[0],
)
def test_an_option_that_would_have_no_effect_is_refused(s: socket.socket, options: tuple[str, ...]) -> None:
    name = "-4 or -6" if options == ("-4",) else options[0]
    fact = "has no effect on the sockets that the service manager has opened (LISTEN_FDS)"
    assert refusal(s, *options) == f"halloo: {name} {fact}; leave it out, or name the addresses to listen on"


@pytest.mark.parametrize("options", [("--any-port",), ("--handshake-timeout", "3")], ids=["any-port", "handshake"])
def test_an_option_for_another_scheme_is_refused(s: socket.socket, options: tuple[str, ...]) -> None:
    assert refusal(s, *options).startswith(f"halloo: {options[0]} is for ")


@pytest.mark.parametrize("count", ["abc", "", "-1", "9" * 5000])
def test_a_wrong_number_of_sockets_is_one_line(s: socket.socket, count: str) -> None:
    message = refusal(s, count=count)
    assert message.startswith("halloo: LISTEN_FDS must be a number of sockets, not '")
    assert message.endswith(LISTEN_PID)


def test_a_missing_descriptor_is_one_line(s: socket.socket) -> None:
    assert refusal(s, count="9000") == f"halloo: descriptor 4, which LISTEN_FDS counts, is no socket{LISTEN_PID}"


Make = Callable[[], socket.socket]


def bound(family: str, kind: str, address: tuple[object, ...] | bytes, protocol: int = 0) -> Make:
    """Return a function that makes a bound socket of a kind that this machine may lack."""

    def make() -> socket.socket:
        try:
            sock = socket.socket(getattr(socket, family), getattr(socket, kind), protocol)
        except (AttributeError, OSError) as error:
            pytest.skip(f"this system has no such sockets: {error}")
        sock.bind(address)
        return sock

    return make


def listening(make: Make) -> Make:
    def make_listening() -> socket.socket:
        sock = make()
        sock.listen()
        return sock

    return make_listening


@pytest.mark.parametrize(
    "make",
    [
        lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        bound("AF_INET", "SOCK_STREAM", ("127.0.0.1", 0)),
        listening(bound("AF_UNIX", "SOCK_SEQPACKET", b"\0halloo-test-%d" % os.getpid())),
        listening(bound("AF_VSOCK", "SOCK_STREAM", (-1, -1 & 0xFFFFFFFF))),
        listening(bound("AF_INET", "SOCK_STREAM", ("127.0.0.1", 0), IPPROTO_MPTCP)),
        bound("AF_INET", "SOCK_DGRAM", ("127.0.0.1", 0), IPPROTO_UDPLITE),
    ],
    ids=["unix", "unix datagrams", "not listening", "seqpacket", "vsock", "mptcp", "udplite"],
)
def test_a_socket_that_cannot_be_served_is_one_line(make: Make) -> None:
    with make() as sock:
        fact = "descriptor 3, which LISTEN_FDS counts, neither listens for tcp:// or unix: nor is for udp://"
        assert refusal(sock) == f"halloo: {fact}{LISTEN_PID}"


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
def test_inherited_sockets_get_the_options_of_opened_ones(s: socket.socket) -> None:
    argv = activated_argv(s, PYTHON, "-c", INHERIT)
    done = subprocess.run(argv, pass_fds=[s.fileno()], capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.stderr) == ("1 1 65536\n", "")
    assert os.fstat(s.fileno())  # the parent's own stays open
