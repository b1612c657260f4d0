import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

import halloo
from halloo._core.address import Address
from halloo._net.connection import Connection
from halloo._net.connector import connect
from halloo._net.duplex import DuplexResult, duplex
from halloo._net.listener import Listener, listen
from halloo.errors import IncompleteRead, PeerError, Reset, TimedOut
from tests.conditions import TIMEOUT
from tests.peers import reset

SHORT_TIMEOUT = 0.05  # seconds to wait for a peer that stays silent
BULK = bytes(range(256)) * 65536  # 16 MiB, more than the buffers of both sides hold


@contextmanager
def peer(act: Callable[[Connection], object]) -> Iterator[Connection]:
    """Connect to a peer that calls `act` and then closes."""
    with listen(0, family=4) as listener, ThreadPoolExecutor(1) as pool:
        acting = pool.submit(serve_one, listener, act)
        with connect(listener.address) as connection:
            yield connection
        acting.result(TIMEOUT)


def serve_one(listener: Listener, act: Callable[[Connection], object]) -> None:
    with listener.accept(timeout=TIMEOUT) as served:
        served.timeout = TIMEOUT
        act(served)


@contextmanager
def silent() -> Iterator[tuple[Connection, Connection]]:
    """Connect to a passive peer that never reads, and yield both sides."""
    with (
        listen(0, family=4) as listener,
        connect(listener.address) as client,
        listener.accept(timeout=TIMEOUT) as served,
    ):
        yield client, served


def read_all(served: Connection) -> bytes:
    return b"".join(served)


# An echo server.


@pytest.mark.parametrize("source", [[], [b""], [b"one", b"", b"two"], [BULK]], ids=len)
def test_an_echo_returns_all_bytes(source: list[bytes]) -> None:
    received = bytearray()
    with halloo.Server() as server, connect(server.address) as connection:
        done = duplex(connection, source, received.extend, timeout=TIMEOUT)
    assert (received == b"".join(source)) is True
    assert done == DuplexResult(len(received), len(received), finished=True)


def test_the_source_may_wait_for_an_answer() -> None:
    answered = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"question"
        assert answered.wait(TIMEOUT)
        yield b"next question"

    with halloo.Server() as server, connect(server.address) as connection:
        done = duplex(connection, source(), lambda _: answered.set(), timeout=TIMEOUT)
    assert done.received_bytes == len(b"question" + b"next question")


def test_empty_items_are_skipped() -> None:
    queued = threading.Event()
    with silent() as (connection, served):
        served.send(b"welcome")

        def source() -> Iterator[bytes]:
            yield from (b"", b"", b"question")
            queued.set()
            served.send(served.receive_exactly(len(b"question"), timeout=TIMEOUT))
            served.send_eof()

        done = duplex(connection, source(), lambda _: queued.wait(TIMEOUT), timeout=TIMEOUT)
    assert done == DuplexResult(len(b"question"), len(b"welcome" + b"question"), finished=True)


# Other peers.


def test_an_answer_of_another_length_is_received_until_eof() -> None:
    received: list[bytes] = []
    with (
        peer(lambda served: served.send(read_all(served)[:4])) as connection,
        pytest.raises(IncompleteRead, match="closed the connection after sending back 4 of 10 bytes"),
    ):
        duplex(connection, [b"0123456789"], received.append, timeout=TIMEOUT)
    assert received == [b"0123"]
    with peer(lambda served: served.send(b"welcome, " + read_all(served))) as connection:
        duplex(connection, [b"hello"], received.append, timeout=TIMEOUT)
    assert b"".join(received) == b"0123welcome, hello"


def test_an_eof_before_all_is_sent_is_an_incomplete_read() -> None:
    with silent() as (connection, served):
        served.send_eof()
        with pytest.raises(IncompleteRead, match=r"before all was sent \(\d+ bytes sent, 0 received\)"):
            duplex(connection, [BULK, BULK], len, timeout=TIMEOUT)


def test_a_reset_before_all_is_sent_is_a_peer_error() -> None:
    def act(served: Connection) -> None:
        served.receive_exactly(100_000)
        reset(served.socket)

    # Reset or IncompleteRead: the half of the exchange that meets the error first clears it from the socket.
    with peer(act) as connection, pytest.raises(PeerError):
        duplex(connection, [BULK], len, timeout=TIMEOUT)


@pytest.mark.parametrize("answer", [b"", b"hel", b"hello"])
@pytest.mark.parametrize("slow", [False, True])
def test_a_peer_that_does_not_answer_all_times_out(answer: bytes, *, slow: bool) -> None:
    def source() -> Iterator[bytes]:
        if slow:
            threading.Event().wait(SHORT_TIMEOUT / 2)
        yield b"hello"

    received: list[bytes] = []
    with silent() as (connection, served):
        served.send(answer)
        if answer == b"hello":
            done = duplex(connection, source(), received.append, timeout=SHORT_TIMEOUT)
            assert done == DuplexResult(5, 5, finished=False)
        else:
            fact = rf"sent back {len(answer)} of 5 bytes, then nothing for 0\.05 seconds"
            with pytest.raises(TimedOut, match=fact):
                duplex(connection, source(), received.append, timeout=SHORT_TIMEOUT)
    assert b"".join(received) == answer


def test_a_peer_that_does_not_read_times_out() -> None:
    with silent() as (connection, _), pytest.raises(TimedOut, match=r"sent back 0 of \d+ bytes"):
        duplex(connection, [BULK, BULK], len, timeout=SHORT_TIMEOUT)


def test_an_eof_right_after_a_complete_answer_is_finished() -> None:
    def act(served: Connection) -> None:
        served.send(served.receive_exactly(5))

    for _ in range(200):  # the peer's EOF may arrive before the sending half has recorded its own
        with peer(act) as connection:
            assert duplex(connection, [b"hello"], len, timeout=TIMEOUT) == DuplexResult(5, 5, finished=True)


def test_a_reset_after_a_complete_answer_is_an_end() -> None:
    answered = threading.Event()

    def act(served: Connection) -> None:
        served.send(read_all(served))
        assert answered.wait(TIMEOUT)
        reset(served.socket)

    with peer(act) as connection:
        done = duplex(connection, [b"hello"], lambda _: answered.set(), timeout=TIMEOUT)
    assert done == DuplexResult(5, 5, finished=True)


def test_a_failed_send_is_raised_when_nothing_more_arrives() -> None:
    with silent() as (connection, _):
        connection.send_eof()
        with pytest.raises(Reset, match="has closed the connection"):
            duplex(connection, [b"hello"], len, timeout=SHORT_TIMEOUT)


def test_an_eof_does_not_drop_what_was_read_ahead() -> None:
    queued, ended = threading.Event(), threading.Event()

    def source() -> Iterator[bytes]:
        yield from (b"one", b"two", b"three", b"four", b"five")
        queued.set()
        ended.wait(TIMEOUT)

    with silent() as (connection, served):
        served.send(b"welcome")
        served.send_eof()
        try:
            with pytest.raises(IncompleteRead, match=r"before all was sent \(19 bytes sent, 7 received\)"):
                duplex(connection, source(), lambda _: queued.wait(TIMEOUT), timeout=TIMEOUT)
        finally:
            ended.set()
        assert served.receive_exactly(19, timeout=TIMEOUT) == b"onetwothreefourfive"


def test_an_eof_counts_although_the_time_is_over() -> None:
    with silent() as (connection, served):
        served.send_eof()
        with pytest.raises(IncompleteRead, match="closed the connection"):
            duplex(connection, [b"hello"], len, timeout=TIMEOUT, until_ns=time.monotonic_ns())


def test_the_time_that_the_sink_takes_is_not_the_peers() -> None:
    timeout, started, answered = 5 * SHORT_TIMEOUT, threading.Event(), threading.Event()

    def act(served: Connection) -> None:
        data = read_all(served)
        served.send(data[:3])
        assert started.wait(TIMEOUT)
        served.send(data[3:])
        answered.set()

    def sink(_: bytes) -> None:
        if not answered.is_set():
            started.set()
            assert answered.wait(TIMEOUT)
            threading.Event().wait(1.2 * timeout)

    with peer(act) as connection:
        done = duplex(connection, [b"hello"], sink, timeout=timeout)
    assert done == DuplexResult(5, 5, finished=True)


# Peers that talk without end. Only bytes that are owed are progress.


def talk(served: Connection, pause: float, *, read: bool = True) -> None:
    """Send until the client closes: without a pause more than it can read, or a byte now and then."""
    with suppress(PeerError):
        if read:
            read_all(served)
        while True:
            served.send(bytes(1 if pause else 100_000))
            threading.Event().wait(pause)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("pause", [0, SHORT_TIMEOUT / 5], ids=["flood", "trickle"])
def test_surplus_does_not_extend_the_wait_for_eof(pause: float) -> None:
    with peer(lambda served: talk(served, pause)) as connection:
        done = duplex(connection, [b"hello"], len, timeout=SHORT_TIMEOUT)
    assert (done.sent_bytes, done.received_bytes >= 5, done.finished) == (5, True, False)


class TirelessSocket(socket.socket):
    """A socket of a peer that never pauses: there is always another byte to receive."""

    def recv(self, _size: int, _flags: int = 0, /) -> bytes:
        return b"."


@pytest.mark.timeout(5)
def test_surplus_does_not_extend_the_linger() -> None:
    near, far = socket.socketpair()
    with far, Connection(TirelessSocket(fileno=near.detach()), Address(host="peer")) as connection:
        done = duplex(connection, [b"hello"], len, timeout=TIMEOUT, linger=SHORT_TIMEOUT)
    assert (done.sent_bytes, done.finished) == (5, False)


@pytest.mark.timeout(5)
def test_surplus_does_not_extend_the_time_for_a_send() -> None:
    with (
        peer(lambda served: talk(served, 0, read=False)) as connection,
        pytest.raises(TimedOut, match=r"took \d+ bytes, then no more for 0\.05 seconds"),
    ):
        duplex(connection, itertools.repeat(BULK), len, timeout=SHORT_TIMEOUT)


@pytest.mark.timeout(5)
def test_the_end_of_all_time_ends_a_steady_echo() -> None:
    until_ns = time.monotonic_ns() + 100_000_000
    with (
        halloo.Server() as server,
        connect(server.address) as connection,
        pytest.raises(TimedOut, match="before the deadline; allow more with deadline="),
    ):
        duplex(connection, itertools.repeat(bytes(1000)), len, timeout=TIMEOUT, until_ns=until_ns)


# Peers that need not answer (`linger`).


@pytest.mark.timeout(5)
def test_with_linger_the_peer_may_close_without_an_answer() -> None:
    with peer(read_all) as connection:
        assert duplex(connection, [b"hello"], len, timeout=TIMEOUT, linger=TIMEOUT) == DuplexResult(5, 0, finished=True)
    with silent() as (connection, _):
        done = duplex(connection, [b"hello"], len, timeout=TIMEOUT, linger=SHORT_TIMEOUT)
        assert done == DuplexResult(5, 0, finished=False)
    with silent() as (connection, _), pytest.raises(TimedOut):  # it does not read
        duplex(connection, [BULK, BULK], len, timeout=SHORT_TIMEOUT, linger=TIMEOUT)


# Errors in the source or the sink.


class BrokenError(Exception):
    """Raised by the source or the sink."""


def broken(*before: bytes) -> Iterator[bytes]:
    yield from before
    raise BrokenError


@pytest.mark.timeout(2)
def test_an_error_in_the_source_or_the_sink_is_raised() -> None:
    def break_off(_: bytes) -> None:
        raise BrokenError

    with halloo.Server() as server:
        for source, sink in ((broken(), len), (broken(b"hello"), len), (iter([b"hello"]), break_off)):
            with connect(server.address) as connection, pytest.raises(BrokenError):
                duplex(connection, source, sink, timeout=SHORT_TIMEOUT)
