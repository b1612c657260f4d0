"""Which client is checked: its command, and how it gets the message that it is to send.

Knows words. Knows no socket and no process.
"""

import re
from dataclasses import dataclass
from typing import Literal

Stdin = Literal["pty", "pipe", "none"]
Shape = Literal["typed", "piped", "told", "own"]

_PLACES = re.compile(r"\{(host|port|msg)\}|\b(HOST|PORT|MSG)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSubject:
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
        return [_filled(word, values) for word in self.command]


def _filled(word: str, values: dict[str, bytes]) -> bytes:
    pieces, done = [], 0
    for found in _PLACES.finditer(word):
        pieces += [word[done : found.start()].encode(), values[(found[1] or found[2]).lower()]]
        done = found.end()
    return b"".join([*pieces, word[done:].encode()])
