import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.address import Address
from halloo._net.connector import connect_udp
from halloo._net.datagram_exchange import (
    MAX_BYTES_IN_FLIGHT,
    MAX_IN_FLIGHT,
    RECENT,
    DatagramExchange,
    DuplicateFilter,
    exchange_datagrams,
)
from halloo._net.datagrams import MAX_DATAGRAM, DatagramConnection
from halloo.errors import Refused, TimedOut, UsageError
from tests.conditions import TIMEOUT
from tests.peers import datagram_peer, datagram_socket, echo_datagram, unused_datagram_port

SHORT_TIMEOUT = 0.05  # seconds to wait for a peer that stays silent


@contextmanager
def connected_to(answers: Callable[[bytes], Iterable[bytes]]) -> Iterator[DatagramConnection]:
    """Connect to a peer that answers each datagram with `answers(datagram)`."""
    with datagram_peer(answers) as port, connect_udp(f"udp://127.0.0.1:{port}") as connection:
        yield connection


@contextmanager
def silent() -> Iterator[tuple[DatagramConnection, socket.socket]]:
    """Connect to a passive peer, and yield the connection and the peer's socket.

    The test can use the peer between two datagrams, in the source, which runs in a separate thread.
    """
    with datagram_socket() as peer, connect_udp(f"udp://127.0.0.1:{peer.getsockname()[1]}") as connection:
        yield connection, peer


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


# An echo server.


MANY = [b"%05d" % number * 200 for number in range(3000)]  # more than all buffers hold


@pytest.mark.parametrize("source", [[], [b""], [b"one", b"", b"two"], [bytes(MAX_DATAGRAM)] * 9, MANY], ids=len)
def test_an_echo_returns_every_datagram_in_order(source: list[bytes]) -> None:
    received: list[bytes] = []
    size = sum(map(len, source))
    with connected_to(echo_datagram) as connection:
        done = exchange_datagrams(connection, source, received.append, timeout=TIMEOUT)
    assert done == DatagramExchange(len(source), len(source), size, size)
    assert (received == source) is True


def test_the_source_may_wait_for_an_answer_and_pause_for_longer_than_the_timeout() -> None:
    answered = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"question"
        assert answered.wait(TIMEOUT)
        threading.Event().wait(2 * SHORT_TIMEOUT)
        yield b"next question"

    with connected_to(echo_datagram) as connection:
        assert exchange_datagrams(connection, source(), lambda _: answered.set(), timeout=SHORT_TIMEOUT).received == 2


# Peers that lose, repeat or delay answers.


@pytest.mark.parametrize(("size", "most"), [(5, MAX_IN_FLIGHT), (5000, MAX_BYTES_IN_FLIGHT // 5000), (MAX_DATAGRAM, 1)])
def test_unanswered_datagrams_are_limited_to_the_size_of_a_buffer(size: int, most: int) -> None:
    with silent() as (connection, peer):
        with pytest.raises(TimedOut, match=rf"did not answer .*{most if most > 1 else 'the datagram'}"):
            exchange_datagrams(connection, itertools.repeat(bytes(size)), len, timeout=SHORT_TIMEOUT)
        peer.setblocking(False)
        assert [len(peer.recv(65536)) for _ in range(most)] == [size] * most
        with pytest.raises(BlockingIOError):
            peer.recv(65536)


def test_many_lost_answers_are_counted_and_do_not_stop_the_others() -> None:
    received: list[bytes] = []
    every_third = [datagram for datagram in numbers(300) if int(datagram) % 3 == 0]
    with connected_to(lambda datagram: [datagram] if datagram in every_third else []) as connection:
        done = exchange_datagrams(connection, numbers(300), received.append, timeout=SHORT_TIMEOUT)
    sizes = [sum(map(len, datagrams)) for datagrams in (numbers(300), every_third)]
    assert (done, received) == (DatagramExchange(300, 100, *sizes), every_third)


@pytest.mark.parametrize(("count", "what"), [(1, "the datagram"), (3, "any of 3 datagrams")])
def test_a_peer_that_answers_nothing_times_out(count: int, what: str) -> None:
    with (
        silent() as (connection, _),
        pytest.raises(TimedOut, match=rf"^127\.0\.0\.1:\d+ did not answer {what} within 0\.05 seconds; check that"),
    ):
        exchange_datagrams(connection, numbers(count), len, timeout=SHORT_TIMEOUT)


def test_a_silent_peer_times_out_while_the_source_continues_and_others_answer() -> None:
    over = threading.Event()
    with silent() as (connection, peer), datagram_socket() as other:

        def source() -> Iterator[bytes]:
            yield b"hello"
            other.sendto(*peer.recvfrom(100))  # from another address: no answer
            over.wait(TIMEOUT)

        with pytest.raises(TimedOut):
            exchange_datagrams(connection, source(), len, timeout=SHORT_TIMEOUT)
        over.set()


def test_a_duplicate_is_delivered_but_not_counted_as_an_answer() -> None:
    received: list[bytes] = []
    with connected_to(lambda datagram: [datagram] * (2 if datagram == b"one" else 1)) as connection:
        done = exchange_datagrams(connection, [b"one", b"two"], received.append, timeout=TIMEOUT)
    assert (done, received) == (DatagramExchange(2, 2, 6, 9), [b"one", b"one", b"two"])


def test_late_answers_are_delivered_and_delay_nothing() -> None:
    abandoned = 1 + MAX_IN_FLIGHT  # one that is answered at once, then as many as may be in flight
    datagrams_seen: list[bytes] = []
    unanswered: list[bytes] = []

    def answers(datagram: bytes) -> list[bytes]:
        datagrams_seen.append(datagram)
        unanswered.append(datagram)
        if len(datagrams_seen) in (1, abandoned + 1, abandoned + 9):
            late, unanswered[:] = [*unanswered], []
            return late
        return []

    received: list[bytes] = []
    with connected_to(answers) as connection:
        done = exchange_datagrams(connection, numbers(abandoned + 9), received.append, timeout=TIMEOUT)
    assert (done.received, received) == (done.sent, datagrams_seen)


def test_more_answers_than_datagrams_count_no_loss() -> None:
    received: list[bytes] = []
    with connected_to(lambda datagram: [b"thank you", datagram]) as connection:
        done = exchange_datagrams(connection, [b"one", b"two"], received.append, timeout=TIMEOUT)
    assert done.received >= done.sent == 2


class RepeatingSocket(socket.socket):
    """A socket at which the same datagram arrives without a pause."""

    def recv(self, *_: int) -> bytes:
        return b"one"


@pytest.mark.timeout(5)
def test_a_flood_of_duplicates_does_not_extend_the_wait() -> None:
    with datagram_socket() as peer, RepeatingSocket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(peer.getsockname())
        peer.sendto(b"one", sock.getsockname())
        address = Address("udp", *peer.getsockname())
        with DatagramConnection(sock, address) as connection:
            done = exchange_datagrams(connection, [b"one", b"two"], len, timeout=SHORT_TIMEOUT)
    assert (done.sent, done.received) == (2, 1)


@pytest.mark.timeout(5)
def test_the_end_of_all_time_ends_a_steady_echo() -> None:
    until_ns = time.monotonic_ns() + 100_000_000
    with (
        connected_to(echo_datagram) as connection,
        pytest.raises(TimedOut, match=r"answered \d+ of \d+ datagrams before the deadline"),
    ):
        exchange_datagrams(connection, itertools.repeat(b"hello"), len, timeout=TIMEOUT, until_ns=until_ns)


# No peer.


def test_a_closed_port_refuses_at_once() -> None:
    with connect_udp(f"udp://127.0.0.1:{unused_datagram_port()}") as connection, pytest.raises(Refused):
        exchange_datagrams(connection, itertools.repeat(b"hello"), len, timeout=TIMEOUT)


def test_answers_sent_before_the_peer_closes_are_delivered_before_the_refusal() -> None:
    with silent() as (connection, peer):

        def source() -> Iterator[bytes]:
            yield b"one"
            yield b"two"
            peer.sendto(b"ONE", connection.socket.getsockname())
            peer.sendto(b"TWO", connection.socket.getsockname())
            peer.close()
            yield from itertools.repeat(b"more")

        received: list[bytes] = []
        with pytest.raises(Refused):
            exchange_datagrams(connection, source(), received.append, timeout=TIMEOUT)
    assert received == [b"ONE", b"TWO"]


# Errors in the source or the sink. Some sources are endless: the thread that reads them ends nevertheless.


class BrokenError(Exception):
    """Raised by the source or the sink."""


def broken(*before: bytes) -> Iterator[bytes]:
    yield from before
    raise BrokenError


def test_an_error_in_the_source_or_the_sink_is_raised() -> None:
    def break_off(_: bytes) -> None:
        raise BrokenError

    endless = itertools.repeat(b"hello")
    for source, sink in ((broken(), len), (broken(b"hello"), len), (endless, break_off)):
        with connected_to(echo_datagram) as connection, pytest.raises(BrokenError):
            exchange_datagrams(connection, source, sink, timeout=TIMEOUT)


def test_answers_before_an_overlong_datagram_are_delivered_before_the_error() -> None:
    received: list[bytes] = []
    answered = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"hello"
        assert answered.wait(TIMEOUT)
        yield bytes(MAX_DATAGRAM + 1)

    def sink(answer: bytes) -> None:
        received.append(answer)
        answered.set()

    with (
        connected_to(echo_datagram) as connection,
        pytest.raises(UsageError, match="a datagram of 65508 bytes is too long"),
    ):
        exchange_datagrams(connection, source(), sink, timeout=TIMEOUT)
    assert received == [b"hello"]


datagrams = st.lists(st.binary(max_size=2), max_size=20)


def sent(*originals: bytes) -> DuplicateFilter:
    copies = DuplicateFilter()
    for datagram in originals:
        copies.send(datagram)
    return copies


def test_a_repeated_answer_is_a_duplicate() -> None:
    copies = sent(b"one", b"two")
    assert [copies.receive(answer) for answer in (b"one", b"one", b"two")] == [False, True, False]
    copies = sent(b"same", b"same", b"")
    assert [copies.receive(b"same") for _ in range(3)] == [False, False, True]
    assert [copies.receive(b""), copies.receive(b"")] == [False, True]


@given(st.data(), datagrams)
def test_the_answers_of_an_echo_are_no_duplicates_in_any_order(chosen: st.DataObject, originals: list[bytes]) -> None:
    copies = sent(*originals)
    assert not any(copies.receive(answer) for answer in chosen.draw(st.permutations(originals)))


@given(datagrams)
def test_answers_that_were_never_sent_are_no_duplicates(originals: list[bytes]) -> None:
    copies = sent(b"question", *originals)
    assert not copies.receive(b"an answer of its own")
    assert not any(copies.receive(b"ok") for _ in originals)


def test_a_duplicate_of_an_old_datagram_is_taken_for_an_answer() -> None:
    copies = sent(b"old")
    assert not copies.receive(b"old")
    for number in range(RECENT):
        copies.send(b"%d" % number)
        assert not copies.receive(b"%d" % number)
    assert not copies.receive(b"old")
