"""What a function answers: once a line, a chunk or a message, in order, to who reads and to who does not."""

import errno
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from halloo._core.framing import LONGEST
from halloo._net.listener import listen
from halloo._server.acceptor import Endpoint
from halloo._server.handlers import BATCH, Respond, RespondHandler
from halloo._server.server import Server, Service
from halloo._server.tcp import BUFFER, Loop
from halloo.errors import Refused, UsageError
from halloo.testing import every_split

PATIENCE = 20  # seconds without a byte after which a client gives up, and its test has failed
TURNS = 10_000  # after so many turns it will not happen any more


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


Answer = Callable[..., "Dial"]
Dial = Callable[[], socket.socket]


@pytest.fixture
def answer(cleanup: ExitStack) -> Answer:
    """Start a server in the background that answers so; give what makes clients of it."""

    def answer(respond: Respond | None = None, framing: str = "lines", greeting: bytes = b"") -> Dial:
        service = Service(handler=RespondHandler(respond, framing, greeting))
        server = cleanup.enter_context(Server(listen("127.0.0.1:0"), service))
        server.start()
        return lambda: cleanup.enter_context(dialled(server.address.port))

    return answer


def dialled(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


# Lines.


def test_a_line_is_answered_without_its_ending_and_the_ending_put_back(answer: Answer) -> None:
    heard: list[bytes] = []

    def shout(line: bytes) -> bytes:
        heard.append(line)
        return line.upper()

    client = answer(shout)()
    assert asked(client, b"hello\nworld\n") == b"HELLO\nWORLD\n"
    assert heard == [b"hello", b"world"]


def test_an_answer_ends_as_its_line_did(answer: Answer) -> None:
    assert asked(answer(bytes.upper)(), b"unix\nnet\r\nlast") == b"UNIX\nNET\r\nLAST"


def test_an_empty_line_is_a_line(answer: Answer) -> None:
    assert asked(answer(lambda line: b"<" + line + b">")(), b"\n\r\n") == b"<>\n<>\r\n"


def test_a_line_may_come_in_any_pieces(answer: Answer) -> None:
    client = answer(bytes.upper)()
    for pieces in every_split("gr\u00fc\u00df\r\n".encode()):
        for piece in pieces:
            client.sendall(piece)
        assert received(client, 8) == "GR\u00fc\u00df\r\n".encode()


def test_a_last_line_without_an_ending_is_answered_at_the_end(answer: Answer) -> None:
    assert asked(answer(bytes.upper)(), b"bye") == b"BYE"


def test_nothing_is_answered_to_nothing(answer: Answer) -> None:
    assert asked(answer(bytes.upper)(), b"") == b""


def test_none_is_no_answer(answer: Answer) -> None:
    client = answer(lambda line: line if line.startswith(b"?") else None)()
    assert asked(client, b"quiet\n?loud\nquiet\n") == b"?loud\n"


def test_an_answer_may_be_empty(answer: Answer) -> None:
    assert asked(answer(lambda _: b"")(), b"one\ntwo\n") == b"\n\n"


def test_the_longest_line_is_answered(answer: Answer) -> None:
    line = b"x" * (LONGEST - 1) + b"\n"
    assert exchanged(answer(bytes.upper)(), line) == line.upper()


def test_a_line_that_is_too_long_ends_its_connection(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    dial = answer(bytes.upper)
    assert ended(dial(), b"x" * (LONGEST + 1))
    assert asked(dial(), b"next\n") == b"NEXT\n"
    assert not caplog.records  # it is the client's mistake, and is counted


# The other framings.


def test_raw_answers_whatever_one_read_brought(answer: Answer) -> None:
    client = answer(lambda chunk: b"<" + chunk + b">", "raw")()
    for chunk in (b"no newline", b"two\nlines\n"):
        client.sendall(chunk)
        assert received(client, len(chunk) + 2) == b"<" + chunk + b">"


def test_length_answers_each_message_with_a_length_of_its_own(answer: Answer) -> None:
    client = answer(lambda message: message * 2, "length")()
    assert asked(client, counted(b"ab") + counted(b"") + counted(b"c")) == counted(b"abab") + counted(b"") + counted(
        b"cc"
    )


def test_a_message_may_come_in_any_pieces(answer: Answer) -> None:
    client = answer(bytes.upper, "length")()
    for pieces in every_split(counted(b"hello")):
        for piece in pieces:
            client.sendall(piece)
        assert received(client, 9) == counted(b"HELLO")


def test_a_message_cut_short_is_not_answered(answer: Answer) -> None:
    assert asked(answer(bytes.upper, "length")(), counted(b"whole") + counted(b"cut")[:-1]) == counted(b"WHOLE")


def test_a_message_that_announces_too_much_ends_its_connection(answer: Answer) -> None:
    dial = answer(bytes.upper, "length")
    assert ended(dial(), struct.pack("!I", LONGEST + 1))
    assert asked(dial(), counted(b"next")) == counted(b"NEXT")


def test_without_a_function_the_answer_is_the_message(answer: Answer) -> None:
    assert asked(answer(None, "lines", b"hi\n")(), b"hello\n") == b"hi\nhello\n"


def test_another_framing_is_refused() -> None:
    with pytest.raises(UsageError, match="'words' is no framing; use one of lines, raw, length"):
        RespondHandler(bytes.upper, "words", b"")


# The greeting.


def test_the_greeting_comes_unasked(answer: Answer) -> None:
    assert received(answer(bytes.upper, "lines", b"welcome\n")(), 8) == b"welcome\n"


def test_the_greeting_comes_before_the_answers(answer: Answer) -> None:
    assert asked(answer(bytes.upper, "lines", b"welcome\n")(), b"hello\n") == b"welcome\nHELLO\n"


def test_a_greeting_longer_than_the_system_takes_at_once_comes_whole(answer: Answer) -> None:
    greeting = bytes(16 << 20)
    assert asked(answer(bytes.upper, "lines", greeting)(), b"hello\n") == greeting + b"HELLO\n"


# Functions that fail.


def test_a_failure_ends_its_own_connection_and_no_other(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    dial = answer(divide)
    other, failing = dial(), dial()
    other.sendall(b"1\n")
    assert received(other, 2) == b"9\n"
    assert ended(failing, b"0\n")
    assert asked(other, b"3\n") == b"3\n"
    assert asked(dial(), b"9\n") == b"1\n"
    assert caplog.records


def test_a_failure_is_logged_once_with_its_traceback(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    assert ended(answer(divide)(), b"0\n1\n0\n")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("halloo", logging.ERROR)
    assert "in divide" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_an_error_of_halloos_own_in_the_function_is_logged_too(
    answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    def ask_another(_line: bytes) -> bytes:
        raise Refused("nothing is listening there", errno=errno.ECONNREFUSED)

    assert ended(answer(ask_another)(), b"hello\n")
    assert "in ask_another" in caplog.text


def test_what_was_answered_before_a_failure_is_sent(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    client = answer(divide)()
    client.sendall(b"9\n3\n0\n")
    assert to_the_end(client) == b"1\n3\n"
    assert caplog.records


def divide(line: bytes) -> bytes:
    return b"%d" % (9 // int(line))


# Readers that are slow. The test takes the turns, so that it can look in between.


@pytest.fixture
def stepping(cleanup: ExitStack) -> Callable[[Respond, str], tuple[Loop, socket.socket]]:
    """Give a loop that answers when the test takes a turn, and one client that never blocks."""

    def stepping(respond: Respond, framing: str) -> tuple[Loop, socket.socket]:
        listener = cleanup.enter_context(listen("127.0.0.1:0"))
        loop = Loop([Endpoint(sock, RespondHandler(respond, framing, b"")) for sock in listener.sockets])
        cleanup.callback(loop.shutdown)
        client = cleanup.enter_context(dialled(listener.address.port))
        client.setblocking(False)
        return loop, client

    return stepping


Stepping = Callable[[Respond, str], tuple[Loop, socket.socket]]


def test_a_slow_reader_gets_many_answers_in_order(answer: Answer) -> None:
    lines = b"".join(b"%d\n" % number for number in range(50_000))
    assert exchanged(answer(lambda line: line * 20)(), lines) == b"".join(
        b"%d" % number * 20 + b"\n" for number in range(50_000)
    )


def test_a_slow_reader_costs_one_batch_of_answers(stepping: Stepping) -> None:
    loop, client = stepping(lambda line: line * 1000, "lines")
    flood(loop, client, b"0123456789\n" * 100_000)
    [debt] = loop.table.pending_writes.values()
    assert len(debt) <= BATCH + 10_001
    assert loop.snapshot().received_bytes <= 2 * BUFFER  # nor is more read than the answers that are owed belong to


def test_a_slow_reader_costs_no_answer_before_its_time(stepping: Stepping) -> None:
    asked: list[bytes] = []

    def answer(line: bytes) -> bytes:
        asked.append(line)
        return bytes(1 << 20)

    loop, client = stepping(answer, "lines")
    flood(loop, client, b"\n" * 100)
    assert 0 < len(asked) < 100
    read = 0
    for _ in range(TURNS):
        try:
            read += len(client.recv(1 << 20))
        except BlockingIOError:
            loop.turn(1)
        if read == 100 * ((1 << 20) + 1):
            break
    assert len(asked) == 100


def test_a_slow_reader_that_resets_is_forgotten(stepping: Stepping) -> None:
    loop, client = stepping(lambda line: line * 1000, "lines")
    flood(loop, client, b"0123456789\n" * 100_000)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    for _ in range(TURNS):
        if not loop.table.open:
            break
        loop.turn(1)
    assert loop.table.pending_writes == {}
    assert sum(loop.snapshot().errors.values()) == 1


def test_a_client_that_finished_gets_all_its_answers_slowly(answer: Answer) -> None:
    client = answer(lambda _: bytes(1 << 20), "length")()
    client.sendall(counted(b"") * 16)
    client.shutdown(socket.SHUT_WR)
    assert len(to_the_end(client)) == 16 * ((1 << 20) + 4)


# What the tests are made of.


def counted(message: bytes) -> bytes:
    return struct.pack("!I", len(message)) + message


def asked(client: socket.socket, data: bytes) -> bytes:
    """Send the data and then the end; give all that came."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    return to_the_end(client)


def ended(client: socket.socket, data: bytes) -> bool:
    """Send the data; say whether the server ends the connection without an answer."""
    client.sendall(data)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def exchanged(client: socket.socket, data: bytes) -> bytes:
    """Send the data and then the end, and receive all the while."""

    def send() -> None:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return to_the_end(client)
    finally:
        sender.join()


def received(client: socket.socket, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size and (piece := client.recv(size - len(pieces))):
        pieces += piece
    return bytes(pieces)


def to_the_end(client: socket.socket) -> bytes:
    pieces = bytearray()
    while piece := client.recv(1 << 20):
        pieces += piece
    return bytes(pieces)


def flood(loop: Loop, client: socket.socket, data: bytes) -> None:
    """Send as much as is taken, until an answer is owed and nothing moves any more."""
    rest = memoryview(data)
    for _ in range(TURNS):
        if rest:
            with suppress(BlockingIOError):
                rest = rest[client.send(rest) :]
        if loop.table.pending_writes and not loop.poller.poll(0):
            return
        loop.turn(1)
    raise AssertionError(f"nothing is owed after {TURNS} turns")
