"""Tests of the checker's UDP client: its timeouts, and the text and pattern of each failure."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest

from halloo._check.case import Failed
from halloo._check.server.udp_client import UdpClient

QUIET = 0.02  # seconds of silence, instead of the default
LONG = 20.0  # seconds until something that is certain to arrive
BRIEF = 0.1  # seconds until a timeout that is expected


@contextmanager
def answering(*answers: Callable[[bytes], bytes]) -> Iterator[int]:
    """Run a server that receives one datagram and sends the result of each function; yield its port."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)

        def serve() -> None:
            data, source = sock.recvfrom(65535)
            for answer in answers:
                sock.sendto(answer(data), source)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            thread.join()


def test_an_echo_is_accepted_also_of_an_empty_datagram() -> None:
    for data, answer in ((b"hello", bytes), (b"", bytes), (b"hello", bytes.upper)):
        with answering(answer) as port:
            client = UdpClient(("127.0.0.1", port), clock=time.monotonic, expected=answer)
            with client:
                assert client.roundtrip(data, quiet_time=QUIET) < 2
    with answering(bytes) as port, UdpClient(("127.0.0.1", port), clock=time.monotonic) as client:
        client.send(b"hello")
        assert client.receive_from(5) == (b"hello", ("127.0.0.1", port))


def test_a_wrong_reply_is_described() -> None:
    wrong: dict[str, tuple[str, tuple[Callable[[bytes], bytes], ...]]] = {
        "a datagram of 5 bytes came back with 2": ("short", (lambda data: data[:2],)),
        "a datagram of 5 bytes came back with 6": ("surplus", (lambda data: data + b"!",)),
        "a datagram of 5 bytes came back with 5, different from offset 0 on": ("changed", (bytes.title,)),
        "an unexpected datagram was received, of 5 bytes: b'hello'": ("surplus", (bytes, bytes)),
        "sent 5 bytes: no reply within 0.1 s": ("silent", ()),
    }
    for fact, (pattern, answers) in wrong.items():
        with (
            answering(*answers) as port,
            UdpClient(("127.0.0.1", port), clock=time.monotonic) as client,
            pytest.raises(Failed) as failed,
        ):
            client.roundtrip(b"hello", LONG if answers else BRIEF, quiet_time=LONG)
        assert (failed.value.pattern, str(failed.value)) == (pattern, fact)


@pytest.mark.parametrize(("replies", "surplus"), [(2, False), (3, True)])
def test_a_datagram_is_sent_again_until_it_is_answered_and_may_be_answered_each_time(
    replies: int, surplus: bool
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)

        def serve() -> None:
            asked = [sock.recvfrom(65535), sock.recvfrom(65535)]
            for data, source in asked[:1] * replies:
                sock.sendto(data, source)

        thread = threading.Thread(target=serve)
        thread.start()
        with UdpClient(sock.getsockname(), clock=time.monotonic, waits=(BRIEF, LONG)) as client:
            client.roundtrip(b"hello", quiet_time=0)
            thread.join()
            with pytest.raises(Failed, match="an unexpected datagram") if surplus else nullcontext():
                client.expect_silence(LONG if surplus else QUIET)
            assert client.sent == client.answered == 2


def test_a_source_address_that_is_not_local_is_reported() -> None:
    with pytest.raises(Failed, match="no socket from"):
        UdpClient(("127.0.0.1", 9), clock=time.monotonic, source=("192.0.2.1", 0))


def test_a_datagram_that_the_kernel_refuses_to_send_is_reported() -> None:
    with (
        UdpClient(("255.255.255.255", 9), clock=time.monotonic) as client,
        pytest.raises(Failed, match="a datagram of 5 bytes could not be sent: Permission denied"),
    ):
        client.send(b"hello")


# unshare(1), tc-tbf(8): a network namespace whose loopback is limited to 1 MB/s; $0 and the rest are the command.
ON_A_SLOW_LINK = (
    *("unshare", "-rn", "sh", "-c"),
    'ip link set lo up && tc qdisc add dev lo root tbf rate 8mbit burst 4kb latency 10s && exec "$0" "$@"',
)
MORE_THAN_FITS = """
import socket, time
from halloo._check.server.udp_client import UdpClient
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", 0))
    with UdpClient(sock.getsockname(), clock=time.monotonic) as client:
        for _ in range(300):
            client.send(bytes(1000))
            print(len(sock.recv(2000)) if _ > 150 else "queued")
"""


def test_sending_waits_for_a_slow_link() -> None:
    command = (*ON_A_SLOW_LINK, sys.executable, "-c", MORE_THAN_FITS)
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare(1)")
    if "halloo" not in run.stderr and run.returncode:
        pytest.skip(f"needs a network namespace and tc(8): {run.stderr[-200:]}")
    assert run.stdout.split() == ["queued"] * 151 + ["1000"] * 149, run.stderr
