"""Many clients at once: connected together, closed together, and driven from one wait.

A wait is a poll of all of them, which has no limit of 1024.
"""

import select
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from halloo._check.server.stream_client import StreamClient
from halloo._check.server.target import ServerTarget
from halloo._core.histogram import Histogram
from halloo._core.units import SECOND

QUEUE = 4  # clients that even a short queue of connections to be accepted holds


@contextmanager
def many_clients(target: ServerTarget, size: int, *, receive_buffer: int | None = None) -> Iterator[list[StreamClient]]:
    """Connect so many clients, and close them with the block.

    Every now and then one has a line echoed, and with that all before it have been accepted: whether many may wait for
    that is a question of its own.
    """
    with ExitStack() as stack:
        clients: list[StreamClient] = []
        while len(clients) < size:
            clients.append(stack.enter_context(target.dial(receive_buffer=receive_buffer)))
            if len(clients) % QUEUE == 0:
                clients[-1].ask(b"here\n", surplus=0)
        yield clients


class Watch:
    """Which of many clients have something to read, or room to write."""

    def __init__(self, clients: Iterable[StreamClient]) -> None:
        """Watch for something to read."""
        self._poll = select.poll()
        self._clients = {client.sock.fileno(): client for client in clients}
        for fd in self._clients:
            self._poll.register(fd, select.POLLIN)

    def write(self, client: StreamClient, wanted: bool) -> None:
        """Watch this one for room to write as well, or no longer."""
        self._poll.modify(client.sock, select.POLLIN | (select.POLLOUT if wanted else 0))

    def forget(self, client: StreamClient) -> None:
        """Watch this one no longer; do so before it is closed."""
        self._poll.unregister(client.sock)
        del self._clients[client.sock.fileno()]

    def ready(self, seconds: float) -> list[StreamClient]:
        """Wait, and say who is ready."""
        return [self._clients[fd] for fd, _ in self._poll.poll(max(seconds, 0) * 1000)]


def p99(seconds: Iterable[float]) -> float:
    """Give what 99 of 100 do not exceed, in seconds; there has to be one at least.

    >>> round(p99([0.001] * 99 + [0.5]), 4)
    0.001
    """
    return Histogram(round(each * SECOND) for each in seconds).percentiles([99.0])[99.0] / SECOND
