"""TLS in the loop: handshakes delay no other client, invalid input gets an alert, and streams stay whole."""

import os
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
import trustme

from halloo._core.limits import HANDSHAKE, Limits
from halloo._core.tls_options import ServerTLS
from halloo._net.tls import TlsServer
from halloo._net.tls_records import HEADER, MAX_WITHOUT_DATA
from halloo._server.closer import LINGER_TIMEOUT
from halloo._server.endpoint import Endpoint
from halloo._server.handlers import RespondHandler
from halloo._server.states import ECHOING
from halloo._server.tls import MAX_HANDSHAKES, MAX_RECORD
from tests.key_updates import write_key_update
from tests.peers import payload, reset
from tests.stepping import IDLE_TIMEOUT, MAKERS, MAX_IDLE_TURNS, RecordingObserver, Stage, ended

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ServerTLS:
    """A server's certificate, and the CA of its clients."""
    folder = tmp_path_factory.mktemp("tls")
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    return ServerTLS(cert=str(folder / "server.pem"), client_ca=str(folder / "ca.pem"))


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest, files: ServerTLS) -> Iterator[Callable[..., Stage]]:
    context = TlsServer(ServerTLS(cert=files.cert)).context
    with ExitStack() as cleanup:
        yield lambda limits=None, **options: cleanup.enter_context(
            Stage(limits, **{"poller": request.param(), "context": context} | options)
        )


MakeStage = Callable[..., Stage]


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage()


class TlsClient:
    """TLS over a non-blocking socket; whenever it has to wait, the loop takes turns."""

    def __init__(self, stage: Stage, context: ssl.SSLContext, sock: socket.socket | None = None) -> None:
        self.stage = stage
        self.sock = sock or stage.connect()
        # Otherwise the end of a message waits for the acknowledgement of its beginning, which is delayed by 40 ms.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._came, self._goes, server_hostname="localhost")
        self._unsent = b""
        self._waits = True
        self._unread = bytearray()

    def do_handshake(self) -> "TlsClient":
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._pump()
            else:
                self.send(b"")
                return self

    def send(self, data: bytes) -> None:
        """Send all data, while the loop takes turns."""
        if data:
            self.tls.write(data)
        self._waits = False
        while self._goes.pending or self._unsent:
            self._pump()
        self._waits = True

    def close_notify(self) -> None:
        """Send close_notify, and keep the data received: `unwrap` would discard it."""
        with suppress(ssl.SSLWantReadError):
            while piece := self.tls.read(MIB):
                self._unread += piece
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.send(b"")

    def read(self, size: int = 1 << 62) -> bytes:
        """Read `size` bytes, or up to close_notify; an end without one is an ssl.SSLEOFError."""
        pieces, self._unread = self._unread, bytearray()
        while len(pieces) < size:
            try:
                piece = self.tls.read(min(size - len(pieces), MIB))
            except ssl.SSLWantReadError:
                self._pump()
                continue
            except ssl.SSLZeroReturnError:
                break
            if not piece:
                break
            pieces += piece
        return bytes(pieces)

    def exchange(self, data: bytes) -> bytes:
        """Send and read at the same time."""
        self.tls.write(data)
        return self.read(len(data))

    def _pump(self) -> None:
        """Move data in either direction, or have the loop take turns."""
        self._unsent += self._goes.read()
        for _ in range(MAX_IDLE_TURNS):
            with suppress(BlockingIOError):
                while self._unsent:
                    self._unsent = self._unsent[self.sock.send(self._unsent) :]
                    self.stage.loop.turn(0)
            with suppress(BlockingIOError):
                if data := self.sock.recv(MIB):
                    self._came.write(data)
                else:
                    self._came.write_eof()
                return
            if not self._unsent and self._goes.pending == 0 and not self._waits:
                return
            self.stage.loop.turn(IDLE_TIMEOUT)
        raise AssertionError(f"nothing moves: {self.stage.snapshot}")


@pytest.fixture
def client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


# Echoing.


def test_a_message_is_echoed(stage: Stage, client_context: ssl.SSLContext) -> None:
    assert TlsClient(stage, client_context).do_handshake().exchange(b"hello") == b"hello"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_tls_1_2_and_1_3_are_supported(stage: Stage, client_context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    client_context.maximum_version = version
    client = TlsClient(stage, client_context).do_handshake()
    assert client.exchange(b"hello") == b"hello"
    assert client.tls.version() == version.name.replace("_", ".")


def test_an_older_version_is_refused_and_counted(stage: Stage, client_context: ssl.SSLContext) -> None:
    for end in ("minimum_version", "maximum_version"):
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            setattr(client_context, end, ssl.TLSVersion.TLSv1_1)
    client_context.set_ciphers("ALL:@SECLEVEL=0")
    client = TlsClient(stage, client_context)
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        client.do_handshake()
    assert stage.snapshot.errors == {"SSLError": 1}


def test_renegotiation_is_off() -> None:
    assert TlsServer(ServerTLS()).context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("size", [1, MAX_RECORD - 1, MAX_RECORD, MAX_RECORD + 1, 3 * MAX_RECORD, 300_000])
def test_a_message_of_any_size_is_echoed(stage: Stage, client_context: ssl.SSLContext, size: int) -> None:
    client = TlsClient(stage, client_context).do_handshake()
    for _ in range(2):
        assert client.exchange(payload(size)) == payload(size)


def test_much_data_is_echoed_in_both_directions_at_once(make_stage: MakeStage, client_context: ssl.SSLContext) -> None:
    stage = make_stage(buffer=64 * 1024)
    client = TlsClient(stage, client_context).do_handshake()
    assert client.exchange(payload(8 * MIB)) == payload(8 * MIB)


def test_a_handshake_and_records_may_arrive_byte_by_byte(stage: Stage, client_context: ssl.SSLContext) -> None:
    with TricklingSocket(stage.connect()) as sock:
        client = TlsClient(stage, client_context, sock).do_handshake()
        assert client.exchange(b"hello") == b"hello"


def test_plain_and_encrypted_listeners_can_be_served_together(stage: Stage, client_context: ssl.SSLContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        stage.loop.acceptor.add([Endpoint(listener)])
        with socket.create_connection(listener.getsockname()) as plain:
            plain.setblocking(False)
            assert stage.echo(plain, b"hello") == b"hello"
            assert TlsClient(stage, client_context).do_handshake().exchange(b"hello") == b"hello"
        stage.until(lambda: stage.snapshot.open == 1)
        stage.loop.acceptor.pause_accepting()


def test_a_function_may_answer_over_tls(make_stage: MakeStage, client_context: ssl.SSLContext) -> None:
    stage = make_stage(handler=RespondHandler(bytes.upper, "line", b"welcome\n"))
    client = TlsClient(stage, client_context).do_handshake()
    assert client.read(8) == b"welcome\n"
    assert client.exchange(b"hello\n") == b"HELLO\n"


# Ending.


def test_after_its_close_notify_a_client_gets_everything_and_close_notify(
    stage: Stage, client_context: ssl.SSLContext
) -> None:
    client = TlsClient(stage, client_context).do_handshake()
    client.send(payload(50_000))
    client.close_notify()
    assert client.read() == payload(50_000)
    stage.until(lambda: stage.snapshot.open == 0)
    assert stage.snapshot.errors == {}


def test_when_the_server_closes_the_client_gets_close_notify(
    make_stage: MakeStage, client_context: ssl.SSLContext
) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    client = TlsClient(stage, client_context).do_handshake()
    stage.elapse_in_steps(3)
    assert client.read() == b""
    assert stage.snapshot.ended == {"idle_timeout": 1}


def test_an_end_without_close_notify_is_counted(stage: Stage, client_context: ssl.SSLContext) -> None:
    client = TlsClient(stage, client_context).do_handshake()
    client.sock.close()
    stage.until(lambda: stage.snapshot.open == 0)
    assert stage.snapshot.errors == {"SSLEOFError": 1}


def test_a_reset_is_counted(stage: Stage, client_context: ssl.SSLContext) -> None:
    client = TlsClient(stage, client_context).do_handshake()
    reset(client.sock)
    stage.until(lambda: stage.snapshot.open == 0)
    assert stage.snapshot.errors == {"ECONNRESET": 1}


def test_a_slow_reader_that_has_sent_close_notify_gets_everything(
    make_stage: MakeStage, client_context: ssl.SSLContext
) -> None:
    stage = make_stage(buffer=16 * 1024)
    client = TlsClient(stage, client_context, stage.connect(buffer=16 * 1024)).do_handshake()
    client.tls.write(payload(2 * MIB))
    client.close_notify()
    assert client.read() == payload(2 * MIB)


# Handshakes that fail.


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"\x16\x03\x01\x00\x06halloo", b"\x15\x03"),  # an alert (RFC 8446, 5.1)
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),  # does not understand an alert
    ],
    ids=["garbled", "plain"],
)
def test_input_that_is_not_tls_gets_an_alert_or_fin_and_is_counted(stage: Stage, said: bytes, answer: bytes) -> None:
    client = stage.connect()
    client.send(said)
    assert stage.read(client)[:2] == answer
    assert stage.snapshot.errors == {"SSLError": 1}


def test_input_that_is_not_tls_does_not_affect_other_clients(stage: Stage, client_context: ssl.SSLContext) -> None:
    before = TlsClient(stage, client_context).do_handshake()
    stage.connect().send(payload(1000))
    stage.until(lambda: bool(stage.snapshot.errors))
    assert before.exchange(b"hello") == b"hello"
    assert TlsClient(stage, client_context).do_handshake().exchange(b"hello") == b"hello"


def test_a_client_without_tls_that_stays_is_closed_after_a_timeout(stage: Stage) -> None:
    stage.connect()  # stalls, with a longer deadline
    client = stage.connect()
    client.send(payload(1000))
    stage.until(lambda: bool(stage.snapshot.errors))
    stage.elapse_in_steps(LINGER_TIMEOUT)
    assert stage.snapshot.open == 1


def test_a_stalled_handshake_is_closed_at_its_timeout_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(handshake_timeout=3))
    silent, halfway = stage.connect(), stage.connect()
    halfway.send(b"\x16\x03\x01")
    stage.elapse_in_steps(2.75)
    assert stage.snapshot.open == 2
    stage.elapse_in_steps(0.25)
    assert stage.snapshot.open == 0
    assert stage.snapshot.ended == {"handshake_timeout": 2}
    assert ended(silent)


def test_a_server_with_a_long_timeout_waits_beside_a_stalled_handshake(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(handshake_timeout=600 * 3600))
    stage.connect()
    stage.loop.reactor.wake()
    stage.loop.turn(stage.loop.reactor.timers.timeout(stage.clock.now))
    assert stage.snapshot.open == 1


def test_a_stalled_handshake_delays_no_other_client(stage: Stage, client_context: ssl.SSLContext) -> None:
    for _ in range(20):
        stage.connect()
    assert TlsClient(stage, client_context).do_handshake().exchange(b"hello") == b"hello"


def test_a_burst_of_handshakes_takes_several_turns(stage: Stage, client_context: ssl.SSLContext) -> None:
    clients = [TlsClient(stage, client_context) for _ in range(3 * MAX_HANDSHAKES)]
    stage.until(lambda: stage.snapshot.open == len(clients))
    for client in clients:
        with suppress(ssl.SSLWantReadError):
            client.tls.do_handshake()
        client.sock.send(client._goes.read())
    stage.loop.turn(IDLE_TIMEOUT)
    assert len(select.select([client.sock for client in clients], [], [], 0)[0]) == MAX_HANDSHAKES
    assert all(client.do_handshake().exchange(b"hello") == b"hello" for client in clients)


def test_after_the_handshake_its_timeout_does_not_apply(stage: Stage, client_context: ssl.SSLContext) -> None:
    client = TlsClient(stage, client_context).do_handshake()
    stage.elapse_in_steps(10 * HANDSHAKE, step=1)
    assert client.exchange(b"hello") == b"hello"


def test_a_client_that_disconnects_before_the_handshake_is_removed(stage: Stage) -> None:
    stage.connect().close()
    stage.until(lambda: stage.snapshot.open == 0)
    reset(stage.connect())
    stage.until(lambda: stage.snapshot.open == 0)
    stage.elapse_in_steps(HANDSHAKE + 1)
    assert stage.snapshot.ended == {}


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"], ids=["silent", "talking"])
def test_a_reset_before_accept_does_not_affect_other_clients(
    stage: Stage, client_context: ssl.SSLContext, said: bytes
) -> None:
    for _ in range(3):
        client = stage.dial()
        if said:
            client.send(said)
        reset(client)
    assert TlsClient(stage, client_context).do_handshake().exchange(b"hello") == b"hello"
    assert stage.loop.acceptor.accepting


def test_an_invalid_record_after_the_handshake_is_counted_as_an_error_of_tls(
    stage: Stage, client_context: ssl.SSLContext
) -> None:
    TlsClient(stage, client_context).do_handshake().sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    stage.until(lambda: stage.snapshot.open == 0)
    assert stage.snapshot.errors == {"SSLError": 1}  # OpenSSL's number for it is that of EPERM


# The work of one connection in one turn.


def fragments(hello: bytes, size: int) -> list[bytes]:
    """Split the one record of a ClientHello into records of `size` bytes (RFC 8446, 5.1)."""
    body = hello[HEADER:]
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return [hello[: HEADER - 2] + len(piece).to_bytes(2, "big") + piece for piece in pieces]


def turns_until(stage: Stage, condition: Callable[[], bool]) -> int:
    turns = 0
    while not condition():
        assert stage.loop.turn(IDLE_TIMEOUT), stage.snapshot
        turns += 1
    return turns


def test_a_turn_takes_one_record_of_a_connection(stage: Stage, client_context: ssl.SSLContext) -> None:
    client = TlsClient(stage, client_context).do_handshake()
    assert client.exchange(b"hello") == b"hello"
    for _ in range(MAX_WITHOUT_DATA - 1):
        write_key_update(client.tls)
    client.tls.write(b"again")
    client.sock.send(client._goes.read())
    assert turns_until(stage, lambda: stage.snapshot.messages == 2) == MAX_WITHOUT_DATA
    assert client.read(5) == b"again"


def test_key_updates_without_data_are_limited_and_delay_no_other_client(
    stage: Stage, client_context: ssl.SSLContext
) -> None:
    client, other = (TlsClient(stage, client_context).do_handshake() for _ in range(2))
    assert (client.exchange(b"hello"), other.exchange(b"hello")) == (b"hello", b"hello")
    for _ in range(10 * MAX_WITHOUT_DATA):
        write_key_update(client.tls)
    client.sock.send(client._goes.read())
    stage.loop.turn(IDLE_TIMEOUT)
    other.tls.write(b"again")
    other.sock.send(other._goes.read())
    assert turns_until(stage, lambda: stage.snapshot.messages == 3) <= 2
    stage.until(lambda: stage.snapshot.open == 1)
    assert stage.snapshot.errors == {"TooManyRecords": 1}
    assert other.read(5) == b"again"


def test_key_updates_between_data_are_not_limited(stage: Stage, client_context: ssl.SSLContext) -> None:
    client = TlsClient(stage, client_context).do_handshake()
    for _ in range(2 * MAX_WITHOUT_DATA):
        write_key_update(client.tls, reply=True)
        assert client.exchange(b"hello") == b"hello"


def test_a_handshake_in_fragments_is_limited(stage: Stage, client_context: ssl.SSLContext) -> None:
    other = TlsClient(stage, client_context).do_handshake()
    client = TlsClient(stage, client_context)
    with suppress(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.sock.send(b"".join(fragments(client._goes.read(), 1)))
    assert other.exchange(b"hello") == b"hello"
    stage.until(lambda: bool(stage.snapshot.errors))
    assert stage.snapshot.errors == {"TooManyRecords": 1}


def test_a_handshake_in_some_fragments_succeeds(stage: Stage, client_context: ssl.SSLContext) -> None:
    client = TlsClient(stage, client_context)
    with suppress(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.sock.send(b"".join(fragments(client._goes.read(), 50)))
    assert client.do_handshake().exchange(b"hello") == b"hello"


def test_a_received_record_that_waits_for_its_turn_counts_as_queued(
    stage: Stage, client_context: ssl.SSLContext
) -> None:
    client = TlsClient(stage, client_context).do_handshake()
    assert client.exchange(b"hello") == b"hello"
    (fd,) = stage.loop.reactor.in_state(ECHOING)
    for letter in (b"a", b"b"):
        client.tls.write(letter)
    client.sock.send(client._goes.read())
    stage.loop.turn(IDLE_TIMEOUT)
    assert stage.snapshot.messages == 2
    assert stage.loop.reactor.poller.queued_bytes(fd)[0] > 0  # so that a drain answers it
    assert client.read(2) == b"ab"
    assert stage.loop.reactor.poller.queued_bytes(fd)[0] == 0


# Client certificates.


def test_a_client_with_the_requested_certificate_is_served(
    make_stage: MakeStage, files: ServerTLS, ca: trustme.CA, client_context: ssl.SSLContext
) -> None:
    context = TlsServer(files).context
    ca.issue_cert("client@example.org").configure_cert(client_context)
    assert TlsClient(make_stage(context=context), client_context).do_handshake().exchange(b"hello") == b"hello"


@pytest.mark.parametrize("wrong_certificate", [True, False], ids=["another CA's", "none"])
def test_a_client_with_no_or_a_wrong_certificate_is_refused_and_counted(
    make_stage: MakeStage, files: ServerTLS, client_context: ssl.SSLContext, wrong_certificate: bool
) -> None:
    context = TlsServer(files).context
    stage = make_stage(context=context)
    if wrong_certificate:
        trustme.CA().issue_cert("client@example.org").configure_cert(client_context)
    name = "SSLCertVerificationError" if wrong_certificate else "SSLError"
    with pytest.raises(ssl.SSLError, match=r"ALERT|REQUIRED|UNKNOWN_CA"):
        TlsClient(stage, client_context).do_handshake().exchange(b"hello")
    assert stage.snapshot.errors == {name: 1}
    assert stage.snapshot.received_bytes == 0


# Limits.


def test_a_rate_smaller_than_a_record_is_kept_and_loses_nothing(
    make_stage: MakeStage, client_context: ssl.SSLContext
) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    client = TlsClient(stage, client_context).do_handshake()
    client.send(payload(2 * MAX_RECORD))
    stage.settle()
    assert stage.snapshot.received_bytes <= MAX_RECORD
    stage.elapse_in_steps(2 * MAX_RECORD / 1000)
    assert client.read(2 * MAX_RECORD) == payload(2 * MAX_RECORD)


def test_exactly_max_bytes_are_echoed(make_stage: MakeStage, client_context: ssl.SSLContext) -> None:
    stage = make_stage(Limits(max_bytes=1000))
    client = TlsClient(stage, client_context).do_handshake()
    client.send(payload(3000))
    assert client.read() == payload(1000)
    assert stage.snapshot.ended == {"max_bytes": 1}


def test_a_client_that_does_not_read_is_closed_and_counted(
    make_stage: MakeStage, client_context: ssl.SSLContext
) -> None:
    stage = make_stage(Limits(stall_timeout=4), buffer=16 * 1024)
    client = TlsClient(stage, client_context, stage.connect(buffer=16 * 1024)).do_handshake()
    client.tls.write(payload(8 * MIB))
    unsent = client._goes.read()
    while not stage.loop.connections.pending:
        with suppress(BlockingIOError):
            unsent = unsent[client.sock.send(unsent) :]
        stage.loop.turn(0)
    stage.settle()
    stage.elapse_in_steps(6)
    assert stage.snapshot.ended == {"stall_timeout": 1}
    assert stage.snapshot.open == 0


def test_opened_and_closed_connections_are_reported(make_stage: MakeStage, client_context: ssl.SSLContext) -> None:
    notes = RecordingObserver()
    stage = make_stage(observer=notes)
    client = TlsClient(stage, client_context).do_handshake()
    client.close_notify()
    stage.until(lambda: stage.snapshot.open == 0)
    assert notes.events == [("opened", client.sock.getsockname()), ("closed", "")]
    assert stage.snapshot.accepted_by_scheme == {"tcp": 0, "tls": 1, "unix": 0}
    assert stage.snapshot.open_by_scheme == {"tcp": 0, "tls": 0, "unix": 0}


class TricklingSocket(socket.socket):
    """Sends one byte at a time."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=os.dup(sock.fileno()))
        self.setblocking(False)

    def send(self, data: bytes, _flags: int = 0) -> int:  # type: ignore[override] # only called this way
        return super().send(data[:1])
