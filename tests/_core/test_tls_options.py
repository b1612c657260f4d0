"""What is said of certificates is a value, and a key alone is none."""

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


def test_a_fingerprint_that_is_empty_was_said_all_the_same() -> None:
    assert ClientTLS(fingerprint="")


@pytest.mark.parametrize("kind", [ServerTLS, ClientTLS])
def test_a_key_needs_its_certificate(kind: type[ServerTLS | ClientTLS]) -> None:
    with pytest.raises(UsageError, match="a key without its certificate; add --cert FILE"):
        kind(key="a")
