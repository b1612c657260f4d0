"""Tell a comparison: a table for each row, a verdict for each bar, one JSON file for all of it.

Knows text and the result's schema. Starts and measures nothing.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.rounds import estimate, ratios

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from bench.machine import Machine
    from bench.rows import Row, Told

RESULTS = Path(__file__).parent / "results"
LIMITED = 0.97
"""Share of a core from which the generator, not the server, may be what was measured."""

LOSS_WORTH_A_WORD = 0.001


@dataclass(frozen=True, slots=True)
class Bar:
    """What a server must reach: a figure of a row against another server's; `aim` is what to look for."""

    row: str
    against: str
    least: float
    server: str = "halloo"
    aim: float | None = None


def heading(here: Machine, options: argparse.Namespace) -> str:
    """Return what every table of a run has in common."""
    return f"{here}\n{options.rounds} rounds of {options.seconds} s, order by seed {options.seed}, median [95 %]"


def show(row: Row, told: Told) -> None:
    """Print a row's table at once: the next one takes its time."""
    print(table(row, told), flush=True)


def table(row: Row, told: Told) -> str:
    """Return one row's results for a reader."""
    lossy = row.speaks == "udp"
    lines = [
        f"\n{row.name}",
        f"  {'':22} {row.unit:>13}   ratio to {row.reference:16}  server CPU us   ratio               p50 us   p99 us"
        + "   lost %" * lossy,
    ]
    for name, one in told.items():
        if one["rate"] is None:
            lines.append(f"  {name:22} failed: {one['errors']} errors")
            continue
        loss = f" {100 * one['lost_share']:8.3f}" * lossy
        marks = ["generator-bound"] if generator_bound(one) else []
        marks += [starved(one)] if one["lost_share"] > LOSS_WORTH_A_WORD else []
        marks += [f"{one['errors']} errors"] if one["errors"] else []
        lines.append(
            f"  {name:22} {one['rate']['median']:13,.0f}   {interval(one['rate_ratio'])}        "
            f"{one['server_cpu_us']['median']:13.2f}   {interval(one['server_cpu_ratio'])} "
            f"{one['p50_us']:8.0f} {one['p99_us']:8.0f}{loss}  {', '.join(marks)}".rstrip()
        )
    return "\n".join(lines)


def interval(value: dict[str, float] | None) -> str:
    """Return `0.95 [0.94 0.97]`."""
    return "-" * 18 if value is None else f"{value['median']:5.3f} [{value['low']:5.3f} {value['high']:5.3f}]"


def verdicts(bars: Iterable[Bar], rows: dict[str, Told]) -> list[str]:
    """Return a line for each bar that was measured: reached, or missed and by how much."""
    lines = []
    for bar in bars:
        mine, other = (rows.get(bar.row, {}).get(name) for name in (bar.server, bar.against))
        got = estimate(ratios(mine["rates"], other["rates"])) if mine and other else None
        if mine and other and got:
            what = f"{bar.row}: {bar.server} is {got.median:.3f} [{got.low:.3f} {got.high:.3f}] of {bar.against}"
            least = f"at least {bar.least:.3g}" + (f", the aim {bar.aim:.3g}" if bar.aim else "")
            line = verdict(what + cpu(mine, other), least, got.median >= bar.least, sure=got.high < bar.least)
            lines.append(line + blemish(bar.server, mine) + blemish(bar.against, other))
    return lines


def cpu(mine: dict[str, Any], other: dict[str, Any]) -> str:
    """Return how the CPU for each compares: it scatters less than a rate, and less is better."""
    got = estimate(ratios(mine["cpus_us"], other["cpus_us"]))
    return f" (CPU {got.median:.3f} [{got.low:.3f} {got.high:.3f}])" if got else ""


def verdict(what: str, bar: str, good: bool, *, sure: bool = True) -> str:
    """Return one bar's line; a miss whose interval still holds the bar is open, more rounds decide."""
    word = "reached" if good else "MISSED" if sure else "open"
    return f"  {word:8} {what}; the bar is {bar}"


def blemish(name: str, one: dict[str, Any]) -> str:
    """Return what a ratio does not say about one of its two: losses, errors, and a generator that was too slow."""
    found = [f"lost {one['lost_share']:.1%}: {starved(one)}"] if one["lost_share"] > LOSS_WORTH_A_WORD else []
    found += [f"had {one['errors']} errors"] if one["errors"] else []
    found += ["may have been faster than the generator"] if generator_bound(one) else []
    return f" ({name} {', '.join(found)})" if found else ""


def starved(one: dict[str, Any]) -> str:
    """Return what losses did to a server's figures: its times are better for them, its rate may be worse."""
    return "idle for want of datagrams" if one["idle"] else "fewer under way"


def generator_bound(one: dict[str, Any]) -> bool:
    """Tell whether the generator was at its limit and the server was not."""
    return bool(one["generator_busy"] > LIMITED > one["server_busy"])


def write(what: str, rows: Iterable[Row], told: dict[str, Told], options: argparse.Namespace, **more: object) -> Path:
    """Write a result and return where: `bench/results/DATE-WHAT.json`, unless the options say otherwise."""
    now = dt.datetime.now(dt.UTC)
    output: Path = options.output or RESULTS / f"{now:%Y-%m-%dT%H%M}-{what}.json"
    output.parent.mkdir(exist_ok=True)
    result = {
        "schema": "halloo.bench/1",
        "what": what,
        "date": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "config": {"rounds": options.rounds, "seconds": options.seconds, "seed": options.seed},
        "rows": {row.name: {"unit": row.unit, "reference": row.reference} for row in rows if row.name in told},
        "results": told,
        **more,
    }
    output.write_text(json.dumps(result, indent=1) + "\n")
    return output
