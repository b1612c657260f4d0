"""Tests of the advice for programs of Python 2: what this Python prints about each is recognised."""

import subprocess
import sys
from pathlib import Path

import pytest

from halloo._check.program_errors import own_words
from halloo._check.python2 import ROWS, Row

PROGRAMS = {
    's.send("Hello world")': "import socket\nfor s in socket.socketpair():\n    {}",
    "except socket.error, e:": "import socket\ntry:\n    pass\n{}\n    pass",
    'print("Received", `text`)': "text = 'x'\n{}",
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.old)
def test_what_python_3_says_is_recognised(row: Row, tmp_path: Path) -> None:
    if row.old.startswith("except") and sys.version_info >= (3, 14):
        pytest.skip("this is valid since Python 3.14 (PEP 758)")
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS.get(row.old, "{}").format(row.old))
    done = subprocess.run([sys.executable, program], stderr=subprocess.PIPE, text=True, check=False)
    words = own_words(done.stderr)
    assert row.error in words
    assert words.endswith(f"This is Python 2: {row.old} is {row.new.replace('`', '')} in Python 3 (docs/tutorial.md).")


def test_other_errors_are_not_those_of_python_2() -> None:
    for error in ("SyntaxError: invalid syntax", "NameError: name 'x' is not defined", "TypeError: no"):
        assert "Python 2" not in own_words(f'  File "program.py", line 1\n    x = (\n{error}')


def test_the_tutorial_has_the_same_table() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "tutorial.md").read_text()
    for row in ROWS:
        old = f"`` {row.old} ``" if "`" in row.old else f"`{row.old}`"
        assert f"| {old} | `{row.error}` | `{row.new}` |" in page
