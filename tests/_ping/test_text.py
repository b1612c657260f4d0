import io
import os
from dataclasses import replace

import pytest

from halloo._ping.report import Outcome, PingReport, ProbeEvent
from halloo._ping.summary import summary
from halloo._ping.text import PingText, heading, probe_line, wall_clock
from tests._ping.sample_reports import (
    BAD,
    EVENTS,
    FLOWS,
    GOOD,
    HOSTILE,
    MS,
    REFUSAL,
    REPLY,
    REPORTS,
    SILENT,
    START,
    US,
    report,
)

SUMMARY = summary(report(GOOD))
LONG = "tls://measurement-endpoint-1.eu-central-1.internal.example.com:8888"
IPV6 = "[2001:db8:1234:5678:9abc:def0:1234:5678]:8888"
NEAR = replace(report(replace(GOOD, ttl=3)), effective={"ttl": 3})
HEADINGS = [
    (report(GOOD), ["ping localhost:8888 (127.0.0.1:8888) from 127.0.0.1:51234"]),
    (report(BAD), ["ping udp://10.0.0.2:8888 from 10.0.0.1:40000, DSCP EF"]),
    (report(replace(GOOD, peer=GOOD.label, local=None)), ["ping localhost:8888"]),
    (report(SILENT), ["ping localhost:9"]),
    (report(*FLOWS), ["ping localhost (127.0.0.1:8888) from 4 ports in turn"]),
    (NEAR, ["ping localhost:8888 (127.0.0.1:8888) from 127.0.0.1:51234, TTL 3"]),
]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_each_outcome_has_lines_that_fit_into_a_terminal() -> None:
    keyboard, screen = os.openpty()
    found = report(replace(GOOD, label=LONG, peer=IPV6, local=IPV6, ttl=3, dscp=46))
    with open(screen, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a terminal
        sink = PingText(stream, time_stamps=True)
        sink.begin(found, lambda: found)
        for event in EVENTS:
            sink.probe(replace(event, peer=IPV6))
        written = b""
        while b"184ms" not in written:  # the end of the last line: a terminal gives part of what was written
            written += os.read(keyboard, 65536)
    os.close(keyboard)
    lines = written.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert f"ping {LONG}" in lines
    assert "[1767323045.123456] 128 bytes from [2001:db8:1234...1234:5678]:8888:" in lines
    assert " ".join(REFUSAL.split()) in " ".join(" ".join(lines).split())


def test_the_heading_names_the_targets() -> None:
    for sample, lines in HEADINGS:
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


def test_each_line_is_flushed_and_the_remedy_of_an_error_is_written_once() -> None:
    stream = Watched()
    lines = written_to(stream)
    assert [text.count("\n") for text in stream.flushed[:-1]] == list(range(1, len(EVENTS) + 2))
    assert stream.flushed[-1] == stream.getvalue()
    assert "\n".join(lines).endswith(f"\n\n{SUMMARY}")
    fact = REFUSAL.partition("; ")[0]
    assert [line for line in lines if "refused)" in line] == [
        f"127.0.0.1:8888: seq=7 {REFUSAL}",
        f"127.0.0.1:8888: seq=8 {fact}",
    ]


def test_quiet_writes_only_the_summary_and_an_interim_one_is_set_apart() -> None:
    assert "\n".join(written_to(io.StringIO(), quiet=True)) == SUMMARY
    stream = io.StringIO()
    PingText(stream).interim(report(GOOD))
    assert stream.getvalue() == f"\n{SUMMARY}\n\n"


def test_each_line_may_begin_with_the_time_of_day() -> None:
    assert all(line.startswith("[1767323045.123456] ") for line in written_to(io.StringIO(), time_stamps=True)[1:14])


def last_line(found: PingReport, event: ProbeEvent) -> str:
    stream = io.StringIO()
    sink = PingText(stream)
    sink.begin(found, lambda: found)
    sink.probe(event)
    return stream.getvalue().splitlines()[-1]


def test_a_single_target_is_named_by_the_address_in_use_and_several_by_their_labels() -> None:
    assert last_line(report(GOOD), replace(REPLY, peer="[::1]:8888")) == "128 bytes from [::1]:8888: seq=0 time=84.1us"
    assert last_line(report(GOOD), replace(REPLY, peer=None)) == "128 bytes from localhost:8888: seq=0 time=84.1us"
    event = replace(REPLY, target=1, peer="127.0.0.1:9")
    assert last_line(report(GOOD, SILENT), event) == "128 bytes from localhost:9: seq=0 time=84.1us"


def test_control_characters_do_not_reach_the_terminal() -> None:
    for found in REPORTS:
        stream = io.StringIO()
        sink = PingText(stream)
        sink.begin(found, lambda found=found: found)  # type: ignore[misc] # bound now
        sink.end(found)
        assert all(character.isprintable() or character == "\n" for character in stream.getvalue())


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


def test_a_probe_is_a_line() -> None:
    assert [probe_line(event, "host:1") for event in EVENTS] == LINES
    assert probe_line(ProbeEvent(0, "lost", START, 2, size=1472), "host:1") == "1472 bytes to host:1: seq=2 lost"
    assert all(probe_line(event, HOSTILE).isprintable() for event in EVENTS)


def test_merged_replies_are_one_line() -> None:
    texts: dict[Outcome, str] = {"stray": "7 stray replies", "unmatched": "7 unmatched replies"}
    for outcome, text in (texts | {"duplicate": "7 duplicates"}).items():
        event = ProbeEvent(0, outcome, START, size=700, count=7)
        assert probe_line(event, "here:1") == f"700 bytes from here:1: {text}"


def test_the_time_of_day_is_formatted_as_by_ping() -> None:
    line = "[1767323045.123456] 128 bytes from host:1: seq=0 time=84.1us"
    assert probe_line(REPLY, "host:1", time_stamp=True) == line
    assert [wall_clock(wall_ns) for wall_ns in (0, 999, START)] == ["0.000000", "0.000000", "1767323045.123456"]


def test_the_unit_of_a_line_may_be_fixed() -> None:
    event = replace(REPLY, round_trip_ns=MS, phases={"tls": 1234 * US})
    assert probe_line(event, "host:1", unit="us").endswith("time=1000us (tls 1234us)")
