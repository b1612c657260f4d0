"""TLS contexts from files, and what is said when the files will not do."""

import hashlib
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme

from halloo.core.trust import Certificates, Trust
from halloo.errors import LocalError, UsageError
from halloo.net.certificates import client_context, fingerprint, server_context


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a server's certificate in one file and in two, its CA, and what is none."""
    folder = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(folder / "other.pem")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "none.pem").write_text("this is no certificate")
    return folder


def digest(path: Path) -> str:
    der = ssl.PEM_cert_to_DER_cert(path.read_text())
    return hashlib.sha256(der).hexdigest()


# Of servers.


def test_certificate_and_key_may_be_in_two_files_or_in_one(folder: Path) -> None:
    two = Certificates(cert=str(folder / "cert.pem"), key=str(folder / "key.pem"))
    one = Certificates(cert=str(folder / "both.pem"))
    assert server_context(two)[1] == server_context(one)[1] == digest(folder / "cert.pem")


def test_the_fingerprint_is_openssl_s(folder: Path) -> None:
    command = ["openssl", "x509", "-in", str(folder / "cert.pem"), "-noout", "-fingerprint", "-sha256"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    shown = done.stdout.strip().rpartition("=")[2].replace(":", "").lower()
    assert server_context(Certificates(cert=str(folder / "both.pem")))[1] == shown


def test_without_a_certificate_one_is_made_each_time() -> None:
    first, second = (server_context(Certificates())[1] for _ in range(2))
    assert first != second
    assert len(first) == 64


def test_nothing_older_than_tls_1_2_is_spoken(folder: Path) -> None:
    context, _ = server_context(Certificates(cert=str(folder / "both.pem")))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert client_context(Trust()).minimum_version == ssl.TLSVersion.TLSv1_2


def test_clients_are_asked_for_a_certificate_where_a_ca_is_named(folder: Path) -> None:
    asking, _ = server_context(Certificates(cert=str(folder / "both.pem"), client_ca=str(folder / "ca.pem")))
    assert asking.verify_mode == ssl.CERT_REQUIRED
    assert server_context(Certificates(cert=str(folder / "both.pem")))[0].verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("cert", "key"),
    [
        ("missing.pem", None),
        ("none.pem", None),
        ("cert.pem", None),
        ("cert.pem", "other.pem"),
        ("cert.pem", "missing.pem"),
    ],
)
def test_files_that_will_not_do_are_named(folder: Path, cert: str, key: str | None) -> None:
    files = Certificates(cert=str(folder / cert), key=str(folder / key) if key else None)
    with pytest.raises(LocalError, match=f"{cert} cannot be used: .*; name a PEM file"):
        server_context(files)


@pytest.mark.parametrize("name", ["missing.pem", "none.pem"])
def test_a_ca_that_will_not_do_is_named(folder: Path, name: str) -> None:
    with pytest.raises(LocalError, match=f"{name} cannot be used"):
        server_context(Certificates(cert=str(folder / "both.pem"), client_ca=str(folder / name)))
    with pytest.raises(LocalError, match=f"{name} cannot be used"):
        client_context(Trust(ca=str(folder / name)))


def test_a_key_alone_is_no_use(folder: Path) -> None:
    with pytest.raises(UsageError, match="a key without its certificate"):
        server_context(Certificates(key=str(folder / "key.pem")))
    with pytest.raises(UsageError, match="a key without its certificate"):
        client_context(Trust(key=str(folder / "key.pem")))


# Of clients.


def test_a_client_believes_in_names_and_cas_unless_told_otherwise() -> None:
    context = client_context(Trust())
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)


@pytest.mark.parametrize("trust", [Trust(insecure=True), Trust(fingerprint="00" * 32)], ids=["insecure", "fingerprint"])
def test_a_client_told_otherwise_leaves_the_judgement_to_others(trust: Trust) -> None:
    context = client_context(trust)
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)


def test_a_fingerprint_is_the_sha256_of_the_certificate() -> None:
    assert fingerprint(b"der") == hashlib.sha256(b"der").hexdigest()
