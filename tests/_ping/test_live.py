import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from halloo._ping.live import DRAW_FACTOR, MIN_REDRAW_NS, PingLive, Strip
from halloo._ping.report import PingReport, ProbeEvent
from halloo._ping.summary import summary
from halloo._ping.text import PingText
from tests._ping.sample_reports import BAD, EVENTS, GOOD, HOSTILE, MS, REFUSAL, REPLY, REPORTS, START, US, report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that the test advances; each reading advances it by `cost`, the time of a drawing."""

    def __init__(self, cost: int = 0) -> None:
        self.now = 0
        self.cost = cost

    def __call__(self) -> int:
        self.now += self.cost
        return self.now


@pytest.fixture(autouse=True)
def _a_usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)


def reply(number: int, microseconds: int) -> ProbeEvent:
    return replace(REPLY, number=number, round_trip_ns=microseconds * US)


PAIRS: list[tuple[list[ProbeEvent], tuple[str, int, int]]] = [
    ([], ("", 0, 0)),
    ([reply(number, 10 * number) for number in range(8)], ("▁▂▃▄▅▆▇█", 0, 70 * US)),
    ([reply(0, 5), reply(1, 5)], ("▁▁", 5 * US, 5 * US)),
    (
        [
            reply(0, 5),
            ProbeEvent(0, "lost", START, 1),
            ProbeEvent(0, "error", START, 2, text=REFUSAL),
            replace(reply(3, 5), outcome="corrupt", offset=7),
            reply(5, 5),
        ],
        ("▁xx!·▁", 5 * US, 5 * US),
    ),
    ([ProbeEvent(0, "lost", START, 0), replace(reply(0, 9), outcome="late")], ("▁", 9 * US, 9 * US)),
    (
        [reply(0, 5), replace(reply(0, 9), outcome="duplicate"), ProbeEvent(0, "stray", START)],
        ("▁", 5 * US, 5 * US),
    ),
]


def test_a_strip_has_a_block_or_a_mark_for_each_probe() -> None:
    for events, rendered in PAIRS:
        found = Strip(20)
        for event in events:
            found.record(event)
        assert found.render() == rendered


def test_a_strip_keeps_only_the_last_probes() -> None:
    found = Strip(8)
    for number in range(1_000):
        found.record(reply(number, number))
    assert found.render() == ("▁▂▃▄▅▆▇█", 992 * US, 999 * US)
    assert len(found._results) <= 16


# The panel


class Drawn:
    """A panel on its own terminal, and the number of snapshots taken for it."""

    def __init__(self, *, cost: int = 0, found: PingReport | None = None) -> None:
        self.stream, self.clock, self.snapshots = Terminal(), Clock(cost), 0
        self.found = found or report(GOOD)
        self.sink = PingLive(self.stream, PingText(self.stream, quiet=True), self.clock)

    def snapshot(self) -> PingReport:
        self.snapshots += 1
        return self.found


@pytest.fixture
def open_panel() -> Iterator[Callable[..., Drawn]]:
    opened: list[Drawn] = []

    def begin(*, cost: int = 0, found: PingReport | None = None) -> Drawn:
        drawn = Drawn(cost=cost, found=found)
        opened.append(drawn)
        drawn.sink.begin(drawn.found, drawn.snapshot)
        return drawn

    yield begin
    for drawn in opened:
        drawn.sink.__exit__(None, None, None)


def test_a_panel_has_the_numbers_the_strip_and_the_last_error(open_panel: Callable[..., Drawn]) -> None:
    drawn = open_panel()
    lines = drawn.stream.getvalue().splitlines()
    assert [len(line) for line in lines if line.startswith("╰")] == [80 - len("^C")]  # room for a typed interrupt
    drawn.sink.probe(reply(0, 80))
    drawn.clock.now = MIN_REDRAW_NS
    drawn.sink.probe(reply(1, 120))
    shown = drawn.stream.getvalue()
    for words in ("halloo ping", "localhost:8888: 10 sent, 10 received", "p50 84.0us", "▁█", "▁ 80.0us  █ 120us"):
        assert words in shown
    drawn.clock.now *= 3
    drawn.sink.probe(ProbeEvent(0, "error", START, 0, text=REFUSAL))
    assert [word for word in REFUSAL.split() if word not in drawn.stream.getvalue()] == []


def test_the_panel_is_drawn_at_most_ten_times_a_second(open_panel: Callable[..., Drawn]) -> None:
    drawn = open_panel()
    for number in range(1000):
        drawn.clock.now = number * MS
        drawn.sink.probe(reply(number, 80))
    assert drawn.snapshots == 9


def test_a_slow_terminal_is_drawn_less_often(open_panel: Callable[..., Drawn]) -> None:
    drawn = open_panel(cost=MIN_REDRAW_NS)
    due = drawn.sink._next_draw_ns
    assert due == drawn.clock.now + DRAW_FACTOR * MIN_REDRAW_NS
    drawn.clock.now = due - 2 * MIN_REDRAW_NS
    drawn.sink.probe(reply(0, 80))
    assert drawn.snapshots == 0


def test_the_summary_replaces_the_panel(open_panel: Callable[..., Drawn]) -> None:
    drawn = open_panel()
    drawn.sink.probe(reply(0, 80))
    drawn.sink.end(drawn.found)
    assert drawn.stream.getvalue().endswith(f"{summary(drawn.found)}\n")


def test_the_last_strip_is_one_row_of_a_terminal_that_became_narrow(open_panel: Callable[..., Drawn]) -> None:
    drawn = open_panel()
    for number in range(80):
        drawn.sink.probe(reply(number, 80 + number % 2))
    drawn.sink._console.width = 30
    drawn.sink.end(drawn.found)
    last = drawn.stream.getvalue().rpartition("\x1b[2K")[2]
    assert last.splitlines()[:2] == ["▁█" * 15, "\x1b[2m▁ 80.0us  █ 81.0us\x1b[0m"]


def test_an_interim_summary_leaves_the_panel_running(open_panel: Callable[..., Drawn]) -> None:
    drawn = open_panel()
    drawn.sink.interim(drawn.found)
    assert f"{summary(drawn.found)}\n" in drawn.stream.getvalue()
    assert drawn.stream.getvalue().endswith("╯")


def test_an_interrupt_restores_the_cursor() -> None:
    drawn = Drawn()
    with suppress(KeyboardInterrupt), drawn.sink:
        drawn.sink.begin(drawn.found, drawn.snapshot)
        raise KeyboardInterrupt
    assert "\x1b[?25h" in drawn.stream.getvalue()


def test_several_targets_have_a_strip_each(open_panel: Callable[..., Drawn]) -> None:
    drawn = open_panel(found=report(GOOD, BAD))
    drawn.clock.now = MIN_REDRAW_NS
    drawn.sink.probe(replace(reply(0, 80), target=1))
    drawn.sink.end(drawn.found)
    last = drawn.stream.getvalue().rpartition("--- 2 targets")[0]
    assert last.index("localhost:8888\n") < last.index("udp://10.0.0.2:8888\n")


def test_control_characters_do_not_reach_the_terminal(open_panel: Callable[..., Drawn]) -> None:
    for found in REPORTS:
        drawn = open_panel(found=found)
        for event in EVENTS:
            drawn.clock.now += MIN_REDRAW_NS
            drawn.sink.probe(event)
        drawn.sink.end(found)
        assert HOSTILE not in drawn.stream.getvalue()
        assert not {"\x00", "\x07", "\u202e"} & set(drawn.stream.getvalue())
