"""What is said of certificates is a value, and a key alone is none."""

import pytest

from halloo._core.tls_options import Certificates, Trust
from halloo.errors import UsageError


@pytest.mark.parametrize("kind", [Certificates, Trust])
def test_nothing_said_is_nothing(kind: type[Certificates | Trust]) -> None:
    assert not kind()


@pytest.mark.parametrize(
    "said",
    [Certificates(cert="a"), Certificates(client_ca="a"), Trust(ca="a"), Trust(insecure=True), Trust(cert="a")],
)
def test_anything_said_is_something(said: Certificates | Trust) -> None:
    assert said


def test_a_fingerprint_that_is_empty_was_said_all_the_same() -> None:
    assert Trust(fingerprint="")


@pytest.mark.parametrize("kind", [Certificates, Trust])
def test_a_key_needs_its_certificate(kind: type[Certificates | Trust]) -> None:
    with pytest.raises(UsageError, match="a key without its certificate; add --cert FILE"):
        kind(key="a")
