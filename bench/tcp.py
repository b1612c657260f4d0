"""Compare TCP echo servers: `python -m bench.tcp [--quick]` prints tables, writes `bench/results/DATE-tcp.json`.

Defines the rows and thresholds of TCP, and measures the memory of idle connections. Shares the rest with bench.udp.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import TYPE_CHECKING

from bench.generator import Generator
from bench.machine import machine
from bench.report import Threshold, heading, show, verdict, verdicts, write
from bench.rows import Row, chosen, parse, run_rows
from bench.servers import TCP, TLS, C, MissingError, Server, halloo, start

if TYPE_CHECKING:
    import argparse

    from bench.rows import Results

IDLE_CONNECTIONS = 10_000
SOURCES = 250

WITH_LIMITS = halloo(
    *("--idle-timeout", "1h", "--max-lifetime", "1h", "--max-connections", "100k", "--max-per-host", "100k"),
    *("--max-bytes", "1000GiB", "--rate-limit", "100GiB", "--allow", "127.0.0.0/8"),
    name="halloo with all limits",
)
SERVERS = (*TCP[:2], WITH_LIMITS, *TCP[2:])

# The window of a stream: with more in flight the queue exceeds the cores' caches, and the row would measure memory.
ROWS = (
    *(
        Row(f"{size} B echo, {count} connections", "echo", count, SERVERS, C.name, size, quick=size == 64 and count > 1)  # noqa: PLR2004 - bytes
        for size in (64, 1024)
        for count in (1, 64, 512, 4000)
    ),
    Row("stream, 1 connection", "stream", 1, SERVERS, C.name),
    Row("stream, 1 connection, 256 KiB in flight", "stream", 1, SERVERS, C.name, words=("-w", "262144")),
    Row("connect and close", "accept", 64, SERVERS, C.name, words=("-n", str(SOURCES))),
    Row("TLS, 1 KiB echo, 64 connections", "echo", 64, TLS, TLS[0].name, 1024, protocol="tls"),
)

THRESHOLDS = (
    *(
        Threshold(f"64 B echo, {count} connections", against, least, server)
        for count in (64, 512)
        for server, against, least in (
            ("halloo", "C epoll", 0.82),
            ("halloo", "uvloop Protocol", 1.0),
            ("halloo", "asyncio Protocol", 1.3),
            (WITH_LIMITS.name, "C epoll", 0.72),
        )
    ),
    Threshold("64 B echo, 4000 connections", "C epoll", 0.8),
    Threshold("stream, 1 connection", "C epoll", 1.0),
    Threshold("stream, 1 connection", "uvloop Protocol", 0.9),
    Threshold("TLS, 1 KiB echo, 64 connections", "uvloop Protocol", 1.0),
)
MAX_IDLE_BYTES = {"halloo": 32, WITH_LIMITS.name: 64}
MAX_CPU_RATIO_OF_A_CONNECTION = 1.6


def memory(servers: tuple[Server, ...], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return for each server the resident bytes per idle connection, before and after one echo on each."""
    results = {}
    for server in servers:
        if server.max_connections < IDLE_CONNECTIONS:
            continue
        with contextlib.suppress(MissingError), start(server, core=options.cores[0]) as running:
            with Generator("echo", running, "-c", "64", core=options.cores[1]) as warm:
                warm.round(options.seconds)
            before = running.rss()
            with Generator("hold", running, "-c", str(IDLE_CONNECTIONS), core=options.cores[1]) as generator:
                idle = running.rss()
                echoed = generator.round(30)
                after = running.rss()
            results[server.name] = {
                "idle_bytes": (idle - before) / IDLE_CONNECTIONS,
                "echoed_bytes": (after - before) / IDLE_CONNECTIONS,
                "errors": echoed.errors,
            }
    return results


def show_memory(held: dict[str, dict[str, float]]) -> None:
    """Print the memory of idle connections."""
    if held:
        print(f"\nresident memory per connection, {IDLE_CONNECTIONS} idle ones")
        print(f"  {'':22} {'idle':>10} {'after an echo':>14}")
    for name, one in held.items():
        print(f"  {name:22} {one['idle_bytes']:8.1f} B {one['echoed_bytes']:12.1f} B")


def cost_verdicts(rows: dict[str, Results], held: dict[str, dict[str, float]]) -> list[str]:
    """Return a line for each threshold that is not a rate: an idle connection's memory, a connection's CPU."""
    lines = []
    for name, maximum in MAX_IDLE_BYTES.items():
        if name in held:
            got_bytes = held[name]["echoed_bytes"]
            what = f"{name}: {got_bytes:.1f} bytes per idle connection at {IDLE_CONNECTIONS}"
            lines.append(verdict(what, f"at most {maximum}", got_bytes <= maximum))
    cost = rows.get("connect and close", {}).get("halloo", {}).get("server_cpu_ratio")
    if cost:
        what = f"connect and close: halloo uses {cost['median']:.2f} of C epoll's CPU"
        good = cost["median"] <= MAX_CPU_RATIO_OF_A_CONNECTION
        lines.append(verdict(what, f"at most {MAX_CPU_RATIO_OF_A_CONNECTION}", good))
    return lines


def main(argv: list[str] | None = None) -> int:
    """Measure, print the tables, write the JSON file."""
    options = parse(argv, prog="bench.tcp", about=__doc__, others=", or 'memory'")
    here = machine()
    print(heading(here, options))
    missing: dict[str, str] = {}
    rows = run_rows(ROWS, options, missing, show)
    held = memory(chosen(ROWS[0], options), options) if options.rows in "memory" else {}
    show_memory(held)
    lines = [*verdicts(THRESHOLDS, rows), *cost_verdicts(rows, held)]
    if lines:
        print("\n" + "\n".join(lines))
    output = write("tcp", ROWS, rows, options, machine=dataclasses.asdict(here), memory=held, missing=missing)
    print(f"\nwritten: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
