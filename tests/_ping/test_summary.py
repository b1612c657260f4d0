from dataclasses import replace
from datetime import UTC, timedelta, timezone
from itertools import product

import pytest

from halloo._core.icmp import IcmpReport
from halloo._core.units import UNITS
from halloo._output.terminal import NARROWEST
from halloo._ping.delays import CLOCK_SET
from halloo._ping.report import (
    DelayVariation,
    DirectionalLoss,
    Generator,
    Kernel,
    Outage,
    PingReport,
    SizeEvidence,
    SizeLimit,
    TimestampReport,
)
from halloo._ping.summary import (
    MAX_LISTED_OUTAGES,
    counts_text,
    details,
    findings,
    kernel_text,
    schedule_notes,
    summary,
)
from tests._ping.sample_reports import (
    BAD,
    FLOWS,
    GOOD,
    LIMITED,
    OUTAGES,
    REFUSAL,
    REPORTS,
    SECOND,
    SILENT,
    START,
    US,
    report,
    summary_of,
)

WRAPPED = REFUSAL.replace("a server", "a\n            server")

SINGLE = """\
--- localhost:8888 ---
10 sent, 10 received, 0 % lost, in 9.01s
               min    mean     p50    max
round trip  80.0us  88.2us  84.0us  130us
phases      resolve 210us, connect 41.0us, first 130us
variation   mdev 14.1us, ipdv 5.56us, jitter 3.02us (RFC 3550)
clock       kernel timestamps: replies are timed as they reach this machine
network     kernel minimum 41.2us; server and queueing up to 42.8us of p50
kernel      smoothed 84.0us, 0 retransmits, 0 lost, window 10 x 1448 bytes"""

ALL_FINDINGS = """\
--- udp://10.0.0.2:8888 ---
20000 sent, 19980 received, 0.075 % lost, 5 late, 3 duplicate, 2 reordered,
1 corrupt, 4 stray, 7 errors (refused), in 9.01s
               min    mean     p50    p90    p99  p99.9     max
round trip  80.0us  99.5us  99.0us  115us  119us  119us   119us
server      3.00us  3.50us  3.00us      -      -      -  4.00us
resolve     2.00ms  2.50ms  2.00ms      -      -      -  3.00ms
connect     1.00ms  37.0ms  50.0ms      -      -      -  60.0ms
first       80.0us  85.0us  80.0us      -      -      -  90.0us
variation   mdev 11.5us, ipdv 1.95us, jitter 1.21us (RFC 3550)
clock       this program's clock: its own delays are included
lost        15: 3 on the forward path, 2 on the reverse path, 9 refused by the
            server, 1 after the last timestamp
one way     forward 40.0us, reverse 44.0us (medians, if both clocks agree)
ipdv        forward 2.00us, reverse 3.00us (means, even if the clocks disagree)
outages     2, the longest 4s
            2026-01-02 03:05:05.123 +0000 to 03:05:09.123: 4s, 40 probes
            2026-01-02 03:05:35.123 +0000 to the end: 200ms, 2 probes
schedule    this client was the bottleneck: 60 of 1000 planned probes fell
            behind schedule, by 3.00ms at most; CPU use 99.5 % of a core; use a
            longer interval, or busy polling
missed      p99 of it is 7.1ms (fail if p99>5ms)"""

FLOW_TABLE = """\
--- 4 targets, in 9.01s ---
                       sent  lost      min      p50      max  min_rtt
localhost:8888 :51234    10   0 %  0.080ms  0.080ms  0.080ms  0.041ms
localhost:8888 :51235    10   0 %  0.080ms  0.080ms  0.080ms  0.041ms
localhost:8888 :51236    10   0 %  4.080ms  4.080ms  4.080ms  0.041ms
localhost:8888 :51237    10  10 %  0.080ms  0.080ms  0.080ms  0.041ms
clock       kernel timestamps: replies are timed as they reach this machine"""

COMPARISON = f"""\
--- 2 targets, in 9.01s ---
                sent   lost     min     p50      max  min_rtt
localhost:8888    10    0 %  80.0us  84.0us  130.0us   41.2us
localhost:9        2  100 %       -       -        -        -
localhost:9:
also        2 errors (refused)
failed      {WRAPPED}
clock       kernel timestamps: replies are timed as they reach this machine"""

SILENT_TARGET = f"""\
--- localhost:9 ---
2 sent, 0 received, 100 % lost, 2 errors (refused), in 9.01s
failed      {WRAPPED}"""


SUMMARIES = [
    (report(GOOD), SINGLE),
    (report(BAD, generator=LIMITED, missed=("p99 of it is 7.1ms (fail if p99>5ms)",)), ALL_FINDINGS),
    (report(*FLOWS), FLOW_TABLE),
    (report(GOOD, SILENT), COMPARISON),
    (report(SILENT), SILENT_TARGET),
]


def test_a_summary_is_formatted() -> None:
    for sample, text in SUMMARIES:
        assert summary(sample, zone=UTC) == text


def test_a_comparison_of_size_sweeps_has_no_loss() -> None:
    swept = replace(GOOD, lost=5, size_sweep=True, largest_bytes=1252)
    text = summary(report(swept, swept), zone=UTC)
    assert "lost" not in text
    assert text.count("datagrams of up to 1252 bytes are echoed") == 2


def test_a_unit_may_be_fixed() -> None:
    for sample, unit in product((report(GOOD), report(*FLOWS)), UNITS):
        times = [word for word in summary(sample, unit=unit).partition("clock")[0].split() if word[0].isdigit()]
        found = {word.lstrip("0123456789.").rstrip(",") for word in times if word.rstrip(",")[-1] == "s"}
        assert found - {"s"} == {unit} - {"s"}


def test_repeated_phases_are_columns() -> None:
    header = summary(report(BAD, BAD)).splitlines()[1]
    assert header.split() == ["sent", "lost", "min", "p50", "p99", "max", "resolve", "connect", "server"]


LONG = "tls://measurement-endpoint-{}.eu-central-1.internal.example.com:8888"
IPV6 = "[2001:db8:1234:5678:9abc:def0:1234:5678]:8888"
WIDE = [
    report(replace(BAD, label=LONG.format(1)), generator=LIMITED, missed=("a goal, " * 40,)),
    report(*(replace(flow, label=f"udp://{IPV6} :{51234 + number}") for number, flow in enumerate(FLOWS))),
    report(*(replace(target, label=LONG.format(number)) for number, target in enumerate((BAD, BAD, GOOD)))),
]


@pytest.mark.parametrize("sample", [*REPORTS[:-1], *WIDE], ids=range(len(REPORTS) + 2))
def test_no_line_is_longer_than_the_terminal_is_wide(sample: PingReport) -> None:
    for width, unit in product((60, 80, 200), (None, UNITS[0])):
        lines = summary(sample, unit=unit, zone=UTC, width=width).splitlines()
        assert [line for line in lines if len(line) > width] == []
        rows = [line for line in lines if "..." in line]
        assert len(rows) == len(set(rows))  # and the targets remain distinct


def test_the_narrowest_terminal_gets_all_of_a_summary() -> None:
    text = summary(report(GOOD), zone=UTC, width=NARROWEST)
    assert set(SINGLE.split()) - set(text.split()) == {"localhost:8888"}  # which is shortened


def test_a_pipe_gets_whole_names_and_one_table() -> None:
    for sample in WIDE:
        lines = summary(sample, zone=UTC).splitlines()
        assert all(any(target.label in line for line in lines) for target in sample.targets)
        assert len([line for line in lines if " p50 " in line and "us" not in line]) == 1


# Notes.


def test_a_single_round_trip_has_no_variation() -> None:
    assert "variation" not in dict(details(replace(GOOD, round_trip=summary_of(5)), None))


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


def test_losses_are_listed_by_direction() -> None:
    assert "lost" not in dict(findings(replace(BAD, timestamps=None)))
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


def test_the_largest_datagram_is_a_finding_and_a_silent_limit_on_the_path_a_black_hole() -> None:
    largest = "datagrams of up to 1252 bytes are echoed"
    reasons: dict[SizeEvidence, str] = {
        "link": "larger ones do not fit into one packet of this machine's link",
        "report": "larger ones are reported as too big, see above",
        "reply": "larger ones come back corrupt",
        "server": "the server does not echo larger ones",
        "limit": "the server's rate limit refused larger ones",
    }
    assert dict(findings(SWEEP)) == {"largest": largest}
    for evidence, reason in reasons.items():
        found = dict(findings(replace(SWEEP, size_limit=SizeLimit(1253, evidence))))
        assert found == {"largest": f"{largest}; {reason}"}
    for mtu, known in ((1500, ", although the path MTU is 1500 as far as this machine knows"), (None, "")):
        found = dict(findings(replace(SWEEP, path_mtu=mtu, size_limit=SizeLimit(1253, "path"))))
        fact = f"datagrams of 1253 bytes have no reply, and no router reports them (ICMP){known}"
        hole = f"{fact}; a router drops them silently, or the server does not echo them"
        assert found == {"largest": largest, "black hole": hole}


def test_kernel_data_is_formatted() -> None:
    assert kernel_text(Kernel(retransmits=3, lost=1), None) == "3 retransmits, 1 lost"


def test_a_schedule_that_was_missed_rarely_is_no_note() -> None:
    assert list(schedule_notes(replace(LIMITED, behind=50))) == []  # one in twenty


def test_skipped_turns_are_noted() -> None:
    expected = "12 turns: a reply or a connection was still pending"
    assert list(schedule_notes(Generator(planned=10, skipped_waiting=12))) == [("skipped", expected)]


def test_a_unit_of_notes_may_be_fixed() -> None:
    expected = dict(
        [
            *details(GOOD, "ms"),
            *findings(BAD, "ms"),
            *schedule_notes(replace(LIMITED, lateness=summary_of(50 * US)), "ms"),
        ]
    )
    assert expected["network"] == "kernel minimum 0.0412ms; server and queueing up to 0.0428ms of p50"
    assert "by 0.0500ms at most" in expected["schedule"]
