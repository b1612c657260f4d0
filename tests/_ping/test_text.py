import io
from dataclasses import replace
from datetime import UTC

import pytest

from halloo._core.units import Unit
from halloo._ping.report import PingReport
from halloo._ping.text import PingText, heading, summary
from tests._ping.invented_ping import BAD, EVENTS, EVERY, FLOWS, GOOD, LIMITED, MANY, REFUSAL, REPLY, SILENT, report

ALONE = """\
--- localhost:8888 ---
10 sent, 10 received, 0 % lost, in 9.01s
               min    mean     p50    max
round trip  80.0us  88.2us  84.0us  130us
phases      resolve 210us, connect 41.0us, first 130us
variation   mdev 14.1us, ipdv 5.56us, jitter 3.02us (RFC 3550)
clock       the kernel's: answers are timed as they reach this machine
network     floor 41.2us, server and queueing up to 42.8us of the median
kernel      smoothed 84.0us, 0 retransmits, 0 lost, window 10 x 1448 bytes"""

TROUBLED = """\
--- udp://10.0.0.2:8888 ---
20000 sent, 19980 received, 0.075 % lost, 5 late, 3 duplicate, 2 reordered, 1 corrupt, 4 stray, \
errors: refused 7, in 9.01s
               min    mean     p50    p90    p99  p99.9     max
round trip  80.0us  99.5us  99.0us  115us  119us  119us   119us
server      3.00us  3.50us  3.00us      -      -      -  4.00us
resolve     2.00ms  2.50ms  2.00ms      -      -      -  3.00ms
connect     1.00ms  37.0ms  50.0ms      -      -      -  60.0ms
first       80.0us  85.0us  80.0us      -      -      -  90.0us
variation   mdev 11.5us, ipdv 1.95us, jitter 1.21us (RFC 3550)
clock       this program's: its own delays are in the times
lost        15: 3 on the way there, 2 on the way back, 9 by the server's limit, 1 after the last answer
one way     if both clocks agree: there 40.0us, back 44.0us (medians)
outages     2, the longest 4s
            2026-01-02 03:05:05.123 +0000 to 03:05:09.123: 4s, 40 probes
            2026-01-02 03:05:35.123 +0000 to the end: 200ms, 2 probes
largest     datagrams of up to 1472 bytes come back, and the path MTU is 1500
pace        120 of 1000 planned probes left more than 100us late or not at all (12 %), at most 3.00ms; 99.5 % of a core
            this side was the bottleneck, 60 of 1000 planned probes fell behind the plan: \
allow more time between them with -i, or try --busy-poll
missed      p99 of it was 7.1ms, and p99>5ms is a failure"""

PATHS = """\
--- 4 targets, in 9.01s ---
                       sent  lost      min      p50      max    floor
localhost:8888 :51234    10   0 %  0.080ms  0.080ms  0.080ms  0.041ms
localhost:8888 :51235    10   0 %  0.080ms  0.080ms  0.080ms  0.041ms
localhost:8888 :51236    10   0 %  4.080ms  4.080ms  4.080ms  0.041ms
localhost:8888 :51237    10  10 %  0.080ms  0.080ms  0.080ms  0.041ms
clock       the kernel's: answers are timed as they reach this machine"""

TOGETHER = f"""\
--- 2 targets, in 9.01s ---
                sent   lost     min     p50      max   floor
localhost:8888    10    0 %  80.0us  84.0us  130.0us  41.2us
localhost:9        2  100 %       -       -        -       -
localhost:9:
beside      errors: Refused 2
failed      {REFUSAL}
clock       the kernel's: answers are timed as they reach this machine"""

GONE = f"""\
--- localhost:9 ---
2 sent, 0 received, 100 % lost, errors: Refused 2, in 9.01s
failed      {REFUSAL}"""

NEAR = replace(report(replace(GOOD, ttl=3)), effective={"ttl": 3})


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (report(GOOD), ALONE),
        (report(BAD, generator=LIMITED, missed=("p99 of it was 7.1ms, and p99>5ms is a failure",)), TROUBLED),
        (report(*FLOWS), PATHS),
        (report(GOOD, SILENT), TOGETHER),
        (report(SILENT), GONE),
    ],
    ids=["alone", "troubled", "paths", "together", "silent"],
)
def test_a_summary_tells(told: PingReport, text: str) -> None:
    assert summary(told, zone=UTC) == text


@pytest.mark.parametrize("unit", ["ns", "us", "ms", "s"])
def test_a_unit_may_be_fixed(unit: Unit) -> None:
    for told in (report(GOOD), report(*FLOWS)):
        times = [word for word in summary(told, unit=unit).partition("clock")[0].split() if word[0].isdigit()]
        found = {word.lstrip("0123456789.").rstrip(",") for word in times if word.rstrip(",")[-1] == "s"}
        assert found - {"s"} == {unit} - {"s"}


def test_phases_stand_beside_each_other_when_they_are_measured_each_time() -> None:
    header = summary(report(BAD, BAD)).splitlines()[1]
    assert header.split() == ["sent", "lost", "min", "p50", "p99", "max", "resolve", "connect", "server"]


def test_paths_fit_into_eighty_columns() -> None:
    paths = [replace(flow, round_trip=MANY.summary()) for flow in FLOWS]
    table = summary(report(*paths)).splitlines()[1:6]
    assert "p99" in table[0]
    assert max(map(len, table)) <= 80


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        (report(GOOD), ["ping localhost:8888 (127.0.0.1:8888) from 127.0.0.1:51234"]),
        (report(BAD), ["ping udp://10.0.0.2:8888 (10.0.0.2:8888) from 10.0.0.1:40000, DSCP EF"]),
        (report(replace(GOOD, peer=GOOD.label, local=None)), ["ping localhost:8888"]),
        (report(SILENT), ["ping localhost:9"]),
        (report(*FLOWS), ["ping localhost (127.0.0.1:8888) from 4 ports in turn"]),
        (NEAR, ["ping localhost:8888 (127.0.0.1:8888) from 127.0.0.1:51234, TTL 3"]),
    ],
    ids=["one", "marked", "as written", "not found", "paths", "near"],
)
def test_it_is_said_who_is_asked(told: PingReport, lines: list[str]) -> None:
    assert list(heading(told)) == lines


class Watched(io.StringIO):
    """A stream that tells what was in it each time it was flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[str] = []

    def flush(self) -> None:
        self.flushed.append(self.getvalue())


def told_to(stream: io.StringIO, *, quiet: bool = False, stamps: bool = False) -> list[str]:
    found = report(GOOD)
    sink = PingText(stream, quiet=quiet, stamps=stamps)
    sink.begin(found, lambda: found)
    for event in EVENTS:
        sink.probe(event)
    sink.end(found)
    return stream.getvalue().splitlines()


def test_each_line_is_flushed() -> None:
    stream = Watched()
    lines = told_to(stream)
    assert [text.count("\n") for text in stream.flushed[:-1]] == list(range(1, len(EVENTS) + 2))
    assert stream.flushed[-1] == stream.getvalue()
    assert lines[-len(ALONE.splitlines()) :] == ALONE.splitlines()


def test_quiet_is_the_summary_alone() -> None:
    assert "\n".join(told_to(io.StringIO(), quiet=True)) == ALONE


def test_the_time_of_day_may_stand_before_each_line() -> None:
    assert all(line.startswith("[1767323045.123456] ") for line in told_to(io.StringIO(), stamps=True)[1:14])


def test_the_way_out_of_an_error_is_told_once() -> None:
    lines = [line for line in told_to(io.StringIO()) if "refused)" in line]
    fact = REFUSAL.partition("; ")[0]
    assert lines == [f"127.0.0.1:8888: seq=7 {REFUSAL}", f"127.0.0.1:8888: seq=8 {fact}"]


@pytest.mark.parametrize(("peer", "name"), [("[::1]:8888", "[::1]:8888"), (None, "localhost:8888")])
def test_one_target_is_called_by_the_address_that_was_used(peer: str | None, name: str) -> None:
    stream = io.StringIO()
    found = report(GOOD)
    sink = PingText(stream)
    sink.begin(found, lambda: found)
    sink.probe(replace(REPLY, peer=peer))
    assert stream.getvalue().splitlines()[-1] == f"128 bytes from {name}: seq=0 time=84.1us"


def test_several_targets_have_their_names_in_the_lines() -> None:
    stream = io.StringIO()
    found = report(GOOD, SILENT)
    sink = PingText(stream)
    sink.begin(found, lambda: found)
    sink.probe(replace(REPLY, target=1, peer="127.0.0.1:9"))
    assert stream.getvalue().splitlines()[-1] == "128 bytes from localhost:9: seq=0 time=84.1us"


def test_an_interim_summary_stands_apart() -> None:
    stream = io.StringIO()
    PingText(stream).interim(report(GOOD))
    assert stream.getvalue() == f"\n{ALONE}\n\n"


def test_a_terminal_is_given_nothing_to_obey() -> None:
    for found in EVERY:
        stream = io.StringIO()
        sink = PingText(stream)
        sink.begin(found, lambda found=found: found)  # type: ignore[misc] # bound now
        sink.end(found)
        assert all(character.isprintable() or character == "\n" for character in stream.getvalue())
