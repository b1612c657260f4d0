"""Hold as many connections as this machine allows and echo on each: `python -m bench.hold --workers 54`.

Prints the system limits that bound the number, and how to raise each. The server is any command that prints the
listening line.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import shlex
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.generator import Generator
from bench.machine import from_lines, machine, sysctl
from bench.servers import MissingError, Running, Server, halloo, start

if TYPE_CHECKING:
    from collections.abc import Iterable

SPARE = 100
"""Descriptors that a process needs besides connections: standard streams, pollers, pipes, the server's reserve."""

PAIR_BYTES = 9 * 1024
"""Kernel memory of one loopback connection, both ends: 7.6 to 8.9 KiB of slab on Linux 6.18."""

# Source addresses of a generator. Once half of an address's ports are in use, the kernel searches that half for each
# further connection.
SOURCES = 2
ROUND_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Limit:
    """A system limit: the number of connections that it allows, and the command that raises it."""

    name: str
    connections: int
    lift: str


def number(name: str, default: int) -> int:
    """Return the first number of a kernel setting."""
    text = sysctl(name)
    return int(text.split()[0]) if text else default


def limits(workers: int, generators: int) -> list[Limit]:
    """Return the limits of this machine, the lowest first."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    low, high = (sysctl("net/ipv4/ip_local_port_range") or "32768 60999").split()
    available = int((from_lines("/proc/meminfo", "MemAvailable") or "0 kB").split()[0]) * 1024
    found = [
        Limit(
            f"RLIMIT_NOFILE {files} in {workers} workers",
            workers * (files - SPARE),
            "--workers; or ulimit -Hn as root, up to sysctl fs.nr_open",
        ),
        Limit(
            f"RLIMIT_NOFILE {files} in {generators} generators",
            generators * (files - SPARE),
            "--generators; or ulimit -Hn as root, up to sysctl fs.nr_open",
        ),
        Limit(
            f"ports {low}-{high} from {generators * SOURCES} source addresses",
            generators * SOURCES * (int(high) - int(low) + 1),
            "--generators (each has its own addresses); or sysctl -w net.ipv4.ip_local_port_range='1024 65535'",
        ),
        Limit("open files of the system", number("fs/file-max", 2**62) // 2, "sysctl -w fs.file-max=4000000"),
        Limit("memory", available // PAIR_BYTES, "more memory, at about 9 KiB a loopback connection"),
    ]
    tracked = sysctl("net/netfilter/nf_conntrack_max")
    if tracked and number("net/netfilter/nf_conntrack_count", 0):  # 0 without a firewall rule: nothing is tracked
        found.append(Limit("tracked connections", int(tracked), "sysctl -w net.netfilter.nf_conntrack_max=4000000"))
    return sorted(found, key=lambda limit: limit.connections)


def shares(connections: int, generators: int) -> list[int]:
    """Split the connections evenly; each generator gets at least one."""
    each, rest = divmod(connections, generators)
    return [count for count in (each + (i < rest) for i in range(generators)) if count]


def hold(running: Running, counts: Iterable[int], generators: contextlib.ExitStack) -> tuple[list[Generator], int]:
    """Open the connections; return their generators and the number of connections."""
    opened, total = [], 0
    for index, count in enumerate(counts):
        try:
            first = str(1 + index * SOURCES)
            generator = Generator("hold", running, "-c", str(count), "-n", str(SOURCES), "-f", first)
        except MissingError as error:
            print(f"stopped at {total}: {error}", file=sys.stderr)
            break
        opened.append(generators.enter_context(generator))
        total += count
    return opened, total


def slab_bytes() -> int:
    """Return the kernel's slab memory now. Source: proc(5), /proc/meminfo."""
    return int((from_lines("/proc/meminfo", "Slab") or "0 kB").split()[0]) * 1024


def run(server: Server, connections: int, generators: int) -> bool:
    """Hold the connections, echo on each, print the result; return True when all echoed."""
    with start(server) as running, contextlib.ExitStack() as stack:
        rss, slab, began = running.rss(), slab_bytes(), time.monotonic()
        held, total = hold(running, shares(connections, generators), stack)
        opened = time.monotonic()
        if not total:
            return False
        user, kernel = (running.rss() - rss) / total, (slab_bytes() - slab) / total
        print(f"holds {total:,} connections, opened in {opened - began:.1f} s", flush=True)
        print(f"each costs {user:.0f} bytes of the server's memory and {kernel:.0f} of the kernel's (both ends)")
        rounds = [generator.round(ROUND_SECONDS) for generator in held]
        echoed, errors = sum(one.messages for one in rounds), sum(one.errors for one in rounds)
        print(f"echoed on {echoed:,} of {total:,} in {time.monotonic() - opened:.1f} s, {errors} errors", flush=True)
        return echoed == total == connections


def main(argv: list[str] | None = None) -> int:
    """Print the limits of the machine, then open as many connections as they allow."""
    parser = argparse.ArgumentParser(prog="python -m bench.hold", description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the server")
    parser.add_argument("--generators", type=int, help="client processes; as many as the workers by default")
    parser.add_argument("--connections", type=int, help="number of connections; as many as the limits allow by default")
    parser.add_argument("--command", help="another server; --workers then does not start any")
    options = parser.parse_args(argv)
    generators = options.generators or options.workers
    found = limits(options.workers, generators)
    print(machine())
    for limit in found:
        print(f"{limit.connections:>14,}  {limit.name}; raised by {limit.lift}")
    connections = min(options.connections or found[0].connections, found[0].connections)
    own = Server("the command", tuple(shlex.split(options.command))) if options.command else None
    try:
        complete = run(own or halloo("--workers", str(options.workers)), connections, generators)
    except MissingError as error:
        print(error, file=sys.stderr)
        return 2
    if connections == found[0].connections:
        print(f"the lowest limit: {found[0].name}; raised by {found[0].lift}")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
