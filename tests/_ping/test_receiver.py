"""Receiving over real sockets, without the loop that decides when; and merging what no probe asked for."""

import socket
from contextlib import suppress
from itertools import chain

import pytest

from halloo._core.probe import write_notice
from halloo._core.units import SECOND
from halloo._ping.receiver import LIMIT_PAUSE, MAX_EVENTS, MAX_SURPLUS, SurplusLimit
from halloo._ping.report import Outcome, ProbeEvent
from halloo._ping.scheduler import system_clocks
from tests._ping.flows import sending
from tests.peers import closing, datagram_peer, echoing, peer


def test_the_next_probe_is_sent_before_the_last_reply_is_reported() -> None:
    seen: list[bytes] = []

    def answer_first(probe: bytes) -> list[bytes]:
        seen.append(probe)
        return seen if len(seen) == 1 else []

    with datagram_peer(answer_first) as port, sending(f"udp://127.0.0.1:{port}") as made:
        made.sender.send_next(made.flow)
        made.sender.prepare(made.flow, system_clocks())
        made.receive()
        assert made.outcomes == [("reply", 0)]
        assert made.flow.tracker.counters.sent == 2


def test_a_flood_is_processed_in_turns() -> None:
    def flood(connection: socket.socket) -> None:
        probe = connection.recv(65536)
        connection.sendall(b"stray\n" * 2 * MAX_SURPLUS + probe)

    with peer(flood) as port, sending(f"127.0.0.1:{port}") as made:
        made.sender.send_next(made.flow)
        made.receive()
        assert made.outcomes == [("stray", None)] * MAX_SURPLUS
        while made.outcomes[-1] != ("reply", 0):
            assert made.receive() == [made.flow]
        assert len(made.outcomes) == 2 * MAX_SURPLUS + 1


def test_the_unsent_rest_of_a_probe_is_sent_once_there_is_room() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        sending(f"127.0.0.1:{listener.getsockname()[1]}", size=65_507) as made,
        listener.accept()[0] as server,
    ):
        assert made.flow.connection
        while not made.flow.connection.unsent:
            made.sender.send_next(made.flow)
        server.setblocking(False)
        while made.flow.connection.unsent:
            with suppress(BlockingIOError):
                while server.recv(1 << 20):
                    pass
            assert made.receive() == [made.flow]
        assert made.events == []


def test_the_end_of_a_stream_fails_its_pending_probes_and_a_limit_pauses_the_next() -> None:
    with peer(closing) as port, sending(f"127.0.0.1:{port}") as made:
        made.sender.send_next(made.flow)
        made.receive()
        assert (made.outcomes, made.flow.state) == ([("error", 0)], None)
        made.receiver.receive(made.flow)  # nothing: it is closed
        assert len(made.events) == 1
    with datagram_peer(lambda probe: [write_notice(probe, 1)]) as port, sending(f"udp://127.0.0.1:{port}") as made:
        made.sender.send_next(made.flow)
        before = system_clocks().steady_ns
        made.receive()
        assert made.outcomes == [("error", 0)]
        assert made.sender.paused_until >= before + LIMIT_PAUSE


def test_a_reply_ends_the_connection_of_a_one_shot_probe() -> None:
    with peer(echoing) as port, sending(f"127.0.0.1:{port}", reconnect=True) as made:
        made.sender.send_next(made.flow)
        made.receive()
        assert (made.outcomes, made.flow.state) == ([("reply", 0)], None)


@pytest.mark.parametrize("behind", [[b"x"], [b"stray\n", b"x"]])
def test_bytes_behind_the_reply_of_a_one_shot_probe_are_unexpected(behind: list[bytes]) -> None:
    def talkative(connection: socket.socket) -> None:
        connection.sendall(connection.recv(65536) + b"".join(behind))

    with peer(talkative) as port, sending(f"127.0.0.1:{port}", reconnect=True) as made:
        made.sender.send_next(made.flow)
        made.receive()
        assert (made.outcomes, made.flow.state) == ([("reply", 0), *[("stray", None)] * len(behind)], None)
        assert sum(event.size for event in made.events[1:]) == len(b"".join(behind))


# Merging replies that answer no pending probe.


def events(outcome: Outcome, count: int, wall_ns: int, target: int = 0) -> list[ProbeEvent]:
    return [ProbeEvent(target, outcome, wall_ns, number, size=100) for number in range(count)]


def limited(*given: list[ProbeEvent]) -> list[ProbeEvent]:
    passed: list[ProbeEvent] = []
    limit = SurplusLimit(passed.append)
    for event in chain(*given):
        limit(event)
    return passed


@pytest.mark.parametrize("outcome", ["stray", "duplicate"])
def test_the_replies_over_the_limit_are_part_of_the_next_event(outcome: Outcome) -> None:
    first, later = events(outcome, MAX_EVENTS + 5, 7 * SECOND), events(outcome, 2, 8 * SECOND)
    passed = limited(first, later)
    assert passed[:MAX_EVENTS] == first[:MAX_EVENTS]
    merged, last = passed[MAX_EVENTS:]
    assert (merged.count, merged.size, merged.number, merged.wall_ns) == (6, 600, None, 8 * SECOND)
    assert last == later[1]


def test_a_clock_that_is_set_back_starts_a_new_second() -> None:
    passed = limited(events("stray", MAX_EVENTS + 1, 9 * SECOND), events("stray", 1, SECOND))
    assert [event.count for event in passed] == [*[1] * MAX_EVENTS, 2]


def test_each_target_and_outcome_has_its_own_limit() -> None:
    kinds = [events(outcome, MAX_EVENTS, SECOND, target) for outcome in ("stray", "duplicate") for target in (0, 1)]
    assert limited(*kinds) == [*chain(*kinds)]


def test_the_outcomes_of_probes_are_not_limited() -> None:
    outcomes: tuple[Outcome, ...] = ("reply", "late", "corrupt", "lost", "error")
    for outcome in outcomes:
        given = events(outcome, 3 * MAX_EVENTS, SECOND)
        assert limited(given) == given
