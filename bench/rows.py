"""Run a comparison row by row: start a row's servers, measure them in turns, sum up what came back.

Knows what a row is and which options every comparison takes. Which rows there are, and how they are told, is others'.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import shlex
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.generator import Generator, Round
from bench.rounds import Estimate, estimate, ratios, take_turns
from bench.servers import MissingError, Running, Server, certificate, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Told = dict[str, dict[str, Any]]
"""For each server of a row, what there is to tell."""

IDLE = 0.5
"""Share of the row's busiest below which a server waited for work: a core is seldom its alone."""

UNITS = {"echo": "messages/s", "stream": "MB/s", "accept": "connections/s"}


@dataclass(frozen=True, slots=True)
class Row:
    """One table: what the generator does, and which servers it does it to."""

    name: str
    mode: str
    connections: int
    servers: tuple[Server, ...]
    reference: str
    size: int = 64
    words: tuple[str, ...] = ()
    quick: bool = True
    speaks: str = "tcp"

    @property
    def unit(self) -> str:
        """Return what its rates count."""
        return "datagrams/s" if self.speaks == "udp" else UNITS[self.mode]

    def rate(self, one: Round) -> float:
        """Return the row's figure for one round, 0 when anything went wrong."""
        return one.byte_rate / 1e6 if self.mode == "stream" else one.rate


def parse(argv: list[str] | None, *, prog: str, about: str | None, others: str = "") -> argparse.Namespace:
    """Return the options; two cores apart where there are two. `others` names what can be chosen besides rows."""
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=about)
    parser.add_argument("--quick", action="store_true", help="the rows with a bar only, 0.1 s a round")
    parser.add_argument("--rounds", type=int, default=30, help="of each server in each row")
    parser.add_argument("--seconds", type=float, help="of a round, 0.1 to 0.5")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the rounds")
    parser.add_argument("--rows", default="", help=f"only rows whose name holds this{others}")
    parser.add_argument("--servers", default="", help="only these (comma), besides the one compared with")
    parser.add_argument(
        "--also", action="append", default=[], metavar="NAME=COMMAND", help="one more server, or that name's instead"
    )
    parser.add_argument("-o", "--output", type=Path, help="instead of the file in bench/results")
    options = parser.parse_args(argv)
    options.seconds = options.seconds or (0.1 if options.quick else 0.25)
    available = sorted(os.sched_getaffinity(0))
    options.cores = (available[0], available[1]) if len(available) > 1 else (None, None)
    return options


def run_rows(
    rows: Iterable[Row], options: argparse.Namespace, missing: dict[str, str], show: Callable[[Row, Told], None]
) -> dict[str, Told]:
    """Measure every row that was asked for, showing each when it is done."""
    told: dict[str, Told] = {}
    for row in rows:
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
        show(row, told[row.name])
    return told


def chosen(row: Row, options: argparse.Namespace) -> tuple[Server, ...]:
    """Return the row's servers that were asked for, those of `--also` behind them or in their place."""
    names = [name for name in options.servers.split(",") if name]
    named = {s.name: s for s in row.servers if not names or s.name in names or s.name == row.reference}
    if row.speaks != "tls":  # a command that was named has no certificate
        for text in options.also:
            name, _, words = text.partition("=")
            named[name] = Server(name, tuple(shlex.split(words)))
    return tuple(named.values())


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


def measure_row(row: Row, running: dict[str, Running], options: argparse.Namespace) -> dict[str, list[Round]]:
    """Run the rounds of one row; entry i of every list is round i."""
    fitting = [name for name, one in running.items() if one.server.most >= row.connections]
    words = ("-c", str(row.connections), "-s", str(row.size), *row.words)
    with contextlib.ExitStack() as stack:
        generators = {}
        for name in fitting:
            try:
                generator = Generator(row.mode, running[name], *words, core=options.cores[1], speaks=row.speaks)
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


def summary(row: Row, rounds: dict[str, list[Round]]) -> Told:
    """Return for each server its medians, and its ratios to the reference round by round."""
    reference = rounds.get(row.reference, [])
    busy = {name: statistics.median(one.server_cpu for one in mine) for name, mine in rounds.items()}
    told = {}
    for name, mine in rounds.items():
        pairs = reference or mine
        back, lost = sum(one.messages for one in mine), sum(one.lost for one in mine)
        told[name] = {
            "rate": as_dict(estimate([row.rate(one) for one in mine if not one.errors])),
            "rate_ratio": as_dict(estimate(ratios(map(row.rate, mine), map(row.rate, pairs)))),
            "server_cpu_us": as_dict(estimate([one.cpu_us for one in mine if not one.errors])),
            "server_cpu_ratio": as_dict(estimate(ratios([r.cpu_us for r in mine], [r.cpu_us for r in pairs]))),
            "p50_us": statistics.median(one.p50_us for one in mine),
            "p99_us": statistics.median(one.p99_us for one in mine),
            "server_busy": busy[name],
            "idle": busy[name] < IDLE * max(busy.values()),
            "generator_busy": statistics.median(one.generator_cpu for one in mine),
            "errors": sum(one.errors for one in mine),
            "lost_share": lost / max(1, lost + back),
            "rates": [round(row.rate(one), 1) for one in mine],
            "cpus_us": [round(one.cpu_us, 3) for one in mine],
        }
    return told


def as_dict(value: Estimate | None) -> dict[str, float] | None:
    """Return an estimate as JSON has it; missing is null."""
    return None if value is None else dataclasses.asdict(value)
