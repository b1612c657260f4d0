"""Words that begin a command: what to write where a program is given in place of an address, or without `--`."""

import os
import shlex
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from halloo._check.spec import placeholders
from halloo.errors import UsageError

_PYTHON = ("python" if shutil.which("python") else "python3",)
_STARTED_WITH = {
    **dict.fromkeys((".py", ".pyw"), _PYTHON),
    **dict.fromkeys((".js", ".mjs", ".cjs"), ("node",)),
    ".java": ("java",),
    ".jar": ("java", "-jar"),
    ".go": ("go", "run"),
    ".rb": ("ruby",),
    ".pl": ("perl",),
    ".php": ("php",),
    ".sh": ("sh",),
}
_COMPILED = (".c", ".cc", ".cpp", ".cxx", ".rs")


def refuse_program(words: Sequence[str], kind: Literal["server", "client"], options: Sequence[str] = ()) -> None:
    """Raise UsageError with the command to write if the words begin with a program; `options` are those given."""
    if words and (argv := _argv(words)):
        names = {"client": ("host", "port", "msg"), "server": ("path",) if "--unix" in options else ("host", "port")}
        wanted = {"client": ("HOST", "PORT"), "server": ("{path}",) if "--unix" in options else ("PORT",)}
        if not ("--port" in options or placeholders(argv, names[kind])):
            argv = [*_without_address(argv), *wanted[kind]]
        line = shlex.join(["halloo", "check", kind, *options, "--", *argv])
        compiled = f"compile {words[0]} first, then check" if words[0].endswith(_COMPILED) else "check it with"
        raise UsageError(f"{words[0]} is a program, whose command comes after --", f"{compiled}: {line}")


def _argv(words: Sequence[str]) -> list[str]:
    """Return the words of the command, none if the first is no program."""
    name, *rest = words
    path = Path(name)
    if ":" in name:
        return []
    if start := _STARTED_WITH.get(path.suffix):
        return [*start, *words]
    if path.suffix in _COMPILED:
        return [_with_folder(name.removesuffix(path.suffix)), *rest]
    if _is_executable(path):
        return [_with_folder(name), *rest]
    is_port = len(rest) == 1 and rest[0].isdecimal()  # of a host, which may have the name of a program
    return [*words] if rest and not is_port and shutil.which(name) else []


def _with_folder(name: str) -> str:
    """Name a file so that no folder of PATH is searched."""
    return name if os.path.dirname(name) else f"./{name}"  # noqa: PTH120 - Path drops the ./


def _is_executable(path: Path) -> bool:
    with suppress(OSError):  # the name may be too long
        return path.is_file() and os.access(path, os.X_OK)
    return False


def _without_address(argv: list[str]) -> list[str]:
    """Leave out the port, or the host and the port, of a running program."""
    if len(argv) > 1 and argv[-1].isascii() and argv[-1].isdecimal():
        argv = argv[:-1]
    return argv[:-1] if argv[-1] in ("localhost", "127.0.0.1", "::1") else argv
