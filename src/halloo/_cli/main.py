"""Run a command of the command line and turn its outcome into an exit code; each error becomes one line.

Contains the names and the order of the commands; each is defined, with its options and help, in a module that is
imported when the command runs.
"""

import logging
import os
import re
import signal
import sys
import textwrap
import time
import traceback
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

from cyclopts import App, CycloptsError

import halloo
from halloo._cli.messages import message
from halloo._net.signals import interrupting
from halloo._output.terminal import NARROWEST, say
from halloo.errors import HallooError

# In the order of the help. Each module has a function of the command's name.
COMMANDS = {
    "serve": "halloo._cli.serve",
    **dict.fromkeys(("connect", "send", "receive", "demo"), "halloo._cli.client"),
    "ping": "halloo._cli.ping",
}
CHECK, CHECK_HELP = "check", "Test an echo server or client, case by case, and report what is wrong with it."

LOCAL, INTERRUPTED = 2, 128 + signal.SIGINT


def application(arguments: list[str]) -> App:
    """Make the parser; it imports all commands only if `arguments` begin with none: their list shows the docstrings."""
    first = arguments[0] if arguments else ""
    known = first in (*COMMANDS, CHECK)
    app = App(
        name="halloo",
        help="An echo server and client that show what really happened to your bytes.\n\n"
        "halloo COMMAND --help describes a command; halloo --debug COMMAND shows the traceback of an error.",
        version=f"halloo {halloo.__version__}",
        help_format="plaintext",
        help_formatter=Columns(),
        group_parameters="Options",
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    if not known:
        app.register_install_completion_command()
    for position, (name, module) in enumerate(COMMANDS.items()):
        app.command(f"{module}:{name}" if known else getattr(import_module(module), name), name=name, sort_key=position)
    check = App(name=CHECK, help=CHECK_HELP, sort_key=len(COMMANDS))
    if first == CHECK:
        from halloo._cli import check as check_commands  # noqa: PLC0415 - slow to import

        check_commands.register(check)
    app.command(check)
    return app


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command and exit with its code: 0 done, 1 the peer failed, 2 usage or local error, 130 interrupted.

    A reader of the output that has left (EPIPE) ends a command quietly, and changes no code.
    """
    arguments = sys.argv[1:] if argv is None else argv
    _repair_streams()
    _repair_environment()
    logging.basicConfig(format="halloo: %(message)s")
    debug = arguments[:1] == ["--debug"]
    arguments = _rewritten(arguments[debug:])
    code = 0
    try:
        with interrupting():
            code = application(arguments)(arguments) or 0
            sys.stdout.flush()
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # at once: it waits neither for threads nor for the reader of unwritten output
    except BrokenPipeError:
        pass
    except (CycloptsError, HallooError, OSError) as error:
        code = error.exit_code if isinstance(error, HallooError) else LOCAL
        with suppress(OSError):
            names, apps, _ = application(arguments).parse_commands(arguments)
            text = traceback.format_exc().rstrip() if debug else message(error, " ".join(["halloo", *names]), apps[-1])
            if _logs_json(arguments):
                from halloo._server.log import Event, json_line  # noqa: PLC0415 - for this command alone

                print(json_line(Event("error", message=text), time.time()), file=sys.stderr)
            elif debug:
                print(text, file=sys.stderr)
            else:
                say(text)
    except Exception:  # noqa: BLE001 - with Python's own exit code it would be the peer's fault
        code = LOCAL
        with suppress(OSError):
            traceback.print_exc()
            say("internal error of halloo; please report it with the lines above")
    _discard_output()
    sys.exit(code)


def _logs_json(arguments: list[str]) -> bool:
    """Whether the command writes JSON on standard error, so that its errors are JSON as well."""
    return arguments[:1] == ["serve"] and ("--log=json" in arguments or ("--log", "json") in pairwise(arguments))


def _rewritten(arguments: list[str]) -> list[str]:
    """Turn `help COMMAND` into `COMMAND --help`, and the words after `check ... --` into values of --command."""
    if arguments[:1] == ["help"]:
        return [*arguments[1:], "--help"]
    if arguments[:1] == [CHECK] and "--" in arguments:
        end = arguments.index("--")
        return [*arguments[:end], *(f"--command={word}" for word in arguments[end + 1 :])]
    return arguments


def _repair_streams() -> None:
    """Open closed standard streams, so that no socket gets their numbers; escape what cannot be encoded."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - never closed
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _repair_environment() -> None:
    """Remove what is no size of a terminal: rich would read it with `int`, and print in no columns for 0."""
    for name in ("COLUMNS", "LINES"):
        if not re.fullmatch("[1-9][0-9]{0,4}", os.environ.get(name, "80")):
            del os.environ[name]


def _discard_output() -> None:
    """Discard output that cannot be written: the interpreter would report it at exit, with a code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if TYPE_CHECKING:  # slow to import, and only help pages need them
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

COLUMN = 30  # where descriptions begin
NARROW = 50  # minimum width of descriptions; below it they get lines of their own


class Columns:
    """A formatter for cyclopts: names on the left, descriptions on the right."""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        if not panel.entries:
            return
        lines = [f"{panel.title}:"]
        for entry in panel.entries:
            lines += _entry(entry, options.max_width)
        _write(console, "\n".join(lines))

    def render_usage(self, console: "Console", options: "ConsoleOptions", usage: Any) -> None:  # noqa: ANN401, ARG002 - cyclopts' signature
        _write(console, f"Usage: {_plain(usage)}")

    def render_description(self, console: "Console", options: "ConsoleOptions", description: Any) -> None:  # noqa: ANN401 - as above
        paragraphs = _plain(description).split("\n\n")
        _write(
            console,
            "\n\n".join(
                textwrap.fill(" ".join(text.split()), max(options.max_width, NARROWEST)) for text in paragraphs
            ),
        )


def _entry(entry: "HelpEntry", width: int) -> list[str]:
    text = " ".join(_plain(entry.description).split())
    if entry.choices:
        text += f" [{'|'.join(entry.choices)}]"
    if entry.default is not None and entry.default != "":
        text += f" [default: {entry.default}]"
    indent = COLUMN if width - COLUMN >= NARROW else 8
    wrapped = textwrap.wrap(text, max(width - indent, NARROWEST))
    first = f"  {', '.join(entry.display_labels_with_metavar)}"
    if len(first) + 2 <= indent and wrapped:
        first = f"{first:<{indent}}{wrapped.pop(0)}"
    return [first, *(" " * indent + line for line in wrapped)]


def _plain(text: Any) -> str:  # noqa: ANN401 - a str, rich's Text, or cyclopts' wrapper of one
    inner = getattr(text, "primary_renderable", text)
    return str(getattr(inner, "plain", inner) or "").strip()


def _write(console: "Console", text: str) -> None:
    if text:
        console.file.write(f"{text}\n\n")  # `print` exits with a code of its own when the reader has left
