"""What is checked: a command that is started for each case, or the address of a running server.

Uses addresses and strings; no sockets and no processes.
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

Transform = Callable[[bytes], bytes]

LOOPBACK = "127.0.0.1"
# {port} as in other tools, or PORT for shells that interpret braces.
_SERVER_PLACEHOLDER = re.compile(r"\{(port|host|path)\}|\b(PORT|HOST|PATH)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """The server to check: a `command` with placeholders for its port, host or path, or an `address`."""

    scheme: str = "tcp"
    command: tuple[str, ...] = ()
    address: Address | None = None
    port: int = 0
    """The fixed port of a program that takes no port as an argument."""
    expect: Transform | None = None
    """How the server transforms each line, if it is not a plain echo."""
    greeting: bool = False
    """Whether the server sends a line before it reads."""

    @property
    def name(self) -> str:
        return " ".join(self.command) if self.command else str(self.address)

    def argv(self, host: str, port: int, path: str) -> list[str]:
        """Return the command with its placeholders replaced."""
        values = {"port": str(port), "host": host, "path": path}
        return [_substitute(word, values) for word in self.command]

    @property
    def has_placeholder(self) -> bool:
        return any(_substitute(word, dict.fromkeys(("port", "path"), "\0")) != word for word in self.command)

    def expected_reply(self, data: bytes) -> bytes:
        if self.expect is None:
            return data
        lines = data.split(b"\n")
        return b"\n".join(self.expect(line) if line else b"" for line in lines)


def _substitute(word: str, values: dict[str, str]) -> str:
    return _SERVER_PLACEHOLDER.sub(lambda match: values.get((match[1] or match[2]).lower(), match[0]), word)


def parse_transform(text: str | None) -> Transform | None:
    """Parse `upper`, `lower`, `reverse` or MODULE:FUNCTION. Raises UsageError."""
    if text is None:
        return None
    if text in _TRANSFORMS:
        return _TRANSFORMS[text]
    module, colon, name = text.partition(":")
    if not colon:
        raise UsageError(f"{text!r} is not a known transformation", f"use {', '.join(_TRANSFORMS)} or MODULE:FUNCTION")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - as `python -m` does
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as above
    try:
        function = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # what the module raises is its own
        raise UsageError(f"{text!r} cannot be imported ({error})", "name a module here and a function in it") from error
    if not callable(function):
        raise UsageError(f"{text!r} is not callable", "name a function that takes and returns the bytes of a line")
    return function  # type: ignore[no-any-return] # its type is only known when it is called


_TRANSFORMS: dict[str, Transform] = {"upper": bytes.upper, "lower": bytes.lower, "reverse": lambda line: line[::-1]}


Stdin = Literal["pty", "pipe", "none"]
Shape = Literal["typed", "piped", "argument", "own"]

_CLIENT_PLACEHOLDER = re.compile(r"\{(host|port|msg)\}|\b(HOST|PORT|MSG)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSpec:
    """A client's `command`, with placeholders for the server's host and port, and for the message: {msg} or MSG."""

    command: tuple[str, ...]
    scheme: str = "tcp"
    port: int = 0
    """The fixed port of a program that takes no port as an argument."""
    stdin: Stdin | None = None
    """A terminal where a line is typed, a pipe, or nothing; None means nothing if there is a placeholder for the
    message, else a terminal."""
    message: str = ""
    """The message to send, unless the case needs a particular one."""
    verifying: bool = False
    """Whether the client claims to compare the reply with what it sent."""

    @property
    def name(self) -> str:
        """The command as given by the user."""
        return " ".join(self.command)

    @property
    def shape(self) -> Shape:
        """How the client gets the message: typed at a prompt, piped, as an argument, or it has its own."""
        has_message = "msg" in self._placeholders
        if self.stdin == "pipe":
            return "piped"
        if self.stdin == "pty":
            return "typed"
        if has_message:
            return "argument"
        return "own" if self.stdin == "none" else "typed"

    @property
    def takes_port(self) -> bool:
        return "port" in self._placeholders

    @property
    def by_name(self) -> bool:
        return "host" in self._placeholders or any("localhost" in word for word in self.command)

    @property
    def _placeholders(self) -> set[str]:
        matches = (_CLIENT_PLACEHOLDER.findall(word) for word in self.command)
        return {(brace or bare).lower() for each in matches for brace, bare in each}

    def argv(self, *, host: str, port: int, message: bytes = b"") -> list[bytes]:
        """Return the command with its placeholders replaced."""
        values = {"host": host.encode(), "port": str(port).encode(), "msg": message}
        return [_substitute_bytes(word, values) for word in self.command]


def _substitute_bytes(word: str, values: dict[str, bytes]) -> bytes:
    pieces, done = [], 0
    for match in _CLIENT_PLACEHOLDER.finditer(word):
        pieces += [word[done : match.start()].encode(), values[(match[1] or match[2]).lower()]]
        done = match.end()
    return b"".join([*pieces, word[done:].encode()])
