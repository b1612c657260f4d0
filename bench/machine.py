"""Describe the machine on which a figure was measured, from /proc and the platform module."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

SYSCTLS = (
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/core/somaxconn",
    "net/core/rmem_default",
    "net/core/rmem_max",
    "net/ipv4/ip_local_port_range",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader needs to compare a figure with one of their own."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    sysctl: dict[str, str]

    def __str__(self) -> str:
        """Return one line."""
        memory = self.memory_bytes / 2**30
        return f"{self.cpu}, {self.cores} cores, {memory:.0f} GiB, {self.kernel}, {self.python}"


def machine() -> Machine:
    """Return the description of this machine."""
    return Machine(
        cpu=from_lines("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        memory_bytes=int((from_lines("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) * 1024,
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sysctl={name.replace("/", "."): text for name in SYSCTLS if (text := sysctl(name))},
    )


def sysctl(name: str) -> str | None:
    """Return a kernel setting as text, None if it does not exist."""
    try:
        return " ".join(Path("/proc/sys", name).read_text().split())
    except OSError:
        return None


def from_lines(path: str, key: str) -> str | None:
    """Return the text after `key:` in a file of `key: value` lines, None if there is none."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
