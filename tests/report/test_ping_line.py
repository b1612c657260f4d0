from dataclasses import replace

import pytest

from halloo.core.roundtrips import Probed
from halloo.report.ping_line import clock, line
from tests.report.invented_ping import EVENTS, HOSTILE, MS, REFUSAL, REPLY, START, US

LINES = [
    "128 bytes from host:1: seq=0 time=130us (name 210us, connect 41.0us)",
    "128 bytes from host:1: seq=1 time=84.1us",
    "128 bytes from host:1: seq=3 time=84.1us reordered",
    "host:1: seq=2 lost on the way back",
    "host:1: seq=4 lost",
    "128 bytes from host:1: seq=5 time=5.20s late, after it was given up",
    "128 bytes from host:1: seq=3 time=84.1us duplicate",
    "128 bytes from host:1: seq=6 time=84.1us corrupt from byte 45 on",
    "17 bytes from host:1: stray: of no probe of this run",
    f"host:1: seq=7 {REFUSAL}",
    f"host:1: seq=8 {REFUSAL}",
    "host:1: \\x1b[31m\\x00\\x07 \\u202e [red]",
    "host:1: seq=9 time=8.10ms (name 210us, tls 20.0ms)",
]


@pytest.mark.parametrize(("event", "text"), [*zip(EVENTS, LINES, strict=True)], ids=LINES)
def test_a_probe_is_a_line(event: Probed, text: str) -> None:
    assert line(event, "host:1") == text


def test_of_what_is_lost_the_size_that_was_sent_is_told_where_it_is_known() -> None:
    assert line(Probed(0, "lost", START, 2, size=1472), "host:1") == "1472 bytes to host:1: seq=2 lost"


def test_the_time_of_day_may_stand_before_it() -> None:
    assert line(REPLY, "host:1", stamp=True) == "[1767323045.123456] 128 bytes from host:1: seq=0 time=84.1us"


@pytest.mark.parametrize(("wall_ns", "text"), [(0, "0.000000"), (START, "1767323045.123456"), (999, "0.000000")])
def test_the_time_of_day_is_that_of_ping(wall_ns: int, text: str) -> None:
    assert clock(wall_ns) == text


def test_a_unit_may_be_fixed() -> None:
    event = replace(REPLY, round_trip_ns=MS, phases={"tls": 1234 * US})
    assert line(event, "host:1", unit="us").endswith("time=1000us (tls 1234us)")


def test_nothing_commands_the_terminal() -> None:
    for event in EVENTS:
        assert line(event, HOSTILE).isprintable()
