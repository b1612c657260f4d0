"""TLS errors derive from ssl.SSLError; a program without TLS does not import ssl."""

import ssl
import subprocess
import sys

import pytest

from halloo._net.tls_errors import TlsError, Untrusted
from halloo.errors import PeerError


@pytest.mark.parametrize("kind", [TlsError, Untrusted])
def test_a_tls_error_is_a_peer_error_and_an_ssl_error(kind: type[TlsError]) -> None:
    assert issubclass(kind, PeerError)
    assert issubclass(kind, ssl.SSLError)


def test_an_echo_without_tls_does_not_import_ssl() -> None:
    program = """
import sys, halloo
with halloo.Server() as server, halloo.connect(server.address) as connection:
    connection.send(b"hello")
    assert connection.receive_exactly(5) == b"hello"
print("ssl" in sys.modules, "asyncio" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
