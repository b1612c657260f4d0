"""The counters, compared with a plain list of sent probes and of the arrival of each copy of a reply."""

from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo._core.probe import REQUEST, WINDOW, Header, ServerTimestamp
from halloo._ping.counters import MAX_OUTAGES, MAX_TIMESTAMPS, LossDirection, ProbeCounters
from halloo._ping.report import DirectionalLoss, Outage
from halloo._server.run_window import ReceiveWindows

TIMEOUT, TRACKED = 25, 64
END = 10_000


def sent(counters: ProbeCounters, count: int, *, step: int = 10) -> None:
    """Send `count` probes, one after the other."""
    for _ in range(count):
        counters.send(counters.sent * step)


def counted(counters: ProbeCounters) -> tuple[int, int, int, int]:
    return counters.received, counters.late, counters.lost, counters.pending


def test_timeouts_are_counted_apart_from_failures() -> None:
    counters = ProbeCounters(TIMEOUT)
    sent(counters, 4)
    assert [counters.fail(0), counters.fail(0)] == [True, False]
    assert (counters.lost, counters.outstanding()) == (1, [1, 2, 3])
    assert list(counters.expire(10 + TIMEOUT + 1)) == [1]
    assert counters.receive(2, 20 + TIMEOUT + 1) == ("late", False)
    assert counters.finish(END) == [3]
    assert counters.finish(END) == []
    assert (counters.lost, counters.late, counters.timed_out) == (3, 1, 2)


def test_an_answer_to_an_unsent_probe_is_unknown_and_not_counted() -> None:
    counters = ProbeCounters(TIMEOUT)
    sent(counters, 2)
    assert [counters.receive(number, 1)[0] for number in (2, 99, -1, -(1 << 32))] == ["unknown"] * 4
    assert (counted(counters), counters.duplicate) == ((0, 0, 0, 2), 0)


def test_an_answered_probe_cannot_fail() -> None:
    counters = ProbeCounters(TIMEOUT)
    sent(counters, 2)
    for number in (0, 1):
        counters.receive(number, 1)
        assert not counters.fail(number)
    assert counted(counters) == (2, 0, 0, 0)


def test_the_oldest_pending_probe_determines_the_next_expiry() -> None:
    counters = ProbeCounters(TIMEOUT)
    assert (counters.expires_ns(), counters.oldest_sent_ns) == (None, None)
    sent(counters, 2)
    due = counters.expires_ns()
    assert due == TIMEOUT + 1
    assert list(counters.expire(due - 1)) == []
    assert list(counters.expire(due)) == [0]
    assert counters.oldest_sent_ns == 10
    counters.receive(1, 20)
    assert counters.expires_ns() is None


def test_the_list_of_outages_is_bounded_and_their_count_is_not() -> None:
    counters = ProbeCounters(TIMEOUT)
    for outage in range(MAX_OUTAGES + 5):
        for _ in range(2 + (outage == MAX_OUTAGES + 2)):
            counters.fail(counters.send(counters.sent * 10))
        counters.receive(counters.send(counters.sent * 10), counters.sent * 10)
    assert (len(counters.outages), counters.outage_count) == (MAX_OUTAGES, MAX_OUTAGES + 5)
    assert counters.longest_outage
    assert (counters.longest_outage.probes, counters.longest_outage.length_ns) == (3, 30)


def test_probes_beyond_the_tracked_ones_are_evicted() -> None:
    counters = ProbeCounters(END, tracked=TRACKED)
    sent(counters, TRACKED + 5)
    assert (counted(counters), counters.outstanding()[0]) == ((0, 0, 5, TRACKED), 5)
    time = counters.sent * 10
    assert counters.expires_ns() == 0
    assert list(counters.expire(time)) == [0, 1, 2, 3, 4]
    assert counters.expires_ns() == 5 * 10 + END + 1
    assert [counters.receive(number, time)[0] for number in (4, 5, TRACKED + 4)] == ["unknown", "reply", "reply"]
    sent(counters, 4)
    assert counters.finish(time) == list(range(6, TRACKED + 4)) + list(range(TRACKED + 5, TRACKED + 9))
    assert counted(counters) == (2, 0, TRACKED + 7, 0)


def test_counts_are_unbounded() -> None:
    counters = ProbeCounters(TIMEOUT, tracked=TRACKED)
    for _ in range(3 * TRACKED):
        assert counters.receive(counters.send(0), 1) == ("reply", False)
    assert counted(counters) == (3 * TRACKED, 0, 0, 0)
    assert counters.receive(0, 1)[0] == "unknown"
    assert counters.receive(2 * TRACKED, 1)[0] == "duplicate"


# Property tests against the model.


@dataclass
class Model:
    """The probes as a list of when each copy of their replies arrived."""

    received: list[list[int]] = field(default_factory=list)

    def first(self, number: int) -> int | None:
        return min(self.received[number], default=None)

    def outcome(self, number: int) -> str:
        first = self.first(number)
        return "lost" if first is None else "reply" if first - number * 10 <= TIMEOUT else "late"

    def count(self, outcome: str) -> int:
        return sum(self.outcome(number) == outcome for number in range(len(self.received)))

    def outages(self) -> list[Outage]:
        found, failing = [], []
        for number in range(len(self.received)):
            if self.outcome(number) != "reply":
                failing.append(number * 10)
                continue
            if len(failing) > 1:
                found.append(Outage(failing[0], number * 10, len(failing)))
            failing = []
        return found + ([Outage(failing[0], END, len(failing), over=False)] if len(failing) > 1 else [])


delays = st.lists(st.integers(0, 60), max_size=3)


@given(st.lists(delays, max_size=40), st.sets(st.integers(0, 460)))
def test_counts_match_a_plain_model_under_loss_duplication_reordering_and_delay(
    received: list[list[int]], expire_times: set[int]
) -> None:
    model = Model([[number * 10 + delay for delay in each] for number, each in enumerate(received)])
    # At the same time, sending comes first, then receiving, then expiry.
    events = [(number * 10, 0, number) for number in range(len(received))]
    events += [(time, 1, number) for number, times in enumerate(model.received) for time in times]
    events += [(time, 2, 0) for time in expire_times]
    counters, lost, reordered, highest, seen = ProbeCounters(TIMEOUT), set[int](), 0, -1, set[int]()
    for time, kind, number in sorted(events):
        if kind == 0:
            assert counters.send(time) == number
        elif kind == 2:
            lost.update(counters.expire(time))
        else:
            outcome, late = counters.receive(number, time)
            assert outcome == ("duplicate" if number in seen else model.outcome(number))
            assert late == (number not in seen and number < highest)
            reordered += late
            highest = max(highest, number)
            seen.add(number)
        due = counters.expires_ns()
        assert due == (counters.outstanding()[0] * 10 + TIMEOUT + 1 if counters.pending else None)
        assert len(counters.outstanding()) == counters.pending
    lost.update(counters.finish(END))
    assert (counters.sent, counters.received, counters.late) == (
        len(received),
        model.count("reply"),
        model.count("late"),
    )
    assert (counters.lost, counters.pending, counters.reordered) == (model.count("lost"), 0, reordered)
    assert counters.duplicate == sum(max(len(times) - 1, 0) for times in model.received)
    assert {number for number in range(len(received)) if model.outcome(number) == "lost"} <= lost
    assert counters.outages == model.outages()
    assert counters.outage_count == len(counters.outages)
    assert counters.longest_outage == max(counters.outages, key=lambda outage: outage.length_ns, default=None)


OUTCOMES = ("answered", "forward", "reverse", "refused")


@dataclass
class Server:
    """Writes timestamps as a server does; a new one is a restarted server."""

    runs: ReceiveWindows

    def timestamp(self, number: int, *, refused: bool = False) -> ServerTimestamp:
        return ServerTimestamp(0, 0, *self.runs.record(Header(1, number, 0, REQUEST), refused=refused))


def run_with_fates(outcomes: list[str]) -> tuple[LossDirection, int]:
    """Send a probe for each outcome; return the recorded directions and the number of replies."""
    server, direction, received = Server(ReceiveWindows()), LossDirection(), 0
    for number, outcome in enumerate(outcomes):
        if outcome == "forward":
            continue
        timestamp = server.timestamp(number, refused=outcome == "refused")
        if outcome == "answered":
            direction.record(number, timestamp)
            received += 1
    return direction, received


def test_without_timestamps_nothing_is_known() -> None:
    direction = LossDirection()
    assert direction.totals(sent=5, received=5) is None
    assert direction.direction(3) is None


def test_losses_are_counted_by_direction() -> None:
    direction, received = run_with_fates(
        ["answered", "forward", "reverse", "refused", "forward", "answered", "reverse"]
    )
    assert direction.totals(sent=7, received=received) == DirectionalLoss(forward=2, reverse=1, refused=1, unknown=1)


def test_the_windows_of_later_timestamps_locate_each_loss() -> None:
    direction, _ = run_with_fates(["answered", "forward", "reverse", "answered", "reverse"])
    assert [direction.direction(number) for number in (1, 2, 4)] == ["forward", "reverse", None]


def test_a_probe_that_may_have_been_refused_is_not_lost_in_reverse() -> None:
    direction, _ = run_with_fates(["answered", "refused", "answered", "reverse", "answered"])
    assert [direction.direction(number) for number in (1, 3)] == [None, "reverse"]


def test_a_window_covers_63_earlier_probes() -> None:
    for distance, way in ((WINDOW - 1, "forward"), (WINDOW, None)):
        direction, _ = run_with_fates(["forward"] * distance + ["answered"])
        assert direction.direction(0) == way


@pytest.mark.parametrize(
    ("arrived", "answered", "reverse"),
    [
        ([1, 0], [0], 1),  # one that overtook another, and whose reply is lost, is counted once
        ([0, 2, 1, 3], [0, 2, 1, 3], 0),
        ([0, 1, 2, 4, 3], [0, 1, 2, 3, 4], 0),  # reordering on both paths is no restart
    ],
)
def test_reordering_loses_nothing(arrived: list[int], answered: list[int], reverse: int) -> None:
    server, direction = Server(ReceiveWindows()), LossDirection()
    timestamps = {number: server.timestamp(number) for number in arrived}
    for number in answered:
        direction.record(number, timestamps[number])
    assert direction.totals(len(arrived), len(answered)) == DirectionalLoss(0, reverse, 0, 0)


def test_after_a_server_restart_nothing_is_known() -> None:
    for before in (1, 2, 50):
        first, second, direction = Server(ReceiveWindows()), Server(ReceiveWindows()), LossDirection()
        for number in range(before):
            direction.record(number, first.timestamp(number))
        for number in range(before + 1, before + 4):
            direction.record(number, second.timestamp(number))
        assert direction.totals(sent=before + 4, received=before + 3) is None
        assert direction.direction(before) is None


def test_a_long_run_takes_bounded_memory_and_its_counts_stay_right() -> None:
    server, direction, count = Server(ReceiveWindows()), LossDirection(), MAX_TIMESTAMPS * 3 // 2
    lost = {number for number in range(count) if number % 7 == 3}
    for number in range(count):
        if number not in lost:
            direction.record(number, server.timestamp(number))
    assert direction.totals(count, count - len(lost)) == DirectionalLoss(len(lost), 0, 0, 0)
    assert direction.direction(sorted(lost)[-5]) == "forward"
    assert direction.direction(3) is None


@given(st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=200))
@example(["forward", "answered"])
@example(["refused"] * 100 + ["answered"])
def test_every_loss_is_counted_on_its_path_and_none_is_attributed_to_another(outcomes: list[str]) -> None:
    direction, received = run_with_fates(outcomes)
    for number, outcome in enumerate(outcomes):
        assert outcome == "answered" or direction.direction(number) in (outcome, None)
    if not received:
        assert direction.totals(len(outcomes), received) is None
        return
    known = len(outcomes) - outcomes[::-1].index("answered")
    forward, reverse, refused = (outcomes[:known].count(outcome) for outcome in OUTCOMES[1:])
    assert direction.totals(len(outcomes), received) == DirectionalLoss(
        forward, reverse, refused, len(outcomes) - known
    )


@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60))
def test_reordering_never_inflates_losses(probes: list[tuple[str, int, int]]) -> None:
    server, direction, received = Server(ReceiveWindows()), LossDirection(), 0
    forward = sorted(range(len(probes)), key=lambda number: number + probes[number][1])
    timestamps = {
        n: server.timestamp(n, refused=probes[n][0] == "refused") for n in forward if probes[n][0] != "forward"
    }
    answers = [n for n in forward if probes[n][0] == "answered"]
    for number in sorted(answers, key=lambda number: forward.index(number) + probes[number][2]):
        direction.record(number, timestamps[number])
        received += 1
    ways = direction.totals(len(probes), received)
    if ways is not None:
        assert ways.forward + ways.reverse + ways.refused + ways.unknown == len(probes) - received
        assert min(ways.forward, ways.reverse, ways.refused, ways.unknown) >= 0
