"""Run random clients against a server for some minutes: `python -m bench.soak --minutes 3 --seed 1`.

The clients send in pieces, half-close, stall and reset; every received byte is compared. Afterwards the server must
have the same descriptors, threads and memory as before. The server is any command.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import random
import shlex
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.servers import MissingError, Running, Server, halloo, start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

RESET = struct.pack("ii", 1, 0)
CLIENT_SECONDS = 60
SETTLE_SECONDS = 10
QUIET_SECONDS = 1.0
WARM_CLIENTS = 400
GROWTH_BYTES = 2 * 2**20
"""Resident memory that may remain, for arenas and caches; a leak for each client would exceed it."""


class WrongBytesError(Exception):
    """The echo differs from the message."""


@dataclass(slots=True)
class Totals:
    """The clients by behaviour, their failures, and the verified bytes."""

    clients: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: collections.Counter[str] = field(default_factory=collections.Counter)
    verified: int = 0


@dataclass(frozen=True, slots=True)
class Client:
    """One connection, its payload and its random source."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    payload: bytes
    rng: random.Random

    async def send(self, upto: int) -> None:
        """Send the first `upto` bytes of the payload in pieces of random sizes, with random pauses."""
        at = 0
        while at < upto:
            piece = min(upto - at, self.rng.choice((1, 7, 1460, 4096, 65_536, 300_000)))
            self.writer.write(self.payload[at : at + piece])
            await self.writer.drain()
            at += piece
            if self.rng.random() < 0.05:  # noqa: PLR2004  # one piece in twenty
                await asyncio.sleep(self.rng.random() * 0.02)

    async def receive(self, upto: int) -> int:
        """Read and compare `upto` bytes of the echo; return the number of bytes read."""
        at = 0
        while at < upto and (data := await self.reader.read(min(upto - at, 262_144))):
            if data != self.payload[at : at + len(data)]:
                raise WrongBytesError(f"at byte {at} of {len(self.payload)}")
            at += len(data)
        return at

    async def end(self, got: int) -> int:
        """Half-close and read the rest; raise WrongBytesError unless it is complete and the server then closes."""
        self.writer.write_eof()
        rest = Client(self.reader, self.writer, self.payload[got:], self.rng)
        total = got + await rest.receive(len(self.payload) - got)
        if total != len(self.payload):
            raise WrongBytesError(f"{total} of {len(self.payload)} bytes, then the server closed")
        if await self.reader.read(1):
            raise WrongBytesError("more bytes than were sent")
        return total


async def duplex(client: Client) -> int:
    """Read while writing, then half-close."""
    size = len(client.payload)
    _, got = await asyncio.gather(client.send(size), client.receive(size))
    return await client.end(got)


async def half_close(client: Client) -> int:
    """Send everything and half-close before the first read."""
    sending = asyncio.create_task(client.send(len(client.payload)))
    got = 0
    if len(client.payload) > 1_000_000:  # noqa: PLR2004  # more than the kernel buffers without a read
        got = await client.receive(len(client.payload) // 2)
    await sending
    return await client.end(got)


async def stall(client: Client) -> int:
    """Fill the buffers in both directions, pause, then read everything."""
    sending = asyncio.create_task(client.send(len(client.payload)))
    await asyncio.sleep(client.rng.random())
    got = await client.receive(len(client.payload))
    await sending
    return await client.end(got)


async def reset(client: Client) -> int:
    """Reset the connection in the middle, with bytes in flight in both directions."""
    sending = asyncio.create_task(client.send(len(client.payload)))
    got = await client.receive(client.rng.randrange(len(client.payload) + 1))
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending
    raw = client.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.writer.transport.abort()
    return got


async def silent(client: Client) -> int:
    """Send nothing, wait for a moment, close."""
    await asyncio.sleep(client.rng.random() * 0.2)
    client.writer.close()
    return 0


BEHAVIOURS: tuple[Callable[[Client], Awaitable[int]], ...] = (duplex, half_close, stall, reset, silent)


async def one_client(port: int, seed: int, totals: Totals) -> None:
    """Run one client; its seed decides everything that it does."""
    rng = random.Random(seed)  # the seed makes the run repeatable
    behaviour = rng.choice(BEHAVIOURS)
    size = rng.choice((0, 1, 64, 1024, 65_536, 262_144, 262_145, 1_000_000, 4_000_000))
    try:
        async with asyncio.timeout(CLIENT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 18)
            try:
                got = await behaviour(Client(reader, writer, rng.randbytes(size), rng))
                totals.verified += got
            finally:
                writer.transport.abort()
        totals.clients[behaviour.__name__] += 1
    except (OSError, WrongBytesError, TimeoutError) as error:
        totals.failures[f"{behaviour.__name__}, seed {seed}, {size} bytes: {type(error).__name__} {error}"] += 1


async def run_clients(port: int, seed: int, *, until: float, max_clients: int, at_once: int) -> Totals:
    """Keep `at_once` clients running until `until` or until `max_clients` were started."""
    tally, turn = Totals(), 0

    async def run_one_after_another() -> None:
        nonlocal turn
        while time.monotonic() < until and turn < max_clients:
            turn += 1
            await one_client(port, seed * 1_000_000 + turn, tally)

    await asyncio.gather(*(run_one_after_another() for _ in range(at_once)))
    return tally


@dataclass(frozen=True, slots=True)
class State:
    """The resources of a server."""

    descriptors: int
    threads: int
    processes: int
    rss: int


def state(running: Running) -> State:
    """Return the current resources of the server."""
    return State(running.descriptors(), running.threads(), len(running.tree()), running.rss())


def settled(running: Running) -> State:
    """Return the state once the descriptors have not changed for a second, or after SETTLE_SECONDS."""
    end, since, last = time.monotonic() + SETTLE_SECONDS, time.monotonic(), running.descriptors()
    while time.monotonic() < min(end, since + QUIET_SECONDS):
        time.sleep(0.05)
        if (now := running.descriptors()) != last:
            since, last = time.monotonic(), now
    return state(running)


def soak(running: Running, options: argparse.Namespace) -> bool:
    """Warm up, soak, compare; return True when no byte was lost and no resource leaked."""
    idle = settled(running)  # workers may still be starting when the server prints its listening line
    now = time.monotonic()
    warm = asyncio.run(run_clients(running.port, 0, until=now + 60, max_clients=WARM_CLIENTS, at_once=options.at_once))
    before = settled(running)
    now = time.monotonic()
    until = now + options.minutes * 60
    totals = asyncio.run(
        run_clients(running.port, options.seed, until=until, max_clients=sys.maxsize, at_once=options.at_once)
    )
    after = settled(running)
    failures = warm.failures + totals.failures
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(totals.clients.items()))
    print(f"{totals.clients.total()} clients in {time.monotonic() - now:.0f} s: {kinds}")
    print(f"{totals.verified:,} bytes verified, {failures.total()} failures")
    for text, count in failures.most_common(10):
        print(f"  {count} x {text}")
    print(f"before {before}\nafter  {after}")
    same = (before.descriptors, before.threads, before.processes) == (after.descriptors, after.threads, after.processes)
    same = same and idle.descriptors == after.descriptors and after.rss - before.rss <= GROWTH_BYTES
    print("no loss, no leak" if same and not failures else "FAILED: loss or leak")
    return same and not failures


def main(argv: list[str] | None = None) -> int:
    """Start a server, soak it and stop it."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=40, help="concurrent clients")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--command", help="another server instead of halloo")
    options = parser.parse_args(argv)
    own = Server("the command", tuple(shlex.split(options.command))) if options.command else None
    try:
        with start(own or halloo("--workers", str(options.workers))) as running:
            return 0 if soak(running, options) else 1
    except MissingError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
