"""Run a comparison row by row: start the servers of a row, measure them in interleaved rounds, summarise the rounds.

Defines a row and the options that all comparisons share; bench.tcp and bench.udp define the rows.
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
from bench.rounds import Estimate, estimate, interleave, ratios
from bench.servers import MissingError, Running, Server, certificate, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Results = dict[str, dict[str, Any]]
"""For each server of a row, its summary."""

IDLE = 0.5
"""A server was idle if it used less than this fraction of the CPU that the busiest server of its row used."""

UNITS = {"echo": "messages/s", "stream": "MB/s", "accept": "connections/s"}


@dataclass(frozen=True, slots=True)
class Row:
    """One table: what the generator does, and with which servers."""

    name: str
    mode: str
    connections: int
    servers: tuple[Server, ...]
    reference: str
    size: int = 64
    words: tuple[str, ...] = ()
    quick: bool = True
    protocol: str = "tcp"

    @property
    def unit(self) -> str:
        """The unit of the rates."""
        return "datagrams/s" if self.protocol == "udp" else UNITS[self.mode]

    def rate(self, one: Round) -> float:
        """Return the row's figure for one round, 0 after any error."""
        return one.byte_rate / 1e6 if self.mode == "stream" else one.rate


def parse(argv: list[str] | None, *, prog: str, about: str | None, others: str = "") -> argparse.Namespace:
    """Parse the options, and choose two cores if there are two. `others` names choices of --rows besides rows."""
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=about)
    parser.add_argument("--quick", action="store_true", help="only the rows with a threshold, 0.1 s for each round")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of each server in each row")
    parser.add_argument("--seconds", type=float, help="duration of a round, 0.1 to 0.5")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the order of the rounds")
    parser.add_argument("--rows", default="", help=f"only rows whose name contains this{others}")
    parser.add_argument("--servers", default="", help="only these servers (comma-separated) and the reference")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="a further server, or another for that name; one of tls:// is for the TLS rows",
    )
    parser.add_argument("-o", "--output", type=Path, help="output file; by default a new one in bench/results")
    options = parser.parse_args(argv)
    options.seconds = options.seconds or (0.1 if options.quick else 0.25)
    available = sorted(os.sched_getaffinity(0))
    options.cores = (available[0], available[1]) if len(available) > 1 else (None, None)
    return options


def run_rows(
    rows: Iterable[Row], options: argparse.Namespace, missing: dict[str, str], show: Callable[[Row, Results], None]
) -> dict[str, Results]:
    """Measure each chosen row, and show it when it is done."""
    results: dict[str, Results] = {}
    for row in rows:
        if options.rows not in row.name or (options.quick and not row.quick):
            continue
        with contextlib.ExitStack() as stack:
            running = start_all(chosen(row, options), options, missing)
            for one in running.values():
                stack.enter_context(one)
            try:
                results[row.name] = summary(row, measure_row(row, running, options))
            except MissingError as error:
                print(f"left out: {row.name}: {error}", file=sys.stderr)
                continue
        show(row, results[row.name])
    return results


def chosen(row: Row, options: argparse.Namespace) -> tuple[Server, ...]:
    """Return the chosen servers of a row, with those of `--also` added or replaced."""
    names = [name for name in options.servers.split(",") if name]
    named = {s.name: s for s in row.servers if not names or s.name in names or s.name == row.reference}
    for text in options.also:
        if ("tls://" in text) == (row.protocol == "tls"):
            name, _, words = text.partition("=")
            named[name] = Server(name, tuple(shlex.split(words)))
    return tuple(named.values())


def start_all(servers: tuple[Server, ...], options: argparse.Namespace, missing: dict[str, str]) -> dict[str, Running]:
    """Start the servers; for each that cannot start, print the reason once."""
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
    capable = [name for name, one in running.items() if one.server.max_connections >= row.connections]
    words = ("-c", str(row.connections), "-s", str(row.size), *row.words)
    with contextlib.ExitStack() as stack:
        generators = {}
        for name in capable:
            try:
                generator = Generator(row.mode, running[name], *words, core=options.cores[1], protocol=row.protocol)
            except MissingError as error:
                print(f"left out of {row.name}: {error}", file=sys.stderr)
                continue
            generators[name] = stack.enter_context(generator)
        return interleave(
            list(generators),
            lambda name: generators[name].round(options.seconds),
            rounds=options.rounds,
            rng=random.Random(options.seed),  # the order of rounds needs no cryptographic randomness
        )


def summary(row: Row, rounds: dict[str, list[Round]]) -> Results:
    """Return for each server its medians, and its ratios to the reference for each round."""
    reference = rounds.get(row.reference, [])
    server_busy = {name: statistics.median(one.server_cpu for one in mine) for name, mine in rounds.items()}
    summaries = {}
    for name, mine in rounds.items():
        pairs = reference or mine
        received, lost = sum(one.messages for one in mine), sum(one.lost for one in mine)
        summaries[name] = {
            "rate": as_dict(estimate([row.rate(one) for one in mine if not one.errors])),
            "rate_ratio": as_dict(estimate(ratios(map(row.rate, mine), map(row.rate, pairs)))),
            "server_cpu_us": as_dict(estimate([one.cpu_us for one in mine if not one.errors])),
            "server_cpu_ratio": as_dict(estimate(ratios([r.cpu_us for r in mine], [r.cpu_us for r in pairs]))),
            "p50_us": statistics.median(one.p50_us for one in mine),
            "p99_us": statistics.median(one.p99_us for one in mine),
            "server_busy": server_busy[name],
            "idle": server_busy[name] < IDLE * max(server_busy.values()),
            "generator_busy": statistics.median(one.generator_cpu for one in mine),
            "errors": sum(one.errors for one in mine),
            "lost_share": lost / max(1, lost + received),
            "rates": [round(row.rate(one), 1) for one in mine],
            "cpus_us": [round(one.cpu_us, 3) for one in mine],
        }
    return summaries


def as_dict(value: Estimate | None) -> dict[str, float] | None:
    """Return an estimate as a dict for JSON, or None."""
    return None if value is None else dataclasses.asdict(value)
