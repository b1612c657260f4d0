"""Report a comparison: a table for each row, a verdict for each threshold, and one JSON file."""

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
    from bench.rows import Results, Row

RESULTS = Path(__file__).parent / "results"
GENERATOR_LIMIT = 0.97
"""Above this fraction of a core the generator, not the server, may have been the bottleneck."""

NOTABLE_LOSS = 0.001


@dataclass(frozen=True, slots=True)
class Threshold:
    """The minimum ratio of a server's rate to another server's in a row; `aim` is the desired ratio."""

    row: str
    against: str
    minimum: float
    server: str = "halloo"
    aim: float | None = None


def heading(here: Machine, options: argparse.Namespace) -> str:
    """Return the heading of a run: machine, rounds and seed."""
    return f"{here}\n{options.rounds} rounds of {options.seconds} s, order by seed {options.seed}, median [95 %]"


def show(row: Row, results: Results) -> None:
    """Print the table of a row."""
    print(table(row, results), flush=True)


def table(row: Row, results: Results) -> str:
    """Return the results of one row as a table."""
    lossy = row.protocol == "udp"
    lines = [
        f"\n{row.name}",
        f"  {'':22} {row.unit:>13}   ratio to {row.reference:16}  server CPU us   ratio               p50 us   p99 us"
        + "   lost %" * lossy,
    ]
    for name, one in results.items():
        if one["rate"] is None:
            lines.append(f"  {name:22} failed: {one['errors']} errors")
            continue
        loss = f" {100 * one['lost_share']:8.3f}" * lossy
        marks = ["generator-bound"] if generator_bound(one) else []
        marks += [loss_effect(one)] if one["lost_share"] > NOTABLE_LOSS else []
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


def verdicts(thresholds: Iterable[Threshold], rows: dict[str, Results]) -> list[str]:
    """Return a line for each threshold that was measured: reached, or missed and by how much."""
    lines = []
    for goal in thresholds:
        mine, other = (rows.get(goal.row, {}).get(name) for name in (goal.server, goal.against))
        got = estimate(ratios(mine["rates"], other["rates"])) if mine and other else None
        if mine and other and got:
            what = f"{goal.row}: {goal.server} is {got.median:.3f} [{got.low:.3f} {got.high:.3f}] of {goal.against}"
            minimum = f"at least {goal.minimum:.3g}" + (f", the aim {goal.aim:.3g}" if goal.aim else "")
            line = verdict(what + cpu(mine, other), minimum, got.median >= goal.minimum, sure=got.high < goal.minimum)
            lines.append(line + caveats(goal.server, mine) + caveats(goal.against, other))
    return lines


def cpu(mine: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the ratio of CPU per message: it varies less than the rate; lower is better."""
    got = estimate(ratios(mine["cpus_us"], other["cpus_us"]))
    return f" (CPU {got.median:.3f} [{got.low:.3f} {got.high:.3f}])" if got else ""


def verdict(what: str, requirement: str, good: bool, *, sure: bool = True) -> str:
    """Return the line of one threshold; a miss whose interval contains the threshold is open: run more rounds."""
    word = "reached" if good else "MISSED" if sure else "open"
    return f"  {word:8} {what}; required: {requirement}"


def caveats(name: str, one: dict[str, Any]) -> str:
    """Return what affects one side of a ratio: losses, errors, a saturated generator."""
    found = [f"lost {one['lost_share']:.1%}: {loss_effect(one)}"] if one["lost_share"] > NOTABLE_LOSS else []
    found += [f"had {one['errors']} errors"] if one["errors"] else []
    found += ["may have been faster than the generator"] if generator_bound(one) else []
    return f" ({name} {', '.join(found)})" if found else ""


def loss_effect(one: dict[str, Any]) -> str:
    """Return how losses affected a server's figures: they lower its latency, and may lower its rate."""
    return "idle for lack of datagrams" if one["idle"] else "fewer in flight"


def generator_bound(one: dict[str, Any]) -> bool:
    """Return whether the generator was saturated and the server was not."""
    return bool(one["generator_busy"] > GENERATOR_LIMIT > one["server_busy"])


def write(
    comparison: str, rows: Iterable[Row], results: dict[str, Results], options: argparse.Namespace, **more: object
) -> Path:
    """Write the result to `--output`, or to `bench/results/DATE-COMPARISON.json`; return the path."""
    now = dt.datetime.now(dt.UTC)
    output: Path = options.output or RESULTS / f"{now:%Y-%m-%dT%H%M}-{comparison}.json"
    output.parent.mkdir(exist_ok=True)
    result = {
        "schema": "halloo.bench/1",
        "what": comparison,
        "date": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "config": {"rounds": options.rounds, "seconds": options.seconds, "seed": options.seed},
        "rows": {row.name: {"unit": row.unit, "reference": row.reference} for row in rows if row.name in results},
        "results": results,
        **more,
    }
    output.write_text(json.dumps(result, indent=1) + "\n")
    return output
