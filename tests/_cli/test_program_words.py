"""A program in place of an address, or without `--`: the message is the command to write."""

import re
from pathlib import Path

import pytest

from halloo._cli.program_words import refuse_program
from halloo.errors import UsageError
from tests.command import halloo

PYTHON = "python3?"  # `python` where there is one


def suggested(*words: str) -> str:
    """Return the command that halloo suggests for `halloo check` with these words."""
    done = halloo("check", *words)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    found = re.fullmatch(r"halloo: (\S+) is a program, whose command comes after --; (.*)\n", done.stderr.decode())
    assert found
    assert found[1] in words
    return found[2]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("server ok.py", f"server -- {PYTHON} ok.py PORT"),
        ("server ok.py PORT", f"server -- {PYTHON} ok.py PORT"),
        ("server ok.py 8888", f"server -- {PYTHON} ok.py PORT"),
        ("server ./ok.py -p {port}", f"server -- {PYTHON} ./ok.py -p '{{port}}'"),
        ("server --port 8888 ok.py", f"server --port 8888 -- {PYTHON} ok.py"),
        ("server --udp ok.py", f"server --udp -- {PYTHON} ok.py PORT"),
        ("server --unix ok.py", f"server --unix -- {PYTHON} ok.py '{{path}}'"),
        ("server server.js", "server -- node server.js PORT"),
        ("server Server.java", "server -- java Server.java PORT"),
        ("server sh run.sh PORT", "server -- sh run.sh PORT"),
        ("server sh -x run.sh", "server -- sh -x run.sh PORT"),
        ("server port=3.py", f"server -- {PYTHON} port=3.py PORT"),
        ("client ok.py", f"client -- {PYTHON} ok.py HOST PORT"),
        ("client ok.py localhost 8888", f"client -- {PYTHON} ok.py HOST PORT"),
        ("client --udp sh run.sh HOST PORT", "client --udp -- sh run.sh HOST PORT"),
    ],
)
def test_the_command_to_write_is_suggested(words: str, command: str) -> None:
    assert re.fullmatch(f"check it with: halloo check {command}", suggested(*words.split()))


def test_an_executable_file_is_a_program_and_source_code_has_to_be_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.out").touch(0o755)
    Path("notes").touch(0o644)
    for name in ("a.out", "./a.out", str(tmp_path / "a.out")):
        path = name if "/" in name else f"./{name}"
        assert suggested("server", name) == f"check it with: halloo check server -- {path} PORT"
    assert suggested("server", "echo.c") == "compile echo.c first, then check: halloo check server -- ./echo PORT"
    assert suggested("server", "/x/echo.rs").endswith("-- /x/echo PORT")
    assert b"is a program" not in halloo("check", "server", "notes", "--only", "T01").stderr


def test_a_host_is_no_program() -> None:
    for words in (("localhost",), ("sh", "8888"), ("unix:server.py",), ("tcp://ok.py",), ("x" * 10_000, "y"), ()):
        refuse_program(words, "server")
    with pytest.raises(UsageError):
        refuse_program(("ok.py",), "server")


def test_words_that_are_neither_an_address_nor_a_command_are_named() -> None:
    for words, message in {
        "server localhost 8888": "unexpected argument: '8888'; a port is part of the address, as in localhost:8888",
        "server localhost x": "unexpected argument: 'x'",
        "server localhost --foo": "unknown option: --foo",
        "client foo": "unexpected argument: 'foo'",
        "client --foo": "unknown option: --foo",
    }.items():
        done = halloo("check", *words.split())
        see = f"see: halloo check {words.split()[0]} --help"
        assert (done.returncode, done.stderr.decode()) == (2, f"halloo: {message}; {see}\n")


def test_the_page_that_the_help_names_is_there() -> None:
    done = halloo("check", "server", "--help").stdout.decode()
    pages = re.findall(r"docs/[\w/.-]+\.md", done)
    assert pages
    assert all((Path(__file__).parent.parent.parent / page).is_file() for page in pages)
