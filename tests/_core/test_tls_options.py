"""TLS options are values; a key requires a certificate."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from halloo._core.tls_options import ClientTLS, ServerTLS, given_name
from halloo.errors import UsageError


def test_what_a_tls_argument_asks_for_is_named() -> None:
    assert (given_name(None), given_name(object())) == ("", "tls")  # an SSLContext
    for nothing in (ServerTLS(), ClientTLS()):
        assert (bool(nothing), given_name(nothing)) == (False, "")
    for options, name in (
        (ServerTLS(client_ca="a"), "client_ca"),
        (ServerTLS(cert="a", key="b"), "cert"),
        (ClientTLS(ca="a"), "ca"),
        (ClientTLS(cert="a"), "cert"),
        (ClientTLS(insecure=True), "insecure"),
    ):
        assert (bool(options), given_name(options)) == (True, f"tls.{name}")


def test_a_fingerprint_is_normalised_to_lower_case_hex() -> None:
    assert ClientTLS(fingerprint="AB:" * 31 + "AB").fingerprint == "ab" * 32
    with pytest.raises(UsageError, match="fingerprint must be a SHA-256, not ''"):
        ClientTLS(fingerprint="")


@pytest.mark.parametrize("kind", [ServerTLS, ClientTLS])
def test_path_like_objects_are_stored_as_text(kind: type[ServerTLS | ClientTLS]) -> None:
    files = kind(cert=Path("/certs/server.pem"), key=PurePosixPath("/certs/key.pem"))
    assert (files.cert, files.key) == ("/certs/server.pem", "/certs/key.pem")


def test_an_invalid_path_is_refused_by_argument_name() -> None:
    for path in ("", "a\0b", b"bytes", 5):
        given: dict[str, Any] = {"cert": path}
        with pytest.raises(UsageError, match=r"^cert must be a path") as caught:
            ServerTLS(**given)
        assert caught.value.argument == "cert"


def test_contradictory_options_are_refused() -> None:
    options: dict[str, Any] = {"insecure": True, "ca": "a", "fingerprint": "0" * 64}
    for left_out in options:
        with pytest.raises(UsageError, match=r"contradicts another option; give \w+= or \w+=, not both"):
            ClientTLS(**{name: value for name, value in options.items() if name != left_out})


@pytest.mark.parametrize("kind", [ServerTLS, ClientTLS])
def test_a_key_requires_a_certificate(kind: type[ServerTLS | ClientTLS]) -> None:
    with pytest.raises(UsageError, match="key needs the certificate that it belongs to; give cert= as well"):
        kind(key="a")
