"""A kernel that puts times on what it receives: it begins some moments after the first socket has asked for them.

Knows raw sockets, and a number of Linux.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SO_TIMESTAMPNS = 35
TRIES = 100_000  # messages, each of which takes some microseconds


@contextmanager
def stamping_kernel() -> Iterator[None]:
    """Keep it so, once it is; skip the test where there is none."""
    if sys.platform != "linux":
        pytest.skip("Linux alone")
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        near.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        far, _ = listener.accept()
        with far:
            for _ in range(TRIES):
                far.send(b"x")
                _, notes, _, _ = near.recvmsg(1, 64)
                if notes:
                    break
            else:
                pytest.skip("this kernel puts no times on a stream")
            yield
