"""Certificate files are reloaded at SIGHUP: as `halloo serve` does it, alone and with workers."""

import hashlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from halloo._core.tls_options import ServerTLS
from halloo._net.listener import listen
from halloo._server.reload import Reload
from tests.programs import PYTHON, started

trustme = pytest.importorskip("trustme")

TIMEOUT = 20  # seconds


class Certificates:
    """A CA, two certificates of it, and the file from which a server reads the present one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "server.pem"
        self.ca_path = folder / "ca.pem"
        self.other_path = folder / "other.pem"
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(self.ca_path))
        for path in (self.path, self.other_path):
            ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))

    def renew(self) -> str:
        """Replace the present certificate by the other; return its fingerprint."""
        shutil.copy(self.other_path, self.path)
        return fingerprint_of(ssl.PEM_cert_to_DER_cert(certificate_in(self.path)))


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def certificate_in(path: Path) -> str:
    text = path.read_text(encoding="ascii")
    return text[text.index(ssl.PEM_HEADER) : text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]


def fingerprint_of(der: bytes | None) -> str:
    assert der
    return hashlib.sha256(der).hexdigest()


class RunningServer:
    """A `halloo serve tls://`, and clients that accept any certificate."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        self.process = process
        self._place = ("127.0.0.1", int(process.stdout.readline().rpartition(b":")[2]))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    def dial(self) -> ssl.SSLSocket:
        return self._context.wrap_socket(socket.create_connection(self._place, TIMEOUT))

    def fingerprint(self) -> str:
        with self.dial() as client:
            return fingerprint_of(client.getpeercert(binary_form=True))

    def error(self, beginning: str) -> str:
        """Return the next line of standard error that begins so."""
        assert self.process.stderr
        lines = (line.decode() for line in iter(self.process.stderr.readline, b""))
        return next(line for line in lines if line.startswith(beginning))


@contextmanager
def serving(*options: str) -> Iterator[RunningServer]:
    with started(PYTHON, "-m", "halloo", "serve", "tls://127.0.0.1:0", *options) as process:
        yield RunningServer(process)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGHUP")
@pytest.mark.parametrize(
    "options", [(), ("--workers", "2"), ("--workers", "2", "--reuse-port")], ids=["alone", "workers", "reuse-port"]
)
def test_new_connections_use_the_new_certificate_once_its_file_can_be_used(
    options: tuple[str, ...], certificates: Certificates
) -> None:
    with serving("--cert", str(certificates.path), *options) as server, server.dial() as old_client:
        before = server.fingerprint()
        certificates.path.write_text("half of a fi", encoding="ascii")
        server.process.send_signal(signal.SIGHUP)
        line = server.error(f"halloo: {certificates.path}")
        assert line.endswith("; the certificate in use stays; correct the file and send SIGHUP again\n")
        assert {server.fingerprint() for _ in range(8)} == {before}

        new = certificates.renew()
        server.process.send_signal(signal.SIGHUP)
        while server.fingerprint() != new:
            pass
        old_client.sendall(b"hello")
        assert old_client.recv(5) == b"hello"

        certificates.path.unlink()
        workers = psutil.Process(server.process.pid).children()
        for worker in workers:
            worker.kill()
        psutil.wait_procs(workers, TIMEOUT)
        assert {server.fingerprint() for _ in range(8)} == {new}  # of restarted workers too
        server.process.terminate()
        _, errors = server.process.communicate(timeout=TIMEOUT)
        assert server.process.returncode == 0
    assert b"stays" not in errors  # one line, not one for each worker


def test_a_certificate_that_was_made_stays_when_the_ca_of_clients_is_reloaded(certificates: Certificates) -> None:
    contexts: list[ssl.SSLContext] = []
    with listen("tls://127.0.0.1:0", tls=ServerTLS(client_ca=str(certificates.ca_path))) as listener:
        before = listener.fingerprint, listener.tls_server.context
        events: list[str] = []
        reload = Reload(listener, contexts.append, lambda event: events.append(event.name))
        reload.request(signal.SIGINT, None)
        reload.perform()
        reload.perform()  # it was requested once
        assert (listener.fingerprint, listener.tls_server.context) == (before[0], *contexts)
        assert contexts != [before[1]]
        assert events == ["reloaded"]


def test_without_files_there_is_nothing_to_reload() -> None:
    for tls in (ServerTLS(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)):
        with listen("tls://127.0.0.1:0", tls=tls) as listener:
            assert Reload(listener, str, str).handlers == {}
