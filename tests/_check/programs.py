"""Programs to check: short ones in Python, and mutants, correct programs with one mistake.

They use only the standard library; `python(CODE)` is the command, and `alive` says what is left of it.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LISTEN = """
import os, signal, socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
"""
WAIT = "signal.pause()\n"
ECHO = (
    LISTEN
    + """
while True:
    conn, peer = s.accept()
    with conn:
        while data := conn.recv(65536):
            conn.sendall(data)
"""
)
LINES = (  # replies to whole lines only
    LISTEN
    + """
def answer(conn):
    with conn, conn.makefile("rb") as lines:
        for line in lines:
            end = b"\\n" if line.endswith(b"\\n") else b""
            conn.sendall(change(line.removesuffix(b"\\n")) + end)
import threading
while True:
    threading.Thread(target=answer, args=s.accept()[:1], daemon=True).start()
"""
)
MODULES = "import os, select, struct, sys, traceback\nkept = []\n"  # for mutants
HERE = Path(__file__).parent


def python(code: str, *words: str) -> tuple[str, ...]:
    """Return the command that runs the code; its arguments are `words`, by default `PORT`."""
    return (sys.executable, "-IS", "-c", code, *(words or ("PORT",)))


def alive(session: int) -> list[int]:
    """List the processes of a session that have not exited."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@dataclass(frozen=True)
class Mutant:
    """A mistake in a program of this folder, as changes of its text: from what is correct to what is wrong.

    Further lines of both are indented like the line where they begin. Its effect, `T18 T19: cause`, is that it fails
    these cases, and no others but those in `perhaps`, depending on timing; the cause is the id of the one mistake that
    is named. `warns` are passed with a warning.
    """

    mistake: str
    changes: Mapping[str, str]
    effect: str = ""
    perhaps: str = ""
    warns: str = ""
    program: str = "threaded"

    @property
    def fails(self) -> set[str]:
        return set(self.effect.partition(":")[0].split())

    @property
    def cause(self) -> str:
        return self.effect.partition(": ")[2]

    def command(self, *words: str) -> tuple[str, ...]:
        code = (HERE / f"{self.program}.py").read_text(encoding="utf-8")
        for pair in self.changes.items():
            line = code[: code.find(pair[0].partition("\n")[0])].rpartition("\n")[2]
            margin = "\n" + line[: len(line) - len(line.lstrip())]
            correct, wrong = (text.replace("\n", margin) for text in pair)
            assert code.count(correct) == 1, f"{self.mistake}: {correct!r} occurs {code.count(correct)} times"
            code = code.replace(correct, wrong)
        return (sys.executable, "-S", "-c", MODULES + code, *words)
