"""What tests of sockets have in common: the systems that they need, how long they wait, how a connection is reset."""

import os
import socket
import struct
import sys

import pytest

from halloo._net.connection import Connection

TIMEOUT = 10.0  # seconds, longer than any passing test takes
RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # SO_LINGER of 0 seconds: close with a reset (socket(7))

Pair = tuple[Connection, Connection]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs ::1")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the behaviour of Linux")
