"""Send KeyUpdate messages (RFC 8446, 4.6.3): OpenSSL can, but the ssl module has no name for it."""

import _ssl
import ctypes
import ssl

import pytest

POINTER = ctypes.sizeof(ctypes.c_void_p)


def write_key_update(tls: ssl.SSLObject, *, reply: bool = False) -> None:
    """Write one to the outgoing BIO, and ask for one in reply; skip the test where OpenSSL cannot be reached."""
    try:
        key_update = ctypes.CDLL(_ssl.__file__).SSL_key_update
    except (AttributeError, OSError):
        pytest.skip("OpenSSL is not a shared library here")
    key_update.argtypes, key_update.restype = (ctypes.c_void_p, ctypes.c_int), ctypes.c_int
    # PySSLSocket in CPython's Modules/_ssl.c: the header of an object, then Socket, ssl and ctx.
    fields = id(tls._sslobj) + object.__basicsize__  # type: ignore[attr-defined]  # private, see above
    if ctypes.c_void_p.from_address(fields + 2 * POINTER).value != id(tls.context):
        pytest.skip("this Python lays out its SSL objects in another way")
    assert key_update(ctypes.c_void_p.from_address(fields + POINTER).value, int(reply)) == 1
    tls.do_handshake()
