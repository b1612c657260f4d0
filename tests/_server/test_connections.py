import dataclasses
from array import array

import pytest

from halloo._server import connections as tables
from halloo._server.connections import (
    ACCEPTED,
    CLOSE_REASONS,
    CLOSED,
    CONNECTED,
    COUNTER_INDEX,
    COUNTERS,
    ECHOING,
    ERRORS,
    FREE,
    HANDLING,
    LISTENING,
    OLDEST_PENDING,
    PENDING_BYTES,
    RECEIVED,
    REFUSALS,
    SENT,
    WAKEUP,
    WRITE_PENDING,
    ConnectionTable,
    Snapshot,
    count_all_closed,
    new_counters,
)


def seen(table: ConnectionTable, now: float = 0.0) -> Snapshot:
    return Snapshot.of(table.counters, started=0.0, now=now)


# States.


def test_the_states_are_numbered_without_a_gap() -> None:
    assert sorted((FREE, LISTENING, WAKEUP, tables.PARENT_EXIT, *CONNECTED)) == list(range(12))


def test_every_descriptor_is_free_at_first() -> None:
    assert set(ConnectionTable().state) == {FREE}


def test_a_descriptor_has_the_state_it_was_given() -> None:
    table = ConnectionTable()
    table.add(5, ECHOING)
    assert table.state[5] == ECHOING


@pytest.mark.parametrize("fd", [0, 63, 64, 65, 127, 128, 19_999])
def test_the_table_grows_for_any_descriptor(fd: int) -> None:
    table = ConnectionTable()
    table.add(fd, ECHOING)
    assert table.in_state(ECHOING) == [fd]


def test_growing_keeps_the_states_and_the_bytearray() -> None:
    table = ConnectionTable()
    held = table.state
    table.add(7, WRITE_PENDING)
    table.add(1000, ECHOING)
    assert held is table.state
    assert (held[7], held[1000]) == (WRITE_PENDING, ECHOING)


def test_an_idle_connection_costs_one_byte() -> None:
    table = ConnectionTable()
    for fd in range(10_000):
        table.add(fd, ECHOING)
    assert len(table.state) < 2 * 10_000
    assert not table.pending_writes


def test_descriptors_are_found_by_state() -> None:
    table = ConnectionTable()
    for fd, state in enumerate((LISTENING, WAKEUP, ECHOING, WRITE_PENDING, HANDLING, ECHOING)):
        table.add(fd, state)
    assert table.in_state(ECHOING, WRITE_PENDING) == [2, 3, 5]


# Counts.


def test_open_is_what_was_accepted_and_not_closed() -> None:
    table = ConnectionTable()
    table.counters[ACCEPTED], table.counters[CLOSED] = 5, 3
    assert table.open == 2


def test_every_counter_has_a_slot_of_its_own() -> None:
    assert len(COUNTER_INDEX) == len(COUNTERS) == len(new_counters())


@pytest.mark.parametrize("names", [REFUSALS, CLOSE_REASONS, ERRORS])
def test_names_are_counted_in_their_own_counters(names: tuple[str, ...]) -> None:
    table = ConnectionTable()
    for name in names:
        table.count(name)
    found = seen(table)
    assert dict.fromkeys(names, 1) in (found.refused, found.ended, found.errors)


def test_an_error_is_counted_each_time() -> None:
    table = ConnectionTable()
    for name in ("ECONNRESET", "EPIPE", "ECONNRESET"):
        table.count(name)
    assert seen(table).errors == {"ECONNRESET": 2, "EPIPE": 1}


def test_an_unknown_error_is_counted_as_other() -> None:
    table = ConnectionTable()
    table.count("ZeroDivisionError")
    table.count("EUNKNOWN")
    assert seen(table).errors == {"other": 2}


def test_counters_may_be_supplied() -> None:
    row = array("Q", bytes(8 * len(COUNTERS)))
    ConnectionTable(row).count("EPIPE")
    assert row[COUNTER_INDEX["EPIPE"]] == 1


# Debts.


def test_a_pending_write_is_counted_until_it_is_discarded() -> None:
    table = ConnectionTable()
    table.queue_write(5, memoryview(b"hello"), 1.0)
    assert seen(table).pending_write_bytes == 5
    table.discard_pending(5)
    assert (seen(table).pending_write_bytes, table.pending_writes, table.pending_since) == (0, {}, {})


def test_a_pending_write_that_shrinks_counts_the_rest_and_restarts_its_age() -> None:
    table = ConnectionTable()
    table.queue_write(5, memoryview(b"hello"), 1.0)
    table.queue_write(5, memoryview(b"lo"), 2.0)
    assert (table.counters[PENDING_BYTES], table.pending_since) == (2, {5: 2.0})


def test_discarding_without_a_pending_write_does_nothing() -> None:
    table = ConnectionTable()
    table.discard_pending(5)
    assert table.counters[PENDING_BYTES] == 0


# Snapshots.


def test_a_snapshot_has_the_counts() -> None:
    table = ConnectionTable()
    table.counters[ACCEPTED], table.counters[CLOSED], table.counters[RECEIVED], table.counters[SENT] = 5, 3, 70, 60
    table.count("EPIPE")
    assert seen(table) == Snapshot(accepted=5, open=2, received_bytes=70, sent_bytes=60, errors={"EPIPE": 1})


def test_connections_are_counted_by_scheme_too() -> None:
    table = ConnectionTable()
    for fd, scheme in ((5, 0), (6, 1), (300, 2)):
        table.add(fd, ECHOING)
        table.opened(fd, scheme)
    table.closed(6)
    assert seen(table).accepted_by_scheme == {"tcp": 1, "tls": 1, "unix": 1}
    assert seen(table).open_by_scheme == {"tcp": 1, "tls": 0, "unix": 1}
    count_all_closed(table.counters)
    assert seen(table) == Snapshot(accepted=3)
    assert set(seen(table).open_by_scheme.values()) == {0}


def test_a_snapshot_has_the_uptime() -> None:
    assert Snapshot.of(new_counters(), started=1000.0, now=1002.5).uptime_seconds == 2.5


def test_a_snapshot_has_the_age_of_the_oldest_pending_write() -> None:
    table = ConnectionTable()
    table.counters[OLDEST_PENDING] = 1_500
    assert seen(table, now=4.0).oldest_pending_write_seconds == 2.5


def test_a_snapshot_does_not_change_with_the_table() -> None:
    table = ConnectionTable()
    table.count("EPIPE")
    before = seen(table)
    table.counters[ACCEPTED] += 1
    table.count("EPIPE")
    assert before == Snapshot(errors={"EPIPE": 1})


def test_a_snapshot_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Snapshot().open = 1  # type: ignore[misc] # which is the point
