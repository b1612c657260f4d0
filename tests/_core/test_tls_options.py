"""What is said of certificates is a value, and a key alone is none."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from halloo._core.tls_options import ClientTLS, ServerTLS
from halloo.errors import UsageError


@pytest.mark.parametrize("kind", [ServerTLS, ClientTLS])
def test_nothing_said_is_nothing(kind: type[ServerTLS | ClientTLS]) -> None:
    assert not kind()


@pytest.mark.parametrize(
    "said",
    [ServerTLS(cert="a"), ServerTLS(client_ca="a"), ClientTLS(ca="a"), ClientTLS(insecure=True), ClientTLS(cert="a")],
)
def test_anything_said_is_something(said: ServerTLS | ClientTLS) -> None:
    assert said


def test_an_empty_fingerprint_is_refused() -> None:
    with pytest.raises(UsageError, match="fingerprint must be a SHA-256, not ''"):
        ClientTLS(fingerprint="")


def test_a_fingerprint_is_kept_as_hashlib_writes_it() -> None:
    assert ClientTLS(fingerprint="AB:" * 31 + "AB").fingerprint == "ab" * 32


@pytest.mark.parametrize("kind", [ServerTLS, ClientTLS])
def test_path_likes_are_kept_as_text(kind: type[ServerTLS | ClientTLS]) -> None:
    files = kind(cert=Path("/certs/server.pem"), key=PurePosixPath("/certs/key.pem"))
    assert (files.cert, files.key) == ("/certs/server.pem", "/certs/key.pem")


@pytest.mark.parametrize("path", ["", "a\0b", b"bytes", 5])
def test_what_is_no_path_is_refused_by_its_name(path: object) -> None:
    given: dict[str, Any] = {"cert": path}
    with pytest.raises(UsageError, match=r"^cert must be a path") as caught:
        ServerTLS(**given)
    assert caught.value.argument == "cert"


@pytest.mark.parametrize(
    "given",
    [{"insecure": True, "ca": "a"}, {"insecure": True, "fingerprint": "0" * 64}, {"fingerprint": "0" * 64, "ca": "a"}],
)
def test_contradictory_trust_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"contradicts .*; give one of them"):
        ClientTLS(**given)


@pytest.mark.parametrize("kind", [ServerTLS, ClientTLS])
def test_a_key_needs_its_certificate(kind: type[ServerTLS | ClientTLS]) -> None:
    with pytest.raises(UsageError, match="key needs cert, the certificate that it belongs to; give cert= as well"):
        kind(key="a")
