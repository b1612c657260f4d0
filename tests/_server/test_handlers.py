"""Answers of `respond`: for each line, chunk or message, in order, to fast and slow readers."""

import errno
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from halloo._core.framing import MAX_MESSAGE, Framing
from halloo._net.listener import listen
from halloo._server.echo import BUFFER_SIZE, EchoServer
from halloo._server.endpoint import Endpoint
from halloo._server.handlers import BATCH_MESSAGES, BATCH_SIZE, RespondHandler
from halloo._server.poller import Poller
from halloo._server.responder import Respond, flush_log
from halloo._server.running import RunningServer, Service
from halloo.errors import Refused
from halloo.testing import every_split
from tests.peers import receive_all, reset
from tests.stepping import MAKERS, Stage

TIMEOUT = 20  # seconds without a byte, after which the test fails
MAX_TURNS = 10_000  # after which waiting fails


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


Answer = Callable[..., "Dial"]
Dial = Callable[[], socket.socket]


@pytest.fixture
def answer(cleanup: ExitStack) -> Answer:
    """Start servers in the background with `respond`; return a function that makes clients."""

    def answer(respond: Respond | None = None, framing: Framing = "line", greeting: bytes = b"") -> Dial:
        service = Service(handler=RespondHandler(respond, framing, greeting))
        server = cleanup.enter_context(RunningServer(listen("127.0.0.1:0"), service))
        server.start()
        return lambda: cleanup.enter_context(connected(server.address.port))

    return answer


def connected(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("reply", [b"", None], ids=["answered", "unanswered"])
def test_a_client_with_many_messages_in_one_read_delays_no_other(
    cleanup: ExitStack, maker: Callable[[], Poller], reply: bytes | None
) -> None:
    heard: list[bytes] = []

    def respond(message: bytes) -> bytes | None:
        heard.append(message)
        return reply

    stage = cleanup.enter_context(Stage(handler=RespondHandler(respond, "line", b""), poller=maker()))
    busy, other = stage.connect(), stage.connect()
    count = 10 * BATCH_MESSAGES
    busy.sendall(b"\n" * count)
    other.sendall(b"hello\n")
    stage.until(lambda: b"hello" in heard)
    assert len(heard) <= 600
    busy.shutdown(socket.SHUT_WR)
    assert stage.read(busy) == (b"" if reply is None else b"\n" * count)
    assert len(heard) == count + 1
    assert stage.snapshot.pending_write_bytes == 0
    assert stage.loop.connections.pending_since == {}


# Lines.


def test_respond_gets_a_line_without_its_ending_and_the_answer_gets_it_back(answer: Answer) -> None:
    heard: list[bytes] = []

    def shout(line: bytes) -> bytes:
        heard.append(line)
        return line.upper()

    client = answer(shout)()
    assert exchange_all(client, b"hello\nworld\n") == b"HELLO\nWORLD\n"
    assert heard == [b"hello", b"world"]


def test_an_answer_ends_as_its_line_did(answer: Answer) -> None:
    assert exchange_all(answer(bytes.upper)(), b"unix\nnet\r\nlast") == b"UNIX\nNET\r\nLAST"


def test_an_empty_line_is_a_line(answer: Answer) -> None:
    assert exchange_all(answer(lambda line: b"<" + line + b">")(), b"\n\r\n") == b"<>\n<>\r\n"


def test_a_line_may_arrive_in_any_pieces(answer: Answer) -> None:
    client = answer(bytes.upper)()
    for pieces in every_split("gr\u00fc\u00df\r\n".encode()):
        for piece in pieces:
            client.sendall(piece)
        assert receive(client, 8) == "GR\u00fc\u00df\r\n".encode()


def test_a_last_line_without_an_ending_is_answered_at_the_end(answer: Answer) -> None:
    assert exchange_all(answer(bytes.upper)(), b"bye") == b"BYE"


def test_an_empty_stream_has_no_answer(answer: Answer) -> None:
    assert exchange_all(answer(bytes.upper)(), b"") == b""


def test_none_is_no_answer(answer: Answer) -> None:
    client = answer(lambda line: line if line.startswith(b"?") else None)()
    assert exchange_all(client, b"quiet\n?loud\nquiet\n") == b"?loud\n"


def test_an_answer_may_be_empty(answer: Answer) -> None:
    assert exchange_all(answer(lambda _: b"")(), b"one\ntwo\n") == b"\n\n"


def test_the_longest_line_is_answered(answer: Answer) -> None:
    line = b"x" * (MAX_MESSAGE - 1) + b"\n"
    assert exchange_in_parallel(answer(bytes.upper)(), line) == line.upper()


def test_a_line_that_is_too_long_ends_its_connection(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    dial = answer(bytes.upper)
    assert ended(dial(), b"x" * (MAX_MESSAGE + 1))
    assert exchange_all(dial(), b"next\n") == b"NEXT\n"
    flush_log()
    assert not caplog.records  # the client's error, which is counted


# The other framings.


def test_raw_answers_each_read(answer: Answer) -> None:
    client = answer(lambda chunk: b"<" + chunk + b">", "raw")()
    for chunk in (b"no newline", b"two\nlines\n"):
        client.sendall(chunk)
        assert receive(client, len(chunk) + 2) == b"<" + chunk + b">"


def test_length_answers_each_message_with_a_length_of_its_own(answer: Answer) -> None:
    client = answer(lambda message: message * 2, "length")()
    assert exchange_all(client, counted(b"ab") + counted(b"") + counted(b"c")) == counted(b"abab") + counted(
        b""
    ) + counted(b"cc")


def test_a_message_may_arrive_in_any_pieces(answer: Answer) -> None:
    client = answer(bytes.upper, "length")()
    for pieces in every_split(counted(b"hello")):
        for piece in pieces:
            client.sendall(piece)
        assert receive(client, 9) == counted(b"HELLO")


def test_an_incomplete_message_is_not_answered(answer: Answer) -> None:
    assert exchange_all(answer(bytes.upper, "length")(), counted(b"whole") + counted(b"cut")[:-1]) == counted(b"WHOLE")


def test_a_message_that_announces_too_much_ends_its_connection(answer: Answer) -> None:
    dial = answer(bytes.upper, "length")
    assert ended(dial(), struct.pack("!I", MAX_MESSAGE + 1))
    assert exchange_all(dial(), counted(b"next")) == counted(b"NEXT")


def test_without_a_function_the_answer_is_the_message(answer: Answer) -> None:
    assert exchange_all(answer(None, "line", b"hi\n")(), b"hello\n") == b"hi\nhello\n"


# The greeting.


def test_the_greeting_is_sent_first(answer: Answer) -> None:
    assert receive(answer(bytes.upper, "line", b"welcome\n")(), 8) == b"welcome\n"


def test_the_greeting_precedes_the_answers(answer: Answer) -> None:
    assert exchange_all(answer(bytes.upper, "line", b"welcome\n")(), b"hello\n") == b"welcome\nHELLO\n"


def test_a_greeting_larger_than_one_write_arrives_whole(answer: Answer) -> None:
    greeting = bytes(16 << 20)
    assert exchange_all(answer(bytes.upper, "line", greeting)(), b"hello\n") == greeting + b"HELLO\n"


# Exceptions in `respond`.


def test_an_exception_in_respond_closes_its_connection_only(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    dial = answer(divide)
    other, failing = dial(), dial()
    other.sendall(b"1\n")
    assert receive(other, 2) == b"9\n"
    assert ended(failing, b"0\n")
    assert exchange_all(other, b"3\n") == b"3\n"
    assert exchange_all(dial(), b"9\n") == b"1\n"
    flush_log()
    assert caplog.records


def test_an_exception_in_respond_is_logged_once_with_its_traceback(
    answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    assert ended(answer(divide)(), b"0\n1\n0\n")
    flush_log()
    [record] = caplog.records
    assert (record.name, record.levelno) == ("halloo", logging.ERROR)
    flush_log()
    assert "in divide" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_halloo_error_in_respond_is_logged_too(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    def ask_another(_line: bytes) -> bytes:
        raise Refused("nothing is listening there", errno=errno.ECONNREFUSED)

    assert ended(answer(ask_another)(), b"hello\n")
    flush_log()
    assert "in ask_another" in caplog.text


def test_answers_before_an_exception_are_sent(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    client = answer(divide)()
    client.sendall(b"9\n3\n0\n")
    assert receive_all(client) == b"1\n3\n"
    flush_log()
    assert caplog.records


def divide(line: bytes) -> bytes:
    return b"%d" % (9 // int(line))


# Slow readers. The test takes the turns, so that it can check the state in between.


@pytest.fixture
def stepping(cleanup: ExitStack) -> Callable[[Respond, Framing], tuple[EchoServer, socket.socket]]:
    """Make a loop that the test runs, and one non-blocking client."""

    def stepping(respond: Respond, framing: Framing) -> tuple[EchoServer, socket.socket]:
        listener = cleanup.enter_context(listen("127.0.0.1:0"))
        loop = EchoServer([Endpoint(sock, RespondHandler(respond, framing, b"")) for sock in listener.sockets])
        cleanup.callback(loop.shutdown)
        client = cleanup.enter_context(connected(listener.address.port))
        client.setblocking(False)
        return loop, client

    return stepping


Stepping = Callable[[Respond, Framing], tuple[EchoServer, socket.socket]]


def test_a_slow_reader_gets_many_answers_in_order(answer: Answer) -> None:
    lines = b"".join(b"%d\n" % number for number in range(50_000))
    assert exchange_in_parallel(answer(lambda line: line * 20)(), lines) == b"".join(
        b"%d" % number * 20 + b"\n" for number in range(50_000)
    )


def test_a_slow_reader_costs_one_batch_of_answers(stepping: Stepping) -> None:
    loop, client = stepping(lambda line: line * 1000, "line")
    flood(loop, client, b"0123456789\n" * 100_000)
    [pending] = loop.connections.pending.values()
    assert len(pending) <= BATCH_SIZE + 10_001
    assert loop.snapshot().received_bytes <= 2 * BUFFER_SIZE  # nor is more read than the pending answers belong to


def test_respond_is_not_called_while_a_write_is_pending(stepping: Stepping) -> None:
    asked: list[bytes] = []

    def answer(line: bytes) -> bytes:
        asked.append(line)
        return bytes(1 << 20)

    loop, client = stepping(answer, "line")
    flood(loop, client, b"\n" * 100)
    assert 0 < len(asked) < 100
    read = 0
    for _ in range(MAX_TURNS):
        try:
            read += len(client.recv(1 << 20))
        except BlockingIOError:
            loop.turn(1)
        if read == 100 * ((1 << 20) + 1):
            break
    assert len(asked) == 100


def test_a_slow_reader_that_resets_is_removed(stepping: Stepping) -> None:
    loop, client = stepping(lambda line: line * 1000, "line")
    flood(loop, client, b"0123456789\n" * 100_000)
    reset(client)
    for _ in range(MAX_TURNS):
        if not loop.connections.open:
            break
        loop.turn(1)
    assert loop.connections.pending == {}
    assert sum(loop.snapshot().errors.values()) == 1


def test_a_slow_reader_that_has_sent_fin_gets_all_its_answers(answer: Answer) -> None:
    client = answer(lambda _: bytes(1 << 20), "length")()
    client.sendall(counted(b"") * 16)
    client.shutdown(socket.SHUT_WR)
    assert len(receive_all(client)) == 16 * ((1 << 20) + 4)


# Helpers.


def counted(message: bytes) -> bytes:
    return struct.pack("!I", len(message)) + message


def exchange_all(client: socket.socket, data: bytes) -> bytes:
    """Send the data and FIN; return all that is received."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    return receive_all(client)


def ended(client: socket.socket, data: bytes) -> bool:
    """Send the data; return whether the server ends the connection without an answer."""
    client.sendall(data)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def exchange_in_parallel(client: socket.socket, data: bytes) -> bytes:
    """Send the data and FIN, and receive at the same time."""

    def send() -> None:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return receive_all(client)
    finally:
        sender.join()


def receive(client: socket.socket, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size and (piece := client.recv(size - len(pieces))):
        pieces += piece
    return bytes(pieces)


def flood(loop: EchoServer, client: socket.socket, data: bytes) -> None:
    """Send as much as is taken, until a write is pending and there is no more progress."""
    rest = memoryview(data)
    for _ in range(MAX_TURNS):
        if rest:
            with suppress(BlockingIOError):
                rest = rest[client.send(rest) :]
        if loop.connections.pending and not loop.reactor.poller.poll(0):
            return
        loop.turn(1)
    raise AssertionError(f"no write is pending after {MAX_TURNS} turns")
