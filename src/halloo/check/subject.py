"""Who is checked: a command that is started for each case, or an address where a server is running already.

Knows addresses and words. Knows no socket and no process.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

from halloo.core.addresses import Address
from halloo.errors import UsageError

Expect = Callable[[bytes], bytes]

LOOPBACK = "127.0.0.1"
# {port} as others have it, or PORT where a shell would take the braces away.
_PLACE = re.compile(r"\{(port|host|path)\}|\b(PORT|HOST|PATH)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
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
