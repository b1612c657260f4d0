"""What is checked: a command that is started for each case, or the address of a running server.

Uses addresses and strings; no sockets and no processes. Only the user's own words have placeholders, and all are
replaced in one pass: what replaces one (a folder's name, a message) is never read again.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from halloo._check.messages import Messages, Request
from halloo._core import arguments
from halloo._core.address import Address
from halloo._core.hosts import is_near
from halloo.errors import UsageError

Stdin = Literal["pty", "pipe", "none"]
Shape = Literal["typed", "piped", "argument", "own"]

LOOPBACK = "127.0.0.1"
START_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class Transform:
    """A change to each line, and its name on the command line: `upper`, or MODULE:FUNCTION."""

    name: str
    function: Callable[[bytes], bytes]

    def __call__(self, line: bytes) -> bytes:
        return self.function(line)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A program to check; its command has placeholders such as {port} or PORT.

    Each field is the option of its name, except for those in `halloo._check.repeat.PLACED`.
    """

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
    def names(self) -> tuple[str, ...]:
        """The names of the placeholders."""
        raise NotImplementedError

    @property
    def placeholders(self) -> set[str]:
        return placeholders(self.command, self.names)

    def argv(self, **values: str) -> list[str]:
        """Return the command with its placeholders replaced."""
        return _replaced(self.command, {name: values[name] for name in self.names})


def placeholders(words: Iterable[str], names: Iterable[str]) -> set[str]:
    """Return those of the names that are placeholders in the words of a command."""
    pattern = _placeholder(names)
    return {_name(match) for word in words for match in pattern.finditer(word)}


def _placeholder(names: Iterable[str]) -> re.Pattern[str]:
    """Match {port} anywhere, and PORT where it stands alone: docs/check.md says where that is."""
    braces, bare = "|".join(names), "|".join(f"{name.upper()}{'' if name == 'dir' else '(?!/)'}" for name in names)
    # A single slash before it belongs to a path, two belong to tcp://HOST.
    return re.compile(rf"(?<!\$)\{{({braces})\}}|(?<![\w${{}}.-])(?<!(?<!/)/)({bare})(?![\w${{}}.-]|\s*=)")


def _name(match: re.Match[str]) -> str:
    return (match[1] or match[2]).lower()


def _replaced(words: Iterable[str], values: Mapping[str, str]) -> list[str]:
    pattern = _placeholder(values)
    return [pattern.sub(lambda match: values[_name(match)], word) for word in words]


@dataclass(frozen=True, kw_only=True)
class ServerSpec(Spec):
    """The server to check: a `command` with placeholders for its port, host or path, or an `address`."""

    address: Address | None = None
    reached: Address | None = None
    """That address once it is known which one of its name's answers: its host is a number."""
    expect: Transform | None = None
    """How the server transforms each line, if it is not a plain echo."""
    greeting: bool = False
    """Whether the server sends a line before it reads."""
    lossy: bool = False
    """Whether the server of datagrams loses some on purpose, as those of some courses do."""
    stdin: Stdin = "pipe"
    """Standard input of the command: a pipe or a terminal, both open and silent, or nothing, which is at its end."""
    start: float = START_TIMEOUT
    """Seconds within which the command has to listen."""
    allow_remote: tuple[str, ...] = ()
    """Public hosts that may be checked."""
    folder: str = ""
    """The folder of several that is checked; {dir} or DIR in the command is its name."""

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
        if not is_near(host) and host not in self.allow_remote:
            raise UsageError(
                f"{host} is neither a local nor a private address", "if you may test it, name it with allow_remote="
            )
        if self.command and self.scheme == "unix" and "path" not in self.placeholders:
            raise UsageError("the command has no placeholder for the socket's path", "write {path} in its place")

    @property
    def name(self) -> str:
        return self.folder or super().name or str(self.address)

    @property
    def names(self) -> tuple[str, ...]:
        return (*(("path",) if self.scheme == "unix" else ("port", "host")), *(("dir",) if self.folder else ()))

    @property
    def has_placeholder(self) -> bool:
        return not self.placeholders.isdisjoint(("port", "path"))

    def argv(self, **values: str) -> list[str]:
        return super().argv(**values, dir=self.folder)

    def for_folder_alone(self) -> "ServerSpec | None":
        """Return it with the folder's name in the command; None where the name would be read as a placeholder."""
        words = _replaced(self.command, {"dir": self.folder})
        alone, values = replace(self, command=tuple(words), folder=""), dict.fromkeys(("host", "port", "path"), "\0")
        return alone if alone.argv(**values) == self.argv(**values) else None

    def expected_reply(self, data: bytes) -> bytes:
        if isinstance(data, Request):
            return data.reply
        if self.expect is None:
            return data
        return b"\n".join(self.expect(line) if line else b"" for line in data.split(b"\n"))


@dataclass(frozen=True, kw_only=True)
class ClientSpec(Spec):
    """A client's `command`, with placeholders for the server's host and port, and for the message: {msg} or MSG."""

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
    def names(self) -> tuple[str, ...]:
        return ("host", "port", "msg")

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
        return Transform(text, _TRANSFORMS[text])
    return Transform(text, _imported(text, f"{', '.join(_TRANSFORMS)} or MODULE:FUNCTION"))


def parse_messages(text: str | None, expect: Transform | None = None) -> Messages | None:
    """Parse MODULE:FUNCTION; the function makes a message of each number. Raises UsageError."""
    return None if text is None else Messages(text, _imported(text, "MODULE:FUNCTION"), expect or bytes)


def _imported(text: str, known: str) -> Callable[[Any], Any]:
    """Import the function that MODULE:FUNCTION names, from the working directory too. Raises UsageError."""
    module, colon, name = text.partition(":")
    if not colon:
        raise UsageError(f"{text!r} names no function", f"use {known}")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - as `python -m` does
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as above
    try:
        function = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # what the module raises is its own
        raise UsageError(f"{text!r} cannot be imported ({error})", "name a module here and a function in it") from error
    if not callable(function):
        raise UsageError(f"{text!r} is not callable", "name a function")
    return function  # type: ignore[no-any-return] # its type is only known when it is called


_TRANSFORMS: dict[str, Callable[[bytes], bytes]] = {
    "upper": bytes.upper,
    "lower": bytes.lower,
    "reverse": lambda line: line[::-1],
}
