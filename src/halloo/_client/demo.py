"""Run a server and a client in one terminal and print what both do.

Uses public functions only, as a reader's program would.
"""

import os
import shlex
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from halloo._core.units import show_size
from halloo._net.connector import connect
from halloo._net.duplex import duplex
from halloo._server.server import Server

LINES = ("Hello world", "héllo, wörld", "a longer line: " + "la " * 15)
BULK = bytes(range(256)) * 4096


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The number of messages sent, and of those that were echoed unchanged."""

    messages: int
    identical: int


def demo() -> DemoReport:
    """Start a server, send it messages, print both sides and the next command to type."""
    identical = 0
    with Server() as server:
        print(f"server: listening on {server.address}")
        with connect(server.address) as connection:
            print(f"client: connected to {connection.address}")
            for line in LINES:
                data = line.encode()
                connection.send(data)
                answer = connection.receive_exactly(len(data))
                identical += answer == data
                print(f"client: Send:{line}")
                print(f"client: Received {answer.decode()!r}")
            chunks: list[bytes] = []
            duplex(connection, [BULK], chunks.append, timeout=5)
            complete = b"".join(chunks) == BULK
            identical += complete
            received = "all of it" if complete else f"{sum(map(len, chunks))} bytes"
            print(f"client: sent {show_size(len(BULK))} of binary data, closed its sending side, received {received}")
        snapshot = server.snapshot()
        print(
            f"server: {snapshot.accepted} client, {snapshot.received_bytes} bytes in, {snapshot.sent_bytes} bytes out"
        )
    messages = len(LINES) + 1
    program = halloo_command()
    print(f"{identical} of {messages} messages were echoed unchanged")
    print(f"next: {program} serve")
    print(f"and in another terminal: {program} connect localhost")
    return DemoReport(messages, identical)


def halloo_command() -> str:
    """Return what to type for `halloo`: its name where it is on PATH, else its path, else `python -m halloo`."""
    if shutil.which("halloo"):
        return "halloo"
    installed = shutil.which("halloo", path=sysconfig.get_path("scripts"))
    words = [_below_here(installed)] if installed else [_below_here(sys.executable), "-m", "halloo"]
    return shlex.join(words) if os.name == "posix" else " ".join(f'"{word}"' if " " in word else word for word in words)


def _below_here(program: str) -> str:
    path, here = Path(program), Path.cwd()
    below = path.parent != here and path.is_relative_to(here)  # a shell does not run a bare name from this folder
    return str(path.relative_to(here)) if below else program
