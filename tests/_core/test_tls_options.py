"""TLS options are values; a key requires a certificate."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from halloo._core.tls_options import ClientTLS, ServerTLS, given_name
from halloo.errors import UsageError


@pytest.mark.parametrize("kind", [ServerTLS, ClientTLS])
def test_options_without_values_are_false(kind: type[ServerTLS | ClientTLS]) -> None:
    assert not kind()


@pytest.mark.parametrize(
    "options",
    [ServerTLS(cert="a"), ServerTLS(client_ca="a"), ClientTLS(ca="a"), ClientTLS(insecure=True), ClientTLS(cert="a")],
)
def test_options_with_a_value_are_true(options: ServerTLS | ClientTLS) -> None:
    assert options


@pytest.mark.parametrize(
    ("tls", "name"),
    [
        (None, ""),
        (ServerTLS(), ""),
        (ClientTLS(), ""),
        (ServerTLS(client_ca="a"), "tls.client_ca"),
        (ServerTLS(cert="a", key="b"), "tls.cert"),
        (ClientTLS(insecure=True), "tls.insecure"),
        (object(), "tls"),  # an SSLContext
    ],
)
def test_what_a_tls_argument_asks_for_is_named(tls: object, name: str) -> None:
    assert given_name(tls) == name


def test_an_empty_fingerprint_is_refused() -> None:
    with pytest.raises(UsageError, match="fingerprint must be a SHA-256, not ''"):
        ClientTLS(fingerprint="")


def test_a_fingerprint_is_normalised_to_lower_case_hex() -> None:
    assert ClientTLS(fingerprint="AB:" * 31 + "AB").fingerprint == "ab" * 32


@pytest.mark.parametrize("kind", [ServerTLS, ClientTLS])
def test_path_like_objects_are_stored_as_text(kind: type[ServerTLS | ClientTLS]) -> None:
    files = kind(cert=Path("/certs/server.pem"), key=PurePosixPath("/certs/key.pem"))
    assert (files.cert, files.key) == ("/certs/server.pem", "/certs/key.pem")


@pytest.mark.parametrize("path", ["", "a\0b", b"bytes", 5])
def test_an_invalid_path_is_refused_by_argument_name(path: object) -> None:
    given: dict[str, Any] = {"cert": path}
    with pytest.raises(UsageError, match=r"^cert must be a path") as caught:
        ServerTLS(**given)
    assert caught.value.argument == "cert"


@pytest.mark.parametrize(
    "given",
    [{"insecure": True, "ca": "a"}, {"insecure": True, "fingerprint": "0" * 64}, {"fingerprint": "0" * 64, "ca": "a"}],
)
def test_contradictory_options_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"contradicts another option; give \w+= or \w+=, not both"):
        ClientTLS(**given)


@pytest.mark.parametrize("kind", [ServerTLS, ClientTLS])
def test_a_key_requires_a_certificate(kind: type[ServerTLS | ClientTLS]) -> None:
    with pytest.raises(UsageError, match="key needs the certificate that it belongs to; give cert= as well"):
        kind(key="a")
