"""What is checked: a command that is started for each case, or the address of a running server.

Uses addresses and strings; no sockets and no processes.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from halloo._check.messages import Messages, Request
from halloo._core import arguments
from halloo._core.address import Address
from halloo._core.hosts import is_near
from halloo.errors import UsageError

Transform = Callable[[bytes], bytes]
Stdin = Literal["pty", "pipe", "none"]
Shape = Literal["typed", "piped", "argument", "own"]

LOOPBACK = "127.0.0.1"
START_TIMEOUT = 15.0


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A program to check; its command has placeholders such as {port} or PORT."""

    names: ClassVar[str]
    """The names of the placeholders, separated by bars."""

    command: tuple[str, ...] = ()
    scheme: str = "tcp"
    port: int = 0
    """The fixed port of a program that takes no port as an argument."""
    messages: Messages | None = None
    """The messages of its protocol, if that is not lines of text."""

    def __post_init__(self) -> None:
        """Check what the user has given. Raises UsageError."""
        arguments.whole("port", self.port, 0, 65535)

    @property
    def name(self) -> str:
        return " ".join(self.command)

    @property
    def _placeholder(self) -> re.Pattern[str]:
        # {port} as in other tools, or PORT for shells that interpret braces.
        return re.compile(rf"\{{({self.names})\}}|\b({self.names.upper()})\b", re.ASCII)

    @property
    def placeholders(self) -> set[str]:
        return {(brace or bare).lower() for word in self.command for brace, bare in self._placeholder.findall(word)}

    def argv(self, **values: str) -> list[str]:
        """Return the command with its placeholders replaced."""
        replace = partial(self._placeholder.sub, lambda match: values[(match[1] or match[2]).lower()])
        return [*map(replace, self.command)]


@dataclass(frozen=True, kw_only=True)
class ServerSpec(Spec):
    """The server to check: a `command` with placeholders for its port, host or path, or an `address`."""

    names = "port|host|path"
    address: Address | None = None
    reached: Address | None = None
    """That address once it is known which one of its name's answers: its host is a number."""
    expect: Transform | None = None
    """How the server transforms each line, if it is not a plain echo."""
    greeting: bool = False
    """Whether the server sends a line before it reads."""
    lossy: bool = False
    """Whether the server of datagrams loses some on purpose, as those of some courses do."""
    allowed: tuple[str, ...] = ()
    """Public hosts that may be checked."""
    stdin: Stdin = "pipe"
    """Standard input of the command: a pipe or a terminal, both open and silent, or nothing, which is at its end."""
    start: float = START_TIMEOUT
    """Seconds within which the command has to listen."""

    def __post_init__(self) -> None:
        """Raise UsageError unless there is one server, and it may be checked."""
        super().__post_init__()
        arguments.seconds("start", self.start)
        if (self.address is None) == (not self.command):
            raise UsageError(
                "name one server to check", "an address, or its command: halloo check server -- COMMAND PORT"
            )
        if self.lossy and self.scheme != "udp":
            raise UsageError("is for datagrams, and a stream is checked", "leave it out", argument="lossy")
        host = (self.address and self.address.host) or "localhost"
        if not is_near(host) and host not in self.allowed:
            raise UsageError(
                f"{host} is neither a local nor a private address", "if you may test it, name it with allow_remote="
            )

    @property
    def name(self) -> str:
        return super().name or str(self.address)

    @property
    def has_placeholder(self) -> bool:
        return bool(self.placeholders - {"host"})

    def expected_reply(self, data: bytes) -> bytes:
        if isinstance(data, Request):
            return data.reply
        if self.expect is None:
            return data
        return b"\n".join(self.expect(line) if line else b"" for line in data.split(b"\n"))


@dataclass(frozen=True, kw_only=True)
class ClientSpec(Spec):
    """A client's `command`, with placeholders for the server's host and port, and for the message: {msg} or MSG."""

    names = "host|port|msg"
    stdin: Stdin | None = None
    """A terminal where a line is typed, a pipe, or nothing; None means nothing if there is a placeholder for the
    message, else a terminal."""
    message: str = ""
    """The message to send, unless the case needs a particular one."""
    verifying: bool = False
    """Whether the client claims to compare the reply with what it sent."""
    silent: bool = False
    """Whether the client prints nothing: it is judged by what arrives at the server, and by its exit code."""

    def __post_init__(self) -> None:
        """Raise UsageError for a client that cannot find the server."""
        super().__post_init__()
        if not self.command:
            raise UsageError("name a client to check", "its command: halloo check client -- COMMAND HOST PORT")
        if not self.port and "port" not in self.placeholders:
            raise UsageError("the command has no placeholder for the port", "write PORT in its place, or give port=")

        if self.messages and self.shape != "own" and not (self.message or self.messages.message(0).typed):
            raise UsageError(
                f"{self.messages} does not say what is typed at the client",
                "let it return (request, reply, typed), or give message= or stdin='none'",
            )

    @property
    def prints(self) -> bool:
        """Whether the reply is looked for in the output: that of another protocol is shown in its own way."""
        return not self.silent and self.messages is None

    @property
    def shape(self) -> Shape:
        """How the client gets the message: typed at a prompt, piped, as an argument, or it has its own."""
        if self.stdin in ("pipe", "pty"):
            return "piped" if self.stdin == "pipe" else "typed"
        if "msg" in self.placeholders:
            return "argument"
        return "own" if self.stdin == "none" else "typed"

    @property
    def by_name(self) -> bool:
        return "host" in self.placeholders or any("localhost" in word for word in self.command)


CheckSpec = ServerSpec | ClientSpec


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


def parse_messages(text: str | None, expect: Transform | None = None) -> Messages | None:
    """Parse MODULE:FUNCTION; the function makes a message of each number. Raises UsageError."""
    if text is None:
        return None
    if ":" not in text:
        raise UsageError(f"{text!r} is not MODULE:FUNCTION", "name a module here and a function in it")
    return Messages(text, parse_transform(text), expect or bytes)  # type: ignore[arg-type] # the same import
