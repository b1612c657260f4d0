import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from halloo._ping.live import EVERY as BETWEEN
from halloo._ping.live import SHARE, PingLive, Strip
from halloo._ping.report import PingReport, ProbeEvent
from halloo._ping.text import PingText, summary
from tests._ping.invented_ping import BAD, EVENTS, EVERY, GOOD, HOSTILE, MS, REFUSAL, REPLY, START, US, report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that goes on only when it is told to; `cost` is what a drawing takes."""

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


def strip(*events: ProbeEvent, width: int = 20) -> Strip:
    found = Strip(width)
    for event in events:
        found.note(event)
    return found


def took(number: int, microseconds: int) -> ProbeEvent:
    return replace(REPLY, number=number, round_trip_ns=microseconds * US)


# The strip


def test_a_strip_goes_from_the_lowest_to_the_highest_block() -> None:
    letters, least, most = strip(*(took(number, 10 * number) for number in range(8))).draw()
    assert (letters, least, most) == ("▁▂▃▄▅▆▇█", 0, 70 * US)


def test_equal_round_trips_are_the_lowest_block() -> None:
    assert strip(took(0, 5), took(1, 5)).draw() == ("▁▁", 5 * US, 5 * US)


def test_what_is_lost_or_wrong_has_its_mark_and_what_is_awaited_its_dot() -> None:
    events = (
        took(0, 5),
        ProbeEvent(0, "lost", START, 1),
        ProbeEvent(0, "error", START, 2, text=REFUSAL),
        replace(took(3, 5), outcome="corrupt", offset=7),
        took(5, 5),
    )
    assert strip(*events).draw()[0] == "▁xx!·▁"


def test_what_comes_late_takes_the_place_of_the_loss() -> None:
    assert strip(ProbeEvent(0, "lost", START, 0), replace(took(0, 9), outcome="late")).draw()[0] == "▁"


def test_copies_and_strangers_leave_no_trace() -> None:
    assert (
        strip(took(0, 5), replace(took(0, 9), outcome="duplicate"), ProbeEvent(0, "stray", START)).draw()[1] == 5 * US
    )


def test_a_strip_has_the_last_probes_alone_and_keeps_no_others() -> None:
    found = strip(*(took(number, number) for number in range(10_000)), width=8)
    assert found.draw() == ("▁▂▃▄▅▆▇█", 9_992 * US, 9_999 * US)
    assert len(found._found) <= 16


def test_an_empty_strip_is_empty() -> None:
    assert strip().draw() == ("", 0, 0)


# The panel


class Drawn:
    """A panel on a terminal of its own, and what was looked up for it."""

    def __init__(self, *, cost: int = 0, found: PingReport | None = None) -> None:
        self.stream, self.clock, self.looks = Terminal(), Clock(cost), 0
        self.found = found or report(GOOD)
        self.sink = PingLive(self.stream, PingText(self.stream, quiet=True), self.clock)

    def look(self) -> PingReport:
        self.looks += 1
        return self.found


@pytest.fixture
def begun() -> Iterator[Callable[..., Drawn]]:
    opened: list[Drawn] = []

    def begin(*, cost: int = 0, found: PingReport | None = None) -> Drawn:
        drawn = Drawn(cost=cost, found=found)
        opened.append(drawn)
        drawn.sink.begin(drawn.found, drawn.look)
        return drawn

    yield begin
    for drawn in opened:
        drawn.sink.__exit__(None, None, None)


def test_a_panel_has_the_numbers_and_the_strip(begun: Callable[..., Drawn]) -> None:
    drawn = begun()
    drawn.sink.probe(took(0, 80))
    drawn.clock.now = BETWEEN
    drawn.sink.probe(took(1, 120))
    shown = drawn.stream.getvalue()
    for words in ("halloo ping", "localhost:8888: 10 sent, 10 received", "p50 84.0us", "▁█", "▁ 80.0us  █ 120us"):
        assert words in shown


def test_it_is_drawn_ten_times_a_second_at_most(begun: Callable[..., Drawn]) -> None:
    drawn = begun()
    for number in range(1000):
        drawn.clock.now = number * MS
        drawn.sink.probe(took(number, 80))
    assert drawn.looks == 9


def test_what_takes_long_to_draw_is_drawn_more_seldom(begun: Callable[..., Drawn]) -> None:
    drawn = begun(cost=BETWEEN)
    due = drawn.sink._due_ns
    assert due == drawn.clock.now + SHARE * BETWEEN
    drawn.clock.now = due - 2 * BETWEEN
    drawn.sink.probe(took(0, 80))
    assert drawn.looks == 0


def test_an_error_stands_below_the_numbers(begun: Callable[..., Drawn]) -> None:
    drawn = begun()
    drawn.clock.now = BETWEEN
    drawn.sink.probe(ProbeEvent(0, "error", START, 0, text=REFUSAL))
    assert "nothing is listening on localhost:9" in drawn.stream.getvalue()


def test_at_the_end_the_summary_takes_its_place(begun: Callable[..., Drawn]) -> None:
    drawn = begun()
    drawn.sink.probe(took(0, 80))
    drawn.sink.end(drawn.found)
    assert drawn.stream.getvalue().endswith(f"{summary(drawn.found)}\n")


def test_an_interim_summary_leaves_the_panel_running(begun: Callable[..., Drawn]) -> None:
    drawn = begun()
    drawn.sink.interim(drawn.found)
    assert f"{summary(drawn.found)}\n" in drawn.stream.getvalue()
    assert drawn.stream.getvalue().endswith("╯")


def test_the_cursor_comes_back_when_it_is_interrupted() -> None:
    drawn = Drawn()
    with suppress(KeyboardInterrupt), drawn.sink:
        drawn.sink.begin(drawn.found, drawn.look)
        raise KeyboardInterrupt
    assert "\x1b[?25h" in drawn.stream.getvalue()


def test_several_targets_have_a_strip_each(begun: Callable[..., Drawn]) -> None:
    drawn = begun(found=report(GOOD, BAD))
    drawn.clock.now = BETWEEN
    drawn.sink.probe(replace(took(0, 80), target=1))
    drawn.sink.end(drawn.found)
    last = drawn.stream.getvalue().rpartition("--- 2 targets")[0]
    assert last.index("localhost:8888\n") < last.index("udp://10.0.0.2:8888\n")


@pytest.mark.parametrize("found", EVERY)
def test_nothing_commands_the_terminal(found: PingReport, begun: Callable[..., Drawn]) -> None:
    drawn = begun(found=found)
    for event in EVENTS:
        drawn.clock.now += BETWEEN
        drawn.sink.probe(event)
    drawn.sink.end(found)
    assert HOSTILE not in drawn.stream.getvalue()
    assert not {"\x00", "\x07", "\u202e"} & set(drawn.stream.getvalue())
