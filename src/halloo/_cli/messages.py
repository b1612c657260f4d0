"""Write an error of a command as one line, which names the command's flags where the library names arguments."""

import re

from cyclopts import App, CycloptsError
from cyclopts.exceptions import MissingArgumentError, UnknownCommandError, UnusedCliTokensError

from halloo._core.arguments import shown
from halloo._core.escape import printable
from halloo._output.files import FULL
from halloo.errors import HallooError, UsageError, shortened

# A word by itself, and none in a command to copy: the user's own words may contain an equals sign.
ARGUMENT = re.compile(r"\bhalloo [a-z]+ .*|(?<![^\s(])([a-z_]+)=(?:True)?(?![^\s,;.)])")


def message(error: Exception, command: str, app: App) -> str:
    """Write an error on one line, with the next step and without characters that control a terminal.

    `command` is the one whose help describes a misused option, and `app` its parser.
    """
    parsed = error.argument if isinstance(error, CycloptsError) else None
    if isinstance(error.__cause__, HallooError) and isinstance(error, CycloptsError):
        error = error.__cause__
    if isinstance(error, HallooError):
        named = error.argument if isinstance(error, UsageError) else ""
        if not named and parsed is not None and parsed.name.startswith("-"):
            named = parsed.field_info.name
        fact = f"{_flag(named, app)} {error.fact}" if named else error.fact
        remedy = with_flags(error.remedy, app)
        text = f"{fact}; {remedy}" if remedy else fact
    elif isinstance(error, OSError):
        reason = (error.strerror or str(error)).lower()
        full = error.errno in FULL and error.filename is None
        text = (
            f"standard output cannot be written: {reason}; make room on its disk"
            if full
            else f"{reason}; look at the input and output of the command"
        )
    else:
        text = f"{shortened(_parse_error(error))}; see: {command} --help"
    return printable(" ".join(text.split()))


def with_flags(remedy: str, app: App) -> str:
    """Name the flags of a command instead of the library's arguments: "give ca= or insecure=True"."""
    return ARGUMENT.sub(lambda found: _flag(found[1], app) if found[1] else found[0], remedy)


def _flag(name: str, app: App) -> str:
    """Give the flag of a library argument such as `limits.max_bytes`; the name itself if the command has none."""
    if name == "family":
        return "-4 or -6"
    named = [
        argument
        for argument in app.assemble_argument_collection()
        if argument.field_info.name == name.rpartition(".")[2] and argument.index is None
    ]
    return next((flag for argument in named for flag in argument.names if flag.startswith("--")), name)


def _parse_error(error: Exception) -> str:
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        word = error.unused_tokens[0]
        hint = f"; a port is part of the address, as in localhost:{word}" if word.isdecimal() else ""
        return f"unexpected argument: {shown(word)}{hint}"
    if isinstance(error, UnknownCommandError) and error.unused_tokens and error.unused_tokens[0].startswith("-"):
        return f"unknown option: {error.unused_tokens[0]}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.keyword or error.argument.name
        return f"{name} needs a value" if name.startswith("-") else f"{name} is missing"
    fact = str(error).strip().rstrip(".?")
    return f"{fact[:1].lower()}{fact[1:]}"
