"""Tests of the command that repeats a case: it has every option, and gives the same verdict."""

import glob
import inspect
import json
import os
import shlex
import sys
from contextlib import ExitStack
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from halloo._check.messages import Messages
from halloo._check.repeat import PLACED, repeat_command
from halloo._check.spec import CheckSpec, ClientSpec, ServerSpec, parse_transform
from halloo._cli import check
from halloo._cli.check_files import Outputs
from halloo._core.address import Address, parse
from halloo._server.server import Server
from tests._check.programs import ECHO as ONE_BY_ONE
from tests._check.programs import python
from tests.command import halloo
from tests.peers import unused_port
from tests.programs import EXAMPLES, PYTHON, run

SERVER = ServerSpec(command=("python", "my server.py", "PORT"))
CLIENT = ClientSpec(command=("client", "HOST", "PORT"))
# Options that choose cases, of which the line has one; and those that change no result.
CHOOSING = {
    "only",
    "level",
    "quick",
    "each",
    "resume",
    "jobs",
    "quiet",
    "words",
    *(each.name for each in fields(Outputs)),
}
EXAMPLES_OF = {
    "expect": parse_transform("upper"),
    "messages": Messages("m:f", lambda number: (b"%d" % number, b"", "typed")),
    "stdin": "none",
    "lossy": False,  # for datagrams only
}


def repeat(spec: CheckSpec, **options: Any) -> str:  # noqa: ANN401 - those of `repeat_command`
    return repeat_command(spec, "T05", **{"seed": 3, **options})


def other(option: Field[Any]) -> Any:  # noqa: ANN401 - a value of any option
    """Return a value that is not the default."""
    if option.name in EXAMPLES_OF:
        return EXAMPLES_OF[option.name]
    values: dict[type, Any] = {bool: True, int: 7, float: 7.5, str: "a b", tuple: ("h", "g")}
    return values[type(option.default)]


@pytest.mark.parametrize(("command", "spec"), [(check.server, SERVER), (check.client, CLIENT)])
def test_the_line_has_every_option_of_the_command_that_is_not_at_its_default(command: Any, spec: CheckSpec) -> None:  # noqa: ANN401 - a function
    changed = {each.name: value for each in fields(spec) if each.name not in PLACED and (value := other(each))}
    line = shlex.split(repeat(replace(spec, **changed), longer=True, strict=True))
    parameters = {*inspect.signature(command).parameters, *(each.name for each in fields(check.Choice))}
    wanted = (
        parameters
        - CHOOSING
        - {"lossy", "choice", "outputs", "command", "address", "udp", "tls", "unix", "seed", "longer"}
    )
    assert {*line} >= {f"--{name.replace('_', '-')}" for name in wanted} | {"--seed", "--long"}
    assert wanted == {*changed, "strict"}
    assert line.index("--") == len(line) - len(spec.command) - 1


def test_what_was_not_given_is_not_written_and_every_word_is_quoted() -> None:
    assert repeat(SERVER) == "halloo check server --only T05 --seed 3 -- python 'my server.py' PORT"
    spec = replace(SERVER, scheme="udp", port=8888, greeting=True, expect=parse_transform("upper"), lossy=True)
    options = "--udp --port 8888 --expect upper --greeting --lossy"
    assert repeat(spec) == f"halloo check server --only T05 --seed 3 {options} -- python 'my server.py' PORT"
    assert repeat(replace(CLIENT, message="-x")).split()[7:] == ["--message=-x", "--", "client", "HOST", "PORT"]
    words = ("sh", "-c", "x $HOME {}\n'y'", "{port}", "", "*")
    assert shlex.split(repeat(ServerSpec(command=words)))[-6:] == [*words]


def test_an_address_is_an_argument() -> None:
    spec = ServerSpec(address=parse("udp://8.8.8.8"), scheme="udp", allow_remote=("8.8.8.8",))
    assert repeat(spec) == "halloo check server --only T05 --seed 3 --allow-remote 8.8.8.8 udp://8.8.8.8:8888"
    assert repeat(ServerSpec(address=Address("unix", None, 0, "/a b"))).endswith(" 'unix:/a b'")


def test_of_several_folders_the_line_has_the_one() -> None:
    spec = ServerSpec(command=("sh", "-c", "cd DIR && exec ./server PORT"), folder="subs/anna")
    assert repeat(spec).endswith(" -- sh -c 'cd subs/anna && exec ./server PORT'")
    for name in ("PORT", "{port}", "HOST:x*"):  # would be read as a placeholder
        assert repeat(replace(spec, folder=name)).endswith(
            f" --each {shlex.quote(glob.escape(name))} -- {shlex.join(spec.command)}"
        )


# The line through sh(1).

UPPER = """
import socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    conn, peer = s.accept()
    with conn:
        conn.sendall(b"hello, it's me\\n")
        while data := conn.recv(65536):
            conn.sendall(data.upper())
"""
ECHO = "import runpy; runpy.run_module('tests._check.reference', run_name='__main__')"
REFERENCE = (PYTHON, "-m", "tests._check.reference", "PORT")
HALLOO = (PYTHON, "-m", "halloo", "serve", "-q")
TYPED, LINES = str(EXAMPLES / "echoclient_safe.py"), (PYTHON, "-m", "tests._check.client.reference", "HOST", "PORT")
PINGER = (PYTHON, "-m", "tests._check.client.pinger", "HOST", "PORT")


@dataclass(frozen=True)
class Form:
    """Words of `halloo check`; the test replaces FOLDER, FREE (a port), and SERVER in an address."""

    words: tuple[str, ...]
    verdict: str = "PASS"


def server(only: str, *options: str, command: tuple[str, ...] = REFERENCE, verdict: str = "PASS") -> Form:
    return Form(("server", "--only", only, *options, "--", *command), verdict)


def client(only: str, *options: str, command: tuple[str, ...] = LINES, verdict: str = "PASS") -> Form:
    return Form(("client", "--only", only, *options, "--", *command), verdict)


FORMS = {
    "tcp": server("T05"),
    "a failure": server("T35", command=python(ONE_BY_ONE.replace("while True:", "if True:")), verdict="FAIL"),
    "options": server(
        "T01", "--expect", "upper", "--greeting", "--strict", command=(PYTHON, "FOLDER/my server.py", "PORT")
    ),
    "a program of lines": server("T01", command=(PYTHON, "-c", ECHO, "{port}")),
    "a shell": server(
        "T01",
        command=("sh", "-c", f'f() {{ exec {PYTHON} "$@"; }}; f -m tests._check.reference PORT'),
    ),
    "udp": server("U01", "--udp", command=(PYTHON, "-m", "tests._check.reference_udp", "PORT")),
    "tls": server("T01", "--tls", command=(*HALLOO, "tls://PORT")),
    "unix": server("T01", "--unix", command=(*HALLOO, "unix:{path}")),
    "a fixed port": server("T01", "--port", "FREE", command=(PYTHON, "-m", "tests._check.reference", "FREE")),
    "each": server("T01", "--each", "FOLDER/subs/*", command=("sh", "-c", f'cd "DIR" && exec {PYTHON} server.py PORT')),
    "address": Form(("server", "--only", "T01", "tcp://SERVER")),
    "udp address": Form(("server", "--only", "U01", "udp://SERVER")),
    "unix address": Form(("server", "--only", "T01", "unix:FOLDER/a b")),
    "typed": client("C01", "--stdin", "pty", "--message", "it's me", command=(PYTHON, TYPED, "HOST", "PORT")),
    "piped": client("C01", "--stdin", "pipe", "--verifying"),
    "argument": client("C01", command=(*LINES, "{msg}")),
    "udp client": client("C29", "--udp", "--stdin", "none", command=PINGER),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with a program, submissions, and the command `halloo`."""
    (tmp_path / "my server.py").write_text(UPPER, encoding="utf-8")
    (tmp_path / "halloo").write_text(f'#!/bin/sh\nexec {shlex.quote(PYTHON)} -m halloo "$@"\n', encoding="utf-8")
    (tmp_path / "halloo").chmod(0o755)
    (tmp_path / "subs" / "{port} PORT").mkdir(parents=True)
    (tmp_path / "subs" / "{port} PORT" / "server.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n{ECHO}", encoding="utf-8"
    )
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="halloo check needs /proc")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_line_repeats_the_case_in_a_shell(form: Form, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, free = folder / "report.json", str(unused_port())
    words = [each.replace("FOLDER", str(folder)).replace("FREE", free) for each in form.words]
    with ExitStack() as stack:
        if "--" not in words:
            echo = stack.enter_context(Server(words[-1].replace("SERVER", "127.0.0.1:0")))
            words[-1] = str(echo.address)
        halloo("check", words[0], "--json", report, *words[1:])
        (result,) = json.loads(report.read_text(encoding="utf-8"))["results"]
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        again = run("sh", "-c", result["repeat"])
    assert (result["verdict"], again.stderr) == (form.verdict, b"")
    assert f": 1 {form.verdict};" in again.stdout.decode()
    assert again.returncode == (form.verdict == "FAIL")
