"""Rows of counters, and what a snapshot reads from one."""

import dataclasses

import pytest

from halloo._server.counters import (
    ACCEPTED,
    ACCEPTED_BY_SCHEME,
    CLOSE_REASONS,
    CLOSED,
    CLOSED_BY_SCHEME,
    COUNTER_INDEX,
    COUNTERS,
    ERRORS,
    OLDEST_PENDING,
    PENDING_BYTES,
    RECEIVED,
    REFUSALS,
    SENT,
    Snapshot,
    count_all_closed,
    count_event,
    error_name,
    new_counters,
)


def test_every_counter_has_a_slot_of_its_own() -> None:
    assert len(COUNTER_INDEX) == len(COUNTERS) == len(new_counters())


@pytest.mark.parametrize("names", [REFUSALS, CLOSE_REASONS, ERRORS])
def test_names_are_counted_in_their_own_counters(names: tuple[str, ...]) -> None:
    row = new_counters()
    for name in names:
        count_event(row, name)
    found = Snapshot.of(row, started=0, now=0)
    assert dict.fromkeys(names, 1) in (found.refused, found.ended, found.errors)


def test_a_name_is_counted_each_time_and_an_unknown_one_as_other() -> None:
    row = new_counters()
    for name in ("ECONNRESET", "EPIPE", "ECONNRESET", "ZeroDivisionError"):
        count_event(row, name)
    count_event(row, "EUNKNOWN", 2)
    assert Snapshot.of(row, started=0, now=0).errors == {"ECONNRESET": 2, "EPIPE": 1, "other": 3}


def test_an_error_is_named_by_its_number_and_one_of_openssl_by_its_class() -> None:
    assert [error_name(BrokenPipeError(32, "")), error_name(OSError()), error_name(OSError(99999, ""))] == [
        *("EPIPE", "other", "other")
    ]


def test_a_snapshot_has_the_counts_and_the_times_and_does_not_change_with_the_row() -> None:
    row = new_counters()
    row[ACCEPTED], row[CLOSED], row[RECEIVED], row[SENT], row[PENDING_BYTES], row[OLDEST_PENDING] = (
        5,
        3,
        70,
        60,
        9,
        1500,
    )
    count_event(row, "EPIPE")
    snapshot = Snapshot.of(row, started=1.0, now=4.0)
    row[ACCEPTED] += 1
    count_event(row, "EPIPE")
    assert snapshot == Snapshot(
        accepted=5,
        open=2,
        received_bytes=70,
        sent_bytes=60,
        errors={"EPIPE": 1},
        pending_write_bytes=9,
        oldest_pending_write_seconds=2.5,
        uptime_seconds=3.0,
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.open = 1  # type: ignore[misc] # which is the point


def test_connections_are_counted_by_scheme_too_and_a_worker_s_exit_closes_them_all() -> None:
    row = new_counters()
    row[ACCEPTED], row[CLOSED] = 3, 1
    row[ACCEPTED_BY_SCHEME : ACCEPTED_BY_SCHEME + 3] = type(row)("Q", [1, 1, 1])
    row[CLOSED_BY_SCHEME + 1] = 1
    assert Snapshot.of(row, started=0, now=0).accepted_by_scheme == {"tcp": 1, "tls": 1, "unix": 1}
    assert Snapshot.of(row, started=0, now=0).open_by_scheme == {"tcp": 1, "tls": 0, "unix": 1}
    row[PENDING_BYTES] = row[OLDEST_PENDING] = 7
    count_all_closed(row)
    assert Snapshot.of(row, started=0, now=0) == Snapshot(accepted=3)
    assert set(Snapshot.of(row, started=0, now=0).open_by_scheme.values()) == {0}
