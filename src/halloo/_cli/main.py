"""Turn the command line into a verb and its outcome into an exit code; every error becomes one line.

Knows the verbs' names and order; what they do, and their help, is in `verbs`, and of the larger ones in files of their
own.
"""

import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from cyclopts import App, CycloptsError
from cyclopts.exceptions import MissingArgumentError, UnusedCliTokensError

import halloo
from halloo._cli import commands as verbs
from halloo._cli.help import Columns
from halloo._core.escape import printable
from halloo.errors import HallooError

VERBS = ("serve", "connect", "send", "receive", "demo")
LAZY = {"ping": ("halloo._cli.ping", "ping")}  # verbs that load when they are asked for, or help is
CHECK, CHECKING = "check", "Ask an echo server or client case after case, and say what is wrong with it."

PEER_FAILED, LOCAL, INTERRUPTED = 1, 2, 128 + signal.SIGINT


def application(*, verbs_only: bool = False, checking: bool = True) -> App:
    """Make the parser; its help comes from the signatures and docstrings of `verbs`, which load sooner alone.

    `checking` is whether the verbs of `halloo check` are wanted, and not its name alone.
    """
    app = App(
        name="halloo",
        help="An echo server and client that show what really happened to your bytes.\n\n"
        "halloo VERB --help tells all about a verb; halloo --debug VERB shows where an error came from.",
        version=f"halloo {halloo.__version__}",
        help_format="plaintext",
        help_formatter=Columns(),
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    if not verbs_only:
        app.register_install_completion_command()
    for place, verb in enumerate(VERBS):
        app.command(getattr(verbs, verb), sort_key=place)
    for place, (verb, (module, name)) in enumerate(LAZY.items(), start=len(VERBS)):
        # By its place alone where it is not shown: its line in the help is in its docstring.
        found = f"{module}:{name}" if verbs_only else getattr(import_module(module), name)
        app.command(found, name=verb, sort_key=place)
    check = App(name=CHECK, help=CHECKING, sort_key=len(VERBS) + len(LAZY))
    if checking:
        from halloo._cli import check as check_verbs  # noqa: PLC0415 - the other verbs do not pay for it

        check_verbs.add(check)
    app.command(check)
    return app


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command and exit with its code: 0 done, 1 the peer failed, 2 usage or local error, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else argv
    _mend_streams()
    logging.basicConfig(format="halloo: %(message)s")
    debug = "--debug" in arguments[:1]
    arguments = arguments[debug:]
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    if arguments[:1] == [CHECK] and "--" in arguments:
        own = arguments.index("--")  # what follows is a command, whose options are none of ours
        arguments = [*arguments[:own], *(f"--command={word}" for word in arguments[own + 1 :])]
    try:
        code = (
            application(
                verbs_only=arguments[:1] != [] and arguments[0] in (*VERBS, *LAZY), checking=arguments[:1] == [CHECK]
            )(arguments)
            or 0
        )
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = PEER_FAILED  # whoever read our output has left, and there is nobody to tell
    except (CycloptsError, HallooError, OSError) as error:
        code = error.exit_code if isinstance(error, HallooError) else LOCAL
        with suppress(OSError):
            if debug:
                traceback.print_exc()
            else:
                print(f"halloo: {_sentence(error, arguments)}", file=sys.stderr)
    _leave_quietly()
    sys.exit(code)


def _mend_streams() -> None:
    """Open what the caller has closed, so that no socket gets its number; spell out what cannot be encoded."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for ever
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _leave_quietly() -> None:
    """Throw away what nobody takes: at its exit the interpreter would complain that it cannot write it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(error: Exception, arguments: list[str]) -> str:
    """Put an error on one line, with the next step; a terminal must not obey what was typed by mistake."""
    if isinstance(error.__cause__, HallooError) and isinstance(error, CycloptsError):
        error = error.__cause__
    if isinstance(error, HallooError):
        return printable(" ".join(str(error).split()))
    if isinstance(error, OSError):
        return printable(f"{(error.strerror or str(error)).lower()}; look at the input and output of the command")
    verb = next((word for word in arguments[:1] if word in (*VERBS, *LAZY)), None)
    return printable(f"{_fact(error)}; see: halloo {f'{verb} ' if verb else ''}--help")


def _fact(error: Exception) -> str:
    """Say what is wrong with the words that were typed."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"{error.unused_tokens[0]!r} is one word too many"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.keyword or error.argument.name
        return f"{name} needs a value" if name.startswith("-") else f"{name} is missing"
    fact = " ".join(str(error).split()).rstrip(".?")
    return f"{fact[:1].lower()}{fact[1:]}"
