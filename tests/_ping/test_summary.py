from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest

from halloo._core.icmp import IcmpReport
from halloo._ping.delays import CLOCK_SET
from halloo._ping.report import (
    DelayVariation,
    DirectionalLoss,
    Generator,
    Kernel,
    Outage,
    Outcome,
    ProbeEvent,
    SizeLimit,
    TimestampReport,
)
from halloo._ping.summary import MAX_LISTED_OUTAGES, counts_text, details, findings, kernel_text, schedule_notes
from halloo._ping.text import probe_line, wall_clock
from tests._ping.sample_reports import (
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
    summary_of,
)


def test_counts_are_formatted() -> None:
    assert counts_text(GOOD) == "10 sent, 10 received, 0 % lost"
    others = "5 late, 3 duplicate, 2 reordered, 1 corrupt, 4 stray, 7 errors (refused)"
    assert counts_text(BAD) == f"20000 sent, 19980 received, 0.075 % lost, {others}"


def test_details_have_phases_variation_clock_and_minimum() -> None:
    assert dict(details(GOOD, None)) == {
        "phases": "resolve 210us, connect 41.0us, first 130us",
        "variation": "mdev 14.1us, ipdv 5.56us, jitter 3.02us (RFC 3550)",
        "clock": "kernel timestamps: replies are timed as they reach this machine",
        "network": "kernel minimum 41.2us; server and queueing up to 42.8us of p50",
        "kernel": "smoothed 84.0us, 0 retransmits, 0 lost, window 10 x 1448 bytes",
    }


def test_a_single_round_trip_has_no_variation() -> None:
    assert "variation" not in dict(details(replace(GOOD, round_trip=summary_of(5)), None))


def test_the_user_clock_mentions_its_own_delays() -> None:
    assert dict(details(BAD, None))["clock"] == "this program's clock: its own delays are included"


def test_normal_results_have_no_findings() -> None:
    assert list(findings(GOOD)) == []
    assert list(schedule_notes(Generator(planned=10))) == []


def test_probes_over_the_rate_limit_of_the_server_are_no_loss_of_the_network() -> None:
    fact = "the server's rate limit for this sender refused at least 640 of the probes"
    expected = f"{fact}, which is no loss of the network; use a longer interval"
    assert dict(findings(replace(GOOD, rate_limited=640)))["limited"] == expected


def test_reports_of_routers_are_listed_with_their_senders() -> None:
    reports = (IcmpReport(4, 3, 4, "192.0.2.1", 90, 1400), 3), (IcmpReport(6, 3, 0, "2001:db8::1", 113), 1)
    target = replace(GOOD, errors={"DatagramTooBig": 3, "TimeToLiveExceeded": 2}, icmp=reports)
    assert counts_text(target).endswith(", 5 errors (3 datagram too big, 2 time to live exceeded)")
    assert list(findings(target)) == [
        ("reported", "3 x by 192.0.2.1: datagram too big, the next link takes packets of 1400 bytes"),
        ("reported", "1 x by 2001:db8::1: time to live exceeded"),
    ]


@pytest.mark.parametrize(
    ("outcome", "text"),
    [("stray", "7 stray replies"), ("unmatched", "7 unmatched replies"), ("duplicate", "7 duplicates")],
)
def test_merged_replies_are_one_line(outcome: Outcome, text: str) -> None:
    event = ProbeEvent(0, outcome, START, size=700, count=7)
    assert probe_line(event, "here:1") == f"700 bytes from here:1: {text}"


def test_losses_are_listed_by_direction() -> None:
    expected = "15: 3 on the forward path, 2 on the reverse path, 9 refused by the server, 1 after the last timestamp"
    assert dict(findings(BAD))["lost"] == expected
    assert "lost" not in dict(findings(replace(BAD, timestamps=None)))


def test_refused_probes_are_listed_apart() -> None:
    limited = replace(BAD, lost=812, timestamps=TimestampReport(summary_of(1), DirectionalLoss(0, 0, 812, 0)))
    assert dict(findings(limited))["lost"] == "812: 812 refused by the server"


def test_one_way_times_have_a_condition() -> None:
    assert dict(findings(BAD))["one way"] == "forward 40.0us, reverse 44.0us (medians, if both clocks agree)"
    withheld = TimestampReport(
        summary_of(1),
        None,
        withheld=CLOCK_SET,
        forward_variation=DelayVariation(2_000),
        reverse_variation=DelayVariation(30),
    )
    notes = [*findings(replace(BAD, timestamps=withheld))]
    assert ("one way", "times are withheld: the clock of this machine was set during the run") in notes
    assert ("ipdv", "forward 2.00us, reverse 30ns (means, even if the clocks disagree)") in notes
    assert "one way" not in dict(findings(replace(BAD, timestamps=TimestampReport(summary_of(1), None))))


def test_outages_are_listed_in_wall_time() -> None:
    assert [note for note in findings(BAD, zone=UTC) if note[0] in ("outages", "")] == [
        ("outages", "2, the longest 4s"),
        ("", "2026-01-02 03:05:05.123 +0000 to 03:05:09.123: 4s, 40 probes"),
        ("", "2026-01-02 03:05:35.123 +0000 to the end: 200ms, 2 probes"),
    ]


def test_an_outage_over_midnight_has_both_dates() -> None:
    night = Outage(START, START + 21 * 3600 * SECOND, 5)
    target = replace(BAD, outages=(night,), outage_count=1, longest_outage=night)
    zone = timezone(timedelta(hours=1))
    expected = "2026-01-02 04:04:05.123 +0100 to 2026-01-03 01:04:05.123: 21h, 5 probes"
    assert dict(findings(target, zone=zone))["outage"] == expected


def test_many_outages_are_cut_and_the_longest_is_listed() -> None:
    short = replace(OUTAGES[1], over=True)
    target = replace(BAD, outages=(short,) * 50, outage_count=60, longest_outage=OUTAGES[0])
    expected = [text for word, text in findings(target, zone=UTC) if word == ""]
    assert len(expected) == MAX_LISTED_OUTAGES + 1
    assert expected[-1] == "and 50 more; the longest: 2026-01-02 03:05:05.123 +0000 to 03:05:09.123: 4s, 40 probes"


def test_a_silent_target_has_a_failure_and_no_outage() -> None:
    silent = replace(SILENT, outages=OUTAGES, outage_count=2, longest_outage=OUTAGES[0])
    assert [word for word, _ in findings(silent)] == ["failed"]


SWEEP = replace(GOOD, sent=30, received=5, lost=25, size_sweep=True, largest_bytes=1252, path_mtu=1500)


def test_a_size_sweep_counts_no_loss() -> None:
    assert counts_text(SWEEP) == "30 probes of different sizes sent, 5 received"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, ""),
        (SizeLimit(1253, "link"), "; larger ones do not fit into one packet of this machine's link"),
        (SizeLimit(1253, "report"), "; larger ones are reported as too big, see above"),
        (SizeLimit(1253, "reply"), "; larger ones come back corrupt"),
        (SizeLimit(1253, "server"), "; the server does not echo larger ones"),
    ],
)
def test_the_largest_datagram_is_a_finding(limit: SizeLimit | None, expected: str) -> None:
    found = dict(findings(replace(SWEEP, size_limit=limit)))
    assert found == {"largest": f"datagrams of up to 1252 bytes are echoed{expected}"}


@pytest.mark.parametrize(
    ("mtu", "known"), [(1500, ", although the path MTU is 1500 as far as this machine knows"), (None, "")]
)
def test_a_silent_limit_on_the_path_is_a_black_hole(mtu: int | None, known: str) -> None:
    found = dict(findings(replace(SWEEP, path_mtu=mtu, size_limit=SizeLimit(1253, "path"))))
    fact = f"datagrams of 1253 bytes have no reply, and no router reports them (ICMP){known}"
    assert found["black hole"] == f"{fact}; a router drops them silently, or the server does not echo them"
    assert found["largest"] == "datagrams of up to 1252 bytes are echoed"


def test_kernel_data_is_formatted() -> None:
    assert kernel_text(KERNEL, None) == "smoothed 84.0us, 0 retransmits, 0 lost, window 10 x 1448 bytes"
    assert kernel_text(Kernel(retransmits=3, lost=1), None) == "3 retransmits, 1 lost"


def test_a_schedule_that_was_missed_rarely_is_no_note() -> None:
    assert list(schedule_notes(replace(LIMITED, behind=50))) == []  # one in twenty


def test_skipped_turns_are_noted() -> None:
    expected = "12 turns: a reply or a connection was still pending"
    assert list(schedule_notes(Generator(planned=10, skipped_waiting=12))) == [("skipped", expected)]


def test_a_client_that_was_the_bottleneck_is_noted() -> None:
    behind = "60 of 1000 planned probes fell behind schedule, by 3.00ms at most"
    fact = f"this client was the bottleneck: {behind}; CPU use 99.5 % of a core"
    assert list(schedule_notes(LIMITED)) == [("schedule", f"{fact}; use a longer interval, or busy polling")]


def test_a_unit_may_be_fixed() -> None:
    expected = dict(
        [
            *details(GOOD, "ms"),
            *findings(BAD, "ms"),
            *schedule_notes(replace(LIMITED, lateness=summary_of(50 * US)), "ms"),
        ]
    )
    assert expected["network"] == "kernel minimum 0.0412ms; server and queueing up to 0.0428ms of p50"
    assert "by 0.0500ms at most" in expected["schedule"]


LINES = [
    "128 bytes from host:1: seq=0 time=130us (resolve 210us, connect 41.0us)",
    "128 bytes from host:1: seq=1 time=84.1us",
    "128 bytes from host:1: seq=3 time=84.1us reordered",
    "host:1: seq=2 lost on the reverse path",
    "host:1: seq=4 lost",
    "128 bytes from host:1: seq=5 time=5.20s late: after the timeout",
    "128 bytes from host:1: seq=3 time=84.1us duplicate",
    "128 bytes from host:1: seq=6 time=84.1us corrupt from byte 45 on",
    "17 bytes from host:1: stray: is no reply to a probe",
    f"host:1: seq=7 {REFUSAL}",
    f"host:1: seq=8 {REFUSAL}",
    "host:1: \\x1b[31m\\x00\\x07 \\u202e [red]",
    "host:1: seq=9 time=8.10ms (resolve 210us, tls 20.0ms)",
    "128 bytes from host:1: seq=6 time=84.1us corrupt from byte 36 on: impossible server time of 184ms",
]


@pytest.mark.parametrize(("event", "text"), [*zip(EVENTS, LINES, strict=True)], ids=LINES)
def test_a_probe_is_a_line(event: ProbeEvent, text: str) -> None:
    assert probe_line(event, "host:1") == text


def test_a_lost_probe_has_its_size_if_known() -> None:
    assert probe_line(ProbeEvent(0, "lost", START, 2, size=1472), "host:1") == "1472 bytes to host:1: seq=2 lost"


def test_a_line_may_begin_with_the_time_of_day() -> None:
    assert (
        probe_line(REPLY, "host:1", time_stamp=True) == "[1767323045.123456] 128 bytes from host:1: seq=0 time=84.1us"
    )


@pytest.mark.parametrize(("wall_ns", "text"), [(0, "0.000000"), (START, "1767323045.123456"), (999, "0.000000")])
def test_the_time_of_day_is_formatted_as_by_ping(wall_ns: int, text: str) -> None:
    assert wall_clock(wall_ns) == text


def test_the_unit_of_a_line_may_be_fixed() -> None:
    event = replace(REPLY, round_trip_ns=MS, phases={"tls": 1234 * US})
    assert probe_line(event, "host:1", unit="us").endswith("time=1000us (tls 1234us)")


def test_control_characters_do_not_reach_the_terminal() -> None:
    for event in EVENTS:
        assert probe_line(event, HOSTILE).isprintable()
