"""A ping while it runs, on a terminal: the numbers of each target, and a strip of its last probes.

Knows a terminal. Drawing takes time that the next probe may need, so it is done ten times a second at most, and seldom
enough to take a twentieth of the time; the time is asked of a clock that it is given.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from halloo._core.escape import printable
from halloo._core.units import NS, Unit, show_time
from halloo._ping.remarks import counted
from halloo._ping.report import PingReport, ProbeEvent, TargetReport
from halloo._ping.text import COLUMNS, PingText

EVERY = 100 * NS["ms"]  # between two drawings, at least
SHARE = 20  # times as long as a drawing takes
BLOCKS = "▁▂▃▄▅▆▇█"
AWAITED, LOST, WRONG = "·", "x", "!"
MARKS = {"lost": LOST, "error": LOST, "corrupt": WRONG}
STYLES = {LOST: "bold red", WRONG: "bold magenta", AWAITED: "dim"}
SHOWN = ("min", "mean", "p50", "p99", "max")
MARGIN = 4  # columns of the panel's border
WIDEST = 400  # columns


class Strip:
    """The last probes of a target, by number: a round trip, or a mark."""

    def __init__(self, width: int) -> None:
        """Keep so many."""
        self._width = width
        self._found: dict[int, int | str] = {}
        self._highest = -1

    def note(self, event: ProbeEvent) -> None:
        """Take note of what became of a probe; what is said of it later replaces what was said before."""
        found = MARKS.get(event.outcome, event.round_trip_ns)
        if event.number is None or found is None or event.outcome in ("duplicate", "stray"):
            return
        self._found[event.number] = found
        self._highest = max(self._highest, event.number)
        if len(self._found) > 2 * self._width:
            self._found = {number: each for number, each in self._found.items() if number >= self._first}

    def draw(self) -> tuple[str, int, int]:
        """Give a letter for each, and the round trips that are the lowest and the highest block."""
        last = [self._found.get(number, AWAITED) for number in range(self._first, self._highest + 1)]
        times = [each for each in last if isinstance(each, int)]
        least, most = min(times, default=0), max(times, default=0)
        return "".join(each if isinstance(each, str) else _block(each, least, most) for each in last), least, most

    @property
    def _first(self) -> int:
        return max(self._highest - self._width + 1, 0)


class PingLive:
    """Draws a panel while the ping runs, and leaves the summary in its place. A sink of `halloo._ping.run`.

    A context manager: at its end the terminal is as it was. Without a panel drawn, `text` does the rest.
    """

    def __init__(self, stream: TextIO, text: PingText, clock: Callable[[], int], *, unit: Unit | None = None) -> None:
        """Draw on a terminal; `text` writes the heading and the summary, and `clock` gives nanoseconds."""
        self._console = Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._text = text
        self._clock = clock
        self._unit = unit
        self._look: Callable[[], PingReport] | None = None
        self._strips: list[Strip] = []
        self._said = ""
        self._due_ns = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the cursor back."""
        self._live.stop()

    def begin(self, report: PingReport, look: Callable[[], PingReport]) -> None:
        """Write who is asked, and draw the first panel."""
        self._look = look
        width = min(max(self._console.width - MARGIN, len(BLOCKS)), WIDEST)
        self._strips = [Strip(width) for _ in report.targets]
        self._text.begin(report, look)
        self._live.start()
        self._draw(report)

    def probe(self, event: ProbeEvent) -> None:
        """Take note of a probe, and draw when it is time to."""
        self._strips[event.target].note(event)
        if event.text:
            self._said = event.text
        if self._look and self._clock() >= self._due_ns:
            self._draw(self._look())

    def interim(self, report: PingReport) -> None:
        """Write the summary up to now above the panel."""
        self._live.stop()
        self._text.interim(report)
        self._live.start()
        self._draw(report)

    def end(self, report: PingReport) -> None:
        """Write the summary, below the last state of the strips."""
        self._live.stop()
        self._console.print(self._strips_alone(report))
        self._text.end(report)

    def _draw(self, report: PingReport) -> None:
        began = self._clock()
        rows = [
            row for target, strip in zip(report.targets, self._strips, strict=True) for row in self._rows(target, strip)
        ]
        if self._said:
            rows.append(Text(printable(" ".join(self._said.split())), "red", no_wrap=True, overflow="ellipsis"))
        self._live.update(Panel(Group(*rows), title=Text("halloo ping"), title_align="left"), refresh=True)
        now = self._clock()
        self._due_ns = now + max(EVERY, SHARE * (now - began))

    def _rows(self, target: TargetReport, strip: Strip) -> list[Text]:
        """Write a target's numbers, its strip and what the strip's lowest and highest blocks are."""
        return [
            Text(f"{printable(target.label)}: {counted(target)}", "bold"),
            *self._times(target),
            *self._strip(strip),
        ]

    def _times(self, target: TargetReport) -> list[Text]:
        spread = target.round_trip
        if spread is None:
            return []
        found = ((name, COLUMNS[name](spread)) for name in SHOWN)
        return [Text("  ".join(f"{name} {show_time(value, self._unit)}" for name, value in found if value is not None))]

    def _strip(self, strip: Strip) -> list[Text]:
        letters, least, most = strip.draw()
        text = Text(letters, no_wrap=True)
        for letter, style in STYLES.items():
            text.highlight_regex(f"[{letter}]", style)
        scale = (
            f"{BLOCKS[0]} {show_time(least, self._unit)}  {BLOCKS[-1]} {show_time(most, self._unit)}" if most else ""
        )
        return [text, Text(scale, "dim")]

    def _strips_alone(self, report: PingReport) -> Group:
        several = len(report.targets) > 1
        rows = []
        for target, strip in zip(report.targets, self._strips, strict=True):
            rows += [Text(printable(target.label))] if several else []
            rows += self._strip(strip)
        return Group(*rows)


def _block(value: int, least: int, most: int) -> str:
    """Choose one of the blocks; where all are the same, the lowest."""
    return BLOCKS[(value - least) * (len(BLOCKS) - 1) // (most - least)] if most > least else BLOCKS[0]
