import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

import halloo
from halloo._net.connection import Connection
from halloo._net.connector import connect
from halloo._net.duplex import DuplexResult, duplex
from halloo._net.listener import Listener, listen
from halloo.errors import IncompleteRead, PeerError, TimedOut

WAIT = 10.0  # seconds that no test takes
MOMENT = 0.05  # seconds that a peer which stays silent is given
RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # SO_LINGER of 0 seconds: close with a reset (socket(7))
BULK = bytes(range(256)) * 65536  # 16 MiB, more than the buffers on the way hold


@contextmanager
def peer(act: Callable[[Connection], object]) -> Iterator[Connection]:
    """Connect to a peer that does one thing and then closes."""
    with listen(0, family=4) as listener, ThreadPoolExecutor(1) as pool:
        acting = pool.submit(serve_one, listener, act)
        with connect(listener.address) as connection:
            yield connection
        acting.result(WAIT)


def serve_one(listener: Listener, act: Callable[[Connection], object]) -> None:
    with listener.accept(timeout=WAIT) as served:
        served.timeout = WAIT
        act(served)


@contextmanager
def silent() -> Iterator[tuple[Connection, Connection]]:
    """Connect to a peer that never reads, and does no more than the test has it do; give both ends."""
    with listen(0, family=4) as listener, connect(listener.address) as near, listener.accept(timeout=WAIT) as far:
        yield near, far


def to_the_end(served: Connection) -> bytes:
    return b"".join(served)


# With an echo.


@pytest.mark.parametrize("source", [[], [b""], [b"hello"], [b"one", b"", b"two"], [bytes(100_000)]], ids=len)
def test_what_comes_back_is_what_went(source: list[bytes]) -> None:
    back: list[bytes] = []
    with halloo.Server() as server, connect(server.address) as connection:
        done = duplex(connection, source, back.append, timeout=WAIT)
    assert b"".join(back) == b"".join(source)
    assert done == DuplexResult(len(b"".join(source)), len(b"".join(source)), finished=True)


def test_more_than_all_buffers_hold_comes_back_identical() -> None:
    back: list[bytes] = []
    with halloo.Server() as server, connect(server.address) as connection:
        duplex(connection, [BULK], back.append, timeout=WAIT)
    assert b"".join(back) == BULK


def test_the_source_may_wait_for_an_answer() -> None:
    answered = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"question"
        assert answered.wait(WAIT)
        yield b"next question"

    with halloo.Server() as server, connect(server.address) as connection:
        done = duplex(connection, source(), lambda _: answered.set(), timeout=WAIT)
    assert done.received_bytes == len(b"question" + b"next question")


# With a peer that is not.


def test_a_peer_that_ends_before_it_has_answered_all_cuts_the_answer_short() -> None:
    def act(served: Connection) -> None:
        served.send(to_the_end(served)[:4])

    back: list[bytes] = []
    with (
        peer(act) as connection,
        pytest.raises(IncompleteRead, match="closed the connection after sending back 4 of 10 bytes"),
    ):
        duplex(connection, [b"0123456789"], back.append, timeout=WAIT)
    assert back == [b"0123"]


def test_a_peer_that_ends_while_it_is_still_sent_to_cuts_the_exchange_short() -> None:
    with silent() as (connection, served):
        served.send_eof()
        with pytest.raises(IncompleteRead, match=r"before all was sent \(\d+ bytes sent, 0 received\)"):
            duplex(connection, [BULK, BULK], len, timeout=WAIT)


def test_a_peer_that_resets_while_it_is_still_sent_to_has_failed() -> None:
    def act(served: Connection) -> None:
        served.receive_exactly(100_000)
        served.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    # Reset or IncompleteRead: whichever half of the exchange meets it first takes it from the system.
    with peer(act) as connection, pytest.raises(PeerError):
        duplex(connection, [BULK], len, timeout=WAIT)


def test_a_peer_that_does_not_answer_is_waited_for_no_longer_than_allowed() -> None:
    with (
        silent() as (connection, _),
        pytest.raises(TimedOut, match=r"sent back 0 of 5 bytes, then nothing for 0\.05 seconds"),
    ):
        duplex(connection, [b"hello"], len, timeout=MOMENT)


def test_a_peer_that_does_not_read_is_waited_for_no_longer_than_allowed() -> None:
    with silent() as (connection, _), pytest.raises(TimedOut, match=r"sent back 0 of \d+ bytes"):
        duplex(connection, [BULK, BULK], len, timeout=MOMENT)


def test_a_peer_that_answers_in_part_is_waited_for_no_longer_than_allowed() -> None:
    back: list[bytes] = []
    with silent() as (connection, served):
        served.send(b"hel")
        with pytest.raises(TimedOut, match="sent back 3 of 5 bytes"):
            duplex(connection, [b"hello"], back.append, timeout=MOMENT)
    assert back == [b"hel"]


def test_an_answer_is_owed_to_a_slow_source_too() -> None:
    def source() -> Iterator[bytes]:
        threading.Event().wait(MOMENT / 2)
        yield b"hello"

    with silent() as (connection, _), pytest.raises(TimedOut, match="sent back 0 of 5 bytes"):
        duplex(connection, source(), len, timeout=MOMENT)


def test_a_peer_that_answers_all_and_does_not_end_is_left_unfinished() -> None:
    with silent() as (connection, served):
        served.send(b"hello")
        assert duplex(connection, [b"hello"], len, timeout=MOMENT) == DuplexResult(5, 5, finished=False)


def test_a_peer_that_answers_all_and_ends_first_has_not_cut_anything_short() -> None:
    def act(served: Connection) -> None:
        served.send(served.receive_exactly(5))

    for _ in range(200):  # the peer's end may come before the sending half has noted its own
        with peer(act) as connection:
            assert duplex(connection, [b"hello"], len, timeout=WAIT) == DuplexResult(5, 5, finished=True)


def test_a_peer_that_answers_more_than_it_was_sent_is_listened_to_until_its_end() -> None:
    def act(served: Connection) -> None:
        served.send(b"welcome, " + to_the_end(served))

    back: list[bytes] = []
    with peer(act) as connection:
        duplex(connection, [b"hello"], back.append, timeout=WAIT)
    assert b"".join(back) == b"welcome, hello"


# With a peer that owes nothing.


def test_a_peer_that_owes_nothing_may_end_without_an_answer() -> None:
    with peer(to_the_end) as connection:
        assert duplex(connection, [b"hello"], len, timeout=WAIT, linger=WAIT) == DuplexResult(5, 0, finished=True)


@pytest.mark.timeout(2)
def test_a_peer_that_owes_nothing_is_lingered_for_no_longer_than_allowed() -> None:
    with silent() as (connection, _):
        assert duplex(connection, [b"hello"], len, timeout=WAIT, linger=MOMENT) == DuplexResult(5, 0, finished=False)


def test_a_peer_that_owes_nothing_but_does_not_read_is_waited_for_no_longer_than_allowed() -> None:
    with silent() as (connection, _), pytest.raises(TimedOut):
        duplex(connection, [BULK, BULK], len, timeout=MOMENT, linger=WAIT)


# When the caller's own parts fail.


class BrokenError(Exception):
    """What the source or the sink raises."""


def broken(*before: bytes) -> Iterator[bytes]:
    yield from before
    raise BrokenError


def break_off(_: bytes) -> None:
    raise BrokenError


@pytest.mark.timeout(2)
@pytest.mark.parametrize("before", [[], [b"hello"]], ids=["at once", "later"])
def test_what_the_source_raises_is_raised(before: list[bytes]) -> None:
    with halloo.Server() as server, connect(server.address) as connection, pytest.raises(BrokenError):
        duplex(connection, broken(*before), len, timeout=MOMENT)


def test_what_the_sink_raises_is_raised() -> None:
    with halloo.Server() as server, connect(server.address) as connection, pytest.raises(BrokenError):
        duplex(connection, [b"hello"], break_off, timeout=WAIT)
