"""What became of each probe, beside a plain list of what was sent and when each copy of an answer came."""

from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo._core.probe import ASKING, WINDOW, Header, ServerTimestamp
from halloo._ping.counters import KEPT, OUTAGES, REMEMBERED, DirectionalLoss, LossDirection, Outage, ProbeCounters
from halloo._server.run_window import RunWindows

WAIT = 25
END = 10_000


def sent(tally: ProbeCounters, count: int, *, step: int = 10) -> None:
    """Send so many, one after the other."""
    for _ in range(count):
        tally.send(tally.sent * step)


# One probe.


def test_what_took_too_long_is_counted_apart_from_what_failed() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 4)
    tally.fail(0)
    assert list(tally.overdue(10 + WAIT + 1)) == [1]
    assert tally.receive(2, 20 + WAIT + 1) == ("late", False)
    assert tally.finish(END) == [3]
    assert (tally.lost, tally.late, tally.timed_out) == (3, 1, 2)


def test_what_was_pushed_out_is_told_at_the_end_if_not_before() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, REMEMBERED + 1, step=0)
    assert tally.finish(1) == list(range(REMEMBERED + 1))


def test_probes_are_numbered_from_0() -> None:
    tally = ProbeCounters(WAIT)
    assert [tally.send(time) for time in (0, 10, 20)] == [0, 1, 2]
    assert (tally.sent, tally.awaited, tally.received, tally.lost) == (3, 3, 0, 0)


def test_an_answer_in_time_is_a_reply() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 1)
    assert tally.receive(0, WAIT) == ("reply", False)
    assert (tally.received, tally.awaited, tally.lost) == (1, 0, 0)


def test_an_answer_after_the_wait_is_late_whether_or_not_anybody_looked() -> None:
    for looking in (False, True):
        tally = ProbeCounters(WAIT)
        sent(tally, 1)
        if looking:
            assert list(tally.overdue(WAIT + 1)) == [0]
            assert tally.lost == 1
        assert tally.receive(0, WAIT + 1) == ("late", False)
        assert (tally.received, tally.late, tally.lost, tally.awaited) == (0, 1, 0, 0)


def test_a_second_answer_is_a_duplicate_also_of_a_late_one() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 2)
    tally.receive(0, 5)
    tally.receive(1, 100)
    assert tally.receive(0, 6) == tally.receive(1, 101) == ("duplicate", False)
    assert (tally.received, tally.late, tally.duplicate) == (1, 1, 2)


def test_an_answer_after_one_to_a_later_probe_is_reordered() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 3)
    assert [tally.receive(number, 21) for number in (1, 0, 2)] == [("reply", False), ("reply", True), ("reply", False)]
    assert tally.reordered == 1


def test_an_answer_to_what_was_never_sent_is_unknown_and_counts_nothing() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 2)
    assert [tally.receive(number, 1)[0] for number in (2, 99, -1, -(1 << 32))] == ["unknown"] * 4
    assert (tally.received, tally.duplicate, tally.late, tally.awaited) == (0, 0, 0, 2)


def test_a_probe_that_could_not_be_sent_is_lost_at_once() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 2)
    tally.fail(1)
    tally.fail(1)
    assert (tally.lost, tally.awaited, tally.outstanding()) == (1, 1, [0])


def test_a_probe_that_was_answered_cannot_fail() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 2)
    tally.receive(0, 1)
    tally.receive(1, 1)
    tally.fail(0)
    tally.fail(1)
    assert tally.lost == 0


# Waiting.


def test_the_oldest_that_is_awaited_says_when_to_look_again() -> None:
    tally = ProbeCounters(WAIT)
    assert tally.due_ns() is None
    sent(tally, 2)
    due = tally.due_ns()
    assert due == WAIT + 1
    assert list(tally.overdue(due - 1)) == []
    assert list(tally.overdue(due)) == [0]
    tally.receive(1, 20)
    assert tally.due_ns() is None


def test_at_the_end_all_that_are_awaited_are_given_up() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 3)
    tally.receive(1, 20)
    assert tally.finish(21) == [0, 2]
    assert (tally.lost, tally.awaited, tally.outstanding()) == (2, 0, [])
    assert tally.finish(22) == []


# Outages.


def test_two_lost_in_a_row_are_an_outage_until_one_came_back() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 4)
    tally.receive(0, 5)
    tally.receive(3, 40)
    assert list(tally.overdue(100)) == [1, 2]
    assert tally.outages == [Outage(10, 30, 2)] == [tally.longest]
    assert tally.outages[0].length_ns == 20


def test_one_that_is_lost_alone_is_no_outage() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 3)
    tally.receive(0, 20)
    tally.receive(2, 20)
    tally.finish(100)
    assert (tally.lost, tally.outages, tally.longest, tally.outage_count) == (1, [], None, 0)


def test_an_outage_at_the_end_goes_on() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 3)
    tally.receive(0, 1)
    tally.finish(100)
    assert tally.outages == [Outage(10, 100, 2, over=False)]


def test_late_answers_do_not_end_an_outage() -> None:
    tally = ProbeCounters(WAIT)
    sent(tally, 3)
    for number in range(3):
        tally.receive(number, 200 + number)
    tally.finish(300)
    assert (tally.late, tally.lost, tally.outages) == (3, 0, [Outage(0, 300, 3, over=False)])


def test_the_list_of_outages_is_bounded_and_their_count_is_not() -> None:
    tally = ProbeCounters(WAIT)
    for outage in range(OUTAGES + 5):
        for _ in range(2 + (outage == OUTAGES + 2)):
            tally.fail(tally.send(tally.sent * 10))
        tally.receive(tally.send(tally.sent * 10), tally.sent * 10)
    assert (len(tally.outages), tally.outage_count) == (OUTAGES, OUTAGES + 5)
    assert tally.longest
    assert tally.longest.probes == 3


# Memory.


def test_more_than_can_be_remembered_are_not_awaited() -> None:
    tally = ProbeCounters(END * REMEMBERED)
    sent(tally, REMEMBERED + 5)
    assert (tally.lost, tally.awaited, tally.outstanding()[0]) == (5, REMEMBERED, 5)
    time = tally.sent * 10
    assert tally.due_ns() == 0
    assert list(tally.overdue(time)) == [0, 1, 2, 3, 4]
    assert tally.due_ns() == 5 * 10 + END * REMEMBERED + 1
    assert tally.receive(4, time) == ("unknown", False)
    assert tally.receive(5, time) == ("reply", False)
    assert tally.receive(REMEMBERED + 4, time) == ("reply", False)
    assert tally.finish(time) == list(range(6, REMEMBERED + 4))
    assert (tally.received, tally.late, tally.lost) == (2, 0, REMEMBERED + 3)


def test_any_number_can_be_counted() -> None:
    tally = ProbeCounters(WAIT)
    for _ in range(3 * REMEMBERED):
        number = tally.send(0)
        assert tally.receive(number, 1) == ("reply", False)
    assert (tally.received, tally.lost, tally.duplicate) == (3 * REMEMBERED, 0, 0)
    assert tally.receive(0, 1)[0] == "unknown"
    assert tally.receive(2 * REMEMBERED, 1)[0] == "duplicate"


def test_what_is_lost_and_forgotten_stays_lost() -> None:
    tally = ProbeCounters(WAIT)
    tally.send(0)
    for _ in range(REMEMBERED):
        tally.receive(tally.send(1), 1)
    assert tally.receive(0, 2) == ("unknown", False)
    assert (tally.lost, tally.awaited) == (1, 0)


# All of it, whatever happens.


@dataclass
class Plain:
    """The probes as a list: when each was sent, and when each copy of its answer came."""

    came: list[list[int]] = field(default_factory=list)

    def first(self, number: int) -> int | None:
        return min(self.came[number], default=None)

    def outcome(self, number: int) -> str:
        first = self.first(number)
        return "lost" if first is None else "reply" if first - number * 10 <= WAIT else "late"

    def count(self, outcome: str) -> int:
        return sum(self.outcome(number) == outcome for number in range(len(self.came)))

    def outages(self) -> list[Outage]:
        found, failing = [], []
        for number in range(len(self.came)):
            if self.outcome(number) != "reply":
                failing.append(number * 10)
                continue
            if len(failing) > 1:
                found.append(Outage(failing[0], number * 10, len(failing)))
            failing = []
        return found + ([Outage(failing[0], END, len(failing), over=False)] if len(failing) > 1 else [])


delays = st.lists(st.integers(0, 60), max_size=3)


@given(st.lists(delays, max_size=40), st.sets(st.integers(0, 460)))
def test_under_loss_copies_disorder_and_delay_all_is_counted_as_it_was(came: list[list[int]], looks: set[int]) -> None:
    plain = Plain([[number * 10 + delay for delay in each] for number, each in enumerate(came)])
    # At one moment what is to be sent is sent, then what came is read, and then somebody looks at the time.
    events = [(number * 10, 0, number) for number in range(len(came))]
    events += [(time, 1, number) for number, times in enumerate(plain.came) for time in times]
    events += [(time, 2, 0) for time in looks]
    tally, given_up, reordered, highest, met = ProbeCounters(WAIT), set[int](), 0, -1, set[int]()
    for time, kind, number in sorted(events):
        if kind == 0:
            assert tally.send(time) == number
        elif kind == 2:
            given_up.update(tally.overdue(time))
        else:
            outcome, late = tally.receive(number, time)
            assert outcome == ("duplicate" if number in met else plain.outcome(number))
            assert late == (number not in met and number < highest)
            reordered += late
            highest = max(highest, number)
            met.add(number)
        due = tally.due_ns()
        assert due == (tally.outstanding()[0] * 10 + WAIT + 1 if tally.awaited else None)
        assert len(tally.outstanding()) == tally.awaited
    given_up.update(tally.finish(END))
    assert (tally.sent, tally.received, tally.late) == (len(came), plain.count("reply"), plain.count("late"))
    assert (tally.lost, tally.awaited, tally.reordered) == (plain.count("lost"), 0, reordered)
    assert tally.duplicate == sum(max(len(times) - 1, 0) for times in plain.came)
    assert {number for number in range(len(came)) if plain.outcome(number) == "lost"} <= given_up
    assert tally.outages == plain.outages()
    assert tally.outage_count == len(tally.outages)
    assert tally.longest == max(tally.outages, key=lambda outage: outage.length_ns, default=None)


FATES = ("answered", "forward", "reverse", "refused")


@dataclass
class Server:
    """Stamps as a server does; it begins anew when it is told to."""

    runs: RunWindows

    def stamp(self, number: int, *, refused: bool = False) -> ServerTimestamp:
        return ServerTimestamp(0, 0, *self.runs.arrive(Header(1, number, 0, ASKING), refused=refused))


@pytest.fixture
def server() -> Server:
    return Server(RunWindows())


@pytest.fixture
def direction() -> LossDirection:
    return LossDirection()


def sent_by_fate(fates: list[str]) -> tuple[LossDirection, int]:
    """Send a probe for each fate; give what is known then, and how many answers came."""
    server, direction, came = Server(RunWindows()), LossDirection(), 0
    for number, fate in enumerate(fates):
        if fate == "forward":
            continue
        stamp = server.stamp(number, refused=fate == "refused")
        if fate == "answered":
            direction.note(number, stamp)
            came += 1
    return direction, came


def test_without_stamps_nothing_is_known(direction: LossDirection) -> None:
    assert direction.ways(sent=5, came=5) is None
    assert direction.way(3) is None


def test_losses_are_told_apart() -> None:
    direction, came = sent_by_fate(["answered", "forward", "reverse", "refused", "forward", "answered", "reverse"])
    assert direction.ways(sent=7, came=came) == DirectionalLoss(forward=2, reverse=1, refused=1, unknown=1)


def test_each_loss_is_told_by_the_windows_of_later_stamps() -> None:
    direction, _ = sent_by_fate(["answered", "forward", "reverse", "answered", "reverse"])
    assert [direction.way(number) for number in (1, 2, 4)] == ["forward", "reverse", None]


def test_what_the_server_may_have_refused_was_not_lost_on_the_way_back() -> None:
    direction, _ = sent_by_fate(["answered", "refused", "answered", "reverse", "answered"])
    assert [direction.way(number) for number in (1, 3)] == [None, "reverse"]


def test_a_window_reaches_63_back() -> None:
    for distance, way in ((WINDOW - 1, "forward"), (WINDOW, None)):
        direction, _ = sent_by_fate(["forward"] * distance + ["answered"])
        assert direction.way(0) == way


def test_one_that_overtook_another_there_is_counted_once(server: Server, direction: LossDirection) -> None:
    server.stamp(1)  # and its answer is lost
    direction.note(0, server.stamp(0))
    assert direction.ways(sent=2, came=1) == DirectionalLoss(forward=0, reverse=1, refused=0, unknown=0)


def test_one_that_came_late_to_the_server_was_not_lost(server: Server, direction: LossDirection) -> None:
    for number in (0, 2, 1, 3):
        direction.note(number, server.stamp(number))
    assert direction.ways(sent=4, came=4) == DirectionalLoss(0, 0, 0, 0)


def test_overtaking_both_there_and_back_is_no_new_beginning(server: Server, direction: LossDirection) -> None:
    stamps = {number: server.stamp(number) for number in (0, 1, 2, 4, 3)}
    for number in (0, 1, 2, 3, 4):
        direction.note(number, stamps[number])
    assert direction.ways(sent=5, came=5) == DirectionalLoss(0, 0, 0, 0)


@pytest.mark.parametrize("before", [1, 2, 50])
def test_a_server_that_began_anew_tells_nothing(before: int, direction: LossDirection) -> None:
    first, second = Server(RunWindows()), Server(RunWindows())
    for number in range(before):
        direction.note(number, first.stamp(number))
    for number in range(before + 1, before + 4):
        direction.note(number, second.stamp(number))
    assert direction.ways(sent=before + 4, came=before + 3) is None
    assert direction.way(before) is None


def test_a_long_run_takes_bounded_memory_and_its_counts_stay_right(server: Server, direction: LossDirection) -> None:
    lost = {number for number in range(3 * KEPT) if number % 7 == 3}
    for number in range(3 * KEPT):
        if number not in lost:
            direction.note(number, server.stamp(number))
    assert direction.ways(3 * KEPT, 3 * KEPT - len(lost)) == DirectionalLoss(len(lost), 0, 0, 0)
    assert direction.way(sorted(lost)[-5]) == "forward"
    assert direction.way(3) is None


# Whatever is lost.


@given(st.lists(st.sampled_from(FATES), min_size=1, max_size=200))
@example(["forward", "answered"])
@example(["refused"] * 100 + ["answered"])
def test_every_loss_is_counted_on_its_way(fates: list[str]) -> None:
    direction, came = sent_by_fate(fates)
    if not came:
        assert direction.ways(len(fates), came) is None
        return
    known = len(fates) - fates[::-1].index("answered")
    there, back, refused = (fates[:known].count(fate) for fate in FATES[1:])
    assert direction.ways(len(fates), came) == DirectionalLoss(there, back, refused, len(fates) - known)


@given(st.lists(st.sampled_from(FATES), max_size=200))
def test_no_loss_is_told_to_be_on_the_other_way(fates: list[str]) -> None:
    direction, _ = sent_by_fate(fates)
    for number, fate in enumerate(fates):
        if fate != "answered":
            assert direction.way(number) in (fate, None)


@given(st.lists(st.tuples(st.sampled_from(FATES), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60))
def test_with_disorder_no_more_is_lost_than_did_not_come(probes: list[tuple[str, int, int]]) -> None:
    server, direction, came = Server(RunWindows()), LossDirection(), 0
    there = sorted(range(len(probes)), key=lambda number: number + probes[number][1])
    stamps = {n: server.stamp(n, refused=probes[n][0] == "refused") for n in there if probes[n][0] != "forward"}
    answers = [n for n in there if probes[n][0] == "answered"]
    for number in sorted(answers, key=lambda number: there.index(number) + probes[number][2]):
        direction.note(number, stamps[number])
        came += 1
    ways = direction.ways(len(probes), came)
    if ways is not None:
        assert ways.forward + ways.reverse + ways.refused + ways.unknown == len(probes) - came
        assert min(ways.forward, ways.reverse, ways.refused, ways.unknown) >= 0
