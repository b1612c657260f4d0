"""What became of a probe, in a line as ping has it: `128 bytes from 127.0.0.1:8888: seq=0 time=84.1us`.

Knows probes and words. Knows no stream.
"""

from collections.abc import Mapping

from halloo.core.escape import printable
from halloo.core.roundtrips import PHASES, Probed
from halloo.report.times import Unit, time

MICROSECOND = 1000
MILLION = 1_000_000


def line(event: Probed, name: str, *, stamp: bool = False, unit: Unit | None = None) -> str:
    """Tell a probe's outcome; `name` is what its target is called, `stamp` writes the time of day before it."""
    words = [*_where(event, name), *_when(event, unit), *_what(event, name)]
    told = printable(" ".join(" ".join(words).split()))
    return f"[{clock(event.wall_ns)}] {told}" if stamp else told


def clock(wall_ns: int) -> str:
    """Write seconds since 1970 as `ping -D` does.

    >>> clock(1_700_000_000_123_456_789)
    '1700000000.123456'
    """
    micros = wall_ns // MICROSECOND
    return f"{micros // MILLION}.{micros % MILLION:06d}"


def listed(phases: Mapping[str, int], unit: Unit | None = None) -> str:
    """Write how long each phase took, in the order in which they are gone through.

    >>> listed({"connect": 41_000, "name": 210_000})
    'name 210us, connect 41.0us'
    """
    return ", ".join(f"{phase} {time(phases[phase], unit)}" for phase in PHASES if phase in phases)


def _where(event: Probed, name: str) -> list[str]:
    """Say from whom, and of which probe."""
    way = "to" if event.outcome in ("lost", "error") else "from"
    who = f"{event.size} bytes {way} {name}:" if event.size or event.outcome == "stray" else f"{name}:"
    return [who] if event.number is None else [who, f"seq={event.number}"]


def _when(event: Probed, unit: Unit | None) -> list[str]:
    if event.round_trip_ns is None:
        return []
    apart = {phase: took for phase, took in event.phases.items() if took != event.round_trip_ns}
    words = [f"time={time(event.round_trip_ns, unit)}"]
    return [*words, f"({listed(apart, unit)})"] if apart else words


def _what(event: Probed, name: str) -> list[str]:
    """Say what is unusual about it."""
    words = {
        "reply": "",
        "late": "late, after it was given up",
        "duplicate": "duplicate",
        "corrupt": f"corrupt from byte {event.offset} on" if event.offset is not None else "corrupt",
        "stray": "stray: of no probe of this run",
        "lost": f"lost on the way {event.way}" if event.way else "lost",
        "error": event.text.removeprefix(f"{name} "),
    }[event.outcome]
    return [words, "reordered" if event.reordered else ""]
