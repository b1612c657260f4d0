"""Two thousand clients that send and never read: their cost for a server with bounded buffers, and the delay of others.

Measures the server's process and the kernel's memory for its sockets from outside. Linux only.
"""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Self

import psutil
import pytest

from tests.kernel_memory import kernel_memory
from tests.programs import PYTHON, started

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs sock_diag(7)")

KIB = 1024
CLIENTS = 2000  # clients
DESCRIPTORS = 2 * CLIENTS  # of either process, with room for its other descriptors
BUFFER_SIZE = 64 * KIB  # of the server, in each direction
MAX_KERNEL_MEMORY = 300 * KIB  # of a connection at the server's end, both directions, with the kernel's overhead
MAX_SERVER_TIME = (
    0.5  # seconds of the server's work within which a new client has to be served, however busy the machine is
)
MAX_FULL_ROUNDS = 3  # rounds without room for any client, after which all are stalled
TRIES = 3
TIMEOUT = 20  # seconds


class SlowClients:
    """Clients that never read, and new clients between them; a context manager."""

    def __init__(self, port: int, cpu_time: Callable[[], float]) -> None:
        self._address, self._cpu_time = ("127.0.0.1", port), cpu_time
        self._stack = ExitStack()
        self.sent: dict[socket.socket, int] = {}
        self.slowest = 0.0

    def __enter__(self) -> Self:
        for _ in range(CLIENTS):
            sock = self._stack.enter_context(socket.socket())
            # Small, so that the server's memory fills and is measured.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_SIZE)
            sock.settimeout(TIMEOUT)
            sock.connect(self._address)
            sock.setblocking(False)
            self.sent[sock] = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stall(self) -> None:
        """Send from all until none can send more, while new clients connect and are served."""
        full_rounds = 0
        while full_rounds < MAX_FULL_ROUNDS:
            full_rounds = 0 if sum(map(self._fill, self.sent)) else full_rounds + 1
            self.serve_new_client()

    def _fill(self, sock: socket.socket) -> int:
        """Send until it would block."""
        data, taken = bytes(4 * BUFFER_SIZE), 0
        while True:
            try:
                taken += sock.send(data)
            except BlockingIOError:
                self.sent[sock] += taken
                return taken

    def serve_new_client(self) -> None:
        """Check that new clients are served, and record the most server time needed.

        While this process is suspended, the server works for others: so the best of three, as unfairness is constant.
        """
        self.slowest = max(self.slowest, min(self._time_to_serve() for _ in range(TRIES)))

    def _time_to_serve(self) -> float:
        began = self._cpu_time()
        with socket.create_connection(self._address, TIMEOUT) as fresh:
            fresh.sendall(b"and now?\n")
            assert fresh.recv(9, socket.MSG_WAITALL) == b"and now?\n"
        return self._cpu_time() - began


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Raise the descriptor limit of this process and of those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < DESCRIPTORS:
        pytest.skip(f"needs {DESCRIPTORS} descriptors, and {hard} are allowed")
    if 0 <= soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.conformance
@pytest.mark.usefixtures("many_descriptors")
def test_two_thousand_slow_readers_cost_a_bounded_buffer_each_and_delay_no_other_client() -> None:
    with started(PYTHON, "-m", "halloo", "serve", "127.0.0.1:0", "-q", "--buffer", "64KiB") as server:
        assert server.stdout
        port, process = int(server.stdout.readline().rpartition(b":")[2]), psutil.Process(server.pid)

        def worked() -> float:
            times = process.cpu_times()
            return times.user + times.system

        with SlowClients(port, worked) as clients:
            clients.serve_new_client()
            idle = process.memory_info().rss
            clients.stall()
            user, kernel = process.memory_info().rss - idle, kernel_memory(port)
        assert min(clients.sent.values()) > BUFFER_SIZE  # each has filled its buffer
        assert user / CLIENTS <= BUFFER_SIZE
        assert len(kernel) >= CLIENTS
        assert max(kernel) <= MAX_KERNEL_MEMORY
        assert clients.slowest <= MAX_SERVER_TIME
