import io
import os
from dataclasses import replace
from datetime import UTC

import pytest

from halloo._core.units import Unit
from halloo._output.terminal import NARROWEST
from halloo._ping.report import PingReport
from halloo._ping.summary import summary
from halloo._ping.text import PingText, heading
from tests._ping.sample_reports import (
    BAD,
    EVENTS,
    FLOWS,
    GOOD,
    LIMITED,
    REFUSAL,
    REPLY,
    REPORTS,
    SILENT,
    report,
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

NEAR = replace(report(replace(GOOD, ttl=3)), effective={"ttl": 3})


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        (report(GOOD), SINGLE),
        (report(BAD, generator=LIMITED, missed=("p99 of it is 7.1ms (fail if p99>5ms)",)), ALL_FINDINGS),
        (report(*FLOWS), FLOW_TABLE),
        (report(GOOD, SILENT), COMPARISON),
        (report(SILENT), SILENT_TARGET),
    ],
    ids=["alone", "troubled", "paths", "together", "silent"],
)
def test_a_summary_is_formatted(sample: PingReport, text: str) -> None:
    assert summary(sample, zone=UTC) == text


def test_a_comparison_of_size_sweeps_has_no_loss() -> None:
    swept = replace(GOOD, lost=5, size_sweep=True, largest_bytes=1252)
    text = summary(report(swept, swept), zone=UTC)
    assert "lost" not in text
    assert text.count("datagrams of up to 1252 bytes are echoed") == 2


@pytest.mark.parametrize("unit", ["ns", "us", "ms", "s"])
def test_a_unit_may_be_fixed(unit: Unit) -> None:
    for sample in (report(GOOD), report(*FLOWS)):
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


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("sample", [*REPORTS[:-1], *WIDE], ids=range(len(REPORTS) + 2))
@pytest.mark.parametrize("unit", [None, "ns"])
def test_no_line_is_longer_than_the_terminal_is_wide(sample: PingReport, width: int, unit: Unit | None) -> None:
    text = summary(sample, unit=unit, zone=UTC, width=width)
    assert [line for line in text.splitlines() if len(line) > width] == []
    rows = [line for line in text.splitlines() if "..." in line]
    assert len(rows) == len(set(rows))  # and the targets remain distinct


def test_the_narrowest_terminal_gets_all_of_a_summary() -> None:
    text = summary(report(GOOD), zone=UTC, width=NARROWEST)
    assert set(SINGLE.split()) - set(text.split()) == {"localhost:8888"}  # which is shortened


@pytest.mark.parametrize("sample", WIDE, ids=range(len(WIDE)))
def test_a_pipe_gets_whole_names_and_one_table(sample: PingReport) -> None:
    lines = summary(sample, zone=UTC).splitlines()
    for target in sample.targets:
        assert any(target.label in line for line in lines)
    assert len([line for line in lines if " p50 " in line and "us" not in line]) == 1


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_each_outcome_has_lines_that_fit_into_a_terminal() -> None:
    keyboard, screen = os.openpty()
    found = report(replace(GOOD, label=LONG.format(1), peer=IPV6, local=IPV6, ttl=3, dscp=46))
    with open(screen, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a terminal
        sink = PingText(stream, time_stamps=True)
        sink.begin(found, lambda: found)
        for event in EVENTS:
            sink.probe(replace(event, peer=IPV6))
        lines = os.read(keyboard, 65536).decode().splitlines()
    os.close(keyboard)
    assert max(map(len, lines)) <= 80
    assert f"ping {LONG.format(1)}" in lines
    assert "[1767323045.123456] 128 bytes from [2001:db8:1234...1234:5678]:8888:" in lines
    assert " ".join(REFUSAL.split()) in " ".join(" ".join(lines).split())


@pytest.mark.parametrize(
    ("sample", "lines"),
    [
        (report(GOOD), ["ping localhost:8888 (127.0.0.1:8888) from 127.0.0.1:51234"]),
        (report(BAD), ["ping udp://10.0.0.2:8888 from 10.0.0.1:40000, DSCP EF"]),
        (report(replace(GOOD, peer=GOOD.label, local=None)), ["ping localhost:8888"]),
        (report(SILENT), ["ping localhost:9"]),
        (report(*FLOWS), ["ping localhost (127.0.0.1:8888) from 4 ports in turn"]),
        (NEAR, ["ping localhost:8888 (127.0.0.1:8888) from 127.0.0.1:51234, TTL 3"]),
    ],
    ids=["one", "marked", "as written", "not found", "paths", "near"],
)
def test_the_heading_names_the_targets(sample: PingReport, lines: list[str]) -> None:
    assert list(heading(sample)) == lines


class Watched(io.StringIO):
    """A stream that records its content at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[str] = []

    def flush(self) -> None:
        self.flushed.append(self.getvalue())


def written_to(stream: io.StringIO, *, quiet: bool = False, time_stamps: bool = False) -> list[str]:
    found = report(GOOD)
    sink = PingText(stream, quiet=quiet, time_stamps=time_stamps)
    sink.begin(found, lambda: found)
    for event in EVENTS:
        sink.probe(event)
    sink.end(found)
    return stream.getvalue().splitlines()


def test_each_line_is_flushed() -> None:
    stream = Watched()
    lines = written_to(stream)
    assert [text.count("\n") for text in stream.flushed[:-1]] == list(range(1, len(EVENTS) + 2))
    assert stream.flushed[-1] == stream.getvalue()
    assert lines[-len(SINGLE.splitlines()) :] == SINGLE.splitlines()


def test_quiet_writes_only_the_summary() -> None:
    assert "\n".join(written_to(io.StringIO(), quiet=True)) == SINGLE


def test_each_line_may_begin_with_the_time_of_day() -> None:
    assert all(line.startswith("[1767323045.123456] ") for line in written_to(io.StringIO(), time_stamps=True)[1:14])


def test_the_remedy_of_an_error_is_written_once() -> None:
    lines = [line for line in written_to(io.StringIO()) if "refused)" in line]
    fact = REFUSAL.partition("; ")[0]
    assert lines == [f"127.0.0.1:8888: seq=7 {REFUSAL}", f"127.0.0.1:8888: seq=8 {fact}"]


@pytest.mark.parametrize(("peer", "name"), [("[::1]:8888", "[::1]:8888"), (None, "localhost:8888")])
def test_a_single_target_is_named_by_the_address_in_use(peer: str | None, name: str) -> None:
    stream = io.StringIO()
    found = report(GOOD)
    sink = PingText(stream)
    sink.begin(found, lambda: found)
    sink.probe(replace(REPLY, peer=peer))
    assert stream.getvalue().splitlines()[-1] == f"128 bytes from {name}: seq=0 time=84.1us"


def test_several_targets_are_named_in_the_lines() -> None:
    stream = io.StringIO()
    found = report(GOOD, SILENT)
    sink = PingText(stream)
    sink.begin(found, lambda: found)
    sink.probe(replace(REPLY, target=1, peer="127.0.0.1:9"))
    assert stream.getvalue().splitlines()[-1] == "128 bytes from localhost:9: seq=0 time=84.1us"


def test_an_interim_summary_is_set_apart() -> None:
    stream = io.StringIO()
    PingText(stream).interim(report(GOOD))
    assert stream.getvalue() == f"\n{SINGLE}\n\n"


def test_control_characters_do_not_reach_the_terminal() -> None:
    for found in REPORTS:
        stream = io.StringIO()
        sink = PingText(stream)
        sink.begin(found, lambda found=found: found)  # type: ignore[misc] # bound now
        sink.end(found)
        assert all(character.isprintable() or character == "\n" for character in stream.getvalue())
