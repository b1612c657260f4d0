"""A race, step by step, with a clock that the test moves, and attempts whose outcome it decides."""

import errno
import socket
from collections.abc import Iterator

import pytest

from halloo._net.racing import ATTEMPT_DELAY, MIN_ATTEMPT_DELAY, Failure, Winner, interleaved, race
from halloo._net.readiness import Awaited
from halloo._net.resolver import Place

A, B, C, D = ((socket.AF_INET, (host, 9)) for host in "abcd")
START = 1_000_000_000  # nanoseconds


class Race:
    """Attempts, each decided by its other end: a byte is success, the end is failure."""

    def __init__(self, *places: Place, until_ns: int | None = None, refused: tuple[Place, ...] = ()) -> None:
        self.now = START
        self.refused = refused
        self.attempts: dict[Place, tuple[socket.socket, socket.socket]] = {}
        self.failures: list[Failure] = []
        self.winner: Winner | None = None
        self.over = False
        self._steps = race(
            places,
            self._begin,
            self._succeeded,
            writing=False,
            until_ns=until_ns,
            failures=self.failures,
            clock=lambda: self.now,
        )
        self.awaited: Awaited
        self._send(None)

    @property
    def begun(self) -> list[Place]:
        return [*self.attempts]

    def advance(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        self._send(False)

    def decide(self, place: Place, *, success: bool) -> None:
        other = self.attempts[place][1]
        if success:
            other.send(b"!")
        else:
            other.shutdown(socket.SHUT_WR)
        self._send(True)

    def close(self) -> None:
        self._steps.close()
        for _, other in self.attempts.values():
            other.close()
        if self.winner:
            self.winner.socket.close()

    def _send(self, ready: bool | None) -> None:
        try:
            self.awaited = self._steps.send(ready)  # type: ignore[arg-type]  # None begins
        except StopIteration as end:
            self.winner, self.over = end.value, True

    def _begin(self, place: Place) -> socket.socket:
        if place in self.refused:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        sock, other = socket.socketpair()
        sock.setblocking(False)
        self.attempts[place] = sock, other
        return sock

    @staticmethod
    def _succeeded(sock: socket.socket) -> bool:
        try:
            if not sock.recv(1):
                raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def races() -> Iterator[list[Race]]:
    made: list[Race] = []
    yield made
    for each in made:
        each.close()
        assert all(sock.fileno() == -1 for sock, _ in each.attempts.values())


def test_the_next_attempt_begins_after_a_delay_and_the_first_one_may_still_win(races: list[Race]) -> None:
    races.append(one := Race(A, B, C))
    assert (one.begun, one.awaited.until_ns) == ([A], START + ATTEMPT_DELAY)
    one.advance(ATTEMPT_DELAY - 1)
    assert one.begun == [A]
    one.advance(1)
    assert one.begun == [A, B]
    assert {*one.awaited.sockets} == {sock for sock, _ in one.attempts.values()}
    one.decide(A, success=True)
    assert one.winner == Winner(A, one.attempts[A][0], START)
    assert one.attempts[B][0].fileno() == -1
    assert one.failures == []  # the second was not tried before the first


def test_an_attempt_without_an_outcome_before_the_winner_has_failed(races: list[Race]) -> None:
    races.append(one := Race(A, B))
    one.advance(ATTEMPT_DELAY)
    one.decide(B, success=True)
    assert one.winner == Winner(B, one.attempts[B][0], START + ATTEMPT_DELAY)
    assert [(failure.place, failure.seconds, failure.error.errno) for failure in one.failures] == [
        (A, 0.25, errno.ETIMEDOUT)
    ]


def test_a_failure_begins_the_next_attempt_at_once(races: list[Race]) -> None:
    races.append(one := Race(A, B, C, D, refused=(B,)))
    one.decide(A, success=False)
    assert one.begun == [A, C]
    assert [failure.place for failure in one.failures] == [A, B]
    one.advance(ATTEMPT_DELAY)
    one.decide(C, success=False)
    assert (one.begun, one.awaited.until_ns) == ([A, C, D], None)
    one.decide(D, success=True)
    assert one.winner
    assert one.winner.place == D


def test_when_all_attempts_fail_there_is_no_winner(races: list[Race]) -> None:
    races.append(one := Race(A, B, refused=(A,)))
    one.decide(B, success=False)
    assert (one.over, one.winner) == (True, None)
    assert [(failure.place, failure.error.errno) for failure in one.failures] == [
        (A, errno.ECONNREFUSED),
        (B, errno.ECONNREFUSED),
    ]


def test_attempts_without_an_outcome_fail_when_the_time_is_over(races: list[Race]) -> None:
    races.append(one := Race(A, B, until_ns=START + ATTEMPT_DELAY))
    assert one.awaited.until_ns == START + ATTEMPT_DELAY // 2
    one.advance(ATTEMPT_DELAY // 2)
    assert one.awaited.until_ns == START + ATTEMPT_DELAY
    one.advance(ATTEMPT_DELAY // 2)
    assert (one.over, one.winner) == (True, None)
    assert [(failure.place, failure.seconds, failure.error.errno) for failure in one.failures] == [
        (A, 0.25, errno.ETIMEDOUT),
        (B, 0.125, errno.ETIMEDOUT),
    ]


def test_an_attempt_that_succeeds_at_the_last_moment_wins(races: list[Race]) -> None:
    races.append(one := Race(A, until_ns=START))
    one.decide(A, success=True)
    assert one.winner


def test_attempts_begin_no_faster_than_the_smallest_delay(races: list[Race]) -> None:
    races.append(one := Race(A, B, until_ns=START + MIN_ATTEMPT_DELAY))
    assert one.awaited.until_ns == START + MIN_ATTEMPT_DELAY


def test_families_alternate() -> None:
    six = [(socket.AF_INET6, (f"::{number}", 9)) for number in range(3)]
    assert interleaved([*six, A, B]) == [six[0], A, six[1], B, six[2]]
    assert interleaved([A, B]) == [A, B]
    assert interleaved([]) == []


def test_an_attempt_that_begins_when_the_time_is_over_already_has_failed_as_well(races: list[Race]) -> None:
    races.append(one := Race(A, until_ns=START - 1))
    one.advance(0)
    assert (one.over, one.winner) == (True, None)
    assert [(failure.place, failure.error.errno) for failure in one.failures] == [(A, errno.ETIMEDOUT)]
