"""TLS in the loop: a handshake holds nobody up, what is no TLS is told so, and a stream is as whole as in the clear."""

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
import trustme

from halloo._core.limits import HANDSHAKE, Limits
from halloo._core.tls_options import ServerTLS
from halloo._net.tls import server_context
from halloo._server.acceptor import Endpoint
from halloo._server.closer import GOODBYE
from halloo._server.handlers import RespondHandler
from halloo._server.tls import RECORD
from tests.stepping import IDLE, IDLE_TURNS, MAKERS, Notes, Stage, ended, pattern, reset

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ServerTLS:
    """A server's certificate, and who may be its client."""
    folder = tmp_path_factory.mktemp("tls")
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    return ServerTLS(cert=str(folder / "server.pem"), client_ca=str(folder / "ca.pem"))


@pytest.fixture(params=MAKERS)
def make_stage(request: pytest.FixtureRequest, files: ServerTLS) -> Iterator[Callable[..., Stage]]:
    context, _ = server_context(ServerTLS(cert=files.cert))
    with ExitStack() as cleanup:
        yield lambda limits=None, **options: cleanup.enter_context(
            Stage(limits, **{"poller": request.param(), "context": context} | options)
        )


MakeStage = Callable[..., Stage]


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage()


class Client:
    """TLS over a socket that never blocks; whatever it waits for, the loop takes turns."""

    def __init__(self, stage: Stage, context: ssl.SSLContext, sock: socket.socket | None = None) -> None:
        self.stage = stage
        self.sock = sock or stage.arrive()
        # Or the end of a message would wait for the acknowledgement of its beginning, which is delayed by 40 ms.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._came, self._goes, server_hostname="localhost")
        self._unsent = b""
        self._waits = True
        self._unread = bytearray()

    def shake(self) -> "Client":
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._pump()
            else:
                self.send(b"")
                return self

    def send(self, data: bytes) -> None:
        """Send all of it, while the loop takes turns."""
        if data:
            self.tls.write(data)
        self._waits = False
        while self._goes.pending or self._unsent:
            self._pump()
        self._waits = True

    def finish(self) -> None:
        """Send close_notify, and keep what has come: `unwrap` would throw it away."""
        with suppress(ssl.SSLWantReadError):
            while piece := self.tls.read(MIB):
                self._unread += piece
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.send(b"")

    def read(self, size: int = 1 << 62) -> bytes:
        """Read so many bytes, or up to close_notify; an end without one is an ssl.SSLEOFError."""
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
        """Send and read at once."""
        self.tls.write(data)
        return self.read(len(data))

    def _pump(self) -> None:
        """Move what can be moved either way, or have the loop take turns."""
        self._unsent += self._goes.read()
        for _ in range(IDLE_TURNS):
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
            self.stage.loop.turn(IDLE)
        raise AssertionError(f"nothing moves: {self.stage.seen}")


@pytest.fixture
def trusting(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


# Echoing.


def test_a_message_comes_back(stage: Stage, trusting: ssl.SSLContext) -> None:
    assert Client(stage, trusting).shake().exchange(b"hello") == b"hello"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_both_versions_are_spoken(stage: Stage, trusting: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    trusting.maximum_version = version
    client = Client(stage, trusting).shake()
    assert client.exchange(b"hello") == b"hello"
    assert client.tls.version() == version.name.replace("_", ".")


def test_an_older_version_is_refused_and_counted(stage: Stage, trusting: ssl.SSLContext) -> None:
    for end in ("minimum_version", "maximum_version"):
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            setattr(trusting, end, ssl.TLSVersion.TLSv1_1)
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    client = Client(stage, trusting)
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        client.shake()
    assert stage.seen.errors == {"SSLError": 1}


@pytest.mark.parametrize("size", [1, RECORD - 1, RECORD, RECORD + 1, 3 * RECORD, 300_000])
def test_a_message_of_any_size_comes_back(stage: Stage, trusting: ssl.SSLContext, size: int) -> None:
    client = Client(stage, trusting).shake()
    for _ in range(2):
        assert client.exchange(pattern(size)) == pattern(size)


def test_much_comes_back_both_ways_at_once(make_stage: MakeStage, trusting: ssl.SSLContext) -> None:
    stage = make_stage(buffer=64 * 1024)
    client = Client(stage, trusting).shake()
    assert client.exchange(pattern(8 * MIB)) == pattern(8 * MIB)


def test_a_handshake_and_records_may_come_byte_by_byte(stage: Stage, trusting: ssl.SSLContext) -> None:
    with Trickling(stage.arrive()) as sock:
        client = Client(stage, trusting, sock).shake()
        assert client.exchange(b"hello") == b"hello"


def test_plain_and_encrypted_listeners_can_be_served_together(stage: Stage, trusting: ssl.SSLContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        stage.loop.acceptor.add([Endpoint(listener)])
        with socket.create_connection(listener.getsockname()) as plain:
            plain.setblocking(False)
            assert stage.echo(plain, b"hello") == b"hello"
            assert Client(stage, trusting).shake().exchange(b"hello") == b"hello"
        stage.until(lambda: stage.seen.open == 1)
        stage.loop.acceptor.pause_accepting()


def test_a_function_may_answer_over_tls(make_stage: MakeStage, trusting: ssl.SSLContext) -> None:
    stage = make_stage(handler=RespondHandler(bytes.upper, "lines", b"welcome\n"))
    client = Client(stage, trusting).shake()
    assert client.read(8) == b"welcome\n"
    assert client.exchange(b"hello\n") == b"HELLO\n"


# Ending.


def test_at_the_client_s_end_it_gets_everything_and_close_notify(stage: Stage, trusting: ssl.SSLContext) -> None:
    client = Client(stage, trusting).shake()
    client.send(pattern(50_000))
    client.finish()
    assert client.read() == pattern(50_000)
    stage.until(lambda: stage.seen.open == 0)
    assert stage.seen.errors == {}


def test_when_we_end_the_client_gets_close_notify(make_stage: MakeStage, trusting: ssl.SSLContext) -> None:
    stage = make_stage(Limits(idle_timeout=2))
    client = Client(stage, trusting).shake()
    stage.pass_slowly(3)
    assert client.read() == b""
    assert stage.seen.ended == {"idle_timeout": 1}


def test_an_end_without_close_notify_is_counted(stage: Stage, trusting: ssl.SSLContext) -> None:
    client = Client(stage, trusting).shake()
    client.sock.close()
    stage.until(lambda: stage.seen.open == 0)
    assert stage.seen.errors == {"SSLEOFError": 1}


def test_a_reset_is_counted(stage: Stage, trusting: ssl.SSLContext) -> None:
    client = Client(stage, trusting).shake()
    reset(client.sock)
    stage.until(lambda: stage.seen.open == 0)
    assert stage.seen.errors in ({"ECONNRESET": 1}, {"SSLEOFError": 1})  # before 3.12 ssl does not tell them apart


def test_a_slow_reader_who_has_finished_gets_everything(make_stage: MakeStage, trusting: ssl.SSLContext) -> None:
    stage = make_stage(buffer=16 * 1024)
    client = Client(stage, trusting, stage.arrive(buffer=16 * 1024)).shake()
    client.tls.write(pattern(2 * MIB))
    client.finish()
    assert client.read() == pattern(2 * MIB)


# Handshakes that fail.


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"\x16\x03\x01\x00\x06halloo", b"\x15\x03"),  # an alert (RFC 8446, 5.1)
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),  # would not know what an alert is
    ],
    ids=["garbled", "plain"],
)
def test_what_is_no_tls_gets_an_alert_or_an_end_and_is_counted(stage: Stage, said: bytes, answer: bytes) -> None:
    client = stage.arrive()
    client.send(said)
    assert stage.read(client)[:2] == answer
    assert stage.seen.errors == {"SSLError": 1}


def test_what_is_no_tls_harms_nobody_else(stage: Stage, trusting: ssl.SSLContext) -> None:
    before = Client(stage, trusting).shake()
    stage.arrive().send(pattern(1000))
    stage.until(lambda: bool(stage.seen.errors))
    assert before.exchange(b"hello") == b"hello"
    assert Client(stage, trusting).shake().exchange(b"hello") == b"hello"


def test_what_is_no_tls_and_does_not_leave_is_closed_after_a_while(stage: Stage) -> None:
    stage.arrive()  # who stalls, and has a longer deadline
    client = stage.arrive()
    client.send(pattern(1000))
    stage.until(lambda: bool(stage.seen.errors))
    stage.pass_slowly(GOODBYE)
    assert stage.seen.open == 1


def test_who_stalls_in_the_handshake_is_dropped_in_time_and_counted(make_stage: MakeStage) -> None:
    stage = make_stage(Limits(handshake_timeout=3))
    silent, halfway = stage.arrive(), stage.arrive()
    halfway.send(b"\x16\x03\x01")
    stage.pass_slowly(2.75)
    assert stage.seen.open == 2
    stage.pass_slowly(0.25)
    assert stage.seen.open == 0
    assert stage.seen.ended == {"handshake_timeout": 2}
    assert ended(silent)


def test_who_stalls_in_the_handshake_holds_nobody_up(stage: Stage, trusting: ssl.SSLContext) -> None:
    for _ in range(20):
        stage.arrive()
    assert Client(stage, trusting).shake().exchange(b"hello") == b"hello"


def test_who_has_shaken_hands_may_be_silent_for_ever(stage: Stage, trusting: ssl.SSLContext) -> None:
    client = Client(stage, trusting).shake()
    stage.pass_slowly(10 * HANDSHAKE, step=1)
    assert client.exchange(b"hello") == b"hello"


def test_who_leaves_before_the_handshake_is_forgotten(stage: Stage) -> None:
    stage.arrive().close()
    stage.until(lambda: stage.seen.open == 0)
    reset(stage.arrive())
    stage.until(lambda: stage.seen.open == 0)
    stage.pass_slowly(HANDSHAKE + 1)
    assert stage.seen.ended == {}


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"], ids=["silent", "talking"])
def test_who_has_reset_before_it_is_accepted_stops_nobody(stage: Stage, trusting: ssl.SSLContext, said: bytes) -> None:
    for _ in range(3):
        client = stage.dial()
        if said:
            client.send(said)
        reset(client)
    assert Client(stage, trusting).shake().exchange(b"hello") == b"hello"
    assert stage.loop.acceptor.open


# ServerTLS of clients.


def test_who_shows_a_certificate_that_is_asked_for_is_served(
    make_stage: MakeStage, files: ServerTLS, ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    context, _ = server_context(files)
    ca.issue_cert("client@example.org").configure_cert(trusting)
    assert Client(make_stage(context=context), trusting).shake().exchange(b"hello") == b"hello"


@pytest.mark.parametrize("stranger", [True, False], ids=["another CA's", "none"])
def test_who_shows_none_or_another_is_refused_and_counted(
    make_stage: MakeStage, files: ServerTLS, trusting: ssl.SSLContext, stranger: bool
) -> None:
    context, _ = server_context(files)
    stage = make_stage(context=context)
    if stranger:
        trustme.CA().issue_cert("client@example.org").configure_cert(trusting)
    name = "SSLCertVerificationError" if stranger else "SSLError"
    with pytest.raises(ssl.SSLError, match=r"ALERT|REQUIRED|UNKNOWN_CA"):
        Client(stage, trusting).shake().exchange(b"hello")
    assert stage.seen.errors == {name: 1}
    assert stage.seen.received_bytes == 0


# Limits.


def test_a_rate_smaller_than_a_record_is_kept_and_loses_nothing(
    make_stage: MakeStage, trusting: ssl.SSLContext
) -> None:
    stage = make_stage(Limits(rate_limit=1000))
    client = Client(stage, trusting).shake()
    client.send(pattern(2 * RECORD))
    stage.settle()
    assert stage.seen.received_bytes <= RECORD
    stage.pass_slowly(2 * RECORD / 1000)
    assert client.read(2 * RECORD) == pattern(2 * RECORD)


def test_as_many_bytes_as_are_allowed_come_back(make_stage: MakeStage, trusting: ssl.SSLContext) -> None:
    stage = make_stage(Limits(max_bytes=1000))
    client = Client(stage, trusting).shake()
    client.send(pattern(3000))
    assert client.read() == pattern(1000)
    assert stage.seen.ended == {"max_bytes": 1}


def test_who_does_not_read_is_closed_and_counted(make_stage: MakeStage, trusting: ssl.SSLContext) -> None:
    stage = make_stage(Limits(stall_timeout=4), buffer=16 * 1024)
    client = Client(stage, trusting, stage.arrive(buffer=16 * 1024)).shake()
    client.tls.write(pattern(8 * MIB))
    unsent = client._goes.read()
    while not stage.loop.table.pending_writes:
        with suppress(BlockingIOError):
            unsent = unsent[client.sock.send(unsent) :]
        stage.loop.turn(0)
    stage.settle()
    stage.pass_slowly(6)
    assert stage.seen.ended == {"stall_timeout": 1}
    assert stage.seen.open == 0


def test_the_log_is_told_of_who_came_and_went(make_stage: MakeStage, trusting: ssl.SSLContext) -> None:
    notes = Notes()
    stage = make_stage(observer=notes)
    client = Client(stage, trusting).shake()
    client.finish()
    stage.until(lambda: stage.seen.open == 0)
    assert notes.told == [("opened", client.sock.getsockname()), ("closed", "")]


class Trickling(socket.socket):
    """Sends one byte at a time."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=os.dup(sock.fileno()))
        self.setblocking(False)

    def send(self, data: bytes, _flags: int = 0) -> int:  # type: ignore[override] # as it is called here
        return super().send(data[:1])
