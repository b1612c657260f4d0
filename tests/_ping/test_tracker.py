"""One target's account: what each answer is taken for, and what it all came to. Times are two clocks' integers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halloo._core.probe import HEAD, Probes, ServerTimestamp, stamped
from halloo._ping.counters import REMEMBERED, DirectionalLoss
from halloo._ping.report import Kernel, ProbeEvent, TargetReport
from halloo._ping.tracker import Instant, ProbeTracker, likeness, round_trip, waited

RUN, SIZE, PLACE = 0xBEEF, 128, 3
WAIT, STEP = 5_000, 1_000
WALL = 1_700_000_000_000_000_000  # what the wall clock has more than the steady one
NOBODY = TargetReport("udp://far", "udp://far", None, None)


def at(steady: int, *, wall: int = WALL) -> Instant:
    return Instant(steady, steady + wall)


def account(*, size: int = SIZE, one_connection: bool = True) -> ProbeTracker:
    return ProbeTracker(PLACE, Probes(RUN, size), WAIT, NOBODY, one_connection=one_connection)


def send(book: ProbeTracker, count: int = 1, *, begin: int = 0) -> list[bytes]:
    """Send so many, a STEP apart."""
    return [book.send(at(begin + number * STEP))[1] for number in range(count)]


def outcomes(events: list[ProbeEvent]) -> list[tuple[str, int | None]]:
    return [(event.outcome, event.number) for event in events]


# Right answers.


def test_a_right_answer_in_time_is_a_reply() -> None:
    book = account()
    (probe,) = send(book)
    event = book.answer(probe, at(700), None)
    assert event == ProbeEvent(PLACE, "reply", WALL + 700, 0, 700, SIZE)
    report = book.report()
    assert report.round_trip
    assert (report.sent, report.received, report.lost, report.round_trip.max_ns) == (1, 1, 0, 700)


def test_the_time_in_the_kernel_is_not_the_round_trips() -> None:
    book = account()
    (probe,) = send(book)
    assert book.answer(probe, at(700), WALL + 400).round_trip_ns == 400


def test_what_the_kernel_had_in_time_is_not_late_for_being_read_late() -> None:
    book = account()
    (probe,) = send(book)
    event = book.answer(probe, at(WAIT + 1_000), WALL + WAIT - 1)
    assert (event.outcome, event.round_trip_ns) == ("reply", WAIT - 1)


def test_what_making_a_probe_took_is_not_the_round_trips() -> None:
    book = account()
    probe = book.make(at(0))
    assert book.sent(at(250, wall=WALL + 9)) == 0
    event = book.answer(probe, at(700), None)
    assert (event.outcome, event.round_trip_ns) == ("reply", 450)


def test_a_probe_that_was_made_and_not_sent_is_none() -> None:
    book = account()
    book.make(at(0))
    number, probe = book.send(at(100))
    assert number == 0
    assert book.answer(probe, at(700), None).round_trip_ns == 600
    assert book.report().sent == 1


def test_an_answer_is_expected_when_the_last_one_took_as_long_unless_the_kernel_tells() -> None:
    book = account()
    expected = [book.expected_ns]
    (probe,) = send(book)
    expected.append(book.expected_ns)
    book.answer(probe, at(700), None)
    expected.append(book.expected_ns)
    assert expected == [None, None, None]
    book.send(at(10_000))
    assert book.expected_ns == at(10_700).steady_ns
    book.clock = "kernel"
    assert book.expected_ns is None


def test_an_answer_after_the_wait_is_late_and_no_round_trip_counts() -> None:
    book = account()
    (probe,) = send(book)
    event = book.answer(probe, at(WAIT + 1), None)
    assert (event.outcome, event.round_trip_ns) == ("late", WAIT + 1)
    report = book.report()
    assert (report.received, report.late, report.lost, report.round_trip) == (0, 1, 0, None)


def test_an_answer_that_was_given_up_and_comes_all_the_same_is_late_and_not_lost() -> None:
    book = account()
    (probe,) = send(book)
    assert outcomes([*book.overdue(at(WAIT + 1))]) == [("lost", 0)]
    assert book.report().lost == 1
    assert book.answer(probe, at(WAIT + 9), None).outcome == "late"
    assert (book.report().lost, book.report().late) == (0, 1)


def test_a_second_answer_is_a_duplicate() -> None:
    book = account()
    (probe,) = send(book)
    events = [book.answer(probe, at(time), None) for time in (1, 2, 3)]
    assert outcomes(events) == [("reply", 0), ("duplicate", 0), ("duplicate", 0)]
    assert (book.report().received, book.report().duplicate, book.report().stray) == (1, 2, 0)


def test_a_copy_of_an_answer_is_a_duplicate_while_others_are_awaited() -> None:
    book = account()
    one, _two = send(book, 2)
    assert outcomes([book.answer(one, at(2_000), None) for _ in range(2)]) == [("reply", 0), ("duplicate", 0)]
    assert book.tally.awaited == 1


def test_an_answer_after_that_to_a_later_probe_is_reordered() -> None:
    book = account()
    one, two = send(book, 2)
    events = [book.answer(probe, at(2_000), None) for probe in (two, one)]
    assert [(event.outcome, event.number, event.reordered) for event in events] == [
        ("reply", 1, False),
        ("reply", 0, True),
    ]
    assert book.report().reordered == 1


# Wrong bytes.


@pytest.mark.parametrize("offset", [0, 3, 4, 11, 12, 19, 20, 35, 36, 99, 100, SIZE - 1])
def test_one_wrong_byte_is_corrupt_wherever_it_is(offset: int) -> None:
    book = account()
    probes = send(book, 3)
    damaged = bytearray(probes[1])
    damaged[offset] ^= 0x01
    event = book.answer(bytes(damaged), at(2_500), None)
    assert (event.outcome, event.number, event.offset) == ("corrupt", 1, offset)
    report = book.report()
    assert (report.corrupt, report.received, report.round_trip) == (1, 1, None)
    assert [book.answer(probe, at(2_600), None).outcome for probe in (probes[0], probes[2])] == ["reply", "reply"]


@given(st.integers(0, SIZE - 1), st.integers(1, 255))
def test_no_wrong_byte_is_taken_for_a_right_answer_or_for_another_probe(offset: int, bits: int) -> None:
    book = account()
    probes = send(book, 3)
    book.answer(probes[0], at(2_100), None)
    damaged = bytearray(probes[1])
    damaged[offset] ^= bits
    event = book.answer(bytes(damaged), at(2_500), None)
    if bytes(damaged[:4]) not in (b"hlo!", b"hlo."):
        assert (event.outcome, event.number, event.offset) == ("corrupt", 1, offset)


@pytest.mark.parametrize("length", [12, 20, HEAD, 37, 64, SIZE - 1])
def test_a_short_answer_is_corrupt_where_it_ends(length: int) -> None:
    book = account()
    (probe,) = send(book)
    event = book.answer(probe[:length], at(9), None)
    assert (event.outcome, event.number, event.offset, event.size) == ("corrupt", 0, length, length)


def test_a_longer_answer_is_corrupt_where_it_goes_on() -> None:
    book = account()
    (probe,) = send(book)
    assert book.answer(probe + b"\n", at(9), None).offset == SIZE


@pytest.mark.parametrize("change", [bytes.upper, lambda probe: b"You said: " + probe, lambda probe: probe[5:]])
def test_an_answer_that_is_changed_throughout_is_still_known_by_most_of_its_bytes(change: object) -> None:
    assert callable(change)
    book = account()
    (probe,) = send(book)
    event = book.answer(change(probe), at(9), None)
    assert (event.outcome, event.number, event.offset) == ("corrupt", 0, 0)


def test_a_stamped_answer_without_a_right_number_is_known_by_its_other_bytes() -> None:
    book = account()
    (probe,) = send(book)
    answer = stamped(probe, ServerTimestamp(WALL + 3, WALL + 4, 1, 0, 1))
    damaged = answer[:12] + b"zzzzzzzz" + answer[20:]
    event = book.answer(damaged, at(9), None)
    assert (event.outcome, event.number, event.offset) == ("corrupt", 0, 12)


def test_a_number_that_was_damaged_into_that_of_an_earlier_probe_is_no_duplicate() -> None:
    book = account()
    one, two = send(book, 2)
    book.answer(one, at(1_100), None)
    event = book.answer(two[:12] + one[12:20] + two[20:], at(1_200), None)
    assert (event.outcome, event.number, event.offset) == ("corrupt", 1, 19)
    assert (book.report().duplicate, book.report().corrupt) == (0, 1)


# What is none.


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"220 welcome\r\n", b"220 welcome to this echo server, please type something and press enter\r\n" * 3],
    ids=len,
)
def test_what_is_no_answer_is_stray(data: bytes) -> None:
    book = account()
    send(book, 3)
    event = book.answer(data, at(2_100), None)
    assert (event.outcome, event.number, event.round_trip_ns, event.size) == ("stray", None, None, len(data))
    assert (book.report().stray, book.report().received, book.tally.awaited) == (1, 0, 3)


def test_before_anything_was_sent_everything_is_stray() -> None:
    book = account()
    assert book.answer(Probes(RUN, SIZE).make(0, WALL), at(1), None).outcome == "stray"


def test_the_probe_of_another_run_is_stray() -> None:
    book = account()
    send(book)
    event = book.answer(Probes(RUN + 1, SIZE).make(0, 7), at(1), None)
    assert (event.outcome, event.number) == ("stray", None)


@pytest.mark.parametrize(
    "data", [b"1" * SIZE, b"\n" * SIZE, bytes(SIZE), bytes(reversed(Probes(RUN, SIZE).make(0, WALL)))]
)
def test_what_is_as_long_as_a_probe_is_none_for_that(data: bytes) -> None:
    book = account()
    send(book)
    assert book.answer(data, at(1), None).outcome == "stray"


def test_the_likeness_of_a_probe_is_not_looked_for_in_all_of_a_large_one() -> None:
    probe = Probes(RUN, 65_507).make(0, WALL)
    assert likeness(probe, probe) == 0
    assert likeness(probe, b"You said: " + probe) == 0
    assert likeness(probe, probe[:5]) == 1


def test_a_number_that_was_not_sent_yet_is_stray_where_nothing_is_awaited() -> None:
    book = account()
    (probe,) = send(book)
    book.answer(probe, at(1), None)
    event = book.answer(Probes(RUN, SIZE).make(17, WALL), at(2), None)
    assert (event.outcome, event.number) == ("stray", None)


def test_a_copy_is_a_duplicate_also_where_the_wall_clock_stands_still_for_a_while() -> None:
    book = account()
    probes = [book.send(Instant(number, WALL))[1] for number in range(20)]
    events = [book.answer(probe, at(100), None) for probe in probes for _ in range(2)]
    assert outcomes(events) == [(outcome, number) for number in range(20) for outcome in ("reply", "duplicate")]


def test_an_answer_to_what_is_long_forgotten_is_stray_and_counted() -> None:
    book = account(size=37)
    first, *_ = (book.send(at(0))[1] for _ in range(REMEMBERED + 1))
    event = book.answer(first, at(1), None)
    assert (event.outcome, event.number) == ("stray", None)
    assert book.report().stray == 1


@given(st.lists(st.binary(max_size=200) | st.sampled_from(range(6)), max_size=30))
def test_whatever_comes_every_probe_has_one_fate_and_every_answer_one_name(came: list[bytes | int]) -> None:
    book = account()
    probes = send(book, 6)
    events = [book.answer(probes[each] if isinstance(each, int) else each, at(5_500), None) for each in came]
    list(book.finish(at(6_000)))
    report = book.report()
    assert report.sent == report.received + report.late + report.lost == 6
    assert len(events) == report.received + report.late + report.duplicate + report.stray


# What is lost, and what fails.


def test_what_too_many_others_have_followed_is_lost_and_told() -> None:
    book = account()
    for _ in range(REMEMBERED + 2):
        book.send(at(0))
    assert outcomes([*book.overdue(at(1))]) == [("lost", 0), ("lost", 1)]
    assert (book.report().lost, book.tally.awaited) == (2, REMEMBERED)


def test_who_answers_is_named_with_each_outcome() -> None:
    book = account()
    one, _ = send(book, 2)
    book.fill(peer="[::1]:8888")
    assert book.answer(one, at(700), None).peer == "[::1]:8888"
    book.fill(peer="127.0.0.1:8888")
    assert [event.peer for event in book.overdue(at(WAIT * 2))] == ["127.0.0.1:8888"]


def test_what_is_awaited_for_too_long_is_lost() -> None:
    book = account()
    send(book, 3)
    assert outcomes([*book.overdue(at(STEP + WAIT))]) == [("lost", 0)]
    assert outcomes([*book.finish(at(STEP + WAIT))]) == [("lost", 1), ("lost", 2)]
    assert book.report().lost == 3


def test_an_error_has_a_victim_which_is_lost_and_told_once() -> None:
    book = account()
    send(book, 2)
    event = book.fail(1, ("Reset", "far ended it"), at(2_000))
    assert (event.outcome, event.number, event.text) == ("error", 1, "far ended it")
    assert outcomes([*book.finish(at(3_000))]) == [("lost", 0)]
    report = book.report()
    assert (report.errors, report.lost, report.failure) == ({"Reset": 1}, 2, "far ended it")


def test_an_error_may_have_no_victim() -> None:
    book = account()
    assert book.fail(None, ("Refused", "nobody"), at(1)).number is None
    assert (book.report().errors, book.report().lost) == ({"Refused": 1}, 0)


def test_what_went_wrong_is_no_failure_once_something_has_come_back() -> None:
    book = account()
    book.fail(None, ("Refused", "nobody"), at(1))
    (probe,) = send(book)
    book.answer(probe, at(2), None)
    assert (book.report().failure, book.report().errors) == (None, {"Refused": 1})


# Phases.


def test_the_first_echo_on_a_connection_has_all_of_its_phases() -> None:
    book = account()
    book.connected({"resolve": 10, "connect": 20})
    one, two = send(book, 2)
    assert book.answer(one, at(300), None).phases == {"resolve": 10, "connect": 20, "first": 300}
    assert book.answer(two, at(1_100), None).phases == {}
    spreads = book.report().phases
    assert {name: (spread.count, spread.max_ns) for name, spread in spreads.items()} == {
        "resolve": (1, 10),
        "connect": (1, 20),
        "first": (1, 300),
    }


def test_phases_are_summed_over_connections() -> None:
    book = account()
    for begin, took in ((0, 20), (1_000, 40)):
        book.connected({"connect": took})
        (probe,) = send(book, begin=begin)
        book.answer(probe, at(begin + 100 + took), None)
    spreads = book.report().phases
    assert [spreads[name].mean_ns for name in ("connect", "first")] == [30, 130]


def test_a_probe_that_is_a_connection_takes_as_long_as_the_handshake_of_tcp() -> None:
    book = account()
    book.connected({"connect": 20, "tls": 500})
    send(book)
    event = book.reached(at(600))
    assert (event.outcome, event.round_trip_ns, event.phases) == ("reply", 20, {"connect": 20, "tls": 500})
    report = book.report()
    assert report.round_trip
    assert (report.received, report.round_trip.max_ns, "first" in report.phases) == (1, 20, False)


def test_a_connection_that_took_too_long_is_late_as_any_answer() -> None:
    book = account()
    send(book)
    book.connected({"resolve": WAIT, "connect": 20})
    assert book.reached(at(WAIT + 20)).outcome == "late"
    report = book.report()
    assert (report.received, report.late, report.lost, report.round_trip) == (0, 1, 0, None)


# Stamps.


def answered(book: ProbeTracker, probe: bytes, stamp: ServerTimestamp, *, now: int) -> ProbeEvent:
    return book.answer(stamped(probe, stamp), at(now), None)


def test_a_stamp_gives_the_time_within_the_server_and_on_each_way() -> None:
    book = account()
    (probe,) = send(book)
    assert answered(book, probe, ServerTimestamp(WALL + 100, WALL + 130, 1, 0, 1), now=200).outcome == "reply"
    found = book.report().timestamps
    assert found
    assert found.forward
    assert found.reverse
    assert (found.server.max_ns, found.forward.max_ns, found.reverse.max_ns) == (30, 100, 70)
    assert found.lost == DirectionalLoss(forward=0, reverse=0, refused=0, unknown=0)


def test_a_one_way_time_begins_when_the_probe_left_and_not_when_it_was_made() -> None:
    book = account()
    probe = book.make(at(0))
    book.sent(at(90))
    answered(book, probe, ServerTimestamp(WALL + 100, WALL + 130, 1, 0, 1), now=200)
    found = book.report().timestamps
    assert found
    assert found.forward
    assert found.forward.max_ns == 10


@pytest.mark.parametrize("off", [-1_000, 1_000])
def test_one_way_times_are_not_told_where_the_clocks_disagree_even_once(off: int) -> None:
    book = account()
    one, two = send(book, 2)
    answered(book, one, ServerTimestamp(WALL + 100, WALL + 130, 1, 0, 1), now=200)
    stamp = ServerTimestamp(WALL + STEP + 100 + off, WALL + STEP + 130 + off, 2, 0, 3)
    answered(book, two, stamp, now=STEP + 200)
    found = book.report().timestamps
    assert found
    assert (found.server.max_ns, found.forward, found.reverse) == (30, None, None)


@pytest.mark.parametrize("step", [-3_000_000, 3_000_000])
def test_one_way_times_are_not_told_where_our_own_clock_was_set_meanwhile(step: int) -> None:
    book = account()
    (probe,) = send(book)
    stamp = ServerTimestamp(WALL + 4_000_000, WALL + 4_000_000, 1, 0, 1)
    book.answer(stamped(probe, stamp), at(4_500, wall=WALL + 4_000_000 + step), None)
    found = book.report().timestamps
    assert found
    assert (found.forward, found.reverse) == (None, None)


def test_stamps_tell_on_which_way_each_was_lost() -> None:
    book = account()
    probes = send(book, 4)
    answered(book, probes[0], ServerTimestamp(WALL, WALL, 1, 0, 0b1), now=4_000)
    answered(book, probes[3], ServerTimestamp(WALL, WALL, 3, 0, 0b1101), now=4_000)  # 2 did not come there
    lost = [(event.number, event.way) for event in book.overdue(at(20_000))]
    assert lost == [(1, "reverse"), (2, "forward")]
    found = book.report().timestamps
    assert found
    assert found.lost == DirectionalLoss(forward=1, reverse=1, refused=0, unknown=0)


def test_what_the_server_refused_is_not_lost_on_the_way_back() -> None:
    book = account()
    probes = send(book, 3)
    answered(book, probes[0], ServerTimestamp(WALL, WALL, 1, 0, 0b1), now=4_000)
    answered(book, probes[2], ServerTimestamp(WALL, WALL, 3, 1, 0b111), now=4_000)
    assert [(event.number, event.way) for event in book.overdue(at(20_000))] == [(1, None)]
    found = book.report().timestamps
    assert found
    assert found.lost == DirectionalLoss(forward=0, reverse=0, refused=1, unknown=0)


def test_over_several_connections_counts_tell_nothing_since_workers_count_for_themselves() -> None:
    book = account(one_connection=False)
    (probe,) = send(book)
    answered(book, probe, ServerTimestamp(WALL, WALL, 1, 0, 1), now=100)
    found = book.report().timestamps
    assert found
    assert found.lost is None


def test_without_stamps_nothing_is_said_of_directions() -> None:
    book = account()
    send(book)
    assert [event.way for event in book.overdue(at(WAIT + 1))] == [None]
    assert book.report().timestamps is None


# Outages.


def test_outages_are_told_in_wall_time() -> None:
    book = account()
    probes = send(book, 5)
    for number in (0, 3, 4):
        book.answer(probes[number], at(number * STEP + 10), None)
    list(book.overdue(at(20_000)))
    report = book.report()
    (outage,) = report.outages
    assert (outage.start_ns, outage.end_ns, outage.probes, outage.over) == (WALL + STEP, WALL + 3 * STEP, 2, True)
    assert (report.outage_count, report.longest_outage) == (1, outage)


def test_an_outage_that_goes_on_ends_with_the_run() -> None:
    book = account()
    send(book, 3)
    list(book.finish(at(9_000)))
    (outage,) = book.report().outages
    assert (outage.start_ns, outage.end_ns, outage.over) == (WALL, WALL + 9_000, False)


def test_without_outages_there_is_no_longest() -> None:
    assert (account().report().outages, account().report().longest_outage) == ((), None)


# What the kernel knows.


def test_the_floor_is_the_least_of_all_connections_and_losses_are_summed() -> None:
    book = account()
    for least, lost in ((7_000, 1), (5_000, 2), (9_000, 0)):
        book.note_kernel(Kernel(least, least + 1, retransmits=lost, lost=lost), closing=True)
    report = book.report()
    assert report.floor_ns == 5_000
    assert report.kernel == Kernel(5_000, 9_001, retransmits=3, lost=3)


def test_what_was_known_of_an_open_connection_counts_once() -> None:
    book = account()
    for lost in (1, 2, 3):
        book.note_kernel(Kernel(1_000, retransmits=lost))
    assert book.report().kernel == Kernel(1_000, retransmits=3)
    book.note_kernel(Kernel(1_000, retransmits=4), closing=True)
    book.note_kernel(None, closing=True)
    assert book.report().kernel == Kernel(1_000, retransmits=4)


@pytest.mark.parametrize("known", [(None, 5), (5, None), (5, 5)])
def test_a_connection_without_a_floor_takes_nothing_from_the_others(known: tuple[int | None, int | None]) -> None:
    book = account()
    for least in known:
        book.note_kernel(Kernel(least), closing=True)
    assert book.report().floor_ns == 5


def test_without_a_kernel_there_is_no_floor() -> None:
    assert (account().report().kernel, account().report().floor_ns) == (None, None)


# The report.


def test_a_report_goes_on_with_what_was_known_of_the_target() -> None:
    book = account()
    book.fill(peer="192.0.2.1:7", local="192.0.2.9:4000", dscp=46)
    assert book.report() == replace(NOBODY, peer="192.0.2.1:7", local="192.0.2.9:4000", dscp=46)


def test_the_histogram_is_there_when_it_is_asked_for() -> None:
    book = account()
    for probe in send(book, 3):
        book.answer(probe, at(3_000), None)
    assert book.report().histogram == ()
    assert book.report(histogram=True).histogram == ((1_000, 1), (2_000, 1), (3_000, 1))


def test_a_step_between_round_trips_is_only_taken_of_neighbours() -> None:
    book = account()
    probes = send(book, 4)
    for number, took in ((0, 100), (1, 300), (3, 10_000)):
        book.answer(probes[number], at(number * STEP + took % WAIT), None)
    spread = book.report().round_trip
    assert spread
    assert spread.ipdv_ns == 200


times = st.integers(-(1 << 62), 1 << 62)
spans = st.integers(0, 10_000)
SENT = Instant(1_000, 50_000)


def test_a_round_trip_leaves_out_the_time_in_the_kernel() -> None:
    assert round_trip(SENT, Instant(1_900, 50_900), 50_700) == 700


def test_where_no_kernel_tells_it_is_until_it_was_read() -> None:
    assert round_trip(SENT, Instant(1_900, 50_900), None) == 900
    assert waited(Instant(1_900, 50_900), None) == 0


@given(spans, spans, times, times)
def test_a_clock_that_was_set_while_the_answer_was_under_way_changes_nothing(
    there: int, lay: int, date: int, step: int
) -> None:
    sent = Instant(1_000, date)
    read = Instant(1_000 + there + lay, date + there + lay + step)
    assert round_trip(sent, read, date + there + step) == (there if there > 0 else lay)


@given(spans, spans, times)
def test_a_clock_that_was_set_while_the_answer_lay_makes_it_longer_by_no_more_than_that(
    there: int, lay: int, step: int
) -> None:
    sent = Instant(1_000, 50_000)
    read = Instant(1_000 + there + lay, 50_000 + there + lay + step)
    assert 0 <= round_trip(sent, read, 50_000 + there) <= there + lay


@given(times, times, times, times, st.none() | times)
def test_whatever_the_clocks_say_a_round_trip_is_neither_negative_nor_longer_than_the_steady_clock_says(
    sent: int, sent_wall: int, read: int, read_wall: int, kernel: int | None
) -> None:
    took = round_trip(Instant(sent, sent_wall), Instant(read, read_wall), kernel)
    assert 0 <= took <= max(read - sent, 0)


@given(times, times)
def test_nothing_lies_in_the_kernel_for_less_than_no_time(read: int, kernel: int) -> None:
    assert waited(Instant(0, read), kernel) >= 0
