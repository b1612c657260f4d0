"""Who is checked: a command that is started for each case, or an address where a server is running already.

Knows addresses and words. Knows no socket and no process.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from halloo._core.address import Address
from halloo.errors import UsageError

Expect = Callable[[bytes], bytes]

LOOPBACK = "127.0.0.1"
# {port} as others have it, or PORT where a shell would take the braces away.
_PLACE = re.compile(r"\{(port|host|path)\}|\b(PORT|HOST|PATH)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """What is asked: `command` with places for its port, host or path; or an `address`."""

    scheme: str = "tcp"
    command: tuple[str, ...] = ()
    address: Address | None = None
    port: int = 0
    """The fixed port of a program that takes none."""
    expect: Expect | None = None
    """What it makes of each line, when it is no pure echo."""
    greeting: bool = False
    """Whether it sends a line first."""

    @property
    def name(self) -> str:
        """The command, or the address, as the user wrote it."""
        return " ".join(self.command) if self.command else str(self.address)

    def words(self, host: str, port: int, path: str) -> list[str]:
        """Give the command with its places filled in."""
        values = {"port": str(port), "host": host, "path": path}
        return [_filled(word, values) for word in self.command]

    @property
    def places(self) -> bool:
        """Whether the command says where its port or path belongs."""
        return any(_filled(word, dict.fromkeys(("port", "path"), "\0")) != word for word in self.command)

    def expected(self, data: bytes) -> bytes:
        """Say what should come back: each line made of, its newline kept."""
        if self.expect is None:
            return data
        lines = data.split(b"\n")
        return b"\n".join(self.expect(line) if line else b"" for line in lines)


def _filled(word: str, values: dict[str, str]) -> str:
    return _PLACE.sub(lambda found: values.get((found[1] or found[2]).lower(), found[0]), word)


def expectation(text: str | None) -> Expect | None:
    """Read `upper`, `reverse` or MODULE:FUNCTION. Raises UsageError."""
    if text is None:
        return None
    if text in _KNOWN:
        return _KNOWN[text]
    module, colon, name = text.partition(":")
    if not colon:
        raise UsageError(f"{text!r} is no expectation", f"use {', '.join(_KNOWN)} or MODULE:FUNCTION")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - it is what `python -m` puts there
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as above
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{text!r} cannot be imported ({error})", "name a module here and a function in it") from error
    if not callable(found):
        raise UsageError(f"{text!r} is no function", "it is called with the bytes of a line, and returns bytes")
    return found  # type: ignore[no-any-return] # what it returns is seen when it is called


_KNOWN: dict[str, Expect] = {"upper": bytes.upper, "lower": bytes.lower, "reverse": lambda line: line[::-1]}


Stdin = Literal["pty", "pipe", "none"]
Shape = Literal["typed", "piped", "told", "own"]

_PLACES = re.compile(r"\{(host|port|msg)\}|\b(HOST|PORT|MSG)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSpec:
    """A client's `command`, with places for the host and port of the server, and for the message: {msg} or MSG."""

    command: tuple[str, ...]
    scheme: str = "tcp"
    port: int = 0
    """The fixed port of a program that takes none."""
    stdin: Stdin | None = None
    """A terminal where a line is typed, a pipe, or nothing; None is nothing with a place for the message, else a
    terminal."""
    message: str = ""
    """What it is to send, where the case does not need a message of its own."""
    verifying: bool = False
    """Whether it claims to compare the answer with what it sent."""

    @property
    def name(self) -> str:
        """The command as the user wrote it."""
        return " ".join(self.command)

    @property
    def shape(self) -> Shape:
        """How the message gets to it: typed at a prompt, piped, told as a word of the command, or it has its own."""
        told = "msg" in self._places
        if self.stdin == "pipe":
            return "piped"
        if self.stdin == "pty":
            return "typed"
        if told:
            return "told"
        return "own" if self.stdin == "none" else "typed"

    @property
    def takes_port(self) -> bool:
        """Whether the command says where the port belongs."""
        return "port" in self._places

    @property
    def by_name(self) -> bool:
        """Whether it can be told to find its server by the name localhost."""
        return "host" in self._places or any("localhost" in word for word in self.command)

    @property
    def _places(self) -> set[str]:
        found = (_PLACES.findall(word) for word in self.command)
        return {(brace or bare).lower() for each in found for brace, bare in each}

    def words(self, *, host: str, port: int, message: bytes = b"") -> list[bytes]:
        """Give the command with its places filled in."""
        values = {"host": host.encode(), "port": str(port).encode(), "msg": message}
        return [_filled_bytes(word, values) for word in self.command]


def _filled_bytes(word: str, values: dict[str, bytes]) -> bytes:
    pieces, done = [], 0
    for found in _PLACES.finditer(word):
        pieces += [word[done : found.start()].encode(), values[(found[1] or found[2]).lower()]]
        done = found.end()
    return b"".join([*pieces, word[done:].encode()])
