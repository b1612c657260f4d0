"""Run the C load generator: one process for each server, connected once; each line of input starts a round.

Uses the generator's arguments and its JSON output. Independent of what is compared.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bench.servers import MissingError, build, on_core

if TYPE_CHECKING:
    from bench.servers import Running


SOURCES = {"tcp": ("load.c",), "tls": ("load_tls.c", "ssl", "crypto"), "udp": ("load_udp.c",)}
"""For each protocol: the generator's source, and the libraries that it needs."""


@dataclass(frozen=True, slots=True)
class Round:
    """The result of one round; only verified messages and bytes count."""

    messages: int
    bytes: int
    seconds: float
    errors: int
    lost: int
    """Datagrams without an echo; over TCP, where nothing may be lost, missing bytes are errors."""
    p50_us: float
    p99_us: float
    generator_cpu: float
    """Fraction of the round during which the generator was busy; near 1, it was the bottleneck."""
    server_cpu: float
    server_cpu_ns: int

    @property
    def rate(self) -> float:
        """Verified messages per second, 0 after any error."""
        return 0.0 if self.errors else self.messages / self.seconds

    @property
    def byte_rate(self) -> float:
        """Verified bytes per second, 0 after any error."""
        return 0.0 if self.errors else self.bytes / self.seconds

    @property
    def cpu_us(self) -> float:
        """The server's CPU microseconds per message, 0 after any error."""
        return 0.0 if self.errors or not self.messages else self.server_cpu_ns / 1e3 / self.messages


class Generator:
    """A generator process, connected to one server and waiting for its next round."""

    def __init__(
        self, mode: str, running: Running, *arguments: str, core: int | None = None, protocol: str = "tcp"
    ) -> None:
        program = build(*SOURCES[protocol])
        self.running = running
        with on_core(core):
            self.process = subprocess.Popen(
                [str(program), mode, "-p", str(running.port), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        if self._line() != "ready\n":
            self.close()
            raise MissingError(f"{running.server.name}: the generator could not connect ({mode} {' '.join(arguments)})")

    def _line(self) -> str:
        assert self.process.stdout is not None  # noqa: S101  # it was started with a pipe
        return self.process.stdout.readline()

    def round(self, seconds: float) -> Round:
        """Run one round; return the verified messages and the server's CPU time."""
        assert self.process.stdin is not None  # noqa: S101  # it was started with a pipe
        before = self.running.cpu_ns()
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        line = self._line()
        spent = self.running.cpu_ns() - before
        if not line:
            return Round(0, 0, seconds, 1, 0, 0, 0, 0, 0, spent)
        result = json.loads(line)
        return Round(
            messages=result["messages"],
            bytes=result["bytes"],
            seconds=result["seconds"],
            errors=result["errors"] or int(not result["messages"]),  # no echo is an error
            lost=result["lost"],
            p50_us=result["p50_us"],
            p99_us=result["p99_us"],
            generator_cpu=result["cpu_seconds"] / result["seconds"],
            server_cpu=spent / 1e9 / result["seconds"],
            server_cpu_ns=spent,
        )

    def close(self) -> None:
        """Make the generator close its connections and exit."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        """Return the connected generator."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the generator."""
        self.close()
