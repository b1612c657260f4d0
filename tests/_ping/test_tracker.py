"""The tracker of one target: the outcome of each reply, and the report. Times are integers of two clocks."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halloo._core.histogram import PERCENTILES
from halloo._core.icmp import IcmpReport
from halloo._core.probe import HEADER_SIZE, Probes, ServerTimestamp, write_notice, write_timestamp
from halloo._ping.counters import MAX_TRACKED
from halloo._ping.delays import Instant
from halloo._ping.report import DirectionalLoss, Kernel, ProbeEvent, TargetReport
from halloo._ping.tracker import MAX_REPORTS, ProbeTracker, wrong_share

RUN, SIZE, INDEX = 0xBEEF, 128, 3
TIMEOUT, STEP = 5_000, 1_000
WALL = 1_700_000_000_000_000_000  # wall clock less steady clock
TARGET = TargetReport("udp://far", "udp://far", None, None)


def at(steady: int, *, wall: int = WALL) -> Instant:
    return Instant(steady, steady + wall)


def new_tracker(*, size: int = SIZE, one_connection: bool = True, tracked: int = MAX_TRACKED) -> ProbeTracker:
    return ProbeTracker(INDEX, Probes(RUN, size), TIMEOUT, TARGET, one_connection=one_connection, tracked=tracked)


def send(tracker: ProbeTracker, count: int = 1, *, begin: int = 0) -> list[bytes]:
    """Send `count` probes, a STEP apart."""
    return [tracker.send(at(begin + number * STEP))[1] for number in range(count)]


def outcomes(events: list[ProbeEvent]) -> list[tuple[str, int | None]]:
    return [(event.outcome, event.number) for event in events]


# Correct replies.


def test_a_correct_timely_answer_is_a_reply() -> None:
    tracker = new_tracker()
    (probe,) = send(tracker)
    event = tracker.receive(probe, at(700), None)
    assert event == ProbeEvent(INDEX, "reply", WALL + 700, 0, 700, SIZE)
    report = tracker.report()
    assert report.round_trip
    assert (report.sent, report.received, report.lost, report.round_trip.max_ns) == (1, 1, 0, 700)


def test_time_in_the_receive_queue_is_not_in_the_round_trip_and_makes_no_reply_late() -> None:
    tracker = new_tracker()
    one, two = (tracker.send(at(0))[1] for _ in range(2))
    assert tracker.receive(one, at(700), WALL + 400).round_trip_ns == 400
    event = tracker.receive(two, at(TIMEOUT + 1_000), WALL + TIMEOUT - 1)
    assert (event.outcome, event.round_trip_ns) == ("reply", TIMEOUT - 1)


def test_a_probe_counts_from_when_it_is_sent_not_encoded() -> None:
    tracker = new_tracker()
    tracker.make(at(0))
    probe = tracker.make(at(100))
    assert tracker.report().sent == 0
    assert tracker.mark_sent(at(250, wall=WALL + 9)) == 0
    event = tracker.receive(probe, at(700), None)
    assert (event.outcome, event.round_trip_ns) == ("reply", 450)


def test_the_expected_time_follows_the_last_round_trip_except_with_kernel_timestamps() -> None:
    tracker = new_tracker()
    expected = [tracker.expected_ns]
    (probe,) = send(tracker)
    expected.append(tracker.expected_ns)
    tracker.receive(probe, at(700), None)
    expected.append(tracker.expected_ns)
    assert expected == [None, None, None]
    tracker.send(at(10_000))
    assert tracker.expected_ns == at(10_700).steady_ns
    tracker.clock = "kernel"
    assert tracker.expected_ns is None


def test_a_reply_after_the_timeout_is_late_and_neither_lost_nor_a_round_trip() -> None:
    tracker = new_tracker()
    one, two = send(tracker, 2)
    assert outcomes([*tracker.expire(at(TIMEOUT + 1))]) == [("lost", 0)]
    for number, probe in enumerate((one, two)):
        event = tracker.receive(probe, at(TIMEOUT + STEP + 1), None)
        assert (event.outcome, event.number, event.round_trip_ns) == (
            "late",
            number,
            TIMEOUT + STEP + 1 - number * STEP,
        )
    report = tracker.report()
    assert (report.received, report.late, report.lost, report.round_trip) == (0, 2, 0, None)


def test_a_second_answer_is_a_duplicate_and_one_after_that_to_a_later_probe_reordered() -> None:
    tracker = new_tracker()
    one, two = send(tracker, 2)
    events = [tracker.receive(probe, at(2_000), None) for probe in (two, two, one, one)]
    assert outcomes(events) == [("reply", 1), ("duplicate", 1), ("reply", 0), ("duplicate", 0)]
    assert [event.reordered for event in events] == [False, False, True, False]
    report = tracker.report()
    assert (report.received, report.duplicate, report.reordered, report.stray) == (2, 2, 1, 0)


# Wrong bytes.


@given(st.integers(0, SIZE - 1), st.integers(1, 255))
def test_no_wrong_byte_is_missed_or_attributed_to_another_probe(offset: int, bits: int) -> None:
    tracker = new_tracker()
    probes = send(tracker, 3)
    tracker.receive(probes[0], at(2_100), None)
    damaged = bytearray(probes[1])
    damaged[offset] ^= bits
    event = tracker.receive(bytes(damaged), at(2_500), None)
    if bytes(damaged[:4]) not in (b"hlo!", b"hlo."):
        assert (event.outcome, event.number, event.offset) == ("corrupt", 1, offset)
        report = tracker.report()
        assert (report.corrupt, report.received) == (1, 2)
        assert tracker.receive(probes[2], at(2_600), None).outcome == "reply"


def test_a_damaged_reply_is_matched_by_most_of_its_bytes() -> None:
    changes: list[tuple[Callable[[bytes], bytes], int]] = [
        *((lambda probe, end=end: probe[:end], end) for end in (12, 20, HEADER_SIZE, 37, 64, SIZE - 1)),
        (lambda probe: probe + b"\n", SIZE),
        (bytes.upper, 0),
        (lambda probe: b"You said: " + probe, 0),
        (lambda probe: probe[5:], 0),
    ]
    for change, offset in changes:
        tracker = new_tracker()
        (probe,) = send(tracker)
        event = tracker.receive(change(probe), at(9), None)
        assert (event.outcome, event.number, event.offset) == ("corrupt", 0, offset)
        assert event.size == len(change(probe))


def test_a_timestamped_reply_with_a_damaged_number_is_matched_by_its_other_bytes() -> None:
    tracker = new_tracker()
    (probe,) = send(tracker)
    answer = write_timestamp(probe, ServerTimestamp(WALL + 3, WALL + 4, 1, 0, 1))
    damaged = answer[:12] + b"zzzzzzzz" + answer[20:]
    event = tracker.receive(damaged, at(9), None)
    assert (event.outcome, event.number, event.offset) == ("corrupt", 0, 12)


def test_a_number_damaged_into_an_earlier_one_is_not_a_duplicate() -> None:
    tracker = new_tracker()
    one, two = send(tracker, 2)
    tracker.receive(one, at(1_100), None)
    event = tracker.receive(two[:12] + one[12:20] + two[20:], at(1_200), None)
    assert (event.outcome, event.number, event.offset) == ("corrupt", 1, 19)
    assert (tracker.report().duplicate, tracker.report().corrupt) == (0, 1)


# Stray data.


def test_unrelated_data_is_stray() -> None:
    welcome = b"220 welcome to this echo server, please type something and press enter\r\n" * 3
    reverse = bytes(reversed(Probes(RUN, SIZE).encode(0, WALL)))
    for data in (b"", b"x", b"220 welcome\r\n", welcome, b"1" * SIZE, b"\n" * SIZE, bytes(SIZE), reverse):
        tracker = new_tracker()
        send(tracker, 3)
        event = tracker.receive(data, at(2_100), None)
        assert (event.outcome, event.number, event.round_trip_ns, event.size) == ("stray", None, None, len(data))
        assert (tracker.report().stray, tracker.report().received, tracker.counters.pending) == (1, 0, 3)


def test_a_corrupt_reply_has_no_round_trip_and_counts_as_missing() -> None:
    tracker = new_tracker()
    probes = send(tracker, 4)  # the last is pending
    events = [tracker.receive(probe, at(3_100), None) for probe in (probes[0], probes[1].upper(), probes[2])]
    summary = tracker.report().round_trip
    assert summary
    assert [event.outcome for event in events] == ["reply", "corrupt", "reply"]
    assert (summary.count, summary.missing) == (2, 1)


def test_before_the_first_probe_nothing_matches() -> None:
    tracker = new_tracker()
    assert tracker.receive(Probes(RUN, SIZE).encode(0, WALL), at(1), None).outcome == "unmatched"
    assert tracker.receive(b"hello", at(1), None).outcome == "stray"


def test_a_reply_to_another_run_is_unmatched_but_a_damaged_one_is_stray() -> None:
    plain = Probes(RUN + 1, SIZE).encode(0, 7)
    for reply in (plain, write_timestamp(plain, ServerTimestamp(1, 2, 3, 4, 5))):
        tracker = new_tracker()
        send(tracker)
        events = [tracker.receive(data, at(1), None) for data in (reply, reply[:-2] + b"x\n", reply + b"x")]
        assert outcomes(events) == [("unmatched", None), ("stray", None), ("stray", None)]
        assert (tracker.report().unmatched, tracker.report().stray) == (1, 2)


def test_only_the_head_and_tail_of_a_large_probe_are_compared() -> None:
    probe = Probes(RUN, 65_507).encode(0, WALL)
    assert wrong_share(probe, probe) == 0
    assert wrong_share(probe, b"You said: " + probe) == 0
    assert wrong_share(probe, probe[:5]) == 1


def test_an_unsent_number_is_unmatched_if_nothing_is_pending() -> None:
    tracker = new_tracker()
    (probe,) = send(tracker)
    tracker.receive(probe, at(1), None)
    event = tracker.receive(Probes(RUN, SIZE).encode(17, WALL), at(2), None)
    assert (event.outcome, event.number) == ("unmatched", None)


def test_duplicates_are_found_with_a_coarse_wall_clock() -> None:
    tracker = new_tracker()
    probes = [tracker.send(Instant(number, WALL))[1] for number in range(20)]
    events = [tracker.receive(probe, at(100), None) for probe in probes for _ in range(2)]
    assert outcomes(events) == [(outcome, number) for number in range(20) for outcome in ("reply", "duplicate")]


@given(st.lists(st.binary(max_size=200) | st.sampled_from(range(6)), max_size=30))
def test_every_probe_and_every_reply_has_exactly_one_outcome(received: list[bytes | int]) -> None:
    tracker = new_tracker()
    probes = send(tracker, 6)
    events = [tracker.receive(probes[each] if isinstance(each, int) else each, at(5_500), None) for each in received]
    list(tracker.finish(at(6_000)))
    report = tracker.report()
    assert report.sent == report.received + report.late + report.lost == 6
    assert len(events) == report.received + report.late + report.duplicate + report.unmatched + report.stray


# Losses and errors.


def test_evicted_probes_are_reported_as_lost_and_replies_to_them_as_unmatched() -> None:
    tracker = new_tracker(tracked=WINDOW)
    first, *_ = (tracker.send(at(0))[1] for _ in range(WINDOW + 2))
    assert outcomes([*tracker.expire(at(1))]) == [("lost", 0), ("lost", 1)]
    assert (tracker.report().lost, tracker.counters.pending) == (2, WINDOW)
    event = tracker.receive(first, at(1), None)
    assert (event.outcome, event.number, tracker.report().unmatched) == ("unmatched", None, 1)


def test_each_event_names_the_peer() -> None:
    tracker = new_tracker()
    one, _ = send(tracker, 2)
    tracker.update_target(peer="[::1]:8888")
    assert tracker.receive(one, at(700), None).peer == "[::1]:8888"
    tracker.update_target(peer="127.0.0.1:8888")
    assert [event.peer for event in tracker.expire(at(TIMEOUT * 2))] == ["127.0.0.1:8888"]


def test_a_probe_past_its_timeout_is_lost() -> None:
    tracker = new_tracker()
    send(tracker, 3)
    assert outcomes([*tracker.expire(at(STEP + TIMEOUT))]) == [("lost", 0)]
    assert outcomes([*tracker.finish(at(STEP + TIMEOUT))]) == [("lost", 1), ("lost", 2)]
    assert tracker.report().lost == 3


def test_an_error_fails_its_probe_and_is_the_failure_until_a_reply_is_received() -> None:
    tracker = new_tracker()
    assert tracker.fail(None, ("Refused", "closed port"), at(1)).number is None  # it may concern no probe
    assert (tracker.report().errors, tracker.report().lost) == ({"Refused": 1}, 0)
    probes = send(tracker, 3)
    event = tracker.fail(1, ("Reset", "the server closed it"), at(2_000))
    assert (event.outcome, event.number, event.text) == ("error", 1, "the server closed it")
    report = tracker.report()
    assert (report.errors, report.lost, report.failure) == ({"Refused": 1, "Reset": 1}, 1, "the server closed it")
    tracker.receive(probes[0], at(2_000), None)
    assert tracker.report().failure is None
    assert outcomes([*tracker.finish(at(3_000))]) == [("lost", 2)]


# Phases.


def test_the_first_echo_on_a_connection_has_all_phases() -> None:
    tracker = new_tracker()
    tracker.connected({"resolve": 10, "connect": 20})
    one, two = send(tracker, 2)
    assert tracker.receive(one, at(300), None).phases == {"resolve": 10, "connect": 20, "first": 300}
    assert tracker.receive(two, at(1_100), None).phases == {}
    phases = tracker.report().phases
    assert {name: (summary.count, summary.max_ns) for name, summary in phases.items()} == {
        "resolve": (1, 10),
        "connect": (1, 20),
        "first": (1, 300),
    }


def test_phases_are_summed_over_connections() -> None:
    tracker = new_tracker()
    for begin, rtt_ns in ((0, 20), (1_000, 40)):
        tracker.connected({"connect": rtt_ns})
        (probe,) = send(tracker, begin=begin)
        tracker.receive(probe, at(begin + 100 + rtt_ns), None)
    phases = tracker.report().phases
    assert [phases[name].mean_ns for name in ("connect", "first")] == [30, 130]


def test_a_connect_probe_takes_as_long_as_the_tcp_handshake() -> None:
    tracker = new_tracker()
    tracker.connected({"connect": 20, "tls": 500})
    send(tracker)
    event = tracker.complete_connect(at(600))
    assert (event.outcome, event.round_trip_ns, event.phases) == ("reply", 20, {"connect": 20, "tls": 500})
    report = tracker.report()
    assert report.round_trip
    assert (report.received, report.round_trip.max_ns, "first" in report.phases) == (1, 20, False)


def test_a_connect_probe_past_its_timeout_is_late() -> None:
    tracker = new_tracker()
    send(tracker)
    tracker.connected({"resolve": TIMEOUT, "connect": 20})
    assert tracker.complete_connect(at(TIMEOUT + 20)).outcome == "late"
    report = tracker.report()
    assert (report.received, report.late, report.lost, report.round_trip) == (0, 1, 0, None)


# Server timestamps.


def answered(tracker: ProbeTracker, probe: bytes, timestamp: ServerTimestamp, *, now: int) -> ProbeEvent:
    return tracker.receive(write_timestamp(probe, timestamp), at(now), None)


def test_a_timestamp_gives_server_time_and_one_way_times() -> None:
    tracker = new_tracker()
    probe = tracker.make(at(-90))
    tracker.mark_sent(at(0))
    event = answered(tracker, probe, ServerTimestamp(WALL + 100, WALL + 130, 1, 0, 1), now=200)
    assert (event.outcome, event.forward_ns, event.server_ns, event.reverse_ns) == ("reply", 100, 30, 70)
    found = tracker.report().timestamps
    assert found
    assert found.forward
    assert found.reverse
    assert (found.server.max_ns, found.forward.max_ns, found.reverse.max_ns) == (30, 100, 70)
    assert found.lost == DirectionalLoss(forward=0, reverse=0, refused=0, unknown=0)


@given(st.integers(0, SIZE - 1), st.integers(1, 255))
def test_one_wrong_byte_anywhere_in_a_timestamped_reply_is_corrupt(offset: int, bits: int) -> None:
    tracker = new_tracker()
    (probe,) = send(tracker)
    reply = bytearray(write_timestamp(probe, ServerTimestamp(WALL + 100, WALL + 130, 1, 0, 1)))
    reply[offset] ^= bits
    assert tracker.receive(bytes(reply), at(200), None).outcome == "corrupt"
    assert tracker.report().timestamps is None


@pytest.mark.parametrize(
    ("received", "sent", "counts", "text"),
    [
        (100, 99, (1, 0), "server time of -1ns in a round trip of 200ns"),
        (0, 201, (1, 0), "server time of 201ns in a round trip of 200ns"),
        (0, 184_000_000, (1, 0), "server time of 184ms in a round trip of 200ns"),
        (0, 200, (1, 0), None),
        (-5_000, -5_000, (1, 0), None),
        *((0, 0, (n, r), f"counts of {n} arrived and {r} refused of 1 sent") for n, r in ((2, 0), (0, 0), (1, 1))),
        (0, 0, (1, 4_000_000_000), "counts of 1 arrived and 4000000000 refused of 1 sent"),
    ],
)
def test_an_impossible_timestamp_is_corrupt_and_says_why(
    received: int, sent: int, counts: tuple[int, int], text: str | None
) -> None:
    tracker = new_tracker()
    (probe,) = send(tracker)
    event = answered(tracker, probe, ServerTimestamp(WALL + received, WALL + sent, *counts, 1), now=200)
    assert (event.outcome, event.text) == (("corrupt", f"impossible {text}") if text else ("reply", ""))
    assert (tracker.report().corrupt, tracker.report().timestamps is None) == ((1, True) if text else (0, False))


def test_timestamps_locate_each_loss() -> None:
    tracker = new_tracker()
    probes = send(tracker, 4)
    answered(tracker, probes[0], ServerTimestamp(WALL, WALL, 1, 0, 0b1), now=4_000)
    answered(tracker, probes[3], ServerTimestamp(WALL, WALL, 3, 0, 0b1101), now=4_000)  # 2 did not reach the server
    lost = [(event.number, event.way) for event in tracker.expire(at(20_000))]
    assert lost == [(1, "reverse"), (2, "forward")]
    found = tracker.report().timestamps
    assert found
    assert found.lost == DirectionalLoss(forward=1, reverse=1, refused=0, unknown=0)


def test_a_refused_probe_is_not_lost_in_reverse() -> None:
    tracker = new_tracker()
    probes = send(tracker, 3)
    answered(tracker, probes[0], ServerTimestamp(WALL, WALL, 1, 0, 0b1), now=4_000)
    answered(tracker, probes[2], ServerTimestamp(WALL, WALL, 3, 1, 0b111), now=4_000)
    assert [(event.number, event.way) for event in tracker.expire(at(20_000))] == [(1, None)]
    found = tracker.report().timestamps
    assert found
    assert found.lost == DirectionalLoss(forward=0, reverse=0, refused=1, unknown=0)


def test_loss_by_direction_is_unknown_over_several_connections_and_without_timestamps() -> None:
    tracker = new_tracker(one_connection=False)
    (probe,) = send(tracker)
    answered(tracker, probe, ServerTimestamp(WALL, WALL, 1, 0, 1), now=100)
    found = tracker.report().timestamps
    assert found
    assert found.lost is None
    tracker = new_tracker()
    send(tracker)
    assert [event.way for event in tracker.expire(at(TIMEOUT + 1))] == [None]
    assert tracker.report().timestamps is None


# Outages.


def test_outages_are_in_wall_time() -> None:
    tracker = new_tracker()
    probes = send(tracker, 5)
    for number in (0, 3, 4):
        tracker.receive(probes[number], at(number * STEP + 10), None)
    list(tracker.expire(at(20_000)))
    report = tracker.report()
    (outage,) = report.outages
    assert (outage.start_ns, outage.end_ns, outage.probes, outage.over) == (WALL + STEP, WALL + 3 * STEP, 2, True)
    assert (report.outage_count, report.longest_outage) == (1, outage)


def test_an_ongoing_outage_ends_with_the_run() -> None:
    tracker = new_tracker()
    send(tracker, 3)
    list(tracker.finish(at(9_000)))
    (outage,) = tracker.report().outages
    assert (outage.start_ns, outage.end_ns, outage.over) == (WALL, WALL + 9_000, False)


# Kernel data.


def test_kernel_minimums_are_combined_and_losses_summed() -> None:
    tracker = new_tracker()
    for least, lost in ((7_000, 1), (5_000, 2), (9_000, 0)):
        tracker.record_kernel(Kernel(least, least + 1, retransmits=lost, lost=lost), closing=True)
    report = tracker.report()
    assert report.floor_ns == 5_000
    assert report.kernel == Kernel(5_000, 9_001, retransmits=3, lost=3)


def test_kernel_data_of_an_open_connection_counts_once() -> None:
    tracker = new_tracker()
    for lost in (1, 2, 3):
        tracker.record_kernel(Kernel(1_000, retransmits=lost))
    assert tracker.report().kernel == Kernel(1_000, retransmits=3)
    tracker.record_kernel(Kernel(1_000, retransmits=4), closing=True)
    tracker.record_kernel(None, closing=True)
    assert tracker.report().kernel == Kernel(1_000, retransmits=4)


def test_a_connection_without_a_minimum_does_not_hide_the_others() -> None:
    for known in ((None, 5), (5, None), (5, 5), (None, None)):
        tracker = new_tracker()
        assert (tracker.report().kernel, tracker.report().floor_ns) == (None, None)
        for least in known:
            tracker.record_kernel(Kernel(least), closing=True)
        assert tracker.report().floor_ns == (5 if 5 in known else None)


# The report.


def test_a_report_keeps_the_fields_of_the_target() -> None:
    tracker = new_tracker()
    tracker.update_target(peer="192.0.2.1:7", local="192.0.2.9:4000", dscp=46)
    assert tracker.report() == replace(TARGET, peer="192.0.2.1:7", local="192.0.2.9:4000", dscp=46)


def test_the_histogram_is_optional() -> None:
    tracker = new_tracker()
    for probe in send(tracker, 3):
        tracker.receive(probe, at(3_000), None)
    assert tracker.report().histogram == ()
    assert tracker.report(histogram=True).histogram == ((1_000, 1), (2_000, 1), (3_000, 1))


# Against a plain reference.

WINDOW, DELAYS = 4, st.lists(st.integers(0, 3 * TIMEOUT), max_size=2)  # of the copies of a reply; none: lost
MIN_ABOVE = 10


@given(st.lists(DELAYS, max_size=40), st.sets(st.integers(0, 200)))
@example([[n * 7 % 4_000] for n in range(40)], set())
@example([[1_500], [200], [2_500], [], [300, 300], [5_001], [6_000], [20]], {3})
def test_every_number_equals_that_of_a_plain_reference(trace: list[list[int]], expire_at: set[int]) -> None:
    """Loss, duplicates, reordering, late replies, and replies after too many newer probes."""
    tracker = new_tracker(tracked=WINDOW)
    arrivals = [(n * STEP + delay, n, delay) for n, delays in enumerate(trace) for delay in delays]
    moments = sorted([(n * STEP, -1, n) for n in range(len(trace))] + [(time, n, 0) for time, n, _ in arrivals])
    probes: list[bytes] = []
    for position, (time, number, _) in enumerate(moments):
        if position in expire_at:
            list(tracker.expire(at(time)))
        if number < 0:
            probes.append(tracker.send(at(time))[1])
        else:
            tracker.receive(probes[number], at(time), None)
    list(tracker.finish(at(len(trace) * STEP + 4 * TIMEOUT)))

    first: dict[int, int] = {}
    duplicate = reordered = unmatched = 0
    for time, number, delay in sorted(arrivals):
        if number < min(time // STEP + 1, len(trace)) - WINDOW:
            unmatched += 1
        elif number in first:
            duplicate += 1
        else:
            reordered += number < max(first, default=0)
            first[number] = delay
    timely = {number: delay for number, delay in first.items() if delay <= TIMEOUT}  # in order of arrival
    pairs = [abs(timely[n + 1] - timely[n]) for n in timely if n + 1 in timely]
    jitter = 0.0
    for one, other in pairwise(timely.values()):
        jitter += (abs(other - one) - jitter) / 16

    report, ordered = tracker.report(), sorted(timely.values())
    assert (report.received, report.late, report.lost) == (
        len(timely),
        len(first) - len(timely),
        len(trace) - len(first),
    )
    assert (report.duplicate, report.reordered, report.unmatched) == (duplicate, reordered, unmatched)
    assert (report.round_trip is None) == (not ordered)
    if summary := report.round_trip:
        assert summary.ipdv_ns == (round(sum(pairs) / len(pairs)) if pairs else None)
        assert summary.jitter_rfc3550_ns == (round(jitter) if len(timely) > 1 else None)
        assert (summary.min_ns, summary.max_ns, summary.median_ns) == (ordered[0], ordered[-1], rank(ordered, 50))
        shown = {percent: rank(ordered, percent) for percent in PERCENTILES if above(ordered, percent) >= MIN_ABOVE}
        assert summary.percentiles == shown
        assert summary.missing == len(trace) - len(timely)


def rank(ordered: list[int], percent: float) -> int:
    return ordered[max(ceil(len(ordered) * Fraction(str(percent)) / 100), 1) - 1]


def above(ordered: list[int], percent: float) -> Fraction:
    return len(ordered) * (100 - Fraction(str(percent))) / 100


def test_a_tracker_does_not_grow_with_the_probes_sent() -> None:
    tracker = new_tracker(size=37, tracked=WINDOW)
    sizes: dict[int, int] = {}
    for number in range(2_001):
        now = number * STEP
        _, probe = tracker.send(at(now))
        if number % 3:
            tracker.receive(probe, at(now + 9), None)
        list(tracker.expire(at(now + 9)))
        if number in (1_000, 2_000):
            sizes[number] = len(pickle.dumps(tracker))
    assert sizes[2_000] < 1.1 * sizes[1_000]


# Reports of routers and hosts.


def test_a_report_names_a_pending_probe_by_what_it_quotes() -> None:
    tracker = new_tracker()
    probes = send(tracker, 3)
    report = IcmpReport(4, 11, 0, "192.0.2.1", 113)
    assert tracker.record_report(report, probes[1]) == 1
    assert tracker.record_report(report, probes[0][:40]) == 0
    assert tracker.record_report(report, b"") == 2  # nothing is quoted: the latest
    assert tracker.record_report(report, Probes(1, SIZE).encode(0, 1)) is None  # of another run
    tracker.fail(1, ("TimeToLiveExceeded", "text"), at(3 * STEP))
    assert tracker.record_report(report, probes[1]) is None
    assert tracker.report().icmp == ((report, 5),)


def test_different_reports_take_bounded_memory() -> None:
    tracker = new_tracker()
    for number in range(200):
        assert tracker.record_report(IcmpReport(4, 11, 0, f"192.0.2.{number}", 113), b"") is None
    counted = tracker.report().icmp
    assert len(counted) == MAX_REPORTS + 1
    assert sum(count for _, count in counted) == 200


# Notices of a rate limit.


def test_a_notice_fails_its_probe_and_tells_how_many_were_refused() -> None:
    tracker = new_tracker()
    probes = send(tracker, 5)
    event = tracker.receive(write_notice(probes[1], 3), at(700), None)
    assert (event.outcome, event.number) == ("error", 1)
    report = tracker.report()
    assert (report.rate_limited, report.errors, report.lost, report.corrupt) == (3, {"RateLimited": 1}, 1, 0)
    tracker.receive(write_notice(probes[2], 0xFFFFFFFF), at(800), None)
    assert tracker.report().rate_limited == 5


def test_a_notice_of_another_run_or_of_an_answered_probe_is_unmatched() -> None:
    tracker = new_tracker()
    (probe,) = send(tracker)
    assert tracker.receive(write_notice(Probes(1, SIZE).encode(0, 1), 3), at(700), None).outcome == "unmatched"
    tracker.receive(probe, at(800), None)
    assert tracker.receive(write_notice(probe, 3), at(900), None).outcome == "unmatched"
    assert (tracker.report().rate_limited, tracker.report().received) == (0, 1)


def test_a_repeated_or_late_notice_is_no_wrong_byte_and_still_counts() -> None:
    tracker = new_tracker()
    probes = send(tracker, 3)
    assert [tracker.receive(write_notice(probes[0], 1), at(700), None).outcome for _ in range(2)] == [
        "error",
        "unmatched",
    ]
    assert len([*tracker.finish(at(3 * STEP))]) == 2
    assert tracker.receive(write_notice(probes[2], 2), at(4 * STEP), None).outcome == "unmatched"
    report = tracker.report()
    assert (report.rate_limited, report.unmatched, report.stray, report.lost) == (2, 2, 0, 3)
