import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._net.connector import connect_udp
from halloo._net.datagram_exchange import (
    MAX_BYTES_IN_FLIGHT,
    MAX_IN_FLIGHT,
    RECENT,
    DatagramExchange,
    DuplicateFilter,
    _Source,
    exchange_datagrams,
)
from halloo._net.datagrams import MAX_DATAGRAM, DatagramConnection
from halloo._net.readiness import until_readable
from halloo.errors import Refused, TimedOut, UsageError
from tests.peers import datagram_peer, datagram_socket, echo_datagram, unused_datagram_port

WAIT = 10.0  # seconds that no test takes
MOMENT = 0.05  # seconds that a peer which stays silent is given


@contextmanager
def to(answers: Callable[[bytes], Iterable[bytes]]) -> Iterator[DatagramConnection]:
    """Connect to a peer that answers so."""
    with datagram_peer(answers) as port, connect_udp(f"udp://127.0.0.1:{port}") as connection:
        yield connection


@contextmanager
def silent() -> Iterator[tuple[DatagramConnection, socket.socket]]:
    """Connect to a peer that does no more than the test has it do; give both ends.

    It can act between two datagrams, in the source of the volley, which has a thread of its own.
    """
    with datagram_socket() as far, connect_udp(f"udp://127.0.0.1:{far.getsockname()[1]}") as near:
        yield near, far


def echo_one(far: socket.socket) -> None:
    far.sendto(*far.recvfrom(65536))


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


# With an echo.


@pytest.mark.parametrize("source", [[], [b""], [b"hello"], [b"one", b"", b"two"], [bytes(MAX_DATAGRAM)] * 9], ids=len)
def test_what_comes_back_is_what_went(source: list[bytes]) -> None:
    back: list[bytes] = []
    size = sum(map(len, source))
    with to(echo_datagram) as connection:
        assert exchange_datagrams(connection, source, back.append, timeout=WAIT) == DatagramExchange(
            len(source), len(source), size, size
        )
    identical = back == source
    assert identical


def test_more_than_all_buffers_hold_comes_back_whole_and_in_order() -> None:
    back: list[bytes] = []
    source = [b"%05d" % number * 200 for number in range(3000)]
    with to(echo_datagram) as connection:
        exchange_datagrams(connection, source, back.append, timeout=WAIT)
    identical = back == source
    assert identical


def test_the_source_may_wait_for_an_answer() -> None:
    answered = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"question"
        assert answered.wait(WAIT)
        yield b"next question"

    with to(echo_datagram) as connection:
        assert exchange_datagrams(connection, source(), lambda _: answered.set(), timeout=WAIT).received == 2


def test_the_source_may_pause_for_longer_than_an_answer_may_take() -> None:
    paused = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"one"
        paused.wait(2 * MOMENT)
        yield b"two"

    with to(echo_datagram) as connection:
        assert exchange_datagrams(connection, source(), len, timeout=MOMENT).received == 2


# With a peer that is not.


@pytest.mark.parametrize(("size", "most"), [(5, MAX_IN_FLIGHT), (5000, MAX_BYTES_IN_FLIGHT // 5000), (MAX_DATAGRAM, 1)])
def test_no_more_is_sent_before_an_answer_than_a_buffer_holds(size: int, most: int) -> None:
    with silent() as (connection, far):
        with pytest.raises(TimedOut, match=rf"did not answer .*{most if most > 1 else 'the datagram'}"):
            exchange_datagrams(connection, itertools.repeat(bytes(size)), len, timeout=MOMENT)
        far.setblocking(False)
        assert [len(far.recv(65536)) for _ in range(most)] == [size] * most
        with pytest.raises(BlockingIOError):
            far.recv(65536)


def test_a_datagram_or_an_answer_that_is_lost_is_counted() -> None:
    back: list[bytes] = []
    with to(lambda datagram: [] if datagram == b"1" else [datagram]) as connection:
        assert exchange_datagrams(connection, numbers(3), back.append, timeout=MOMENT) == DatagramExchange(3, 2, 3, 2)
    assert back == [b"0", b"2"]


def test_many_lost_answers_do_not_stop_the_others() -> None:
    back: list[bytes] = []
    every_third = [datagram for datagram in numbers(300) if int(datagram) % 3 == 0]
    with to(lambda datagram: [datagram] if datagram in every_third else []) as connection:
        done = exchange_datagrams(connection, numbers(300), back.append, timeout=MOMENT)
    assert (done.sent, done.received, back == every_third) == (300, 100, True)


@pytest.mark.parametrize(("count", "what"), [(1, "the datagram"), (3, "any of 3 datagrams")])
def test_when_nothing_comes_back_the_peer_has_failed(count: int, what: str) -> None:
    with (
        silent() as (connection, _),
        pytest.raises(TimedOut, match=rf"^127\.0\.0\.1:\d+ did not answer {what} within 0\.05 seconds; check that"),
    ):
        exchange_datagrams(connection, numbers(count), len, timeout=MOMENT)


def test_a_peer_that_does_not_answer_is_told_while_the_source_goes_on() -> None:
    over = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"hello"
        over.wait(WAIT)

    with silent() as (connection, _):
        with pytest.raises(TimedOut):
            exchange_datagrams(connection, source(), len, timeout=MOMENT)
        over.set()


def test_an_answer_from_elsewhere_is_none() -> None:
    with silent() as (connection, far), datagram_socket() as stranger:

        def source() -> Iterator[bytes]:
            yield b"hello"
            stranger.sendto(*far.recvfrom(100))

        with pytest.raises(TimedOut):
            exchange_datagrams(connection, source(), len, timeout=MOMENT)


def test_a_copy_is_given_but_not_taken_for_the_next_answer() -> None:
    back: list[bytes] = []
    with to(lambda datagram: [datagram] * (2 if datagram == b"one" else 1)) as connection:
        done = exchange_datagrams(connection, [b"one", b"two"], back.append, timeout=WAIT)
    assert (done, back) == (DatagramExchange(2, 2, 6, 9), [b"one", b"one", b"two"])


def test_answers_that_are_late_hold_nothing_up_and_are_still_taken() -> None:
    given_up = 1 + MAX_IN_FLIGHT  # one that is answered at once, and then as many as may be under way
    heard: list[bytes] = []
    owed: list[bytes] = []

    def answers(datagram: bytes) -> list[bytes]:
        heard.append(datagram)
        owed.append(datagram)
        if len(heard) in (1, given_up + 1, given_up + 9):
            late, owed[:] = [*owed], []
            return late
        return []

    back: list[bytes] = []
    with to(answers) as connection:
        done = exchange_datagrams(connection, numbers(given_up + 9), back.append, timeout=WAIT)
    assert (done.received, back) == (done.sent, heard)


def test_more_answers_than_datagrams_are_no_loss() -> None:
    back: list[bytes] = []
    with to(lambda datagram: [b"thank you", datagram]) as connection:
        done = exchange_datagrams(connection, [b"one", b"two"], back.append, timeout=WAIT)
    assert done.received >= done.sent == 2


# With nobody.


def test_nobody_there_is_known_at_once() -> None:
    with connect_udp(f"udp://127.0.0.1:{unused_datagram_port()}") as connection, pytest.raises(Refused):
        exchange_datagrams(connection, itertools.repeat(b"hello"), len, timeout=WAIT)


def test_a_peer_that_goes_away_is_refusing_but_what_it_sent_before_is_taken() -> None:
    with silent() as (connection, far):

        def source() -> Iterator[bytes]:
            yield b"one"
            yield b"two"
            far.sendto(b"ONE", connection.socket.getsockname())
            far.sendto(b"TWO", connection.socket.getsockname())
            far.close()
            yield from itertools.repeat(b"more")

        back: list[bytes] = []
        with pytest.raises(Refused):
            exchange_datagrams(connection, source(), back.append, timeout=WAIT)
    assert back == [b"ONE", b"TWO"]


# When the caller's own parts fail. Endless sources: the thread that reads them ends all the same.


class BrokenError(Exception):
    """What the source or the sink raises."""


def broken(*before: bytes) -> Iterator[bytes]:
    yield from before
    raise BrokenError


def break_off(_: bytes) -> None:
    raise BrokenError


@pytest.mark.parametrize("before", [[], [b"hello"]], ids=["at once", "later"])
def test_what_the_source_raises_is_raised(before: list[bytes]) -> None:
    with to(echo_datagram) as connection, pytest.raises(BrokenError):
        exchange_datagrams(connection, broken(*before), len, timeout=WAIT)


def test_a_source_that_has_failed_is_not_at_its_end() -> None:
    with _Source(broken()) as source:
        assert until_readable([source.waking], WAIT)  # its thread ends
        assert not source.over
        with pytest.raises(BrokenError):
            source.take()


def test_what_the_sink_raises_is_raised() -> None:
    with to(echo_datagram) as connection, pytest.raises(BrokenError):
        exchange_datagrams(connection, itertools.repeat(b"hello"), break_off, timeout=WAIT)


def test_too_long_a_datagram_is_an_error_after_what_came_before() -> None:
    back: list[bytes] = []
    answered = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"hello"
        assert answered.wait(WAIT)
        yield bytes(MAX_DATAGRAM + 1)

    def sink(answer: bytes) -> None:
        back.append(answer)
        answered.set()

    with to(echo_datagram) as connection, pytest.raises(UsageError, match="a datagram of 65508 bytes is too long"):
        exchange_datagrams(connection, source(), sink, timeout=WAIT)
    assert back == [b"hello"]


datagrams = st.lists(st.binary(max_size=2), max_size=20)


def sent(*sent_before: bytes) -> DuplicateFilter:
    copies = DuplicateFilter()
    for datagram in sent_before:
        copies.send(datagram)
    return copies


def test_an_echo_that_came_already_is_a_copy() -> None:
    copies = sent(b"one", b"two")
    assert [copies.receive(answer) for answer in (b"one", b"one", b"two")] == [False, True, False]


def test_what_was_sent_twice_may_come_twice() -> None:
    copies = sent(b"same", b"same")
    assert [copies.receive(b"same") for _ in range(3)] == [False, False, True]


def test_empty_datagrams_are_like_any_other() -> None:
    copies = sent(b"")
    assert [copies.receive(b""), copies.receive(b"")] == [False, True]


@given(st.data(), datagrams)
def test_the_answers_of_an_echo_are_no_copies_in_any_order(chosen: st.DataObject, originals: list[bytes]) -> None:
    copies = sent(*originals)
    assert not any(copies.receive(answer) for answer in chosen.draw(st.permutations(originals)))


@given(datagrams)
def test_whatever_a_peer_that_is_no_echo_answers_is_no_copy(originals: list[bytes]) -> None:
    copies = sent(b"question", *originals)
    assert not copies.receive(b"an answer of its own")
    assert not any(copies.receive(b"ok") for _ in originals)


def test_an_echo_of_long_ago_is_taken_for_an_answer() -> None:
    copies = sent(b"old")
    assert not copies.receive(b"old")
    for number in range(RECENT):
        copies.send(b"%d" % number)
        assert not copies.receive(b"%d" % number)
    assert not copies.receive(b"old")
