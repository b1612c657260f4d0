import dataclasses
import errno

import pytest

from halloo.errors import Oversized
from halloo.net.table import ANSWERING, FLOWING, FREE, LISTENING, OWING, WAKING, Snapshot, Table


def test_the_states_are_all_different() -> None:
    assert len({FREE, LISTENING, WAKING, FLOWING, OWING, ANSWERING}) == 6


def test_every_descriptor_is_free_at_first() -> None:
    assert set(Table().state) == {FREE}


def test_a_descriptor_has_the_state_it_was_given() -> None:
    table = Table()
    table.begin(5, FLOWING)
    assert table.state[5] == FLOWING


@pytest.mark.parametrize("fd", [0, 63, 64, 65, 127, 128, 19_999])
def test_there_is_room_for_any_descriptor(fd: int) -> None:
    table = Table()
    table.begin(fd, FLOWING)
    assert table.within(FLOWING) == [fd]


def test_making_room_keeps_the_states_and_the_object_that_holds_them() -> None:
    table = Table()
    held = table.state
    table.begin(7, OWING)
    table.begin(1000, FLOWING)
    assert held is table.state
    assert (held[7], held[1000]) == (OWING, FLOWING)


def test_an_idle_connection_costs_one_byte() -> None:
    table = Table()
    for fd in range(10_000):
        table.begin(fd, FLOWING)
    assert len(table.state) < 2 * 10_000
    assert not table.debts


def test_descriptors_are_found_by_any_of_some_states() -> None:
    table = Table()
    for fd, state in enumerate((LISTENING, WAKING, FLOWING, OWING, ANSWERING, FLOWING)):
        table.begin(fd, state)
    assert table.within(FLOWING, OWING) == [2, 3, 5]


def test_open_is_what_was_accepted_and_not_closed() -> None:
    table = Table()
    table.accepted, table.closed = 5, 3
    assert table.open == 2


def test_an_error_of_the_system_is_counted_by_its_name() -> None:
    table = Table()
    for number in (errno.ECONNRESET, errno.EPIPE, errno.ECONNRESET):
        table.count_error(OSError(number, "as it happens"))
    assert table.errors == {"ECONNRESET": 2, "EPIPE": 1}


def test_an_error_without_a_number_is_counted_by_its_class() -> None:
    table = Table()
    table.count_error(Oversized("too long"))
    table.count_error(ZeroDivisionError())
    assert table.errors == {"Oversized": 1, "ZeroDivisionError": 1}


def test_an_error_with_a_number_that_has_no_name_is_counted_too() -> None:
    table = Table()
    table.count_error(OSError(99_999, "never heard of"))
    assert table.errors == {"EUNKNOWN": 1}


def test_a_snapshot_has_the_counts() -> None:
    table = Table()
    table.accepted, table.closed, table.received, table.sent = 5, 3, 70, 60
    table.count_error(OSError(errno.EPIPE, ""))
    assert table.snapshot() == Snapshot(5, 2, 70, 60, {"EPIPE": 1})


def test_a_snapshot_does_not_change_with_the_table() -> None:
    table = Table()
    table.count_error(OSError(errno.EPIPE, ""))
    before = table.snapshot()
    table.accepted += 1
    table.count_error(OSError(errno.EPIPE, ""))
    assert before == Snapshot(errors={"EPIPE": 1})


def test_a_snapshot_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Snapshot().open = 1  # type: ignore[misc] # which is the point
