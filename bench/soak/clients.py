"""Random clients, every byte of whose echo is compared; a process of its own, told by lines on standard input.

The clients send in pieces, half-close, stall and reset, over TCP, TLS and a Unix socket. `storm SEED AT_ONCE` runs them
until the next line; `calm SEED COUNT` runs some that do nothing unusual, so that every counter is known exactly.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import socket
import ssl
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

RESET = struct.pack("ii", 1, 0)
CLIENT_SECONDS = 30
TCP_BUFFERED, UNIX_BUFFERED = 1_000_000, 100_000  # bytes that the kernel takes without a read

MAX_REPORTED = 200


class WrongBytesError(Exception):
    """The echo differs from the message."""


class CutShortError(Exception):
    """The server closed before the echo was complete."""


@dataclass(slots=True)
class Totals:
    """What the clients did and saw."""

    clients: collections.Counter[str] = field(default_factory=collections.Counter)
    connections: int = 0
    echoed: int = 0  # connections with at least one byte echoed
    offered: int = 0  # bytes: an upper bound of what was sent
    verified: int = 0  # bytes
    failures: list[tuple[str, float, float, str]] = field(default_factory=list)  # kind, begin, end, text


@dataclass(frozen=True, slots=True)
class Client:
    """One connection, its payload and its random source."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    payload: bytes
    rng: random.Random
    totals: Totals
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start_sending(self) -> asyncio.Task[None]:
        """Send all of the payload beside the reads."""
        self.tasks.append(asyncio.create_task(self.send(len(self.payload))))
        return self.tasks[-1]

    async def leave(self) -> None:
        """End what is still being sent, and the connection."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.writer.transport.abort()

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

    async def receive(self, at: int, upto: int) -> int:
        """Read and compare the echo from byte `at` to `upto` or the end; return where it ended."""
        while at < upto and (data := await self.reader.read(min(upto - at, 262_144))):
            if data != self.payload[at : at + len(data)]:
                raise WrongBytesError(f"at byte {at} of {len(self.payload)}")
            self.totals.echoed += not at
            self.totals.verified += len(data)
            at += len(data)
        return at

    async def end(self, got: int) -> None:
        """Half-close, which TLS cannot, and read the rest, which must be complete."""
        size = len(self.payload)
        if half_closes := self.writer.can_write_eof():
            self.writer.write_eof()
        got = await self.receive(got, size)
        if got != size:
            raise CutShortError(f"{got} of {size} bytes, then the server closed")
        if half_closes and await self.reader.read(1):
            raise WrongBytesError("more bytes than were sent")


async def duplex(client: Client) -> None:
    """Read while writing, then half-close."""
    size = len(client.payload)
    sending = client.start_sending()
    got = await client.receive(0, size)
    await sending
    await client.end(got)


async def half_close(client: Client) -> None:
    """Send everything and half-close before the last reads."""
    size, sending = len(client.payload), client.start_sending()
    unix = client.writer.get_extra_info("socket").family == socket.AF_UNIX
    buffered = UNIX_BUFFERED if unix else TCP_BUFFERED
    got = await client.receive(0, size - buffered) if size > buffered else 0
    await sending
    await client.end(got)


async def stall(client: Client) -> None:
    """Fill the buffers in both directions, pause, then read everything."""
    sending = client.start_sending()
    await asyncio.sleep(client.rng.random())
    got = await client.receive(0, len(client.payload))
    await sending
    await client.end(got)


async def reset(client: Client) -> None:
    """Reset the connection in the middle, with bytes in flight in both directions."""
    client.start_sending()
    await client.receive(0, client.rng.randrange(len(client.payload) + 1))
    raw = client.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.writer.transport.abort()


async def silent(client: Client) -> None:
    """Send nothing, wait for a moment, close."""
    await asyncio.sleep(client.rng.random() * 0.2)
    client.writer.close()


CLEAN: tuple[Callable[[Client], Awaitable[None]], ...] = (duplex, half_close, stall)
ANY = (*CLEAN, reset, silent)
SIZES = (0, 1, 64, 1024, 65_536, 262_144, 262_145, 1_000_000, 4_000_000)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server listens."""

    tcp: int
    tls: int
    unix: str

    async def connect(self, scheme: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect by a scheme; the certificate is a throw-away one."""
        if scheme == "unix":
            return await asyncio.open_unix_connection(self.unix, limit=1 << 18)
        if scheme == "tcp":
            return await asyncio.open_connection("127.0.0.1", self.tcp, limit=1 << 18)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return await asyncio.open_connection("127.0.0.1", self.tls, limit=1 << 18, ssl=context)


async def one_client(target: Target, seed: int, totals: Totals, *, clean: bool) -> None:
    """Run one client; its seed decides everything that it does."""
    rng = random.Random(seed)
    behaviour = rng.choice(CLEAN if clean else ANY)
    size = rng.choice(SIZES)
    scheme = rng.choice(("tcp", "tcp", "tls", "unix"))
    name = f"{behaviour.__name__} {scheme}"
    totals.connections += 1
    totals.offered += size
    began = time.monotonic()
    try:
        async with asyncio.timeout(CLIENT_SECONDS):
            reader, writer = await target.connect(scheme)
            client = Client(reader, writer, rng.randbytes(size), rng, totals)
            try:
                await behaviour(client)
            finally:
                await client.leave()
        totals.clients[behaviour.__name__] += 1
        return  # noqa: TRY300  # what follows is for failures
    except WrongBytesError as error:
        kind, text = "wrong", str(error)
    except TimeoutError:
        kind, text = "stuck", f"not done after {CLIENT_SECONDS} s"
    except (OSError, CutShortError) as error:
        kind, text = "cut", f"{type(error).__name__} {error}"
    if len(totals.failures) < MAX_REPORTED:
        totals.failures.append((kind, began, time.monotonic(), f"{name}, seed {seed}, {size} bytes: {text}"))


async def storm(target: Target, seed: int, at_once: int, lines: asyncio.StreamReader) -> Totals:
    """Keep `at_once` clients running until a line comes."""
    totals, turn, running = Totals(), 0, True

    async def run_one_after_another() -> None:
        nonlocal turn
        while running:
            turn += 1
            await one_client(target, seed * 1_000_000 + turn, totals, clean=False)

    tasks = [asyncio.create_task(run_one_after_another()) for _ in range(at_once)]
    await lines.readline()
    running = False
    await asyncio.gather(*tasks)
    return totals


async def calm(target: Target, seed: int, count: int) -> Totals:
    """Run some clients that neither reset nor leave early."""
    totals = Totals()
    for start in range(0, count, 10):
        turns = range(start, min(start + 10, count))
        await asyncio.gather(*(one_client(target, seed * 1_000_000 + i, totals, clean=True) for i in turns))
    return totals


async def obey(target: Target) -> None:
    """Do what standard input says, and print the totals of each command."""
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while words := (await lines.readline()).decode().split():
        command, seed, number = words[0], int(words[1]), int(words[2])
        if command == "storm":
            totals = await storm(target, seed, number, lines)
        else:
            totals = await calm(target, seed, number)
        print(json.dumps({name: getattr(totals, name) for name in Totals.__slots__}), flush=True)


if __name__ == "__main__":
    asyncio.run(obey(Target(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
