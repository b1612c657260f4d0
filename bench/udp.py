"""Compare UDP echo servers: `python -m bench.udp [--quick]` prints tables, writes `bench/results/DATE-udp.json`.

Defines the rows, servers and thresholds of UDP. Shares the rest with bench.tcp.
"""

from __future__ import annotations

import dataclasses
import sys

from bench.machine import machine
from bench.report import Threshold, heading, show, verdicts, write
from bench.rows import Row, parse, run_rows
from bench.servers import C_BATCH, C_PLAIN, SOCAT_UDP, UDP, compiled, halloo

WINDOW = 256
MANY = 64
WILDCARD = "0.0.0.0"
FLAGS = ("--rate-limit", "100GB/s", "--allow", "127.0.0.0/8", "--deny", "10.0.0.0/8", "--max-bytes", "65507")
"""All limits at once, none of which is reached; with them peers on loopback are counted like untrusted senders."""

WITH_ALL_LIMITS = halloo(*FLAGS, scheme="udp://", name="halloo with all limits")
SERVERS = (*UDP[:3], WITH_ALL_LIMITS, *UDP[3:])
ANY_ADDRESS = (
    compiled(C_PLAIN.name, "udp.c", "plain", "0", WILDCARD),
    compiled(C_BATCH.name, "udp.c", "batch", "0", WILDCARD),
    halloo(scheme="udp://", host=WILDCARD),
    halloo(*FLAGS, scheme="udp://", host=WILDCARD, name=WITH_ALL_LIMITS.name),
)


def row(size: int, senders: int, window: int, *, batching: bool = False, wildcard: bool = False) -> Row:
    """Return a row: a number of senders, each with `window` datagrams in flight, sent singly or in batches.

    The reference is recvfrom and sendto for single datagrams, recvmmsg and sendmmsg for batches. socat's pipe does not
    preserve datagram boundaries, so socat is measured with one datagram in flight only.
    """
    label = f"{senders} {'batching' if batching else 'plain'} sender{'s' * (senders > 1)}"
    servers = ANY_ADDRESS if wildcard else SERVERS if window > 1 else (*SERVERS, SOCAT_UDP)
    return Row(
        f"{size} B, {label}, window {window}{', wildcard' * wildcard}",
        "echo",
        senders,
        servers,
        (C_BATCH if batching else C_PLAIN).name,
        size,
        ("-w", str(window), *(["-b"] if batching else [])),
        quick=False,
        protocol="udp",
    )


def quick(one: Row) -> Row:
    """Return the row as one with a threshold: `--quick` measures it too."""
    return dataclasses.replace(one, quick=True)


SMALL = quick(row(64, 1, WINDOW, batching=True))
USUAL = quick(row(1200, 1, WINDOW, batching=True))
UNBATCHED = quick(row(64, MANY, 1))
ANYWHERE = quick(row(64, MANY, 1, wildcard=True))
OTHERS = (
    row(size, senders, window, batching=batching)
    for size in (64, 1200, 8000)
    for window, batching in ((1, False), (WINDOW, False), (WINDOW, True))
    for senders in (1, MANY)
)
QUICK = (SMALL, USUAL, UNBATCHED, ANYWHERE)
ROWS = (*QUICK, *(one for one in OTHERS if one.name not in {one.name for one in QUICK}))

THRESHOLDS = (
    Threshold(SMALL.name, C_BATCH.name, 15),
    Threshold(SMALL.name, "uvloop", 25),
    Threshold(USUAL.name, C_BATCH.name, 7),
    Threshold(USUAL.name, C_PLAIN.name, 2 / 0.17),  # 2 million datagrams per second where the plain C server does 0.17
    Threshold(UNBATCHED.name, C_PLAIN.name, 0.55, aim=0.65),
    Threshold(UNBATCHED.name, "uvloop", 0.9),
    Threshold(ANYWHERE.name, C_PLAIN.name, 0.48, aim=0.65),
    *(Threshold(one.name, "halloo", 1 - 0.12, WITH_ALL_LIMITS.name) for one in QUICK),
)


def main(argv: list[str] | None = None) -> int:
    """Measure, print the tables, write the JSON file."""
    options = parse(argv, prog="bench.udp", about=__doc__)
    here = machine()
    print(heading(here, options))
    missing: dict[str, str] = {}
    rows = run_rows(ROWS, options, missing, show)
    lines = verdicts(THRESHOLDS, rows)
    if lines:
        print("\n" + "\n".join(lines))
    output = write("udp", ROWS, rows, options, machine=dataclasses.asdict(here), missing=missing)
    print(f"\nwritten: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
