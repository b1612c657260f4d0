"""A Snapshot as a line for a person."""

from halloo.core.units import show_duration, show_size
from halloo.net.serving.table import Snapshot


def line(now: Snapshot, before: Snapshot) -> str:
    """Say how things stand, and how fast they went since the snapshot before."""
    seconds = max(now.uptime_seconds - before.uptime_seconds, 1e-9)
    parts = [
        f"{now.open} open",
        f"{(now.accepted - before.accepted) / seconds:.0f} clients/s",
        *([f"{(now.datagrams - before.datagrams) / seconds:.0f} datagrams/s"] if now.datagrams else []),
        f"{(now.messages - before.messages) / seconds:.0f} echoes/s",
        f"{show_size((now.received_bytes - before.received_bytes) / seconds)}/s in",
        f"{show_size((now.sent_bytes - before.sent_bytes) / seconds)}/s out",
    ]
    return ", ".join(parts + _troubles(now))


def totals(seen: Snapshot) -> str:
    """Say what a server has done in all."""
    came = [f"{seen.accepted} clients"] if seen.accepted or not seen.datagrams else []
    if seen.datagrams:
        came.append(f"{seen.datagrams} datagrams")
    parts = [
        f"{' and '.join(came)} in {show_duration(int(seen.uptime_seconds * 1e9))}",
        f"{seen.received_bytes} bytes in",
        f"{seen.sent_bytes} bytes out",
    ]
    if seen.lost_bytes:
        parts.append(f"{seen.lost_bytes} bytes cut off")
    return ", ".join(parts + _troubles(seen))


def _troubles(seen: Snapshot) -> list[str]:
    parts = []
    if seen.dropped:
        parts.append(f"{seen.dropped} datagrams dropped by the kernel")
    if seen.owed_bytes:
        parts.append(f"{show_size(seen.owed_bytes)} owed for {show_duration(int(seen.slowest_debt_seconds * 1e9))}")
    for word, counts in (("refused", seen.refused), ("ended", seen.ended), ("errors", seen.errors)):
        if counts:
            parts.append(f"{word}: " + " ".join(f"{name} {count}" for name, count in counts.items()))
    return parts
