"""Many clients at once: connected together, closed together, and multiplexed with one poll.

Uses poll(), which has no limit of 1024 descriptors.
"""

import select
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from halloo._check.case import Failed
from halloo._check.server.stream_client import StreamClient
from halloo._check.server.target import ServerTarget
from halloo._core.histogram import Histogram
from halloo._core.units import SECOND


@contextmanager
def many_clients(
    target: ServerTarget, count: int, *, receive_buffer: int | None = None
) -> Iterator[list[StreamClient]]:
    """Connect `count` clients, and close them at the end of the block.

    Each has a line echoed before the next one connects, by which time it has been accepted: a queue for one is enough.
    """
    with ExitStack() as stack:
        clients: list[StreamClient] = []
        for number in range(count):
            try:
                clients.append(stack.enter_context(target.connect(receive_buffer=receive_buffer)))
                clients[-1].roundtrip(b"here\n", quiet_time=0)
            except Failed as failure:
                pattern = f"{failure.pattern} served-{number}"
                raise failure.in_context(f"{number} of {count} clients were served", pattern=pattern) from failure
        yield clients


class Poller:
    """Waits until any of many clients is readable, or the one that writes is writable."""

    def __init__(self, clients: Iterable[StreamClient], writer: StreamClient | None = None) -> None:
        self._poll = select.poll()
        self._clients = {client.sock.fileno(): client for client in clients}
        for fd, client in self._clients.items():
            self._poll.register(fd, select.POLLIN | (select.POLLOUT if client is writer else 0))

    def ready(self, seconds: float) -> list[StreamClient]:
        return [self._clients[fd] for fd, _ in self._poll.poll(max(seconds, 0) * 1000)]


def p99(seconds: Iterable[float]) -> float:
    """Return the 99th percentile of at least one duration, in seconds.

    >>> round(p99([0.001] * 99 + [0.5]), 4)
    0.001
    """
    return Histogram(round(each * SECOND) for each in seconds).percentiles([99.0])[99.0] / SECOND
