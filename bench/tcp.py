"""Compare TCP echo servers: `python -m bench.tcp [--quick]` prints tables, writes `bench/results/DATE.json`.

Knows the rows, the bars and how a result is told. The servers, the generator and the turns are its neighbours' part.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import json
import os
import random
import shlex
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.generator import Generator, Round
from bench.machine import machine
from bench.rounds import Estimate, estimate, ratios, take_turns
from bench.servers import TCP, TLS, C, MissingError, Running, Server, certificate, halloo, start

RESULTS = Path(__file__).parent / "results"
HELD = 10_000
SOURCES = 250
LIMITED = 0.97
"""Share of a core from which the generator, not the server, may be what was measured."""

WITH_LIMITS = halloo(
    *("--idle-timeout", "1h", "--max-lifetime", "1h", "--max-connections", "100k", "--max-per-host", "100k"),
    *("--max-bytes", "1000GiB", "--rate-limit", "100GiB", "--allow", "127.0.0.0/8"),
    name="halloo with all limits",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One table: what the generator does, and which servers it does it to."""

    name: str
    mode: str
    connections: int
    size: int = 64
    words: tuple[str, ...] = ()
    quick: bool = True
    servers: tuple[Server, ...] = (*TCP[:2], WITH_LIMITS, *TCP[2:])
    reference: str = C.name

    @property
    def tls(self) -> bool:
        """Tell whether the generator speaks TLS."""
        return self.servers is TLS

    @property
    def unit(self) -> str:
        """Return what its rates count."""
        return {"echo": "messages/s", "stream": "MB/s", "accept": "connections/s"}[self.mode]

    def rate(self, one: Round) -> float:
        """Return the row's figure for one round, 0 when anything went wrong."""
        return one.byte_rate / 1e6 if self.mode == "stream" else one.rate


# The window of a stream: with more under way the queue outgrows the cores' caches, and the row would measure memory.
ROWS = (
    *(
        Row(f"{size} B echo, {count} connections", "echo", count, size, quick=size == 64 and count > 1)  # noqa: PLR2004
        for size in (64, 1024)
        for count in (1, 64, 512, 4000)
    ),
    Row("stream, 1 connection", "stream", 1),
    Row("stream, 1 connection, 256 KiB under way", "stream", 1, words=("-w", "262144")),
    Row("connect and close", "accept", 64, words=("-n", str(SOURCES))),
    Row("TLS, 1 KiB echo, 64 connections", "echo", 64, 1024, servers=TLS, reference=TLS[0].name),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """What halloo must reach: a figure of a row against another server's."""

    row: str
    against: str
    least: float
    server: str = "halloo"


BARS = (
    *(
        Bar(f"64 B echo, {count} connections", against, least, server)
        for count in (64, 512)
        for server, against, least in (
            ("halloo", "C epoll", 0.82),
            ("halloo", "uvloop Protocol", 1.0),
            ("halloo", "asyncio Protocol", 1.3),
            (WITH_LIMITS.name, "C epoll", 0.72),
        )
    ),
    Bar("64 B echo, 4000 connections", "C epoll", 0.8),
    Bar("stream, 1 connection", "C epoll", 1.0),
    Bar("stream, 1 connection", "uvloop Protocol", 0.9),
    Bar("TLS, 1 KiB echo, 64 connections", "uvloop Protocol", 1.0),
)
MEMORY_BARS = {"halloo": 32, WITH_LIMITS.name: 64}
MOST_CPU_FOR_A_CONNECTION = 1.6


def measure_row(row: Row, running: dict[str, Running], options: argparse.Namespace) -> dict[str, list[Round]]:
    """Run the rounds of one row; entry i of every list is round i."""
    fitting = [name for name, one in running.items() if one.server.most >= row.connections]
    words = ("-c", str(row.connections), "-s", str(row.size), *row.words)
    with contextlib.ExitStack() as stack:
        generators = {}
        for name in fitting:
            try:
                generator = Generator(row.mode, running[name], *words, core=options.cores[1], tls=row.tls)
            except MissingError as error:
                print(f"left out of {row.name}: {error}", file=sys.stderr)
                continue
            generators[name] = stack.enter_context(generator)
        return take_turns(
            list(generators),
            lambda name: generators[name].round(options.seconds),
            rounds=options.rounds,
            chance=random.Random(options.seed),  # an order of rounds is no secret
        )


def summary(row: Row, rounds: dict[str, list[Round]]) -> dict[str, dict[str, Any]]:
    """Return for each server its medians, and its ratios to the reference round by round."""
    reference = rounds.get(row.reference, [])
    told = {}
    for name, mine in rounds.items():
        pairs = reference or mine
        told[name] = {
            "rate": as_dict(estimate([row.rate(one) for one in mine if not one.errors])),
            "rate_ratio": as_dict(estimate(ratios(map(row.rate, mine), map(row.rate, pairs)))),
            "server_cpu_us": as_dict(estimate([one.cpu_us for one in mine if not one.errors])),
            "server_cpu_ratio": as_dict(estimate(ratios([r.cpu_us for r in mine], [r.cpu_us for r in pairs]))),
            "p50_us": statistics.median(one.p50_us for one in mine),
            "p99_us": statistics.median(one.p99_us for one in mine),
            "server_busy": statistics.median(one.server_cpu for one in mine),
            "generator_busy": statistics.median(one.generator_cpu for one in mine),
            "errors": sum(one.errors for one in mine),
            "rates": [round(row.rate(one), 1) for one in mine],
        }
    return told


def as_dict(value: Estimate | None) -> dict[str, float] | None:
    """Return an estimate as JSON has it; missing is null."""
    return None if value is None else dataclasses.asdict(value)


def memory(servers: tuple[Server, ...], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return for each server the resident bytes of an idle connection, before and after one echo on each."""
    told = {}
    for server in servers:
        if server.most < HELD:
            continue
        with contextlib.suppress(MissingError), start(server, core=options.cores[0]) as running:
            with Generator("echo", running, "-c", "64", core=options.cores[1]) as warm:
                warm.round(options.seconds)
            before = running.rss()
            with Generator("hold", running, "-c", str(HELD), core=options.cores[1]) as generator:
                idle = running.rss()
                echoed = generator.round(30)
                after = running.rss()
            told[server.name] = {
                "idle_bytes": (idle - before) / HELD,
                "echoed_bytes": (after - before) / HELD,
                "errors": echoed.errors,
            }
    return told


def table(row: Row, told: dict[str, dict[str, Any]]) -> str:
    """Return one row's results for a reader."""
    lines = [
        f"\n{row.name}",
        f"  {'':20} {row.unit:>13}   ratio to {row.reference:16}  server CPU us   ratio               p50 us   p99 us",
    ]
    for name, one in told.items():
        if one["rate"] is None:
            lines.append(f"  {name:20} failed: {one['errors']} errors")
            continue
        marks = ["generator-bound"] if one["generator_busy"] > LIMITED > one["server_busy"] else []
        marks += [f"{one['errors']} errors"] if one["errors"] else []
        lines.append(
            f"  {name:20} {one['rate']['median']:13,.0f}   {interval(one['rate_ratio'])}        "
            f"{one['server_cpu_us']['median']:13.2f}   {interval(one['server_cpu_ratio'])} "
            f"{one['p50_us']:8.0f} {one['p99_us']:8.0f}  {', '.join(marks)}".rstrip()
        )
    return "\n".join(lines)


def interval(value: dict[str, float] | None) -> str:
    """Return `0.95 [0.94 0.97]`."""
    return "-" * 18 if value is None else f"{value['median']:5.3f} [{value['low']:5.3f} {value['high']:5.3f}]"


def verdicts(rows: dict[str, dict[str, dict[str, Any]]], held: dict[str, dict[str, float]]) -> list[str]:
    """Return a line for each bar that was measured: reached, or missed and by how much."""
    lines = []
    for bar in BARS:
        mine, other = (rows.get(bar.row, {}).get(name) for name in (bar.server, bar.against))
        if mine and other:
            got = estimate(ratios(mine["rates"], other["rates"]))
            if got:
                what = f"{bar.row}: {bar.server} is {got.median:.3f} [{got.low:.3f} {got.high:.3f}] of {bar.against}"
                lines.append(verdict(what, f"at least {bar.least}", got.median >= bar.least, sure=got.high < bar.least))
    for name, most in MEMORY_BARS.items():
        if name in held:
            got_bytes = held[name]["echoed_bytes"]
            what = f"{name}: {got_bytes:.1f} bytes for an idle connection at {HELD}"
            lines.append(verdict(what, f"at most {most}", got_bytes <= most))
    cost = rows.get("connect and close", {}).get("halloo", {}).get("server_cpu_ratio")
    if cost:
        what = f"connect and close: halloo's CPU is {cost['median']:.2f} of C epoll's"
        good = cost["median"] <= MOST_CPU_FOR_A_CONNECTION
        lines.append(verdict(what, f"at most {MOST_CPU_FOR_A_CONNECTION}", good))
    return lines


def verdict(what: str, bar: str, good: bool, *, sure: bool = True) -> str:
    """Return one bar's line; a miss whose interval still holds the bar is open, more rounds decide."""
    word = "reached" if good else "MISSED" if sure else "open"
    return f"  {word:8} {what}; the bar is {bar}"


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options; two cores apart where there are two."""
    parser = argparse.ArgumentParser(prog="python -m bench.tcp", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the rows with a bar only, 0.1 s a round")
    parser.add_argument("--rounds", type=int, default=30, help="of each server in each row")
    parser.add_argument("--seconds", type=float, help="of a round, 0.1 to 0.5")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the rounds")
    parser.add_argument("--rows", default="", help="only rows whose name holds this, 'memory' among them")
    parser.add_argument("--servers", default="", help="only these (comma), besides C epoll")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=COMMAND", help="one more server")
    parser.add_argument("-o", "--output", type=Path, help="instead of bench/results/DATE.json")
    options = parser.parse_args(argv)
    options.seconds = options.seconds or (0.1 if options.quick else 0.25)
    available = sorted(os.sched_getaffinity(0))
    options.cores = (available[0], available[1]) if len(available) > 1 else (None, None)
    return options


def chosen(row: Row, options: argparse.Namespace) -> tuple[Server, ...]:
    """Return the row's servers that were asked for, those of `--also` behind them."""
    names = [name for name in options.servers.split(",") if name]
    also = [text.partition("=") for text in options.also]
    named = tuple(s for s in row.servers if not names or s.name in names or s.name == row.reference)
    return named if row.tls else (*named, *(Server(name, tuple(shlex.split(words))) for name, _, words in also))


def start_all(servers: tuple[Server, ...], options: argparse.Namespace, missing: dict[str, str]) -> dict[str, Running]:
    """Start what can be started; say once why another cannot."""
    running = {}
    for server in servers:
        if server.name in missing:
            continue
        try:
            if server.tls:
                certificate()
            running[server.name] = start(server, core=options.cores[0])
        except MissingError as error:
            missing[server.name] = str(error)
            print(f"left out: {error}", file=sys.stderr)
    return running


def run_rows(options: argparse.Namespace, missing: dict[str, str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure every row that was asked for, printing each when it is done."""
    told: dict[str, dict[str, dict[str, Any]]] = {}
    for row in ROWS:
        if options.rows not in row.name or (options.quick and not row.quick):
            continue
        with contextlib.ExitStack() as stack:
            running = start_all(chosen(row, options), options, missing)
            for one in running.values():
                stack.enter_context(one)
            try:
                told[row.name] = summary(row, measure_row(row, running, options))
            except MissingError as error:
                print(f"left out: {row.name}: {error}", file=sys.stderr)
                continue
        print(table(row, told[row.name]), flush=True)
    return told


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    options = parse(sys.argv[1:] if argv is None else argv)
    here = machine()
    print(f"{here}\n{options.rounds} rounds of {options.seconds} s, order by seed {options.seed}, median [95 %]")
    missing: dict[str, str] = {}
    rows = run_rows(options, missing)
    held = memory(chosen(ROWS[0], options), options) if options.rows in "memory" else {}
    if held:
        print(f"\nresident memory of an idle connection at {HELD}\n  {'':20} {'idle':>10} {'after an echo':>14}")
    for name, one in held.items():
        print(f"  {name:20} {one['idle_bytes']:8.1f} B {one['echoed_bytes']:12.1f} B")
    lines = verdicts(rows, held)
    if lines:
        print("\n" + "\n".join(lines))
    now = dt.datetime.now(dt.UTC)
    output = options.output or RESULTS / f"{now:%Y-%m-%dT%H%M}.json"
    output.parent.mkdir(exist_ok=True)
    result = {
        "schema": "halloo.bench/1",
        "date": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "machine": dataclasses.asdict(here),
        "config": {"rounds": options.rounds, "seconds": options.seconds, "seed": options.seed},
        "rows": {row.name: {"unit": row.unit, "reference": row.reference} for row in ROWS if row.name in rows},
        "results": rows,
        "memory": held,
        "missing": missing,
    }
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
