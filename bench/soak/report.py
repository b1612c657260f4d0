"""Judge a run: print the tables, and every failure with its evidence."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

from bench.soak.probes import LIMIT

if TYPE_CHECKING:
    from bench.soak.balance import Line
    from bench.soak.run import Soak

GROWTH_BYTES = 2 * 2**20
"""Resident memory that a process may gain, for arenas and caches; a leak for each client would exceed it."""

MIN_POINTS = 5  # of a slope
CLOCK_SLACK = 0.05  # seconds between a fault and the clock reading beside it
SHOWN = 10


def report(soak: Soak, exit_code: int, metrics: Counter[str]) -> bool:
    """Print everything; return whether nothing failed."""
    failures = [
        *soak.faults.failures,
        *soak.failures,
        *clients(soak),
        *counters(soak),
        *resources(soak),
        *pauses(soak),
        *log(soak),
    ]
    reasons = (f"{count:,} {name}" for name, count in metrics.items() if name.startswith(("errors", "ended")) and count)
    print(f"The server's own counts: {', '.join(reasons)}")
    kills = len(soak.faults.restarts)
    if "worker_exits" in metrics and metrics["worker_exits"] != kills:
        failures.append(f"the server counts {metrics['worker_exits']} exits of workers, and {kills} were killed")
    if left_open := metrics["open_connections"]:
        failures.append(f"{left_open} connections were open after the last client had left")
    if exit_code:
        failures.append(f"the server's exit code was {exit_code}")
    print("\nNo failure" if not failures else f"\nFAILED: {len(failures)}")
    for failure in failures:
        print(f"  {failure}")
    return not failures


def clients(soak: Soak) -> list[str]:
    """Report the clients and faults."""
    print(f"\nFaults (seed {soak.seed}), how often and how long:")
    print("\n".join(soak.faults.table()))
    if soak.faults.restarts:
        longest = max(soak.faults.restarts)
        print(f"  {len(soak.faults.restarts)} workers restarted, the slowest after {longest:.2f} s")
    cut = [text for kind, *span, text in soak.client_failures if kind == "cut" and killed_within(soak, *span)]
    failures = [
        f"{text} at {end - soak.began:.1f} s"
        for kind, begin, end, text in soak.client_failures
        if kind != "cut" or not killed_within(soak, begin, end)
    ]
    wrong = sum(kind == "wrong" for kind, *_ in soak.client_failures)
    wrong += soak.faults.traffic["wrong"] + soak.probed["wrong"]
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(soak.kinds.items()))
    print(f"\nClients: {kinds}; {len(cut)} more were cut off while a worker was killed")
    print(f"{soak.verified:,} bytes verified; wrong echoes: {wrong}")
    if soak.faults.traffic["wrong"] or soak.probed["wrong"]:
        failures.append("a flood or a probe received a wrong byte")
    return [f"client: {text}" for text in failures[:SHOWN]]


def killed_within(soak: Soak, begin: float, end: float) -> bool:
    """Return whether a worker was killed while a client ran."""
    kills = (fault for fault in soak.faults.done if fault.name in {"worker killed", "forks fail"})
    return any(begin <= fault.begin + CLOCK_SLACK and fault.begin <= end for fault in kills)


def counters(soak: Soak) -> list[str]:
    """Report the balance: all calm checks added up, and all storms."""
    print(f"\nCounters in {len(soak.calms)} calm checks: the server's, and the clients', which must be equal:")
    print_sums(soak.calms)
    print(f"Counters in {len(soak.storms)} storms: the server's, and the bounds that the clients know. A killed worker")
    print("has not counted its last turn, and a client that resets does not know what the server had read:")
    print_sums(soak.storms)
    return [
        f"{kind} {turn}: {' '.join(str(line).split())}"
        for kind, lists in (("calm check", soak.calms), ("storm", soak.storms))
        for turn, lines in enumerate(lists)
        for line in lines
        if not line.balanced
    ]


def print_sums(lists: list[list[Line]]) -> None:
    """Print the sum of each counter."""
    for column in zip(*lists, strict=True):
        first = column[0]
        server, least, most = (sum(getattr(line, name) for line in column) for name in ("server", "least", "most"))
        print(type(first)(first.name, server, least, most))


def resources(soak: Soak) -> list[str]:
    """Report memory and descriptors at rest; the first quarter of the run is warm-up."""
    failures = []
    warm = max(len(soak.memory) // 4, min(1, len(soak.memory) - 1))
    print("\nResident memory at rest, after the warm-up and at the end:")
    for name, pid in (("parent", soak.server.pid), ("first worker", soak.spared)):
        points = [(time, rss[pid]) for time, rss in soak.memory[warm:] if pid in rss]
        if not points:
            failures.append(f"the {name}, process {pid}, has ended")
            continue
        growth, slope = points[-1][1] - points[0][1], ""
        if len(points) >= MIN_POINTS:
            times, sizes = zip(*points, strict=True)
            slope = f", slope {statistics.linear_regression(times, sizes).slope * 60 / 1024:+.0f} KiB a minute"
        span = f"{points[0][1] / 2**20:.1f} to {points[-1][1] / 2**20:.1f} MiB in {points[-1][0] - points[0][0]:.0f} s"
        print(f"  {name:<14}{span}{slope}")
        if growth > GROWTH_BYTES:
            failures.append(f"the {name} grew by {growth / 2**20:.1f} MiB at rest")
    others = [
        size for _, rss in soak.memory[1:] for pid, size in rss.items() if pid not in (soak.server.pid, soak.spared)
    ]
    if others:
        print(
            f"  other workers {min(others) / 2**20:.1f} to {max(others) / 2**20:.1f} MiB; they are killed now and then"
        )
    totals = [sum(each.values()) for each in soak.descriptors]
    print(f"Descriptors at rest: {totals[0]} at first, {totals[-1]} at the end")
    if set(totals) != {totals[0]}:
        failures.append(f"the number of descriptors at rest changed: {soak.descriptors[0]} to {soak.descriptors[-1]}")
    return failures


def pauses(soak: Soak) -> list[str]:
    """Report the pauses, each by its cause."""
    causes, longest, failures = Counter[str](), Counter[str](), []
    for pause in soak.prober.pauses:
        seconds, cause = pause["until"] - pause["since"], cause_of(soak, pause)
        causes[cause] += 1
        longest[cause] = max(longest[cause], round(seconds * 1000))
        if cause == "not explained":
            failures.append(f"pause: {evidence(soak, pause)}")
    if len(failures) > SHOWN:
        failures[SHOWN:] = [f"and {len(failures) - SHOWN} more pauses"]
    messages = sum(value for name, value in soak.probed.items() if name.endswith(" messages"))
    limit = f"{LIMIT * 1000:.0f} ms"
    print(f"\nPauses of more than {limit}, and broken connections, in {messages:,} messages of steady clients:")
    for cause, count in causes.most_common():
        print(f"  {cause:<26}{count:>6}, the longest {longest[cause]} ms")
    if not causes:
        print(f"  none; the longest was {soak.probed['longest'] * 1000:.0f} ms")
    plain, late = soak.probed["plain longest"] * 1000, soak.probed["late longest"] * 1000
    print(
        f"  beside them, a plain echo server paused for up to {plain:.0f} ms, and a sleep was up to {late:.0f} ms late"
    )
    return failures


def cause_of(soak: Soak, pause: dict[str, Any]) -> str:
    """Name the cause of a pause by its evidence: a fault of its worker, the machine, or none."""
    fault = soak.faults.explains({*pause["workers"]} - {0}, pause["since"] - CLOCK_SLACK, pause["until"])
    if fault:
        return "worker stopped" if fault.name == "worker stopped" else "worker killed"
    if (
        not pause["broken"]
        and pause["until"] - pause["since"] - max(pause["waited"] + pause["late"], pause["plain"]) <= LIMIT
    ):
        return "the machine was busy"
    return "not explained"


def evidence(soak: Soak, pause: dict[str, Any]) -> str:
    """Return one line about a pause, with the faults at that time."""
    at, seconds = pause["since"] - soak.began, pause["until"] - pause["since"]
    near = [fault.name for fault in soak.faults.done if fault.begin <= pause["until"] and pause["since"] <= fault.end]
    times = ", ".join(f"{name} {pause[name] * 1000:.0f} ms" for name in ("ran", "waited", "late", "plain"))
    broken = f", {pause['broken']}" if pause["broken"] else ""
    during = ", ".join(near) or "no fault"
    return f"{pause['probe']} of {pause['workers']} at {at:.3f} s, {seconds * 1000:.0f} ms{broken}: {times}; {during}"


def log(soak: Soak) -> list[str]:
    """Report the log."""
    events = ", ".join(f"{count:,} {name}" for name, count in soak.server.log.events.most_common())
    print(f"\nLog read: {events}")
    count = soak.server.log.stray_count
    return [f"{count} lines of the log are no JSON: {soak.server.log.strays[0]!r}"] if count else []
