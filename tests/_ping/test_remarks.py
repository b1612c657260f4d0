from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest

from halloo._ping.counters import DirectionalLoss, Outage
from halloo._ping.remarks import LISTED, counted, kernel, line, pace, routine, unusual, wall_clock
from halloo._ping.report import Generator, Kernel, ProbeEvent, TimestampReport
from tests._ping.invented_ping import (
    BAD,
    EVENTS,
    GOOD,
    HOSTILE,
    KERNEL,
    LIMITED,
    MS,
    OUTAGES,
    REFUSAL,
    REPLY,
    SECOND,
    SILENT,
    START,
    US,
    spread,
)


def test_what_was_sent_and_came_is_counted() -> None:
    assert counted(GOOD) == "10 sent, 10 received, 0 % lost"
    others = "5 late, 3 duplicate, 2 reordered, 1 corrupt, 4 stray, errors: refused 7"
    assert counted(BAD) == f"20000 sent, 19980 received, 0.075 % lost, {others}"


def test_every_target_has_its_phases_its_clock_and_its_floor() -> None:
    assert dict(routine(GOOD, None)) == {
        "phases": "resolve 210us, connect 41.0us, first 130us",
        "variation": "mdev 14.1us, ipdv 5.56us, jitter 3.02us (RFC 3550)",
        "clock": "the kernel's: answers are timed as they reach this machine",
        "network": "floor 41.2us, server and queueing up to 42.8us of the median",
    }


def test_what_was_measured_once_does_not_vary() -> None:
    assert "variation" not in dict(routine(replace(GOOD, round_trip=spread(5)), None))


def test_without_the_kernel_s_clock_its_own_delays_are_mentioned() -> None:
    assert dict(routine(BAD, None))["clock"] == "this program's: its own delays are in the times"


def test_nothing_unusual_is_nothing_to_say() -> None:
    assert list(unusual(GOOD)) == []
    assert list(pace(Generator(planned=10))) == []


def test_losses_are_told_by_direction() -> None:
    told = "15: 3 on the way there, 2 on the way back, 9 by the server's limit, 1 after the last answer"
    assert dict(unusual(BAD))["lost"] == told
    assert "lost" not in dict(unusual(replace(BAD, timestamps=None)))


def test_what_a_server_would_not_answer_is_no_loss_of_the_network() -> None:
    limited = replace(BAD, lost=812, timestamps=TimestampReport(spread(1), DirectionalLoss(0, 0, 812, 0)))
    assert dict(unusual(limited))["lost"] == "812: 812 by the server's limit"


def test_times_of_one_way_are_told_with_their_condition() -> None:
    assert dict(unusual(BAD))["one way"] == "if both clocks agree: there 40.0us, back 44.0us (medians)"
    assert "one way" not in dict(unusual(replace(BAD, timestamps=TimestampReport(spread(1), None))))


def test_outages_are_listed_in_wall_time() -> None:
    assert [note for note in unusual(BAD, zone=UTC) if note[0] in ("outages", "")] == [
        ("outages", "2, the longest 4s"),
        ("", "2026-01-02 03:05:05.123 +0000 to 03:05:09.123: 4s, 40 probes"),
        ("", "2026-01-02 03:05:35.123 +0000 to the end: 200ms, 2 probes"),
    ]


def test_an_outage_over_midnight_says_both_days() -> None:
    night = Outage(START, START + 21 * 3600 * SECOND, 5)
    target = replace(BAD, outages=(night,), outage_count=1, longest_outage=night)
    zone = timezone(timedelta(hours=1))
    told = "2026-01-02 04:04:05.123 +0100 to 2026-01-03 01:04:05.123: 21h, 5 probes"
    assert dict(unusual(target, zone=zone))["outage"] == told


def test_many_outages_are_cut_and_the_longest_named() -> None:
    short = replace(OUTAGES[1], over=True)
    target = replace(BAD, outages=(short,) * 50, outage_count=60, longest_outage=OUTAGES[0])
    told = [text for word, text in unusual(target, zone=UTC) if word == ""]
    assert len(told) == LISTED + 1
    assert told[-1] == "and 50 more; the longest: 2026-01-02 03:05:05.123 +0000 to 03:05:09.123: 4s, 40 probes"


def test_one_that_never_answered_has_no_outage_but_a_reason() -> None:
    silent = replace(SILENT, outages=OUTAGES, outage_count=2, longest_outage=OUTAGES[0])
    assert [word for word, _ in unusual(silent)] == ["failed"]


@pytest.mark.parametrize(("mtu", "told"), [(1500, ", and the path MTU is 1500"), (None, "")])
def test_the_largest_datagram_is_told(mtu: int | None, told: str) -> None:
    found = dict(unusual(replace(BAD, path_mtu=mtu)))
    assert found["largest"] == f"datagrams of up to 1472 bytes come back{told}"


def test_the_kernel_s_view_is_told() -> None:
    assert kernel(KERNEL, None) == "smoothed 84.0us, 0 retransmits, 0 lost, window 10 x 1448 bytes"
    assert kernel(Kernel(retransmits=3, lost=1), None) == "3 retransmits, 1 lost"


def test_a_plan_that_was_not_kept_is_told() -> None:
    generator = Generator(planned=1000, late=12, behind=3, lateness=spread(3 * MS), cpu_percent=12.0)
    told = "12 of 1000 planned probes left more than 100us late or not at all (1.2 %), at most 3.00ms; 12 % of a core"
    assert list(pace(generator)) == [("pace", told)]
    assert list(pace(replace(generator, behind=0))) == []  # late by less than anybody would care about


def test_turns_that_the_far_end_held_up_are_told() -> None:
    told = "12 turns passed without a probe: an answer or a connection was still awaited"
    assert list(pace(Generator(planned=10, skipped_waiting=12))) == [("skipped", told)]


def test_this_side_says_when_it_was_the_bottleneck() -> None:
    told = "60 of 1000 planned probes fell behind the plan: allow more time between them with -i, or try --busy-poll"
    assert list(pace(LIMITED))[1:] == [("", f"this side was the bottleneck, {told}")]


def test_a_unit_may_be_fixed() -> None:
    told = dict([*routine(GOOD, "ms"), *unusual(BAD, "ms"), *pace(replace(LIMITED, lateness=spread(50 * US)), "ms")])
    assert told["network"] == "floor 0.0412ms, server and queueing up to 0.0428ms of the median"
    assert "at most 0.0500ms" in told["pace"]


LINES = [
    "128 bytes from host:1: seq=0 time=130us (resolve 210us, connect 41.0us)",
    "128 bytes from host:1: seq=1 time=84.1us",
    "128 bytes from host:1: seq=3 time=84.1us reordered",
    "host:1: seq=2 lost on the reverse path",
    "host:1: seq=4 lost",
    "128 bytes from host:1: seq=5 time=5.20s late, after it was given up",
    "128 bytes from host:1: seq=3 time=84.1us duplicate",
    "128 bytes from host:1: seq=6 time=84.1us corrupt from byte 45 on",
    "17 bytes from host:1: stray: of no probe of this run",
    f"host:1: seq=7 {REFUSAL}",
    f"host:1: seq=8 {REFUSAL}",
    "host:1: \\x1b[31m\\x00\\x07 \\u202e [red]",
    "host:1: seq=9 time=8.10ms (resolve 210us, tls 20.0ms)",
]


@pytest.mark.parametrize(("event", "text"), [*zip(EVENTS, LINES, strict=True)], ids=LINES)
def test_a_probe_is_a_line(event: ProbeEvent, text: str) -> None:
    assert line(event, "host:1") == text


def test_of_what_is_lost_the_size_that_was_sent_is_told_where_it_is_known() -> None:
    assert line(ProbeEvent(0, "lost", START, 2, size=1472), "host:1") == "1472 bytes to host:1: seq=2 lost"


def test_the_time_of_day_may_stand_before_it() -> None:
    assert line(REPLY, "host:1", stamp=True) == "[1767323045.123456] 128 bytes from host:1: seq=0 time=84.1us"


@pytest.mark.parametrize(("wall_ns", "text"), [(0, "0.000000"), (START, "1767323045.123456"), (999, "0.000000")])
def test_the_time_of_day_is_that_of_ping(wall_ns: int, text: str) -> None:
    assert wall_clock(wall_ns) == text


def test_the_unit_of_a_line_may_be_fixed() -> None:
    event = replace(REPLY, round_trip_ns=MS, phases={"tls": 1234 * US})
    assert line(event, "host:1", unit="us").endswith("time=1000us (tls 1234us)")


def test_nothing_commands_the_terminal() -> None:
    for event in EVENTS:
        assert line(event, HOSTILE).isprintable()
