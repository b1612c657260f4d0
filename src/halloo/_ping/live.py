"""A live view of a ping on a terminal: the numbers of each target, and a strip of its last probes.

Drawing takes time that the next probe may need: it happens ten times a second at most, and takes at most a twentieth
of the time by the given clock.
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
from halloo._ping.report import PingReport, ProbeEvent
from halloo._ping.summary import COLUMNS, counts_text
from halloo._ping.text import PingText

MIN_REDRAW_NS = 100 * NS["ms"]  # between two drawings
DRAW_FACTOR = 20  # multiples of the time a drawing takes, between two drawings
BLOCKS = "▁▂▃▄▅▆▇█"
PENDING, LOST, WRONG = "·", "x", "!"
MARKS = {"lost": LOST, "error": LOST, "corrupt": WRONG}
STYLES = {LOST: "bold red", WRONG: "bold magenta", PENDING: "dim"}
SHOWN_COLUMNS = ("min", "mean", "p50", "p99", "max")
TYPED = 2  # columns right of the panel, for a ^C: it would begin a line that is not erased
MARGIN = 4 + TYPED  # with those of the panel's border
MAX_WIDTH = 400  # columns


class Strip:
    """The last probes of a target by number: a round trip or a mark for each."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._results: dict[int, int | str] = {}
        self._highest = -1

    def record(self, event: ProbeEvent) -> None:
        """Record the outcome of a probe; a later outcome of the same probe replaces it."""
        result = MARKS.get(event.outcome, event.round_trip_ns)
        if event.number is None or result is None or event.outcome in ("duplicate", "unmatched", "stray"):
            return
        self._results[event.number] = result
        self._highest = max(self._highest, event.number)
        if len(self._results) > 2 * self._width:
            self._results = {number: each for number, each in self._results.items() if number >= self._first}

    def render(self) -> tuple[str, int, int]:
        """Return a character for each probe, and the round trips of the lowest and the highest block."""
        last = [self._results.get(number, PENDING) for number in range(self._first, self._highest + 1)]
        times = [each for each in last if isinstance(each, int)]
        least, most = min(times, default=0), max(times, default=0)
        return "".join(each if isinstance(each, str) else _block(each, least, most) for each in last), least, most

    @property
    def _first(self) -> int:
        return max(self._highest - self._width + 1, 0)


class PingLive:
    """Draws a panel while the ping runs, and replaces it with the summary. A sink of `halloo._ping.run`.

    A context manager that restores the terminal.
    """

    def __init__(self, stream: TextIO, text: PingText, clock: Callable[[], int], *, unit: Unit | None = None) -> None:
        """Draw on a terminal; `text` writes the heading and the summary, and `clock` returns nanoseconds."""
        self._console = Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._text = text
        self._clock = clock
        self._unit = unit
        self._snapshot: Callable[[], PingReport] | None = None
        self._strips: list[Strip] = []
        self._last_error = ""
        self._next_draw_ns = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def begin(self, report: PingReport, snapshot: Callable[[], PingReport]) -> None:
        self._snapshot = snapshot
        width = min(max(self._console.width - MARGIN, len(BLOCKS)), MAX_WIDTH)
        self._strips = [Strip(width) for _ in report.targets]
        self._text.begin(report, snapshot)
        self._live.start()
        self._draw(report)

    def probe(self, event: ProbeEvent) -> None:
        self._strips[event.target].record(event)
        if event.text:
            self._last_error = event.text
        if self._snapshot and self._clock() >= self._next_draw_ns:
            self._draw(self._snapshot())

    def interim(self, report: PingReport) -> None:
        """Write an intermediate summary above the panel."""
        self._live.stop()
        self._text.interim(report)
        self._live.start()
        self._draw(report)

    def end(self, report: PingReport) -> None:
        self._live.stop()
        for target, strip in zip(report.targets, self._strips, strict=True):
            if len(report.targets) > 1:
                self._console.print(Text(printable(target.label)))
            self._console.print(*self._strip(strip), sep="\n", no_wrap=True)  # print() forgets that of each Text
        self._text.end(report)

    def _draw(self, report: PingReport) -> None:
        start = self._clock()
        rows = list[Text]()
        for target, strip in zip(report.targets, self._strips, strict=True):
            rows.append(Text(f"{printable(target.label)}: {counts_text(target)}", "bold"))
            if summary := target.round_trip:
                cells = ((name, COLUMNS[name](summary)) for name in SHOWN_COLUMNS)
                shown = (f"{name} {show_time(value, self._unit)}" for name, value in cells if value is not None)
                rows.append(Text("  ".join(shown)))
            rows += self._strip(strip)
        if self._last_error:
            rows.append(Text(printable(" ".join(self._last_error.split())), "red"))
        width = max(self._console.width - TYPED, MARGIN)
        panel = Panel(Group(*rows), title=Text("halloo ping"), title_align="left", width=width)
        self._live.update(panel, refresh=True)
        now = self._clock()
        self._next_draw_ns = now + max(MIN_REDRAW_NS, DRAW_FACTOR * (now - start))

    def _strip(self, strip: Strip) -> list[Text]:
        blocks, least, most = strip.render()
        text = Text(blocks, no_wrap=True)
        for mark, style in STYLES.items():
            text.highlight_regex(f"[{mark}]", style)
        scale = f"{BLOCKS[0]} {show_time(least, self._unit)}  {BLOCKS[-1]} {show_time(most, self._unit)}"
        return [text, Text(scale if most else "", "dim")]


def _block(value: int, least: int, most: int) -> str:
    """Return the block for a value; the lowest if all values are equal."""
    return BLOCKS[(value - least) * (len(BLOCKS) - 1) // (most - least)] if most > least else BLOCKS[0]
