"""What tests of sockets have in common: the systems that they need, how long they wait, the limit on descriptors."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from halloo._net.connection import Connection

TIMEOUT = 10.0  # seconds, longer than any passing test takes

Pair = tuple[Connection, Connection]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs ::1")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the behaviour of Linux")
needs_rlimit = pytest.mark.skipif(
    sys.platform == "win32" or sys.modules.get("resource", ...) is None, reason="needs setrlimit"
)


@contextmanager
def descriptors_exhausted(*, but: int = 0) -> Iterator[None]:
    """Make the next descriptor number, or the one after so many, exceed the limit."""
    import resource  # noqa: PLC0415 - there is none on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unused = [os.dup(0) for _ in range(but + 1)]
    for fd in unused:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (unused[-1], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
