"""Have the Linux kernel timestamp received packets: it starts some moments after the first socket has asked for it."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SO_TIMESTAMPNS = 35
MAX_MESSAGES = 100_000  # each takes some microseconds


@contextmanager
def kernel_timestamps() -> Iterator[None]:
    """Keep timestamps enabled for the block; skip the test where there are none."""
    if sys.platform != "linux":
        pytest.skip("Linux only")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as receiver,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sender, _ = listener.accept()
        with sender:
            for _ in range(MAX_MESSAGES):
                sender.send(b"x")
                _, ancillary, _, _ = receiver.recvmsg(1, 64)
                if ancillary:
                    break
            else:
                pytest.skip("this kernel does not timestamp streams")
            yield
