"""TLS as a connection has it, against halloo's own server and against plain ssl ones."""

import hashlib
import os
import socket
import ssl
import struct
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
from halloo._net.tls_errors import Untrusted
from halloo._server.server import Server
from halloo.errors import IncompleteRead, LocalError, MissingFile, PeerError, Reset, TimedOut, UsageError
from tests.blocked import check_message_after_timeout

trustme = pytest.importorskip("trustme")

PATIENCE = 20.0  # seconds that no test takes: each socket call of a broken one ends after them
MEBIBYTE = 1 << 20
RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # SO_LINGER of 0 seconds: close with a reset (socket(7))
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

each_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)


@dataclass(frozen=True)
class Papers:
    """Paths of tls, and the trust in the CA that issued the server's."""

    ca: str
    server: str
    client: str
    strange_ca: str
    strange_client: str

    @property
    def trust(self) -> ClientTLS:
        return ClientTLS(ca=self.ca)

    @property
    def fingerprint(self) -> str:
        text = Path(self.server).read_text(encoding="ascii")
        first = text[text.index(ssl.PEM_HEADER) : text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    ca, strange = trustme.CA(), trustme.CA()
    issued = {
        "ca": ca.cert_pem,
        "server": ca.issue_cert("localhost", "127.0.0.1", "::1").private_key_and_cert_chain_pem,
        "client": ca.issue_cert("somebody@example.org").private_key_and_cert_chain_pem,
        "strange_ca": strange.cert_pem,
        "strange_client": strange.issue_cert("nobody@example.org").private_key_and_cert_chain_pem,
    }
    for name, pem in issued.items():
        pem.write_to_path(folder / name)
    return Papers(**{name: str(folder / name) for name in issued})


@pytest.fixture
def server(papers: Papers) -> Iterator[Server]:
    with Server("tls://127.0.0.1:0", tls=ServerTLS(cert=papers.server)) as running:
        yield running


@pytest.fixture
def listener(papers: Papers) -> Iterator[Listener]:
    with listen("tls://127.0.0.1:0", tls=ServerTLS(cert=papers.server)) as opened:
        yield opened


@pytest.fixture
def pair(listener: Listener, papers: Papers) -> Iterator[tuple[Connection, Connection]]:
    with (
        ThreadPoolExecutor(1) as pool,
        connecting(pool, listener, papers) as near,
        listener.accept(timeout=PATIENCE) as far,
    ):
        far.timeout = PATIENCE
        yield near(), far


@contextmanager
def connecting(pool: ThreadPoolExecutor, listener: Listener, papers: Papers) -> Iterator[Callable[[], Connection]]:
    """Connect in a thread, because either end's handshake needs the other."""
    future = pool.submit(connect, listener.address, timeout=PATIENCE, tls=papers.trust)
    try:
        yield future.result
    finally:
        future.result().close()


@contextmanager
def peer(act: Callable[[socket.socket], object]) -> Iterator[Address]:
    """Have a thread take one client, act, and close; what it raises is raised at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        listening.settimeout(PATIENCE)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(PATIENCE)
                act(connection)

        serving = pool.submit(serve)
        yield Address("tls", *listening.getsockname())
        serving.result()


@contextmanager
def tls_peer(
    papers: Papers, act: Callable[[ssl.SSLSocket], object], version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[Address]:
    """Have a plain ssl server take one client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.server)
    context.minimum_version = context.maximum_version = version

    def secured(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as stream:
            act(stream)

    with peer(secured) as address:
        yield address


def everything(stream: socket.socket) -> bytes:
    return b"".join(iter(lambda: stream.recv(65536), b""))


def pattern(size: int) -> bytes:
    return bytes(range(251)) * (size // 251 + 1)


# Sending and receiving.


def test_what_is_sent_comes_back(server: Server, papers: Papers) -> None:
    with connect(server.address, tls=papers.trust) as near:
        near.send(b"hello")
        assert near.receive_exactly(5) == b"hello"


def test_the_address_says_that_it_is_tls(server: Server, papers: Papers) -> None:
    with connect(server.address, tls=papers.trust) as near:
        assert str(near.address) == f"tls://127.0.0.1:{server.address.port}"


def test_a_name_is_connected_to_as_well(server: Server, papers: Papers) -> None:
    with connect(Address("tls", "localhost", server.address.port), tls=papers.trust, family=4) as near:
        near.send(b"hello")
        assert near.receive_exactly(5) == b"hello"


def test_sixteen_mebibytes_go_and_come_at_once(server: Server, papers: Papers) -> None:
    data, back = pattern(16 * MEBIBYTE), bytearray()
    with connect(server.address, tls=papers.trust) as near:
        done = duplex(near, [data], back.extend, timeout=PATIENCE)
    assert (done.sent_bytes, done.finished, back == data) == (len(data), True, True)


@each_version
def test_both_sides_send_sixteen_mebibytes_of_their_own(papers: Papers, version: ssl.TLSVersion) -> None:
    ours, theirs, got = pattern(16 * MEBIBYTE), pattern(16 * MEBIBYTE)[::-1], bytearray()
    heard = bytearray()

    def act(stream: ssl.SSLSocket) -> None:
        # One thread has an SSLSocket at a time, so it takes turns.
        for start in range(0, len(theirs), MEBIBYTE // 16):
            stream.sendall(theirs[start : start + MEBIBYTE // 16])
            heard.extend(stream.recv(MEBIBYTE))
        heard.extend(everything(stream))
        stream.unwrap()

    with tls_peer(papers, act, version) as address, connect(address, tls=papers.trust) as near:
        assert duplex(near, [ours], got.extend, timeout=PATIENCE).finished
    assert (got == theirs, heard == ours) == (True, True)


@each_version
def test_after_a_half_close_all_that_is_unread_still_comes(papers: Papers, version: ssl.TLSVersion) -> None:
    data = pattern(8 * MEBIBYTE)

    def act(stream: ssl.SSLSocket) -> None:
        stream.send(data[:5])
        assert stream.recv(5) == b"ready"
        stream.sendall(data[5:])  # which fills the buffers; the client's end has to come all the same
        assert stream.recv(5) == b""
        stream.sendall(b"goodbye")
        with suppress(OSError):
            stream.unwrap()

    with tls_peer(papers, act, version) as address, connect(address, tls=papers.trust, timeout=PATIENCE) as near:
        start = near.receive_exactly(5)
        near.send(b"ready")
        near.send_eof()
        assert start + b"".join(near) == data + b"goodbye"


def test_what_came_before_the_half_close_is_received_after_it(pair: tuple[Connection, Connection]) -> None:
    near, far = pair
    far.send(b"hello")
    assert near.receive(1) == b"h"
    near.send_eof()
    assert far.receive() == b""
    far.send(b" world")
    far.send_eof()
    assert near.receive_exactly(10) == b"ello world"
    assert [near.receive(), near.receive()] == [b"", b""]


def test_a_half_close_may_be_repeated(pair: tuple[Connection, Connection]) -> None:
    near, far = pair
    near.send_eof()
    near.send_eof()
    assert [far.receive(), far.receive()] == [b"", b""]


def test_closing_says_goodbye(pair: tuple[Connection, Connection]) -> None:
    near, far = pair
    near.send(b"hello")
    near.close()
    assert b"".join(far) == b"hello"


@each_version
def test_closing_without_having_read_resets_nothing(papers: Papers, version: ssl.TLSVersion) -> None:
    heard: list[bytes] = []
    with (
        tls_peer(papers, lambda stream: heard.append(everything(stream)), version) as address,
        connect(address, tls=papers.trust) as near,
    ):
        near.send(b"hello")  # a TLS 1.3 server has sent session tickets by then
    assert heard == [b"hello"]


def test_a_closed_connection_has_no_descriptor(pair: tuple[Connection, Connection]) -> None:
    near, _ = pair
    near.close()
    near.close()
    assert near.socket.fileno() == -1


def test_a_send_that_finds_no_room_is_repeated_with_the_same_bytes(pair: tuple[Connection, Connection]) -> None:
    near, far = pair
    data = pattern(MEBIBYTE)
    sent = b"".join(until_blocked(near.socket, data))
    got = far.receive_exactly(len(sent))
    more = near.socket.send(data)
    near.send_eof()
    assert (got, b"".join(far)) == (sent, data[:more])


def until_blocked(sock: socket.socket, data: bytes) -> Iterator[bytes]:
    """Give what it takes, again and again, until it takes no more."""
    with suppress(BlockingIOError):
        while True:
            yield data[: sock.send(data)]


def test_sending_and_finishing_end_when_the_peer_takes_nothing_in_time(pair: tuple[Connection, Connection]) -> None:
    near, far = pair
    near.timeout = 0
    with pytest.raises(TimedOut, match="took no more bytes"):
        near.send(bytes(64 * MEBIBYTE))
    with pytest.raises(TimedOut, match=r"took no more bytes \(the end is left\)"):
        near.send_eof()
    near.timeout = PATIENCE
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: sum(len(chunk) for chunk in far))
        near.send_eof()
        assert 0 < reading.result() < 64 * MEBIBYTE


def test_a_message_after_a_send_that_timed_out_arrives_once(pair: tuple[Connection, Connection]) -> None:
    check_message_after_timeout(*pair)


def test_abort_is_a_reset_without_close_notify(pair: tuple[Connection, Connection]) -> None:
    near, far = pair
    near.abort()
    with pytest.raises(Reset):
        far.receive()


def test_receiving_ends_when_nothing_comes_in_time(pair: tuple[Connection, Connection]) -> None:
    near, far = pair
    with pytest.raises(TimedOut):
        near.receive(timeout=0)
    far.send(b"late")
    assert near.receive() == b"late"


def test_no_reading_takes_more_than_its_limit(pair: tuple[Connection, Connection]) -> None:
    near, far = pair
    near.send(b"hello")
    assert [far.receive(3), far.receive(3)] == [b"hel", b"lo"]


# The peer's end without a goodbye.


@each_version
def test_an_end_without_goodbye_is_told_after_what_came(papers: Papers, version: ssl.TLSVersion) -> None:
    with (
        tls_peer(papers, lambda stream: stream.sendall(b"hel"), version) as address,
        connect(address, tls=papers.trust) as near,
    ):
        assert near.receive() == b"hel"
        for _ in range(3):
            with pytest.raises(IncompleteRead, match="closed without close_notify"):
                near.receive()


def test_an_end_without_goodbye_keeps_what_came(papers: Papers) -> None:
    with (
        tls_peer(papers, lambda stream: stream.sendall(b"hel")) as address,
        connect(address, tls=papers.trust) as near,
        pytest.raises(IncompleteRead) as caught,
    ):
        near.receive_exactly(5)
    assert caught.value.partial == b"hel"


def test_an_end_without_goodbye_is_told_after_a_half_close_too(papers: Papers) -> None:
    def act(stream: ssl.SSLSocket) -> None:
        stream.sendall(b"hel")
        assert everything(stream) == b""

    with tls_peer(papers, act) as address, connect(address, tls=papers.trust) as near:
        near.send_eof()
        assert near.receive() == b"hel"
        with pytest.raises(IncompleteRead):
            near.receive()


def test_a_reset_is_a_reset(papers: Papers) -> None:
    def act(stream: ssl.SSLSocket) -> None:
        assert stream.recv(5) == b"hello"
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    with tls_peer(papers, act) as address, connect(address, tls=papers.trust, timeout=PATIENCE) as near:
        near.send(b"hello")
        with pytest.raises(Reset):
            near.receive()


# Whom to believe.


def test_a_server_has_to_prove_itself(server: Server) -> None:
    with pytest.raises(Untrusted, match=r"is not trusted .*; give ca=, fingerprint= or insecure=True") as caught:
        connect(server.address)
    assert caught.value.exit_code == 1


def test_another_ca_proves_nothing(server: Server, papers: Papers) -> None:
    with pytest.raises(Untrusted):
        connect(server.address, tls=ClientTLS(ca=papers.strange_ca))


def test_a_certificate_is_for_its_names_alone(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca")
    ca.issue_cert("elsewhere.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server")
    with (
        Server("tls://127.0.0.1:0", tls=ServerTLS(cert=str(tmp_path / "server"))) as server,
        pytest.raises(Untrusted, match=r"not valid for '127\.0\.0\.1'"),
    ):
        connect(server.address, tls=ClientTLS(ca=str(tmp_path / "ca")))


@pytest.mark.parametrize("spelling", ["plain", "openssl"])
def test_the_fingerprint_is_enough(server: Server, papers: Papers, spelling: str) -> None:
    digits = papers.fingerprint
    if spelling == "openssl":
        digits = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()
    with connect(server.address, tls=ClientTLS(fingerprint=digits)) as near:
        near.send(b"hello")
        assert near.receive_exactly(5) == b"hello"


def test_another_fingerprint_is_refused_and_the_one_seen_is_named(server: Server, papers: Papers) -> None:
    with pytest.raises(Untrusted, match=f"another fingerprint, {papers.fingerprint};"):
        connect(server.address, tls=ClientTLS(fingerprint="0" * 64))


@pytest.mark.parametrize("text", ["", "abc", "0" * 40, "g" * 64])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="fingerprint must be a SHA-256"):
        connect("tls://localhost", tls=ClientTLS(fingerprint=text))


def test_whoever_asks_for_it_believes_anybody(server: Server) -> None:
    with connect(server.address, tls=ClientTLS(insecure=True)) as near:
        near.send(b"hello")
        assert near.receive_exactly(5) == b"hello"


def test_a_ca_that_cannot_be_read_is_told_before_connecting(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="nothing does not exist; name a PEM file with ca="):
        connect("tls://localhost:9", tls=ClientTLS(ca=str(tmp_path / "nothing")))


def test_trust_is_for_tls() -> None:
    with pytest.raises(UsageError, match="write tls:// before the host"):
        connect("localhost", tls=ClientTLS(insecure=True))


# Clients that have to prove themselves.


@pytest.fixture
def strict(papers: Papers) -> Iterator[Server]:
    files = ServerTLS(cert=papers.server, client_ca=papers.ca)
    with Server("tls://127.0.0.1:0", tls=files) as running:
        yield running


def test_a_client_with_its_certificate_is_let_in(strict: Server, papers: Papers) -> None:
    with connect(strict.address, tls=ClientTLS(ca=papers.ca, cert=papers.client)) as near:
        near.send(b"hello")
        assert near.receive_exactly(5) == b"hello"


def test_a_client_without_one_is_told_how_to_show_it(strict: Server, papers: Papers) -> None:
    with (
        pytest.raises(Untrusted, match="requires a certificate; give cert= and key="),
        connect(strict.address, tls=papers.trust) as near,
    ):
        near.receive()


def test_a_stranger_is_told_that_it_is_one(strict: Server, papers: Papers) -> None:
    with (
        pytest.raises(Untrusted, match="does not accept our certificate"),
        connect(strict.address, tls=ClientTLS(ca=papers.ca, cert=papers.strange_client)) as near,
    ):
        near.receive()


def test_an_older_server_tells_it_in_the_handshake(papers: Papers) -> None:
    def act(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(papers.server)
        context.load_verify_locations(papers.ca)
        context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    with peer(act) as address, pytest.raises(PeerError, match="perhaps it needs cert= and key="):
        connect(address, tls=papers.trust)


# Peers that do not speak TLS.


def plain_echo(connection: socket.socket) -> None:
    connection.sendall(connection.recv(65536))


def other_protocol(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("act", [plain_echo, other_protocol])
def test_a_server_without_tls_is_named_as_one(act: Callable[[socket.socket], None]) -> None:
    with peer(act) as address, pytest.raises(PeerError, match="does not speak TLS; use tcp://"):
        connect(address)


def test_a_server_that_ends_in_the_handshake_may_be_one() -> None:
    fact = "ended the connection in the TLS handshake; perhaps"
    with peer(lambda connection: connection.recv(65536)) as address, pytest.raises(IncompleteRead, match=fact):
        connect(address)


def test_a_server_that_resets_in_the_handshake_may_be_one() -> None:
    fact = "ended the connection in the TLS handshake; perhaps"
    with peer(lambda connection: connection.recv(1)) as address, pytest.raises((Reset, IncompleteRead), match=fact):
        connect(address)


def test_a_server_that_stalls_in_the_handshake_times_out() -> None:
    fact = "does not finish the TLS handshake in time"
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimedOut, match=fact):
        connect(Address("tls", *silent.getsockname()), timeout=0.05)


def test_a_client_without_tls_is_sent_away_and_others_are_served(server: Server, papers: Papers) -> None:
    with connect(Address("tcp", "127.0.0.1", server.address.port)) as plain:
        plain.send(b"hello, this is no TLS at all\n")
        with suppress(Reset):
            assert b"hello" not in b"".join(plain)
    with connect(server.address, tls=papers.trust) as near:
        near.send(b"hello")
        assert near.receive_exactly(5) == b"hello"


# Listening.


def test_accepting_gives_a_connection_after_the_handshake(pair: tuple[Connection, Connection]) -> None:
    near, far = pair
    far.send(b"hello")
    assert near.receive() == b"hello"
    assert far.address == Address("tls", *near.socket.getsockname())


def test_a_listener_tells_the_fingerprint_of_its_certificate(listener: Listener, papers: Papers) -> None:
    assert listener.fingerprint == papers.fingerprint


def test_a_listener_without_a_certificate_makes_one() -> None:
    with listen("tls://127.0.0.1:0") as listener, ThreadPoolExecutor(1) as pool:
        tls = ClientTLS(fingerprint=listener.fingerprint)
        future = pool.submit(connect, listener.address, tls=tls)
        with listener.accept(timeout=PATIENCE) as far, future.result() as near:
            far.send(b"hello")
            assert near.receive() == b"hello"


def test_a_listener_without_tls_has_no_fingerprint() -> None:
    with listen("tcp://127.0.0.1:0") as listener:
        assert listener.fingerprint is None


def test_certificates_are_for_tls(papers: Papers) -> None:
    with pytest.raises(UsageError, match="tls is for tls://, and no address is"):
        listen("127.0.0.1:0", tls=ServerTLS(cert=papers.server))


def test_a_certificate_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="nothing does not exist; name a PEM file with cert="):
        listen("tls://127.0.0.1:0", tls=ServerTLS(cert=str(tmp_path / "nothing")))


def test_accepting_a_client_without_tls_says_so(listener: Listener) -> None:
    with socket.create_connection(("127.0.0.1", listener.address.port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(PeerError, match="does not speak TLS"):
            listener.accept(timeout=PATIENCE)


def test_accepting_a_client_that_stalls_times_out(listener: Listener) -> None:
    place, fact = ("127.0.0.1", listener.address.port), "does not finish the TLS handshake in time"
    with socket.create_connection(place), pytest.raises(TimedOut, match=fact):
        listener.accept(timeout=0.05)


def test_accepting_asks_for_the_clients_certificate(papers: Papers) -> None:
    files = ServerTLS(cert=papers.server, client_ca=papers.ca)
    with listen("tls://127.0.0.1:0", tls=files) as listener, ThreadPoolExecutor(1) as pool:
        future = pool.submit(connect, listener.address, tls=papers.trust)
        with pytest.raises(Untrusted, match="shows no certificate"):
            listener.accept(timeout=PATIENCE)
        with future.result() as near, pytest.raises(Untrusted, match="requires a certificate"):
            near.receive()


def test_a_handshake_may_come_byte_by_byte(papers: Papers) -> None:
    """A socket pair, and the client's bytes carried over one at a time."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(papers.server)
    client_context = ssl.create_default_context(cafile=papers.ca)
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
    two = ServerTLS(cert=str(folder / "cert.pem"), key=str(folder / "key.pem"))
    one = ServerTLS(cert=str(folder / "both.pem"))
    assert TlsServer(two).fingerprint == TlsServer(one).fingerprint == digest(folder / "cert.pem")


def test_the_fingerprint_is_openssl_s(folder: Path) -> None:
    command = ["openssl", "x509", "-in", str(folder / "cert.pem"), "-noout", "-fingerprint", "-sha256"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    shown = done.stdout.strip().rpartition("=")[2].replace(":", "").lower()
    assert TlsServer(ServerTLS(cert=str(folder / "both.pem"))).fingerprint == shown


def test_without_a_certificate_one_is_made_each_time() -> None:
    first, second = (TlsServer(ServerTLS()).fingerprint for _ in range(2))
    assert first != second
    assert len(first or "") == 64


def test_nothing_older_than_tls_1_2_is_spoken(folder: Path) -> None:
    context = TlsServer(ServerTLS(cert=str(folder / "both.pem"))).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert client_context(ClientTLS()).minimum_version == ssl.TLSVersion.TLSv1_2


def test_clients_are_asked_for_a_certificate_where_a_ca_is_named(folder: Path) -> None:
    asking = TlsServer(ServerTLS(cert=str(folder / "both.pem"), client_ca=str(folder / "ca.pem"))).context
    assert asking.verify_mode == ssl.CERT_REQUIRED
    assert TlsServer(ServerTLS(cert=str(folder / "both.pem"))).context.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("cert", "key"),
    [
        ("none.pem", None),
        ("cert.pem", None),
        ("cert.pem", "other.pem"),
    ],
)
def test_files_that_will_not_do_are_named(folder: Path, cert: str, key: str | None) -> None:
    files = ServerTLS(cert=str(folder / cert), key=str(folder / key) if key else None)
    with pytest.raises(LocalError, match=f"{cert} cannot be used: .*; name a PEM file"):
        TlsServer(files)


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("cert", {"cert": "missing.pem"}),
        ("key", {"cert": "cert.pem", "key": "missing.pem"}),
        ("client_ca", {"cert": "both.pem", "client_ca": "missing.pem"}),
    ],
)
def test_a_file_of_a_server_that_does_not_exist_is_named(folder: Path, argument: str, names: dict[str, str]) -> None:
    files = ServerTLS(**{name: folder / file for name, file in names.items()})
    with pytest.raises(FileNotFoundError, match=f"missing.pem does not exist; name a PEM file with {argument}=$"):
        TlsServer(files)


def test_a_ca_of_a_client_that_does_not_exist_is_named(folder: Path) -> None:
    with pytest.raises(MissingFile, match=r"missing\.pem does not exist; name a PEM file with ca=$"):
        client_context(ClientTLS(ca=folder / "missing.pem"))


def test_a_ca_that_will_not_do_is_named(folder: Path) -> None:
    with pytest.raises(LocalError, match=r"none\.pem cannot be used"):
        TlsServer(ServerTLS(cert=folder / "both.pem", client_ca=folder / "none.pem"))
    with pytest.raises(LocalError, match=r"none\.pem cannot be used"):
        client_context(ClientTLS(ca=folder / "none.pem"))


def test_a_key_alone_is_no_use(folder: Path) -> None:
    with pytest.raises(UsageError, match="key needs cert, the certificate that it belongs to"):
        TlsServer(ServerTLS(key=folder / "key.pem"))
    with pytest.raises(UsageError, match="key needs cert, the certificate that it belongs to"):
        client_context(ClientTLS(key=folder / "key.pem"))


# Of clients.


def test_a_client_believes_in_names_and_cas_unless_told_otherwise() -> None:
    context = client_context(ClientTLS())
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)


@pytest.mark.parametrize(
    "tls", [ClientTLS(insecure=True), ClientTLS(fingerprint="00" * 32)], ids=["insecure", "fingerprint"]
)
def test_a_client_told_otherwise_leaves_the_judgement_to_others(tls: ClientTLS) -> None:
    context = client_context(tls)
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)


def test_a_fingerprint_is_the_sha256_of_the_certificate() -> None:
    assert fingerprint(b"der") == hashlib.sha256(b"der").hexdigest()
