"""Measure `halloo ping` itself: `python -m bench.ping [--quick]` prints tables, writes `bench/results/DATE-ping.json`.

Defines the rows and bars of ping, and reads its JSON. Servers, the order of rounds and estimates are shared with the
other benchmarks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.machine import machine
from bench.report import interval, verdict, write
from bench.rounds import estimate, interleave, ratios
from bench.rows import Results, Row, as_dict
from bench.servers import MissingError, Server, build, compiled, halloo, on_core, start

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 64
SCHEMES = ("tcp", "udp")
ADDED_MS = (0, 1, 5, 50)
HONEST_PROBES, HONEST_INTERVAL = 25, "60ms"  # longer than the longest delay, for all delays
ROUND_TRIPS = 3000  # a quarter of a second, about the start-up time of Python
PACE_PROBES, PACE_INTERVAL = 10_000, "1ms"
ROUNDS, QUICK_ROUNDS = 30, 9
PATIENCE_SECONDS = 40  # for one client; the longest takes 10
USAGE = 2  # exit code
ECHO = {"tcp": compiled("C epoll", "epoll.c"), "udp": compiled("C recvfrom/sendto", "udp.c", "plain")}


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of one client in one round."""

    p50_us: float
    p99_us: float | None = None
    """None with too few probes."""
    clock: str = "user"
    within_percent: float = 0.0
    """Probes sent within 100 us of their due time."""
    cpu_percent: float | None = None
    errors: int = 0
    """Probes that were not answered exactly once and correctly; a round with errors does not count."""


FAILED = Reading(0.0, errors=1)


def read_ping(text: str) -> Reading:
    """Read the JSON of `halloo ping` with one target."""
    summary = json.loads(text)["summary"]
    (target,), generator = summary["targets"], summary["generator"]
    round_trip = target["round_trip"]
    if round_trip is None:
        return FAILED
    return Reading(
        p50_us=round_trip["p50_ns"] / 1e3,
        p99_us=None if round_trip["p99_ns"] is None else round_trip["p99_ns"] / 1e3,
        clock=target["clock"],
        within_percent=generator["within_100us_percent"]
        if generator["lateness"]
        else 0.0,  # without any, all would be on time
        cpu_percent=generator["cpu_percent"],
        errors=target["sent"] - target["received"] + target["corrupt"] + target["duplicate"],
    )


def read_pingpong(text: str) -> Reading:
    """Read the output line of `peers/pingpong.c`, which stops at a missing or wrong reply."""
    told = json.loads(text)
    return Reading(told["p50_ns"] / 1e3, told["p99_ns"] / 1e3)


@dataclass(frozen=True, slots=True)
class Client:
    """A command that measures a round trip; `{port}` in its words is replaced by the server's port."""

    words: tuple[str, ...]
    read: Callable[[str], Reading] = read_ping
    source: str = ""
    """A file in `bench/peers`; without it, the client is ping."""

    def argv(self, port: int, ping: list[str]) -> list[str]:
        """Return the command for a server on that port."""
        program = [str(build(self.source))] if self.source else ping
        return [*program, *(word.format(port=port) for word in self.words)]


def ping(scheme: str, count: int, interval: str, *flags: str) -> Client:
    """Return ping with `count` probes `interval` apart; with `0` each probe follows the last reply."""
    where = f"{scheme}://127.0.0.1:{{port}}"
    return Client((where, "-c", str(count), "-i", interval, "-s", str(SIZE), "-q", "--json", *flags))


def pingpong(scheme: str, how: str) -> Client:
    """Return the client in C, which sleeps or spins while waiting for the reply."""
    return Client((scheme, "{port}", how, str(ROUND_TRIPS), str(SIZE)), read_pingpong, "pingpong.c")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a table: a client, its server, and the bar if there is one."""

    name: str
    server: Server
    client: Client
    bar: float | None = None
    added_us: int = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """One table: clients in turn, and the reference that the others are compared with."""

    name: str
    reference: str
    cases: tuple[Case, ...]
    judge: Callable[[str, Case, dict[str, Any]], str] | None = None
    unit: str = "us, p50"
    share: int = 1
    """The divisor of the number of rounds."""

    @property
    def pace(self) -> bool:
        """Whether the figure is the share of probes sent on time, instead of the round trip."""
        return self.unit.startswith("%")

    def figure(self, one: Reading) -> float:
        """Return the figure of one round; 0 after any error."""
        return 0.0 if one.errors else one.within_percent if self.pace else one.p50_us


# -- bars -------------------------------------------------------------------------------------------------------------


def judge_honesty(what: str, case: Case, one: dict[str, Any]) -> str:
    """Return whether ping's increase over the reference is the time that was added."""
    off, most = one["off_us"], case.bar or 0
    text = f"{what} is off by {signed(off)} us, in a round {one['worst_us']:.1f} at most"
    sure = off["low"] > most or off["high"] < -most
    return verdict(text, f"within {most:g}", abs(off["median"]) <= most, sure=sure)


def judge_overhead(what: str, case: Case, one: dict[str, Any]) -> str:
    """Return whether ping's round trip is as good as that of the client in C."""
    got, most = one["rate_ratio"], case.bar or 0
    text = f"{what} is {interval(got)} of {one['against']}"
    return verdict(text, f"at most {most:g}", got["median"] <= most, sure=got["low"] > most)


def judge_pace(what: str, case: Case, one: dict[str, Any]) -> str:
    """Return whether probes are sent on time."""
    got, least = one["rate"], case.bar or 0
    text = f"{what}: {got['median']:.2f} [{got['low']:.2f} {got['high']:.2f}] % sent within 100 us of the schedule"
    return verdict(text, f"at least {least:g} %", got["median"] >= least, sure=got["high"] < least)


# -- rows -------------------------------------------------------------------------------------------------------------


def honesty(scheme: str, clock: str, bar: float, *flags: str) -> Trial:
    """Return the row of a server that adds an exact delay; without a delay it shows the time of loopback."""
    client = ping(scheme, HONEST_PROBES, HONEST_INTERVAL, *flags)
    cases = (
        Case(
            f"{added} ms",
            compiled(f"C adding {added} ms", "delay.c", scheme, str(added)),
            client,
            bar if added else None,
            added * 1000,
        )
        for added in ADDED_MS
    )
    return Trial(f"honesty, {scheme}, {clock}", "0 ms", tuple(cases), judge_honesty, share=3)


def overhead(scheme: str, how: str, bar: float, *flags: str) -> Trial:
    """Return the row of ping compared with C, both sleeping or both spinning, against the same server."""
    reference = f"C, {how}s"
    cases = (
        Case(reference, ECHO[scheme], pingpong(scheme, how)),
        Case("ping", ECHO[scheme], ping(scheme, ROUND_TRIPS, "0", *flags), bar),
        Case("ping -U", ECHO[scheme], ping(scheme, ROUND_TRIPS, "0", "-U", *flags), bar),
    )
    return Trial(f"overhead, {scheme}, {how}", reference, cases, judge_overhead)


def loopback(scheme: str, clock: str, *flags: str) -> Trial:
    """Return the row of the benefit of spinning, with halloo on both sides."""
    asleep, awake = (halloo(*more, scheme=f"{scheme}://") for more in ((), ("--busy-poll",)))
    sleeps, spins = (ping(scheme, ROUND_TRIPS, "0", *flags, *more) for more in ((), ("--busy-poll",)))
    cases = (
        Case("both sleep", asleep, sleeps),
        Case("client spins", asleep, spins),
        Case("both spin", awake, spins),
    )
    return Trial(f"halloo serve, {scheme}, {clock}", cases[0].name, cases, share=3)


PACE = tuple(Case(scheme, ECHO[scheme], ping(scheme, PACE_PROBES, PACE_INTERVAL), 98) for scheme in SCHEMES)
CLOCKS: tuple[tuple[str, float, tuple[str, ...]], ...] = (("kernel stamps", 25, ()), ("plain clock", 120, ("-U",)))
TRIALS = (
    *(honesty(scheme, clock, bar, *flags) for scheme in SCHEMES for clock, bar, flags in CLOCKS),
    *(overhead(scheme, "sleep", 1.2) for scheme in SCHEMES),
    *(overhead(scheme, "busy_poll", 1.3, "--busy-poll") for scheme in SCHEMES),
    Trial(f"pace, every {PACE_INTERVAL}", SCHEMES[0], PACE, judge_pace, "% on time", share=10),
    *(loopback(scheme, clock, *flags) for scheme in SCHEMES for clock, _, flags in CLOCKS),
)


# -- measuring --------------------------------------------------------------------------------------------------------


def measure(case: Case, options: argparse.Namespace) -> Reading:
    """Run one round with a fresh server and client, each on its own core; a spinning server is never left running."""
    with start(case.server, core=options.cores[0]) as running, on_core(options.cores[1]):
        words = case.client.argv(running.port, options.command)
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        except FileNotFoundError as error:
            raise MissingError(f"{words[0]} is not installed") from error
        except subprocess.TimeoutExpired:
            print(f"failed: timed out after {PATIENCE_SECONDS} s: {shlex.join(words)}", file=sys.stderr)
            return FAILED
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    if done.returncode == USAGE:
        raise MissingError(said)
    if done.returncode:
        print(f"failed: {said}: {shlex.join(words)}", file=sys.stderr)
        return FAILED
    return case.client.read(done.stdout)


def run_trial(trial: Trial, options: argparse.Namespace, missing: dict[str, str]) -> Results:
    """Measure the cases in turn; one that cannot run here is tried once."""
    names = {f"{trial.name}: {case.name}": case for case in trial.cases}

    def attempt(name: str) -> Reading:
        try:
            return FAILED if name in missing else measure(names[name], options)
        except MissingError as error:
            if str(error) not in missing.values():
                print(f"skipped: {name}: {error}", file=sys.stderr)
            missing[name] = str(error)
            return FAILED

    rounds = max(1, options.rounds // trial.share)
    readings = interleave(list(names), attempt, rounds=rounds, rng=random.Random(options.seed))
    return summary(trial, {names[name].name: mine for name, mine in readings.items() if name not in missing})


def summary(trial: Trial, readings: dict[str, list[Reading]]) -> Results:
    """Return the medians of each case, and its ratio to the reference round by round.

    `rate` and `rate_ratio` are the names in the schema of results; here less is better, except for the pace.
    """
    reference = [trial.figure(one) for one in readings.get(trial.reference, [])]
    told = {}
    for case in trial.cases:
        if case.name not in readings:
            continue
        mine = readings[case.name]
        figures = [trial.figure(one) for one in mine]
        pairs = zip(figures, reference, strict=True) if reference and not trial.pace else ()
        off = [a - b - case.added_us for a, b in pairs if a > 0 and b > 0]
        told[case.name] = {
            "rate": as_dict(estimate([figure for figure in figures if figure > 0])),
            "rate_ratio": as_dict(estimate(ratios(figures, reference))) if reference else None,
            "off_us": as_dict(estimate(off)),
            "worst_us": max(map(abs, off), default=None),
            "p99_us": middle([one.p99_us for one in mine if not one.errors]),
            "cpu_percent": middle([one.cpu_percent for one in mine if not one.errors]),
            "clock": "/".join(sorted({one.clock for one in mine if not one.errors})),
            "errors": sum(one.errors for one in mine),
            "against": trial.reference,
            "rates": [round(figure, 3) for figure in figures],
        }
    return told


def middle(values: list[float | None]) -> float | None:
    """Return the median of the known values."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


# -- output -----------------------------------------------------------------------------------------------------------


def table(trial: Trial, told: Results) -> str:
    """Return the results of one trial as text."""
    honest = trial.judge is judge_honesty
    beside = "off by us" if honest else f"ratio to {trial.reference}"
    lines = [f"\n{trial.name}", f"  {'':22} {trial.unit:>13}   {beside:24} {'p99 us':>8} {'CPU %':>7}  clock"]
    for name, one in told.items():
        if one["rate"] is None:
            lines.append(f"  {name:22} failed: {one['errors']} errors")
            continue
        compared = signed(one["off_us"]) if honest else interval(one["rate_ratio"])
        marks = f"  {one['errors']} errors" if one["errors"] else ""
        lines.append(
            f"  {name:22} {one['rate']['median']:13.1f}   {compared:24} {number(one['p99_us'])} "
            f"{number(one['cpu_percent'], 7)}  {one['clock']}{marks}"
        )
    return "\n".join(lines)


def signed(value: dict[str, float] | None) -> str:
    """Return `+1.2 [-0.3 +2.0]`."""
    return "-" if value is None else f"{value['median']:+.1f} [{value['low']:+.1f} {value['high']:+.1f}]"


def number(value: float | None, width: int = 8) -> str:
    """Return a formatted figure, or a dash for None."""
    return f"{'-':>{width}}" if value is None else f"{value:{width}.1f}"


def verdicts(told: dict[str, Results]) -> list[str]:
    """Return a line for each bar that was measured."""
    lines = []
    for trial in TRIALS:
        for case in trial.cases:
            one = told.get(trial.name, {}).get(case.name)
            if trial.judge is None or case.bar is None or one is None:
                continue
            compared = one["rate"] and (trial.pace or one["off_us"])
            what = f"{trial.name}: {case.name}"
            line = trial.judge(what, case, one) if compared else f"  {'MISSED':8} {what}: no valid round"
            lines.append(line + blemish(trial, one))
    return lines


def blemish(trial: Trial, one: dict[str, Any]) -> str:
    """Return what a verdict omits: errors, and a clock other than the intended one."""
    found = [f"{one['errors']} errors"] if one["errors"] else []
    if "kernel" in trial.name and one["clock"] not in {"kernel", ""}:
        found.append(f"clock: {one['clock']}")
    return f" ({', '.join(found)})" if found else ""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the options; use two separate cores if available."""
    parser = argparse.ArgumentParser(prog="python -m bench.ping", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"only rows with a bar, {QUICK_ROUNDS} rounds")
    parser.add_argument(
        "--rounds", type=int, help=f"rounds of the shortest rows (default {ROUNDS}); longer ones have fewer"
    )
    parser.add_argument("--seed", type=int, default=1, help="random seed for the order of the rounds")
    parser.add_argument("--rows", default="", help="only rows whose name contains this text")
    parser.add_argument("--command", help="command to use instead of `halloo ping`, with the same options")
    parser.add_argument("-o", "--output", type=Path, help="output file instead of the one in bench/results")
    parser.set_defaults(seconds=None)  # a round has a fixed number of probes
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.command = shlex.split(options.command) if options.command else [halloo().argv[0], "ping"]
    available = sorted(os.sched_getaffinity(0))
    options.cores = (available[0], available[1]) if len(available) > 1 else (None, None)
    return options


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    options = parse(argv)
    here = machine()
    print(f"{here}\n{options.rounds} rounds, fewer of long ones, order by seed {options.seed}, median [95 %]")
    told: dict[str, Results] = {}
    missing: dict[str, str] = {}
    for trial in TRIALS:
        if options.rows not in trial.name or (options.quick and trial.judge is None):
            continue
        told[trial.name] = run_trial(trial, options, missing)
        print(table(trial, told[trial.name]), flush=True)
    lines = verdicts(told)
    if lines:
        print("\n" + "\n".join(lines))
    rows = cast("tuple[Row, ...]", TRIALS)  # results use only a row's name, unit and reference
    output = write("ping", rows, told, options, machine=dataclasses.asdict(here), missing=missing)
    print(f"\nwritten: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
