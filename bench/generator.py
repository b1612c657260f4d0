"""Drive the C generator: one process for each server, connected once, a round for every line it is sent.

Knows the generator's words and its line of JSON. Knows nothing of what is compared.
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
"""By what is spoken: the generator's source, and the libraries that it needs."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round showed: verified messages and bytes only."""

    messages: int
    bytes: int
    seconds: float
    errors: int
    lost: int
    """Datagrams that did not come back; where nothing may get lost, what is missing is an error."""
    p50_us: float
    p99_us: float
    generator_cpu: float
    """Share of the round the generator was busy; near 1, it was the bottleneck."""
    server_cpu: float
    server_cpu_ns: int

    @property
    def rate(self) -> float:
        """Return verified messages a second, 0 when anything went wrong."""
        return 0.0 if self.errors else self.messages / self.seconds

    @property
    def byte_rate(self) -> float:
        """Return verified bytes a second, 0 when anything went wrong."""
        return 0.0 if self.errors else self.bytes / self.seconds

    @property
    def cpu_us(self) -> float:
        """Return the server's CPU microseconds for each message, 0 when anything went wrong."""
        return 0.0 if self.errors or not self.messages else self.server_cpu_ns / 1e3 / self.messages


class Generator:
    """The generator, connected to one server and waiting for its turn."""

    def __init__(self, mode: str, running: Running, *words: str, core: int | None = None, speaks: str = "tcp") -> None:
        program = build(*SOURCES[speaks])
        self.running = running
        with on_core(core):
            self.process = subprocess.Popen(
                [str(program), mode, "-p", str(running.port), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        if self._line() != "ready\n":
            self.close()
            raise MissingError(f"{running.server.name}: the generator could not connect ({mode} {' '.join(words)})")

    def _line(self) -> str:
        assert self.process.stdout is not None  # noqa: S101  # a pipe was asked for
        return self.process.stdout.readline()

    def round(self, seconds: float) -> Round:
        """Run one round and return what came back whole, and what it cost the server."""
        assert self.process.stdin is not None  # noqa: S101  # a pipe was asked for
        before = self.running.cpu_ns()
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        line = self._line()
        spent = self.running.cpu_ns() - before
        if not line:
            return Round(0, 0, seconds, 1, 0, 0, 0, 0, 0, spent)
        told = json.loads(line)
        return Round(
            messages=told["messages"],
            bytes=told["bytes"],
            seconds=told["seconds"],
            errors=told["errors"] or int(not told["messages"]),  # a server that answers nothing is no slow one
            lost=told["lost"],
            p50_us=told["p50_us"],
            p99_us=told["p99_us"],
            generator_cpu=told["cpu_seconds"] / told["seconds"],
            server_cpu=spent / 1e9 / told["seconds"],
            server_cpu_ns=spent,
        )

    def close(self) -> None:
        """Let it close its connections and end."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(30)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        """Return itself, connected."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
