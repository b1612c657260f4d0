import itertools
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from halloo._net.read_ahead import ReadAhead
from halloo._net.readiness import until_readable
from tests.conditions import TIMEOUT


class BrokenError(Exception):
    """Raised by the source."""


def broken(*before: bytes) -> Iterator[bytes]:
    yield from before
    raise BrokenError


def test_items_are_taken_in_their_order_and_an_error_is_raised_behind_them() -> None:
    with ReadAhead(broken(b"one", b"two"), 1) as source:
        taken: list[bytes] = []
        while len(taken) < 2:
            assert until_readable([source.waking], TIMEOUT)
            taken += filter(None, [source.take()])
        assert taken == [b"one", b"two"]
        while not source.silent:
            assert until_readable([source.waking], TIMEOUT)
            with suppress(BrokenError):
                assert source.take() is None
        assert not source.over
        with pytest.raises(BrokenError):
            source.take()


def test_an_endless_source_is_read_no_further_than_asked() -> None:
    numbers = itertools.count()
    with ReadAhead((b"%d" % number for number in numbers), 3) as source:
        assert until_readable([source.waking], TIMEOUT)
        assert source.take() == b"0"
    assert next(numbers) <= 6


def test_a_burst_wakes_its_reader_once() -> None:
    resumed = threading.Event()

    def items() -> Iterator[bytes]:
        yield b"one"
        yield b"two"
        resumed.set()

    with ReadAhead(items(), 2) as source:
        assert resumed.wait(TIMEOUT)
        assert source.waking.recv(100) == b"!"
        assert [source.take(), source.take()] == [b"one", b"two"]


def test_whatever_ends_the_source_is_raised() -> None:
    def leave(_: bytes) -> bytes:
        raise SystemExit

    with ReadAhead(map(leave, [b""]), 1) as source:
        assert until_readable([source.waking], TIMEOUT)
        with pytest.raises(SystemExit):
            source.take()
