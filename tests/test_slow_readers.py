"""Two thousand clients that send and never read: what they cost a server that bounds its buffers, and who has to wait.

Knows the server's process, what the kernel holds for its sockets, and nothing of what is inside. Linux only.
"""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Self

import psutil
import pytest

from tests.pinned import pinned
from tests.programs import PYTHON, started

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs sock_diag(7)")

KIB = 1024
MANY = 2000  # clients
DESCRIPTORS = 2 * MANY  # of either process, with room for what else it has open
BUFFER = 64 * KIB  # of the server, each way
KERNEL = 300 * KIB  # of a connection at the server's end, both ways, with the kernel's own bookkeeping
FRESH = 0.5  # seconds of the server's work within which a new client has to be served, however busy the machine is
FRUITLESS = 3  # times that nobody has room, a new client being served after each, until all are stalled
TRIES = 3
PATIENCE = 20  # seconds


class Clients:
    """Those who never read, and who comes beside them; a context manager."""

    def __init__(self, port: int, worked: Callable[[], float]) -> None:
        self._address, self._worked = ("127.0.0.1", port), worked
        self._stack = ExitStack()
        self.sent: dict[socket.socket, int] = {}
        self.slowest = 0.0

    def __enter__(self) -> Self:
        for _ in range(MANY):
            sock = self._stack.enter_context(socket.socket())
            # Small, so that the server is what is filled: it is to be the server's memory that is measured.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            sock.settimeout(PATIENCE)
            sock.connect(self._address)
            sock.setblocking(False)
            self.sent[sock] = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stall(self) -> None:
        """Have all of them send until no more is taken of any, while others come, talk and go."""
        fruitless = 0
        while fruitless < FRUITLESS:
            fruitless = 0 if sum(map(self._push, self.sent)) else fruitless + 1
            self.come_and_go()

    def _push(self, sock: socket.socket) -> int:
        """Send until it would block."""
        data, taken = bytes(4 * BUFFER), 0
        while True:
            try:
                taken += sock.send(data)
            except BlockingIOError:
                self.sent[sock] += taken
                return taken

    def come_and_go(self) -> None:
        """See that new clients are served, and after how much work at worst.

        While this process stands still, the server works for others: the best of three, since who is unfair always is.
        """
        self.slowest = max(self.slowest, min(self._served() for _ in range(TRIES)))

    def _served(self) -> float:
        began = self._worked()
        with socket.create_connection(self._address, PATIENCE) as fresh:
            fresh.sendall(b"and now?\n")
            assert fresh.recv(9, socket.MSG_WAITALL) == b"and now?\n"
        return self._worked() - began


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Let this process, and those that it starts, have enough descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < DESCRIPTORS:
        pytest.skip(f"needs {DESCRIPTORS} descriptors, and {hard} are allowed")
    if 0 <= soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_two_thousand_slow_readers_cost_a_bounded_buffer_each_and_hold_nobody_up() -> None:
    with started(PYTHON, "-m", "halloo", "serve", "127.0.0.1:0", "-q", "--buffer", "64KiB") as server:
        assert server.stdout
        port, process = int(server.stdout.readline().rpartition(b":")[2]), psutil.Process(server.pid)

        def worked() -> float:
            times = process.cpu_times()
            return times.user + times.system

        with Clients(port, worked) as clients:
            clients.come_and_go()
            idle = process.memory_info().rss
            clients.stall()
            user, kernel = process.memory_info().rss - idle, pinned(port)
        assert min(clients.sent.values()) > BUFFER  # each has filled it
        assert user / MANY <= BUFFER
        assert len(kernel) >= MANY
        assert max(kernel) <= KERNEL
        assert clients.slowest <= FRESH
