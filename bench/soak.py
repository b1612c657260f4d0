"""Wear a server down for some minutes: `python -m bench.soak --minutes 3 --seed 1`.

Random clients send in pieces, half-close, stall and reset; every byte that comes back is compared. Afterwards the
server must have the descriptors, threads and memory it had before. Knows clients; the server is any command.
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
"""Resident memory that may stay: arenas and caches; what each client leaves behind would show beyond it."""


class WrongBytesError(Exception):
    """What came back is not what was sent."""


@dataclass(slots=True)
class Tally:
    """What the clients did and saw."""

    clients: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: collections.Counter[str] = field(default_factory=collections.Counter)
    verified: int = 0


@dataclass(frozen=True, slots=True)
class Client:
    """One connection, its payload, and the chance it is led by."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    payload: bytes
    chance: random.Random

    async def send(self, upto: int) -> None:
        """Send the payload's beginning in pieces of any size, pausing now and then."""
        at = 0
        while at < upto:
            piece = min(upto - at, self.chance.choice((1, 7, 1460, 4096, 65_536, 300_000)))
            self.writer.write(self.payload[at : at + piece])
            await self.writer.drain()
            at += piece
            if self.chance.random() < 0.05:  # noqa: PLR2004  # one piece in twenty
                await asyncio.sleep(self.chance.random() * 0.02)

    async def receive(self, upto: int) -> int:
        """Read that much of the echo, compare it, return its length."""
        at = 0
        while at < upto and (data := await self.reader.read(min(upto - at, 262_144))):
            if data != self.payload[at : at + len(data)]:
                raise WrongBytesError(f"at byte {at} of {len(self.payload)}")
            at += len(data)
        return at

    async def end(self, got: int) -> int:
        """Half-close, read the rest, insist on all of it and then the server's end."""
        self.writer.write_eof()
        rest = Client(self.reader, self.writer, self.payload[got:], self.chance)
        total = got + await rest.receive(len(self.payload) - got)
        if total != len(self.payload):
            raise WrongBytesError(f"{total} of {len(self.payload)} bytes, then the end")
        if await self.reader.read(1):
            raise WrongBytesError("a byte too many")
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
    if len(client.payload) > 1_000_000:  # noqa: PLR2004  # more than the kernel takes unread
        got = await client.receive(len(client.payload) // 2)
    await sending
    return await client.end(got)


async def stall(client: Client) -> int:
    """Fill the way there and back, read nothing for a while, then everything."""
    sending = asyncio.create_task(client.send(len(client.payload)))
    await asyncio.sleep(client.chance.random())
    got = await client.receive(len(client.payload))
    await sending
    return await client.end(got)


async def reset(client: Client) -> int:
    """Break off by a reset in the middle, with bytes under way in both directions."""
    sending = asyncio.create_task(client.send(len(client.payload)))
    got = await client.receive(client.chance.randrange(len(client.payload) + 1))
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending
    raw = client.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.writer.transport.abort()
    return got


async def silent(client: Client) -> int:
    """Say nothing, stay a moment, leave."""
    await asyncio.sleep(client.chance.random() * 0.2)
    client.writer.close()
    return 0


KINDS: tuple[Callable[[Client], Awaitable[int]], ...] = (duplex, half_close, stall, reset, silent)


async def one_client(port: int, seed: int, tally: Tally) -> None:
    """Live one client's life, led by its seed alone."""
    chance = random.Random(seed)  # a run that can be repeated is the point
    kind = chance.choice(KINDS)
    size = chance.choice((0, 1, 64, 1024, 65_536, 262_144, 262_145, 1_000_000, 4_000_000))
    try:
        async with asyncio.timeout(CLIENT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 18)
            try:
                got = await kind(Client(reader, writer, chance.randbytes(size), chance))
                tally.verified += got
            finally:
                writer.transport.abort()
        tally.clients[kind.__name__] += 1
    except (OSError, WrongBytesError, TimeoutError) as error:
        tally.failures[f"{kind.__name__}, seed {seed}, {size} bytes: {type(error).__name__} {error}"] += 1


async def crowd(port: int, seed: int, *, until: float, most: int, at_once: int) -> Tally:
    """Keep `at_once` clients going until the time or their number is up."""
    tally, turn = Tally(), 0

    async def lane() -> None:
        nonlocal turn
        while time.monotonic() < until and turn < most:
            turn += 1
            await one_client(port, seed * 1_000_000 + turn, tally)

    await asyncio.gather(*(lane() for _ in range(at_once)))
    return tally


@dataclass(frozen=True, slots=True)
class State:
    """What a server holds."""

    descriptors: int
    threads: int
    processes: int
    rss: int


def state(running: Running) -> State:
    """Return what the server holds now."""
    return State(running.descriptors(), running.threads(), len(running.tree()), running.rss())


def settled(running: Running) -> State:
    """Return the state once the descriptors have stayed as they are for a second, or when patience ends."""
    end, since, last = time.monotonic() + SETTLE_SECONDS, time.monotonic(), running.descriptors()
    while time.monotonic() < min(end, since + QUIET_SECONDS):
        time.sleep(0.05)
        if (now := running.descriptors()) != last:
            since, last = time.monotonic(), now
    return state(running)


def soak(running: Running, options: argparse.Namespace) -> bool:
    """Warm, soak, compare; True when nothing was lost and nothing is left."""
    idle = settled(running)  # workers may still be at their own beginnings when the server says that it listens
    now = time.monotonic()
    warm = asyncio.run(crowd(running.port, 0, until=now + 60, most=WARM_CLIENTS, at_once=options.at_once))
    before = settled(running)
    now = time.monotonic()
    until = now + options.minutes * 60
    tally = asyncio.run(crowd(running.port, options.seed, until=until, most=sys.maxsize, at_once=options.at_once))
    after = settled(running)
    failures = warm.failures + tally.failures
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(tally.clients.items()))
    print(f"{tally.clients.total()} clients in {time.monotonic() - now:.0f} s: {kinds}")
    print(f"{tally.verified:,} bytes verified, {failures.total()} failures")
    for text, count in failures.most_common(10):
        print(f"  {count} x {text}")
    print(f"before {before}\nafter  {after}")
    same = (before.descriptors, before.threads, before.processes) == (after.descriptors, after.threads, after.processes)
    same = same and idle.descriptors == after.descriptors and after.rss - before.rss <= GROWTH_BYTES
    print("nothing lost, nothing left" if same and not failures else "NOT as before")
    return same and not failures


def main(argv: list[str] | None = None) -> int:
    """Start a server, soak it, stop it."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=40, help="clients at any time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--command", help="another server than halloo's")
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
