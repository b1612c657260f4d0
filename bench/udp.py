"""Compare UDP echo servers: `python -m bench.udp [--quick]` prints tables, writes `bench/results/DATE-udp.json`.

Knows the rows, the servers and the bars of UDP. Running rows and telling them is shared with TCP.
"""

from __future__ import annotations

import dataclasses
import sys

from bench.machine import machine
from bench.rows import Row, parse, run_rows
from bench.servers import C_BATCH, C_PLAIN, SOCAT_UDP, UDP, compiled, halloo
from bench.telling import Bar, heading, show, verdicts, write

WINDOW = 256
MANY = 64
WILDCARD = "0.0.0.0"
FLAGS = ("--rate-limit", "100GB/s", "--allow", "127.0.0.0/8", "--deny", "10.0.0.0/8", "--max-bytes", "65507")
"""Every guard at once, none of which bites; with them peers on loopback are counted as strangers are."""

WITH_GUARDS = halloo(*FLAGS, scheme="udp://", name="halloo with all guards")
SERVERS = (*UDP[:3], WITH_GUARDS, *UDP[3:])
ANY_ADDRESS = (
    compiled(C_PLAIN.name, "udp.c", "plain", "0", WILDCARD),
    compiled(C_BATCH.name, "udp.c", "batch", "0", WILDCARD),
    halloo(scheme="udp://", host=WILDCARD),
    halloo(*FLAGS, scheme="udp://", host=WILDCARD, name=WITH_GUARDS.name),
)


def row(size: int, senders: int, window: int, *, batching: bool = False, wildcard: bool = False) -> Row:
    """Return the row of so many senders, each with so many datagrams under way, all handed over at once or singly.

    Singly it is compared with recvfrom and sendto, batching with recvmmsg and sendmmsg. socat's pipe knows no borders
    between datagrams, so that it echoes one at a time only.
    """
    who = f"{senders} {'batching' if batching else 'plain'} sender{'s' * (senders > 1)}"
    servers = ANY_ADDRESS if wildcard else SERVERS if window > 1 else (*SERVERS, SOCAT_UDP)
    return Row(
        f"{size} B, {who}, window {window}{', wildcard' * wildcard}",
        "echo",
        senders,
        servers,
        (C_BATCH if batching else C_PLAIN).name,
        size,
        ("-w", str(window), *(["-b"] if batching else [])),
        quick=False,
        speaks="udp",
    )


def barred(one: Row) -> Row:
    """Return the row as one that a bar is about: `--quick` measures it too."""
    return dataclasses.replace(one, quick=True)


SMALL = barred(row(64, 1, WINDOW, batching=True))
USUAL = barred(row(1200, 1, WINDOW, batching=True))
SINGLY = barred(row(64, MANY, 1))
ANYWHERE = barred(row(64, MANY, 1, wildcard=True))
OTHERS = (
    row(size, senders, window, batching=batching)
    for size in (64, 1200, 8000)
    for window, batching in ((1, False), (WINDOW, False), (WINDOW, True))
    for senders in (1, MANY)
)
BARRED = (SMALL, USUAL, SINGLY, ANYWHERE)
ROWS = (*BARRED, *(one for one in OTHERS if one.name not in {barred.name for barred in BARRED}))

BARS = (
    Bar(SMALL.name, C_BATCH.name, 15),
    Bar(SMALL.name, "uvloop", 25),
    Bar(USUAL.name, C_BATCH.name, 7),
    Bar(USUAL.name, C_PLAIN.name, 2 / 0.17),  # 2 million datagrams a second where C's plain server does 0.17
    Bar(SINGLY.name, C_PLAIN.name, 0.55, aim=0.65),
    Bar(SINGLY.name, "uvloop", 0.9),
    Bar(ANYWHERE.name, C_PLAIN.name, 0.48, aim=0.65),
    *(Bar(one.name, "halloo", 1 - 0.12, WITH_GUARDS.name) for one in BARRED),
)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    options = parse(argv, prog="bench.udp", about=__doc__)
    here = machine()
    print(heading(here, options))
    missing: dict[str, str] = {}
    rows = run_rows(ROWS, options, missing, show)
    lines = verdicts(BARS, rows)
    if lines:
        print("\n" + "\n".join(lines))
    output = write("udp", ROWS, rows, options, machine=dataclasses.asdict(here), missing=missing)
    print(f"\nwritten: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
