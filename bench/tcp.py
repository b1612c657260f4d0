"""Compare TCP echo servers: `python -m bench.tcp [--quick]` prints tables, writes `bench/results/DATE-tcp.json`.

Knows the rows and the bars of TCP, and what an idle connection costs. Running rows and telling them is shared with UDP.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import TYPE_CHECKING

from bench.generator import Generator
from bench.machine import machine
from bench.rows import Row, chosen, parse, run_rows
from bench.servers import TCP, TLS, C, MissingError, Server, halloo, start
from bench.telling import Bar, heading, show, verdict, verdicts, write

if TYPE_CHECKING:
    import argparse

    from bench.rows import Told

HELD = 10_000
SOURCES = 250

WITH_LIMITS = halloo(
    *("--idle-timeout", "1h", "--max-lifetime", "1h", "--max-connections", "100k", "--max-per-host", "100k"),
    *("--max-bytes", "1000GiB", "--rate-limit", "100GiB", "--allow", "127.0.0.0/8"),
    name="halloo with all limits",
)
SERVERS = (*TCP[:2], WITH_LIMITS, *TCP[2:])

# The window of a stream: with more under way the queue outgrows the cores' caches, and the row would measure memory.
ROWS = (
    *(
        Row(f"{size} B echo, {count} connections", "echo", count, SERVERS, C.name, size, quick=size == 64 and count > 1)  # noqa: PLR2004
        for size in (64, 1024)
        for count in (1, 64, 512, 4000)
    ),
    Row("stream, 1 connection", "stream", 1, SERVERS, C.name),
    Row("stream, 1 connection, 256 KiB under way", "stream", 1, SERVERS, C.name, words=("-w", "262144")),
    Row("connect and close", "accept", 64, SERVERS, C.name, words=("-n", str(SOURCES))),
    Row("TLS, 1 KiB echo, 64 connections", "echo", 64, TLS, TLS[0].name, 1024, speaks="tls"),
)

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


def show_memory(held: dict[str, dict[str, float]]) -> None:
    """Print what idle connections cost."""
    if held:
        print(f"\nresident memory of an idle connection at {HELD}\n  {'':22} {'idle':>10} {'after an echo':>14}")
    for name, one in held.items():
        print(f"  {name:22} {one['idle_bytes']:8.1f} B {one['echoed_bytes']:12.1f} B")


def cost_verdicts(rows: dict[str, Told], held: dict[str, dict[str, float]]) -> list[str]:
    """Return a line for each bar that is no rate: an idle connection's memory, a connection's CPU."""
    lines = []
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


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    options = parse(argv, prog="bench.tcp", about=__doc__, others=", or 'memory'")
    here = machine()
    print(heading(here, options))
    missing: dict[str, str] = {}
    rows = run_rows(ROWS, options, missing, show)
    held = memory(chosen(ROWS[0], options), options) if options.rows in "memory" else {}
    show_memory(held)
    lines = [*verdicts(BARS, rows), *cost_verdicts(rows, held)]
    if lines:
        print("\n" + "\n".join(lines))
    output = write("tcp", ROWS, rows, options, machine=dataclasses.asdict(here), memory=held, missing=missing)
    print(f"\nwritten: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
