"""Find the error that a program has printed: of Python, JavaScript, Java, C# or Go, in the program's own words.

Pure: no I/O, no clock, no randomness.
"""

import re
from dataclasses import dataclass

from halloo._check.python2 import advice

# Errors that do not depend on what a client sends: the program has to be mended before anything else can be said of it.
MISTAKES = frozenset(
    (
        *("NameError", "UnboundLocalError", "AttributeError", "TypeError", "ImportError", "ModuleNotFoundError"),
        *("SyntaxError", "IndentationError", "TabError", "ReferenceError", "NullPointerException"),
        *("ClassCastException", "NoClassDefFoundError", "NoSuchMethodError", "NullReferenceException", "panic"),
        *("AddressSanitizer", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"),
    )
)
MAX_LINES, MAX_WORDS = 20, 1000  # lines of an error, characters of other output
_REQUESTED = ("KeyboardInterrupt", "SystemExit", "CancelledError")
# A SyntaxError of the program itself has no heading.
_PYTHON = (
    r'^(?:Traceback \(most recent call last\):\n)?(?:  (?:File ".*|\[Previous line .*)\n(?:    .*\n)*)+'
    r"(?P<name>[A-Za-z_][\w.]*)(?::.*)?$"
)
_NODE = r"^(?:.+\n.*\n *\^+\n\n)?(?:Uncaught )?(?P<name>(?:[A-Z]\w*)?Error)(?: \[\w+\])?:.*(?:\n    at .*)+"
_JAVA = r'^Exception in thread ".*?" (?P<name>[\w.$]+)(?::.*)?(?:\n(?:\s+at|Caused by:|\s+\.\.\.).*)*'
_DOTNET = r"^Unhandled exception\. (?P<name>[\w.]+):.*(?:\n +at .*)*"
_GO = r"^(?P<name>panic|fatal error): .*\n(?:.*\n)*?goroutine \d+ .*(?:\n.+)*"
_SANITIZER = r"^=+\n==\d+==ERROR: (?P<name>\w+Sanitizer): .*(?:\n.+)*"  # of C and C++
_FORMS = [re.compile(form, re.MULTILINE) for form in (_PYTHON, _NODE, _JAVA, _DOTNET, _GO, _SANITIZER)]


@dataclass(frozen=True, slots=True)
class ProgramError:
    """An error: the name of its class without its module, and the lines that were printed."""

    name: str
    text: str


def last_error(output: str) -> ProgramError | None:
    """Return the last error in the output, other than that of Ctrl-C."""
    found = [match for form in _FORMS for match in form.finditer(output)]
    errors = [match for match in found if _short(match["name"]) not in _REQUESTED]
    if not errors:
        return None
    last = max(errors, key=lambda match: match.end())
    return ProgramError(_short(last["name"]), _shortened(last[0]))


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def own_words(output: str) -> str:
    """Return the last error in the output, with the cure if it is for Python 2; without an error, the last lines."""
    if not (error := last_error(output)):
        return _shortened(output[-MAX_WORDS:])
    return "\n".join(filter(None, (error.text, advice(error.text))))


def _shortened(text: str) -> str:
    """Leave out the middle of many lines."""
    lines = text.strip("\n").splitlines()
    if len(lines) > MAX_LINES:
        lines[2 : 3 - MAX_LINES] = ["  ..."]
    return "\n".join(lines)
