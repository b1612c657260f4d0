"""TLS connections, against halloo's own server and against plain ssl servers."""

import hashlib
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from halloo._core.address import Address
from halloo._core.tls_options import ClientTLS, ServerTLS
from halloo._net.connection import Connection
from halloo._net.connector import connect
from halloo._net.duplex import duplex
from halloo._net.listener import Listener, listen
from halloo._net.readiness import deadline_ns, run_steps
from halloo._net.tls import TlsServer, TlsSocket, client_context, fingerprint
from halloo._net.tls_errors import TlsError, Untrusted
from halloo._net.tls_records import HEADER, MAX_WITHOUT_DATA
from halloo._server.server import Server
from halloo.errors import (
    ConnectionClosed,
    IncompleteRead,
    LocalError,
    MissingFile,
    PeerError,
    Reset,
    TimedOut,
    UsageError,
)
from tests.blocked import check_message_after_timeout
from tests.peers import payload, receive_all, reset

trustme = pytest.importorskip("trustme")
serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")  # which trustme needs

TIMEOUT = 20.0  # seconds, after which each socket call of a failing test ends
MEBIBYTE = 1 << 20
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

each_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)


@dataclass(frozen=True)
class CertificateFiles:
    """Paths of certificate files, and a configuration that trusts the CA of the server's."""

    folder: Path

    def __getattr__(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    @property
    def trust(self) -> ClientTLS:
        return ClientTLS(ca=self.ca)

    @property
    def fingerprint(self) -> str:
        der = ssl.PEM_cert_to_DER_cert(Path(self.cert).read_text(encoding="ascii"))
        return hashlib.sha256(der).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a server's certificate in one file and in two, its CA, those of others, and a file that is none."""
    folder = tmp_path_factory.mktemp("certificates")
    ca, other = trustme.CA(), trustme.CA()
    server = ca.issue_cert("localhost", "127.0.0.1", "::1")
    issued = {
        "ca": ca.cert_pem,
        "server": server.private_key_and_cert_chain_pem,
        "cert": server.cert_chain_pems[0],
        "key": server.private_key_pem,
        "elsewhere": ca.issue_cert("elsewhere.example").private_key_and_cert_chain_pem,
        "client": ca.issue_cert("somebody@example.org").private_key_and_cert_chain_pem,
        "other_ca": other.cert_pem,
        "other_client": other.issue_cert("nobody@example.org").private_key_and_cert_chain_pem,
        "other": other.issue_cert("localhost").private_key_pem,
    }
    for name, pem in issued.items():
        pem.write_to_path(folder / f"{name}.pem")
    (folder / "none.pem").write_text("this is no certificate")
    return folder


@pytest.fixture(scope="module")
def certificates(folder: Path) -> CertificateFiles:
    return CertificateFiles(folder)


@pytest.fixture
def server(certificates: CertificateFiles) -> Iterator[Server]:
    with Server("tls://127.0.0.1:0", tls=ServerTLS(cert=certificates.server)) as running:
        yield running


@pytest.fixture
def listener(certificates: CertificateFiles) -> Iterator[Listener]:
    with listen("tls://127.0.0.1:0", tls=ServerTLS(cert=certificates.server)) as opened:
        yield opened


@pytest.fixture
def pair(listener: Listener, certificates: CertificateFiles) -> Iterator[tuple[Connection, Connection]]:
    with (
        ThreadPoolExecutor(1) as pool,
        connecting(pool, listener, certificates) as client,
        listener.accept(timeout=TIMEOUT) as served,
    ):
        served.timeout = TIMEOUT
        yield client(), served


@contextmanager
def connecting(
    pool: ThreadPoolExecutor, listener: Listener, certificates: CertificateFiles
) -> Iterator[Callable[[], Connection]]:
    """Connect in a thread, because the handshake needs both sides."""
    future = pool.submit(connect, listener.address, timeout=TIMEOUT, tls=certificates.trust)
    try:
        yield future.result
    finally:
        future.result().close()


@contextmanager
def peer(act: Callable[[socket.socket], object]) -> Iterator[Address]:
    """Accept one client in a thread, call `act`, and close; an error in the thread is raised at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        listening.settimeout(TIMEOUT)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(TIMEOUT)
                act(connection)

        serving = pool.submit(serve)
        yield Address("tls", *listening.getsockname())
        serving.result()


@contextmanager
def tls_peer(
    certificates: CertificateFiles,
    act: Callable[[ssl.SSLSocket], object],
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    tickets: int = 2,
) -> Iterator[Address]:
    """Accept one client with a plain ssl server, which sends so many session tickets first if it is TLS 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = tickets
    context.load_cert_chain(certificates.server)
    context.minimum_version = context.maximum_version = version

    def secured(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as stream:
            act(stream)

    with peer(secured) as address:
        yield address


# Sending and receiving.


def assert_echoes(client: Connection) -> None:
    client.send(b"hello")
    assert client.receive_exactly(5) == b"hello"


def test_data_is_echoed_over_tls_by_address_or_name(server: Server, certificates: CertificateFiles) -> None:
    with connect(server.address, tls=certificates.trust) as client:
        assert str(client.address) == f"tls://127.0.0.1:{server.address.port}"
        assert_echoes(client)
    with connect(Address("tls", "localhost", server.address.port), tls=certificates.trust, family=4) as client:
        assert_echoes(client)


@each_version
def test_both_sides_send_sixteen_mebibytes_independently(
    certificates: CertificateFiles, version: ssl.TLSVersion
) -> None:
    ours, theirs, got = payload(16 * MEBIBYTE), payload(16 * MEBIBYTE)[::-1], bytearray()
    server_received = bytearray()

    def act(stream: ssl.SSLSocket) -> None:
        # Only one thread may use an SSLSocket at a time, so sending and receiving alternate.
        for start in range(0, len(theirs), MEBIBYTE // 16):
            stream.sendall(theirs[start : start + MEBIBYTE // 16])
            server_received.extend(stream.recv(MEBIBYTE))
        server_received.extend(receive_all(stream))
        stream.unwrap()

    with tls_peer(certificates, act, version) as address, connect(address, tls=certificates.trust) as client:
        assert duplex(client, [ours], got.extend, timeout=TIMEOUT).finished
    assert (got == theirs, server_received == ours) == (True, True)


@each_version
def test_unread_data_arrives_after_a_half_close(certificates: CertificateFiles, version: ssl.TLSVersion) -> None:
    data = payload(8 * MEBIBYTE)

    def act(stream: ssl.SSLSocket) -> None:
        stream.send(data[:5])
        assert stream.recv(5) == b"ready"
        stream.sendall(data[5:])  # this fills the buffers; the client's EOF must arrive nevertheless
        assert stream.recv(5) == b""
        stream.sendall(b"goodbye")
        with suppress(OSError):
            stream.unwrap()

    with (
        tls_peer(certificates, act, version) as address,
        connect(address, tls=certificates.trust, timeout=TIMEOUT) as client,
    ):
        start = client.receive_exactly(5)
        client.send(b"ready")
        client.send_eof()
        assert start + b"".join(client) == data + b"goodbye"


def test_data_received_before_a_half_close_is_read_after_it(pair: tuple[Connection, Connection]) -> None:
    client, served = pair
    served.send(b"hello")
    assert client.receive(1) == b"h"
    client.send_eof()
    client.send_eof()
    assert [served.receive(), served.receive()] == [b"", b""]
    served.send(b" world")
    served.send_eof()
    assert client.receive_exactly(10) == b"ello world"
    assert [client.receive(), client.receive()] == [b"", b""]


@each_version
def test_close_with_unread_data_does_not_reset(certificates: CertificateFiles, version: ssl.TLSVersion) -> None:
    server_received: list[bytes] = []
    with (
        tls_peer(certificates, lambda stream: server_received.append(receive_all(stream)), version) as address,
        connect(address, tls=certificates.trust) as client,
    ):
        client.send(b"hello")  # by then a TLS 1.3 server has sent session tickets
    assert server_received == [b"hello"]


def test_close_sends_close_notify_and_may_be_repeated(pair: tuple[Connection, Connection]) -> None:
    client, served = pair
    client.send(b"hello")
    client.close()
    client.close()
    assert client.socket.fileno() == -1
    assert b"".join(served) == b"hello"


def test_two_threads_that_send_lose_and_double_nothing(pair: tuple[Connection, Connection]) -> None:
    client, served = pair
    letters = b"abc"
    with ThreadPoolExecutor(len(letters)) as pool:
        for letter in letters:
            pool.submit(client.send, bytes([letter]) * (4 * MEBIBYTE))
        received = served.receive_exactly(len(letters) * 4 * MEBIBYTE)
    assert [received.count(letter) for letter in letters] == [4 * MEBIBYTE] * len(letters)


def test_what_a_timed_out_send_has_encrypted_is_sent_during_the_next_receive(
    pair: tuple[Connection, Connection],
) -> None:
    client, served = pair
    data, total = bytes(20_000), 0
    while not client.socket.pending():  # type: ignore[attr-defined]  # it is a TlsSocket
        try:
            client.send(data, timeout=0)
            total += len(data)
        except TimedOut as error:
            assert "took no more bytes (encrypted ones left)" in str(error)  # noqa: PT017 - the other sends succeed
            total += error.sent
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.receive_exactly, 5)
        served.receive_exactly(total)
        served.send(b"reply")
        assert waiting.result() == b"reply"


def test_send_and_send_eof_time_out_when_the_peer_does_not_read(pair: tuple[Connection, Connection]) -> None:
    client, served = pair
    for each, option in ((client, socket.SO_SNDBUF), (served, socket.SO_RCVBUF)):
        each.socket.setsockopt(socket.SOL_SOCKET, option, 65536)  # which the kernel then enlarges no more (tcp(7))
    client.timeout = 0.05
    with pytest.raises(TimedOut, match="took no more bytes"):
        client.send(bytes(64 * MEBIBYTE))
    with pytest.raises(TimedOut, match=r"took no more bytes \(the end is left\)"):
        client.send_eof()
    client.timeout = TIMEOUT
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: sum(len(chunk) for chunk in served))
        client.send_eof()
        assert 0 < reading.result() < 64 * MEBIBYTE


def test_a_message_after_a_timed_out_send_arrives_once(pair: tuple[Connection, Connection]) -> None:
    check_message_after_timeout(*pair)


def test_receive_times_out_returns_at_most_the_limit_and_is_reset_by_abort(pair: tuple[Connection, Connection]) -> None:
    client, served = pair
    with pytest.raises(TimedOut):
        client.receive(timeout=0)
    served.send(b"late")
    assert [client.receive(3), client.receive(3)] == [b"lat", b"e"]
    client.abort()  # without close_notify
    with pytest.raises(Reset):
        served.receive()


# Records without data.


@pytest.mark.parametrize("tickets", [MAX_WITHOUT_DATA // 2, 2 * MAX_WITHOUT_DATA], ids=["many", "too many"])
def test_records_without_data_are_limited_in_a_row(certificates: CertificateFiles, tickets: int) -> None:
    def act(stream: ssl.SSLSocket) -> None:
        with suppress(OSError):
            stream.sendall(b"hello")
            stream.recv(1)

    with (
        tls_peer(certificates, act, tickets=tickets) as address,
        connect(address, tls=certificates.trust, timeout=TIMEOUT) as client,
    ):
        if tickets < MAX_WITHOUT_DATA:
            assert client.receive_exactly(5) == b"hello"
            return
        for _ in range(2):
            with pytest.raises(TlsError, match="too many records without data"):
                client.receive_exactly(5)


def test_a_handshake_in_fragments_is_limited(certificates: CertificateFiles) -> None:
    def act(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(connection.recv(MEBIBYTE))
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()[HEADER:]
        connection.sendall(b"".join(b"\x16\x03\x03\x00\x01" + hello[at : at + 1] for at in range(len(hello))))
        with suppress(OSError):
            connection.recv(1)

    with peer(act) as address, pytest.raises(TlsError, match="too many records without data"):
        connect(address, tls=certificates.trust, timeout=TIMEOUT)


# EOF without close_notify.


@each_version
def test_eof_without_close_notify_is_reported_after_the_data(
    certificates: CertificateFiles, version: ssl.TLSVersion
) -> None:
    with (
        tls_peer(certificates, lambda stream: stream.sendall(b"hel"), version) as address,
        connect(address, tls=certificates.trust) as client,
    ):
        assert client.receive() == b"hel"
        for _ in range(3):
            with pytest.raises(IncompleteRead, match="closed without close_notify"):
                client.receive()


def test_eof_without_close_notify_keeps_the_partial_data_after_a_half_close(certificates: CertificateFiles) -> None:
    def act(stream: ssl.SSLSocket) -> None:
        stream.sendall(b"hel")
        assert receive_all(stream) == b""

    with tls_peer(certificates, act) as address, connect(address, tls=certificates.trust) as client:
        client.send_eof()
        with pytest.raises(IncompleteRead) as caught:
            client.receive_exactly(5)
    assert caught.value.partial == b"hel"


def test_a_tcp_reset_raises_reset(certificates: CertificateFiles) -> None:
    def act(stream: ssl.SSLSocket) -> None:
        assert stream.recv(5) == b"hello"
        reset(stream)

    with tls_peer(certificates, act) as address, connect(address, tls=certificates.trust, timeout=TIMEOUT) as client:
        client.send(b"hello")
        with pytest.raises(Reset):
            client.receive()


# Verification of the server.


def test_a_server_of_an_unknown_ca_is_untrusted(server: Server, certificates: CertificateFiles) -> None:
    for tls in (None, ClientTLS(ca=certificates.other_ca)):
        with pytest.raises(Untrusted, match=r"is not trusted .*; give ca=, fingerprint= or insecure=True") as caught:
            connect(server.address, tls=tls)
        assert caught.value.exit_code == 1


def test_a_certificate_for_another_name_is_untrusted(certificates: CertificateFiles) -> None:
    with (
        Server("tls://127.0.0.1:0", tls=ServerTLS(cert=certificates.elsewhere)) as server,
        pytest.raises(Untrusted, match=r"not valid for '127\.0\.0\.1'"),
    ):
        connect(server.address, tls=certificates.trust)


def test_a_matching_fingerprint_or_any_certificate_is_trusted(server: Server, certificates: CertificateFiles) -> None:
    digits = certificates.fingerprint
    as_openssl = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()
    for tls in (ClientTLS(fingerprint=digits), ClientTLS(fingerprint=as_openssl), ClientTLS(insecure=True)):
        with connect(server.address, tls=tls) as client:
            assert_echoes(client)
    with pytest.raises(Untrusted, match=f"another fingerprint, {digits};"):
        connect(server.address, tls=ClientTLS(fingerprint="0" * 64))


def test_options_that_cannot_be_used_are_reported_before_connecting(tmp_path: Path) -> None:
    for text in ("", "abc", "0" * 40, "g" * 64):
        with pytest.raises(UsageError, match="fingerprint must be a SHA-256"):
            ClientTLS(fingerprint=text)
    with pytest.raises(MissingFile, match="nothing does not exist; name a PEM file with ca="):
        connect("tls://localhost:9", tls=ClientTLS(ca=str(tmp_path / "nothing")))
    with pytest.raises(UsageError, match="write tls:// before the host"):
        connect("localhost", tls=ClientTLS(insecure=True))


# Verification of clients.


def test_clients_are_verified(certificates: CertificateFiles) -> None:
    options = ServerTLS(cert=certificates.server, client_ca=certificates.ca)
    with Server("tls://127.0.0.1:0", tls=options) as server:
        with connect(server.address, tls=ClientTLS(ca=certificates.ca, cert=certificates.client)) as client:
            assert_echoes(client)
        refused = {
            "requires a certificate; give cert= and key=": certificates.trust,
            "does not accept our certificate": ClientTLS(ca=certificates.ca, cert=certificates.other_client),
        }
        for message, tls in refused.items():
            with pytest.raises(Untrusted, match=message), connect(server.address, tls=tls) as client:
                client.receive()


def test_a_failed_tls_1_2_handshake_suggests_a_client_certificate(certificates: CertificateFiles) -> None:
    def act(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server)
        context.load_verify_locations(certificates.ca)
        context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    with peer(act) as address, pytest.raises(PeerError, match="perhaps it needs cert= and key="):
        connect(address, tls=certificates.trust)


# Peers that do not speak TLS.


def plain_echo(connection: socket.socket) -> None:
    connection.sendall(connection.recv(65536))


def other_protocol(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")


NOT_TLS, ENDED = "does not speak TLS; use tcp://", "ended the connection in the TLS handshake; perhaps"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (plain_echo, NOT_TLS),
        (other_protocol, NOT_TLS),
        (lambda connection: connection.recv(65536), ENDED),
        (lambda connection: connection.recv(1), ENDED),  # what is unread resets the connection
    ],
    ids=["echo", "other protocol", "end", "reset"],
)
def test_a_server_without_tls_is_recognised(act: Callable[[socket.socket], None], message: str) -> None:
    with peer(act) as address, pytest.raises(PeerError, match=message):
        connect(address)


def test_a_server_that_stalls_in_the_handshake_times_out() -> None:
    message = "does not finish the TLS handshake in time"
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimedOut, match=message):
        connect(Address("tls", *silent.getsockname()), timeout=0.05)


def test_a_client_without_tls_is_disconnected_and_others_are_served(
    server: Server, certificates: CertificateFiles
) -> None:
    with connect(Address("tcp", "127.0.0.1", server.address.port)) as plain:
        plain.send(b"hello, this is no TLS at all\n")
        with suppress(Reset):
            assert b"hello" not in b"".join(plain)
    with connect(server.address, tls=certificates.trust) as client:
        client.send(b"hello")
        assert client.receive_exactly(5) == b"hello"


# Listening.


def test_a_listener_without_a_certificate_generates_one() -> None:
    with listen("tls://127.0.0.1:0") as listener, ThreadPoolExecutor(1) as pool:
        tls = ClientTLS(fingerprint=listener.fingerprint)
        future = pool.submit(connect, listener.address, tls=tls)
        with listener.accept(timeout=TIMEOUT) as served, future.result() as client:
            assert served.address == Address("tls", *client.socket.getsockname())
            served.send(b"hello")
            assert client.receive() == b"hello"


def test_certificates_are_checked_when_listening(certificates: CertificateFiles, tmp_path: Path) -> None:
    with listen("tcp://127.0.0.1:0") as listener:
        assert listener.fingerprint is None
    with pytest.raises(UsageError, match=r"tls\.cert is for tls://, and no address is"):
        listen("127.0.0.1:0", tls=ServerTLS(cert=certificates.server))
    with pytest.raises(MissingFile, match="nothing does not exist; name a PEM file with cert="):
        listen("tls://127.0.0.1:0", tls=ServerTLS(cert=str(tmp_path / "nothing")))


def test_accepting_a_client_that_speaks_no_tls_or_nothing_fails(
    listener: Listener, certificates: CertificateFiles
) -> None:
    assert listener.fingerprint == certificates.fingerprint
    with socket.create_connection(("127.0.0.1", listener.address.port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(PeerError, match="does not speak TLS"):
            listener.accept(timeout=TIMEOUT)
    place, message = ("127.0.0.1", listener.address.port), "does not finish the TLS handshake in time"
    with socket.create_connection(place), pytest.raises(TimedOut, match=message):
        listener.accept(timeout=0.05)


def test_close_unblocks_an_accept_that_waits_for_a_handshake(listener: Listener) -> None:
    place = ("127.0.0.1", listener.address.port)
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with socket.create_connection(place, TIMEOUT) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(listener.accept)
        client.sendall(outgoing.read())
        assert client.recv(1)  # the handshake has begun, and is not continued
        listener.close()
        with pytest.raises(ConnectionClosed, match="the listener on 127"):
            waiting.result()


def test_accept_verifies_the_client_certificate(certificates: CertificateFiles) -> None:
    options = ServerTLS(cert=certificates.server, client_ca=certificates.ca)
    with listen("tls://127.0.0.1:0", tls=options) as listener, ThreadPoolExecutor(1) as pool:
        future = pool.submit(connect, listener.address, tls=certificates.trust)
        with pytest.raises(Untrusted, match="shows no certificate"):
            listener.accept(timeout=TIMEOUT)
        with future.result() as client, pytest.raises(Untrusted, match="requires a certificate"):
            client.receive()


def test_a_handshake_may_arrive_byte_by_byte(certificates: CertificateFiles) -> None:
    """Relay the client's bytes over a socket pair, one at a time."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificates.server)
    client_context = ssl.create_default_context(cafile=certificates.ca)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        server = TlsSocket(theirs, server_context)
        agreed = {"client": False, "server": False}
        while not all(agreed.values()):
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
                agreed["client"] = True
            for byte in outgoing.read():
                ours.send(bytes([byte]))
                with suppress(TimeoutError):
                    run_steps(server.shaking(deadline_ns(0)))
                    agreed["server"] = True
            with suppress(BlockingIOError):
                incoming.write(ours.recv(65536))
        client.write(b"hello")
        ours.send(outgoing.read())
        assert server.recv(100) == b"hello"


# Contexts.


def test_certificate_and_key_may_be_in_one_file_or_two(folder: Path) -> None:
    one = TlsServer(ServerTLS(cert=str(folder / "server.pem")))
    two = TlsServer(ServerTLS(cert=str(folder / "cert.pem"), key=str(folder / "key.pem")))
    der = ssl.PEM_cert_to_DER_cert((folder / "cert.pem").read_text())
    assert one.fingerprint == two.fingerprint == fingerprint(der) == hashlib.sha256(der).hexdigest()
    assert (one.context.minimum_version, one.context.verify_mode) == (ssl.TLSVersion.TLSv1_2, ssl.CERT_NONE)
    verifying = TlsServer(ServerTLS(cert=str(folder / "server.pem"), client_ca=str(folder / "ca.pem")))
    assert verifying.context.verify_mode == ssl.CERT_REQUIRED


def test_the_fingerprint_matches_openssl(folder: Path) -> None:
    command = ["openssl", "x509", "-in", str(folder / "cert.pem"), "-noout", "-fingerprint", "-sha256"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    shown = done.stdout.strip().rpartition("=")[2].replace(":", "").lower()
    assert TlsServer(ServerTLS(cert=str(folder / "server.pem"))).fingerprint == shown


def test_a_new_certificate_is_generated_for_each_server() -> None:
    first, second = (TlsServer(ServerTLS()).fingerprint for _ in range(2))
    assert first != second
    assert len(first or "") == 64


def test_a_client_verifies_the_host_name_and_the_ca_unless_told_otherwise() -> None:
    context = client_context(ClientTLS())
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    for tls in (ClientTLS(insecure=True), ClientTLS(fingerprint="00" * 32)):
        context = client_context(tls)
        assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)


# Server contexts.


NO_CERTIFICATE = "none.pem cannot be used: no certificate in it; name a PEM file with {}="
NO_KEY = "{} cannot be used: no private key in it; name a PEM file with key="
MISSING = "missing.pem does not exist; name a PEM file with {}="


def test_an_unusable_file_is_named(folder: Path) -> None:
    not_its_key = "other.pem cannot be used: its key is not that of the certificate; name a PEM file with key="
    of_servers: list[tuple[dict[str, str], str]] = [
        ({"cert": "none.pem"}, NO_CERTIFICATE.format("cert")),
        ({"cert": "none.pem", "key": "other.pem"}, NO_CERTIFICATE.format("cert")),
        ({"cert": "cert.pem"}, NO_KEY.format("cert.pem")),
        ({"cert": "cert.pem", "key": "none.pem"}, NO_KEY.format("none.pem")),
        ({"cert": "cert.pem", "key": "other.pem"}, not_its_key),
        ({"cert": "cert.pem", "key": ""}, " cannot be used: is a directory; name a PEM file with key="),
        ({"cert": "", "key": "other.pem"}, " cannot be used: is a directory; name a PEM file with cert="),
        ({"cert": "server.pem", "client_ca": "none.pem"}, NO_CERTIFICATE.format("client_ca")),
        ({"cert": "missing.pem"}, MISSING.format("cert")),
        ({"cert": "cert.pem", "key": "missing.pem"}, MISSING.format("key")),
        ({"cert": "server.pem", "client_ca": "missing.pem"}, MISSING.format("client_ca")),
    ]
    for files, message in of_servers:
        options = ServerTLS(**{argument: folder / name for argument, name in files.items()})
        with pytest.raises(LocalError, match=f"{re.escape(message)}$") as caught:
            TlsServer(options)
        assert isinstance(caught.value, MissingFile) == ("missing.pem" in files.values())
    for name, message in (("none.pem", NO_CERTIFICATE), ("missing.pem", MISSING)):
        with pytest.raises(LocalError, match=f"{re.escape(message.format('ca'))}$"):
            client_context(ClientTLS(ca=folder / name))
    for kind in (ServerTLS, ClientTLS):
        with pytest.raises(UsageError, match="key needs the certificate that it belongs to"):
            kind(key=folder / "key.pem")


def test_an_encrypted_key_is_refused_without_asking_for_its_pass_phrase(folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    (folder / "encrypted.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"1")
        )
    )
    with pytest.raises(LocalError, match=r"encrypted\.pem is encrypted; remove its pass phrase with: openssl pkey$"):
        TlsServer(ServerTLS(cert=folder / "cert.pem", key=folder / "encrypted.pem"))


# Client contexts.
