"""The language of a program under test, recognized by the command that starts it.

Looks at the words of the command, and of a shell's `-c`, and at the beginning of a program that is named by its path:
64 KiB of a regular file at most, for the interpreter in its first line or the build id that Go writes into its
programs. It opens nothing else, starts nothing, and takes what cannot be read for unknown.
"""

import os
import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Literal

Language = Literal["python", "c", "java", "go", "javascript"]

LANGUAGES: Mapping[Language, str] = {
    "python": "Python",
    "c": "C",
    "java": "Java",
    "go": "Go",
    "javascript": "JavaScript",
}
"""All languages, and their names in reports."""

MAX_HEAD = 64 << 10  # bytes read of a program
MAX_DEPTH = 4  # commands within commands: a shell that starts a shell
_SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "ash"}
# Programs that start the one that follows, after options, assignments and numbers.
_STARTERS = {
    *("busybox", "env", "exec", "nice", "nohup", "setsid", "stdbuf", "strace", "sudo", "time", "timeout", "valgrind"),
    *("hatch", "pipenv", "poetry", "uv"),
}
_RUNTIMES: tuple[tuple[re.Pattern[str], Language], ...] = (
    (re.compile(r"(python|pypy)[\d.]*(w|t|-dbg)?|py"), "python"),
    (re.compile(r"java|javac|jshell|mvnw?|gradlew?"), "java"),
    (re.compile(r"go|go1[\d.]*"), "go"),
    (re.compile(r"node|nodejs|npx|npm|bun|deno|tsx|ts-node"), "javascript"),
    (re.compile(r"gcc|cc|clang|tcc"), "c"),
)
_SUFFIXES: Mapping[str, Language] = {
    **dict.fromkeys((".py", ".pyw", ".pyz"), "python"),
    **dict.fromkeys((".java", ".jar", ".class"), "java"),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".ts", ".mts"), "javascript"),
    ".go": "go",
    ".c": "c",
}
_PARAMETER = re.compile(r"-.*|\w+=.*|[\d.]+[smhd]?|run", re.ASCII)  # `run` as in `uv run`
_SEPARATORS = re.compile(r"[;&|()\n]+")
_GO_NOTE = re.compile(  # ELF note: length of the name, of the content, type 4; the name
    rb"\x04\0{3}.{4}\x04\0{3}Go\0\0|\0{3}\x04.{4}\0{3}\x04Go\0\0", re.DOTALL
)


def language_of(command: Sequence[str]) -> Language | None:
    """Return the language of the program that a command starts; None if that is unknown."""
    return _language_of(command, MAX_DEPTH)


def _language_of(command: Sequence[str], depth: int) -> Language | None:
    words = _without_starters(command)
    if not words or not depth:
        return None
    word = words[0]
    name = PurePath(word).name.lower().removesuffix(".exe")
    if name in _SHELLS:
        return _language_of_script(words[1:], depth - 1)
    for runtime, language in _RUNTIMES:
        if runtime.fullmatch(name):
            return language
    return _SUFFIXES.get(PurePath(name).suffix) or _language_of_file(word, depth - 1)


def _without_starters(command: Sequence[str]) -> Sequence[str]:
    """Leave out what only starts the program: `env X=1 timeout 10 python s.py` is `python s.py`."""
    started = False
    for index, word in enumerate(command):
        if PurePath(word).name in _STARTERS:
            started = True
        elif not (_PARAMETER.fullmatch(word) if started else re.fullmatch(r"\w+=.*", word, re.ASCII)):
            return command[index:]
    return ()


def _language_of_script(words: Sequence[str], depth: int) -> Language | None:
    """Return the language of the commands in a shell's `-c`, if it is one; a script in a file is not read."""
    for index, word in enumerate(words):
        if not word.startswith("-"):
            break
        if not word.startswith("--") and "c" in word:
            return _language_of_commands("".join(words[index + 1 : index + 2]), depth)
    return None


def _language_of_commands(script: str, depth: int) -> Language | None:
    commands: list[list[str]] = [[]]
    with suppress(ValueError):  # a quotation mark that is not closed
        lexer = shlex.shlex(script, posix=True, punctuation_chars=";&|()\n")
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
        for word in lexer:
            if _SEPARATORS.fullmatch(word):
                commands.append([])
            else:
                commands[-1].append(word)
    found = {_language_of(command, depth) for command in commands} - {None}
    return found.pop() if len(found) == 1 else None


def _language_of_file(word: str, depth: int) -> Language | None:
    """Return the language of a program that is named by its path, from the beginning of its file."""
    head = _head(word) if os.sep in word else b""
    if head.startswith(b"#!"):
        return _language_of(head[2:].partition(b"\n")[0].decode(errors="replace").split(), depth)
    if head.startswith(b"\x7fELF"):
        return "go" if _GO_NOTE.search(head) else "c"
    return None


def _head(path: str) -> bytes:
    """Read the beginning of a regular file; nothing of anything else, such as a pipe, which could block."""
    with suppress(OSError, ValueError):
        if stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - pathlib has no non-blocking open
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return os.read(descriptor, MAX_HEAD)
            finally:
                os.close(descriptor)
    return b""
